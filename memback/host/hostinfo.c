/* SPDX-License-Identifier: MIT */
/* hostinfo.c - reads what the kernel says about large pages. A file that is not there means "no". */
#include "hostinfo.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#define THP_DIR "/sys/kernel/mm/transparent_hugepage/"

static bool read_text(const char *path, char *buf, size_t bytes)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, buf, bytes - 1);
	close(fd);
	if (n < 0)
		return false;
	buf[n] = '\0';
	return true;
}

static bool chosen(const char *path, const char *const *good)
{
	char buf[256];

	if (!read_text(path, buf, sizeof(buf)))
		return false;
	for (; *good; good++)
		if (strstr(buf, *good))
			return true;
	return false;
}

bool hostinfo_thp_anon(void)
{
	static const char *const good[] = {"[always]", "[madvise]", NULL};
	/* Newer kernels have a setting a size; "inherit" refers to the global one. */
	static const char *const size_good[] = {"[always]", "[madvise]", NULL};

	return chosen(THP_DIR "enabled", good) || chosen(THP_DIR "hugepages-2048kB/enabled", size_good);
}

bool hostinfo_thp_memfd(void)
{
	static const char *const good[] = {"[always]", "[within_size]", "[advise]", "[force]", NULL};

	return chosen(THP_DIR "shmem_enabled", good) || chosen(THP_DIR "hugepages-2048kB/shmem_enabled", good);
}

/* A line of mountinfo: id parent major:minor root point options [fields] - type source super-options. */
void hostinfo_thp_mount_option(dev_t dev, char *out, size_t room)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	char *line = NULL;
	size_t bytes = 0;

	snprintf(out, room, "never");
	while (f && getline(&line, &bytes, f) > 0) {
		const char *super = strstr(line, " - "), *huge;
		unsigned maj, min;

		if (!super || sscanf(line, "%*u %*u %u:%u", &maj, &min) != 2 || makedev(maj, min) != dev)
			continue;
		huge = strstr(super, "huge=");
		if (huge)
			snprintf(out, room, "%.*s", (int)strcspn(huge + 5, ",\n "), huge + 5);
		break;
	}
	free(line);
	if (f)
		fclose(f);
}

bool hostinfo_thp_mount(dev_t dev)
{
	char option[32];

	hostinfo_thp_mount_option(dev, option, sizeof(option));
	return !strcmp(option, "advise") || !strcmp(option, "always") || !strcmp(option, "within_size");
}

static bool hugetlb_number(uint64_t page_bytes, const char *name, uint64_t *out)
{
	char path[128], buf[64];

	snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s", page_bytes >> 10,
		 name);
	if (!read_text(path, buf, sizeof(buf)))
		return false;
	*out = strtoull(buf, NULL, 10);
	return true;
}

bool hostinfo_hugetlb(uint64_t page_bytes, struct hostinfo_hugetlb *out)
{
	uint64_t nr, avail, resv, over, surplus;

	if (!hugetlb_number(page_bytes, "nr_hugepages", &nr) ||
	    !hugetlb_number(page_bytes, "free_hugepages", &avail) ||
	    !hugetlb_number(page_bytes, "resv_hugepages", &resv) ||
	    !hugetlb_number(page_bytes, "nr_overcommit_hugepages", &over) ||
	    !hugetlb_number(page_bytes, "surplus_hugepages", &surplus))
		return false;
	out->total = nr;
	out->available = (avail > resv ? avail - resv : 0) + (over > surplus ? over - surplus : 0);
	return true;
}
