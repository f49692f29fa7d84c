/* SPDX-License-Identifier: MIT */
/* hostmem.c - see hostmem.h. */
#include "machine/hostmem.h"

#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The beginning of a small file as text; false: it cannot be read. */
static bool read_text(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, buf, size - 1);
	close(fd);
	buf[n > 0 ? n : 0] = '\0';
	return n > 0;
}

uint64_t hostmem_field(const char *text, const char *key)
{
	size_t len = strlen(key);
	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, len) != 0 || line[len] != ':')
			continue;
		char *end;
		unsigned long long n = strtoull(line + len + 1, &end, 10);
		return end == line + len + 1 || n > UINT64_MAX >> 10 ? UINT64_MAX : (uint64_t)n << 10;
	}
	return UINT64_MAX;
}

/* A file of one number, or "max". */
static uint64_t read_limit(const char *dir, const char *file)
{
	char path[PATH_MAX], text[64], *end;
	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path) ||
	    !read_text(path, text, sizeof(text)))
		return UINT64_MAX;
	unsigned long long n = strtoull(text, &end, 10);
	return end == text ? UINT64_MAX : n;
}

/* What our cgroup (version 2) and those above it have left: the kernel's own memory is charged there too. */
static uint64_t cgroup_left(void)
{
	char text[PATH_MAX], dir[PATH_MAX + 32];
	uint64_t left = UINT64_MAX;
	if (!read_text("/proc/self/cgroup", text, sizeof(text)))
		return left;
	const char *line = strstr(text, "0::/");
	if (line == NULL)
		return left;
	snprintf(dir, sizeof(dir), "/sys/fs/cgroup/%.*s", (int)strcspn(line + 4, "\n"), line + 4);
	for (size_t len = strlen(dir); len > strlen("/sys/fs/cgroup"); len = strlen(dir)) {
		uint64_t most = read_limit(dir, "memory.max"), used = read_limit(dir, "memory.current");
		if (most != UINT64_MAX && used != UINT64_MAX) {
			uint64_t here = used < most ? most - used : 0;
			left = here < left ? here : left;
		}
		*strrchr(dir, '/') = '\0';
	}
	return left;
}

void hostmem_read(struct hostmem *out)
{
	char text[4096];
	*out = (struct hostmem){UINT64_MAX, UINT64_MAX, UINT64_MAX};
	if (read_text("/proc/meminfo", text, sizeof(text))) {
		out->available = hostmem_field(text, "MemAvailable");
		out->vmalloc = hostmem_field(text, "VmallocUsed");
		out->slab = hostmem_field(text, "Slab");
	}
	uint64_t left = cgroup_left();
	if (left < out->available)
		out->available = left;
}
