/* SPDX-License-Identifier: MIT */
/*
 * backing_anon.c - private anonymous memory with transparent huge pages: the least that a single VMM needs.
 *
 * There is no file, so a frame number is no offset here; the pool's numbers are kept all the same. Giving
 * back is MADV_DONTNEED. A 4 KiB hole in a transparent huge page would free nothing until the whole page is
 * gone (the kernel only queues it for a split under memory pressure), so such a page is split first.
 */
#include "backing_ops.h"
#include "error.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

static int anon_map(const struct backing *b, void *at, uint64_t offset, uint64_t len, struct mb_error *err)
{
	/* NORESERVE: the kernel's default overcommit policy refuses a terabyte otherwise. */
	void *p = mmap(at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		       -1, 0);
	int rc = errno;

	(void)offset;
	if (p == MAP_FAILED)
		return host_error(err, -rc,
				  "cannot map %s of anonymous memory: %s; check `ulimit -v` and "
				  "vm.overcommit_memory",
				  host_size(len).text, strerror(rc));
	if (b->huge_pages)
		madvise(at, len, MADV_HUGEPAGE);
	return 0;
}

static int anon_give_back(const struct backing *b, void *at, uint64_t offset, uint64_t len)
{
	(void)b;
	(void)offset;
	return madvise(at, len, MADV_DONTNEED) ? -errno : 0;
}

/*
 * MADV_COLD is advice about pages that are about to go anyway; what it does on the way is to split a huge
 * page that it covers in part. Where it cannot (a page pinned for a moment), the kernel's own deferred
 * split comes later.
 */
static void anon_split(const struct backing *b, void *at, uint64_t len)
{
	(void)b;
	(void)madvise(at, len, MADV_COLD);
}

const struct backing_ops backing_anon_ops = {
    .what = "anonymous memory",
    .map = anon_map,
    .give_back = anon_give_back,
    .purge = anon_give_back,
    .split = anon_split,
};
