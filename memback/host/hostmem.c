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

/* What one group leaves; version 1 says "no limit" by a number beyond all memory, which bounds nothing either. */
static uint64_t group_left(const char *dir, bool v1)
{
	uint64_t limit = read_number(dir, v1 ? "memory.limit_in_bytes" : "memory.max");
	uint64_t used = read_number(dir, v1 ? "memory.usage_in_bytes" : "memory.current");

	if (limit == UINT64_MAX || used == UINT64_MAX)
		return UINT64_MAX;
	return limit > used ? limit - used : 0;
}

/* The group and all above it, up to the root of the hierarchy. */
static uint64_t groups_left(const char *root, const char *group, bool v1)
{
	char dir[PATH_ROOM];
	size_t root_len = strlen(root);
	uint64_t left = UINT64_MAX;

	if (snprintf(dir, sizeof(dir), "%s%s", root, group) >= (int)sizeof(dir))
		return UINT64_MAX;
	for (;;) {
		uint64_t here = group_left(dir, v1);
		char *slash = strrchr(dir, '/');

		left = here < left ? here : left;
		if (!slash || (size_t)(slash - dir) < root_len)
			return left;
		*slash = '\0';
	}
}

/* Lines "0::/path" of version 2, and "N:memory:/path" of version 1. */
static uint64_t cgroup_left(void)
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
			here = groups_left(CGROUP_ROOT, group, false);
		else if (!strcmp(controllers + 1, "memory"))
			here = groups_left(CGROUP_ROOT "/memory", group, true);
		left = here < left ? here : left;
	}
	free(line);
	if (f)
		fclose(f);
	return left;
}

static uint64_t host_left(void)
{
	FILE *f = fopen("/proc/meminfo", "re");
	uint64_t kib = UINT64_MAX;
	char *line = NULL;
	size_t room = 0;

	while (f && getline(&line, &room, f) > 0)
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	free(line);
	if (f)
		fclose(f);
	return kib > UINT64_MAX >> 10 ? UINT64_MAX : kib << 10;
}

uint64_t hostmem_left(const char **whose)
{
	uint64_t host = host_left(), group = cgroup_left();

	*whose = group < host ? "the memory cgroup" : "the host";
	return group < host ? group : host;
}
