/* SPDX-License-Identifier: MIT */
/* hostmem.c - see hostmem.h. A file that is not there bounds nothing. */
#include "hostmem.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CGROUP_ROOT "/sys/fs/cgroup"
#define PATH_ROOM   4096

static uint64_t add(uint64_t a, uint64_t b)
{
	return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static uint64_t read_number(const char *dir, const char *name)
{
	char path[PATH_ROOM + 64];
	uint64_t value = UINT64_MAX;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "re");
	if (!f)
		return UINT64_MAX;
	if (fscanf(f, "%" SCNu64, &value) != 1) /* "max" */
		value = UINT64_MAX;
	fclose(f);
	return value;
}

/* The number in the line that begins with key; UINT64_MAX: there is none. */
static uint64_t read_field(const char *path, const char *key)
{
	FILE *f = fopen(path, "re");
	uint64_t value = UINT64_MAX;
	char *line = NULL;
	size_t room = 0, len = strlen(key);

	while (f && value == UINT64_MAX && getline(&line, &room, f) > 0)
		if (!strncmp(line, key, len) && sscanf(line + len, "%" SCNu64, &value) != 1)
			value = UINT64_MAX;
	free(line);
	if (f)
		fclose(f);
	return value;
}

/* What the group and those below it cache of files, which the kernel drops before it kills. */
static uint64_t group_cache(const char *dir, bool v1)
{
	static const char *const key[2][2] = {{"active_file ", "inactive_file "},
					      {"total_active_file ", "total_inactive_file "}};
	char path[PATH_ROOM + 64];
	uint64_t sum = 0;

	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	for (unsigned i = 0; i < 2; i++) {
		uint64_t n = read_field(path, key[v1][i]);

		sum += n == UINT64_MAX ? 0 : n;
	}
	return sum;
}

/* What one group leaves; version 1 says "no limit" by a number beyond all memory, which bounds nothing either. */
static uint64_t group_left(const char *dir, bool v1, bool most)
{
	uint64_t limit = read_number(dir, v1 ? "memory.limit_in_bytes" : "memory.max");
	uint64_t used = read_number(dir, v1 ? "memory.usage_in_bytes" : "memory.current");

	if (limit == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	if (most)
		limit = add(limit, group_cache(dir, v1));
	return limit > used ? limit - used : 0;
}

/* The group and all above it, up to the root of the hierarchy. */
static uint64_t groups_left(const char *root, const char *group, bool v1, bool most)
{
	char dir[PATH_ROOM];
	size_t root_len = strlen(root);
	uint64_t left = UINT64_MAX;

	if (snprintf(dir, sizeof(dir), "%s%s", root, group) >= (int)sizeof(dir))
		return UINT64_MAX;
	for (;;) {
		uint64_t here = group_left(dir, v1, most);
		char *slash = strrchr(dir, '/');

		left = here < left ? here : left;
		if (!slash || (size_t)(slash - dir) < root_len)
			return left;
		*slash = '\0';
	}
}

/* Lines "0::/path" of version 2, and "N:memory:/path" of version 1. */
static uint64_t cgroup_left(bool most)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	uint64_t left = UINT64_MAX;
	char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0) {
		char *controllers = strchr(line, ':'),
		     *group = controllers ? strchr(controllers + 1, ':') : NULL;
		uint64_t here = UINT64_MAX;

		if (!group)
			continue;
		line[strcspn(line, "\n")] = '\0';
		*group++ = '\0';
		if (!controllers[1])
			here = groups_left(CGROUP_ROOT, group, false, most);
		else if (!strcmp(controllers + 1, "memory"))
			here = groups_left(CGROUP_ROOT "/memory", group, true, most);
		left = here < left ? here : left;
	}
	free(line);
	if (f)
		fclose(f);
	return left;
}

static uint64_t meminfo(const char *key)
{
	uint64_t kib = read_field("/proc/meminfo", key);

	return kib > UINT64_MAX >> 10 ? UINT64_MAX : kib << 10;
}

static uint64_t lesser(uint64_t host, uint64_t group, const char **whose)
{
	*whose = group < host ? "the memory cgroup" : "the host";
	return group < host ? group : host;
}

uint64_t hostmem_left(const char **whose)
{
	return lesser(meminfo("MemAvailable:"), cgroup_left(false), whose);
}

/* How much of the swap a cgroup may use has bounds of its own, which only make it less. */
uint64_t hostmem_most(const char **whose)
{
	uint64_t swap = meminfo("SwapFree:");

	if (swap == UINT64_MAX)
		swap = 0;
	return lesser(add(meminfo("MemAvailable:"), swap), add(cgroup_left(true), swap), whose);
}
