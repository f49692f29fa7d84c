/* SPDX-License-Identifier: MIT */
/*
 * backing_hugetlb.c - memory in reserved huge pages: a hugetlb memfd, or a file on a hugetlbfs mount.
 *
 * The kernel sends SIGBUS to whoever touches a huge page when none is left. So every page that an owner is
 * charged for is reserved in the file first, where running out is an error and not a signal. Punching a
 * hole frees whole pages and drops their reservation, so it is renewed before such memory is used again.
 */
#include "backing_ops.h"
#include "error.h"
#include "format.h"
#include "hostinfo.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>

/*
 * Where a shared hugetlb mapping covers an aligned GiB the kernel may share its page tables, and so widens
 * every invalidation to that whole GiB, for all its mappings. Pieces that end at odd half GiBs cover none;
 * hugetlb mappings are never merged, so they stay pieces. Larger pages have no such tables.
 */
static uint64_t piece_end(const struct backing *b, uint64_t at, uint64_t end)
{
	uint64_t cut = ((at + GIANT_BYTES / 2) & ~(GIANT_BYTES - 1)) + GIANT_BYTES / 2;

	if (b->granule != HUGE_BYTES || cut > end)
		return end;
	return cut;
}

static int hugetlb_map(const struct backing *b, void *at, uint64_t offset, uint64_t len, struct mb_error *err)
{
	uint64_t pos = (uint64_t)(uintptr_t)at, end = pos + len;

	while (pos < end) {
		uint64_t next = piece_end(b, pos, end);
		void *p =
		    mmap((void *)(uintptr_t)pos, next - pos, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED | (b->noreserve ? MAP_NORESERVE : 0), b->fd, (off_t)offset);
		int rc = errno;

		if (p == MAP_FAILED && rc == ENOMEM)
			return backing_hugetlb_lacks(b, end - pos, err);
		if (p == MAP_FAILED)
			return host_error(err, -rc, "cannot map %s of huge pages: %s", host_size(len).text,
					  strerror(rc));
		offset += next - pos;
		pos = next;
	}
	return 0;
}

/* A mapping reserves its pages in the file's own records, where they stay when it is unmapped. */
static int hugetlb_reserve(const struct backing *b, uint64_t offset, uint64_t len)
{
	void *p = mmap(NULL, len, PROT_NONE, MAP_SHARED, b->fd, (off_t)offset);

	if (p == MAP_FAILED)
		return -errno;
	munmap(p, len);
	return 0;
}

/*
 * Punching a hole drops the reservation of pages that were there, but not of pages that were never touched,
 * and nothing but shortening the file would. So those are made first, out of their reservation.
 */
static int hugetlb_give_back(const struct backing *b, void *at, uint64_t offset, uint64_t len)
{
	(void)at;
	/* If it fails, some pages stay reserved: nothing that anybody could do about it. */
	(void)fallocate(b->fd, FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	return backing_punch(b, offset, len);
}

static int hugetlb_purge(const struct backing *b, void *at, uint64_t offset, uint64_t len)
{
	(void)at;
	return backing_punch(b, offset, len);
}

/* Page by page, since pages that are not reserved may be among them: at most one of those is held. */
static int hugetlb_forget(const struct backing *b, uint64_t offset, uint64_t len)
{
	for (uint64_t pos = offset; pos < offset + len; pos += b->granule) {
		int rc = hugetlb_give_back(b, NULL, pos, b->granule);

		if (rc)
			return rc;
	}
	return 0;
}

int backing_hugetlb_lacks(const struct backing *b, uint64_t bytes, struct mb_error *err)
{
	struct hostinfo_hugetlb host = {0, 0};
	uint64_t want = bytes / b->granule, missing;

	if (!hostinfo_hugetlb(b->granule, &host))
		return host_error(err, -ENOMEM, "this kernel has no huge pages of %s",
				  host_size(b->granule).text);
	missing = want > host.available ? want - host.available : 1;
	if (b->granule == HUGE_BYTES)
		return host_error(err, -ENOMEM,
				  "%" PRIu64 " huge pages of 2 MiB are missing (%" PRIu64 " wanted, %" PRIu64
				  " available); reserve them: `sysctl vm.nr_hugepages=%" PRIu64 "`",
				  missing, want, host.available, host.total + missing);
	return host_error(err, -ENOMEM,
			  "%" PRIu64 " huge pages of %s are missing (%" PRIu64 " wanted, %" PRIu64
			  " available); reserve them: `echo %" PRIu64
			  " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages`, or at boot",
			  missing, host_size(b->granule).text, want, host.available, host.total + missing,
			  b->granule >> 10);
}

const struct backing_ops backing_hugetlb_ops = {
    .what = "huge pages",
    .map = hugetlb_map,
    .reserve = hugetlb_reserve,
    .give_back = hugetlb_give_back,
    .purge = hugetlb_purge,
    .forget = hugetlb_forget,
};
