/* SPDX-License-Identifier: MIT */
/*
 * residency.c - what the kernel says is resident, and making memory so. Nothing here reads our own records.
 *
 * mincore() looks at the page tables, and for files also at the page cache; so a page that another process
 * made resident counts. (hugetlb: the page tables of this process alone.)
 */
#include "backing.h"
#include "backing_ops.h"
#include "format.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int backing_populate(void *at, uint64_t len)
{
	/* EAGAIN: pages were poisoned or raced with us; once more is what the manual page recommends. */
	for (int tries = 0; tries < 8; tries++) {
		if (!madvise(at, len, MADV_POPULATE_WRITE))
			return 0;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int backing_residency(const void *at, uint64_t len, unsigned char *vec)
{
	/* mincore() reads only page tables; its prototype lacks the const. */
	int rc;

	do {
		rc = mincore((void *)(uintptr_t)at, len, vec);
	} while (rc < 0 && errno == EAGAIN);
	return rc < 0 ? -errno : 0;
}

/* PAGEMAP_SCAN, Linux 6.7 (linux/fs.h); Debian 12's headers are older. */
struct scan_region {
	uint64_t start, end, categories;
};
struct scan_arg {
	uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
	uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
};
#define SCAN_IOCTL      _IOWR('f', 16, struct scan_arg)
#define SCAN_IS_PRESENT (UINT64_C(1) << 3)

/* Anonymous memory: the first page that is present, found by stepping over empty page tables. */
static uint64_t skip_anon(const void *at, uint64_t len)
{
	struct scan_region first = {0};
	struct scan_arg arg = {
	    .size = sizeof(arg),
	    .start = (uint64_t)(uintptr_t)at,
	    .end = (uint64_t)(uintptr_t)at + len,
	    .vec = (uint64_t)(uintptr_t)&first,
	    .vec_len = 1,
	    .max_pages = 1,
	    .category_mask = SCAN_IS_PRESENT,
	    .return_mask = SCAN_IS_PRESENT,
	};
	int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC), n;

	if (fd < 0)
		return 0;
	n = ioctl(fd, SCAN_IOCTL, &arg);
	close(fd);
	if (n == 0)
		return len;
	return n == 1 && first.start >= arg.start && first.start < arg.end ? first.start - arg.start : 0;
}

/*
 * mincore() looks up each page of a hole in the page cache, one by one; SEEK_DATA steps over holes. Only a
 * tmpfs has data exactly where it has pages (hugetlbfs always says data, a disk's cache may hold holes).
 */
static uint64_t skip_file(const struct backing *b, uint64_t offset, uint64_t len)
{
	off_t data = lseek(b->fd, (off_t)offset, SEEK_DATA);

	if (data < 0)
		return errno == ENXIO ? len : 0; /* no data from here to the end */
	return (uint64_t)data - offset < len ? (uint64_t)data - offset : len;
}

uint64_t backing_skip(const struct backing *b, const void *at, uint64_t offset, uint64_t len)
{
	if (b->fd < 0)
		return skip_anon(at, len);
	return b->ops == &backing_file_ops && b->blocks_exact ? skip_file(b, offset, len) : 0;
}

int backing_resident_range(const struct backing *b, const void *at, uint64_t offset, uint64_t len,
			   uint64_t *bytes)
{
	static const uint64_t stride = UINT64_C(16) << 20; /* what the kernel itself does in one go */
	unsigned char vec[(UINT64_C(16) << 20) >> BASE_SHIFT];
	uint64_t pages = 0, n;

	for (uint64_t pos = 0; pos < len; pos += n) {
		int rc;

		pos += backing_skip(b, (const char *)at + pos, offset + pos, len - pos);
		n = len - pos < stride ? len - pos : stride;
		if (!n)
			break;
		rc = backing_residency((const char *)at + pos, n, vec);
		if (rc)
			return rc;
		for (uint64_t i = 0; i < n >> BASE_SHIFT; i++)
			pages += vec[i] & 1;
	}
	*bytes = pages << BASE_SHIFT;
	return 0;
}

int backing_resident_total(const struct backing *b, uint64_t *bytes)
{
	struct stat st;

	if (b->fd < 0)
		return -ENOTSUP;
	if (fstat(b->fd, &st))
		return -errno;
	*bytes = (uint64_t)st.st_blocks * 512;
	return 0;
}
