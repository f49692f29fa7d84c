/* SPDX-License-Identifier: MIT */
/*
 * hostinfo.h - what this host's kernel can do with large pages, read from /sys and /proc.
 */
#ifndef HOST_HOSTINFO_H
#define HOST_HOSTINFO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Whether madvise(MADV_HUGEPAGE) gives huge pages to anonymous memory; to memfd. */
bool hostinfo_thp_anon(void);
bool hostinfo_thp_memfd(void);
/* Whether the tmpfs mount that holds device dev gives huge pages (its huge= option). */
bool hostinfo_thp_mount(dev_t dev);
/* The option itself, such as "never" (also where it is not given, or cannot be read). */
void hostinfo_thp_mount_option(dev_t dev, char *out, size_t room);

struct hostinfo_hugetlb {
	uint64_t total;     /* pages in the kernel's pool, of one size */
	uint64_t available; /* free and not reserved, and what overcommitting may add */
};
/* false: the kernel has no huge pages of that size. */
bool hostinfo_hugetlb(uint64_t page_bytes, struct hostinfo_hugetlb *out);

#endif
