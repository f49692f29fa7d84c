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

/*
 * mincore() looks up each page of a hole in the page cache, one by one; SEEK_DATA steps over holes. Only a
 * tmpfs has data exactly where it has pages (hugetlbfs always says data, a disk's cache may hold holes).
 */
bool backing_no_data(const struct backing *b, uint64_t offset, uint64_t len)
{
	off_t data;

	if (b->fd < 0 || b->ops != &backing_file_ops || !b->blocks_exact)
		return false;
	data = lseek(b->fd, (off_t)offset, SEEK_DATA);
	if (data < 0)
		return errno == ENXIO; /* no data from here to the end */
	return (uint64_t)data >= offset + len;
}

int backing_resident_range(const struct backing *b, const void *at, uint64_t offset, uint64_t len,
			   uint64_t *bytes)
{
	static const uint64_t stride = UINT64_C(16) << 20; /* what the kernel itself does in one go */
	unsigned char vec[(UINT64_C(16) << 20) >> BASE_SHIFT];
	uint64_t pages = 0;

	for (uint64_t pos = 0; pos < len; pos += stride) {
		uint64_t n = len - pos < stride ? len - pos : stride;
		int rc;

		if (backing_no_data(b, offset + pos, n))
			continue;
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
