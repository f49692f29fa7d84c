/* SPDX-License-Identifier: MIT */
/*
 * backing_room.c - can a budget be kept? What of it the memory holds already needs no room any more; all the rest
 * does, charged or not, since a guest may touch it at any time.
 */
#include "backing_ops.h"
#include "error.h"
#include "format.h"
#include "hostinfo.h"
#include "hostmem.h"

#include <errno.h>
#include <inttypes.h>
#include <sys/statfs.h>

static bool is_huge(const struct backing *b)
{
	return b->ops == &backing_hugetlb_ops;
}

/* Bytes of a budget that are still to be had. Huge pages are reserved for whoever is charged, touched or not. */
static uint64_t to_be_had(const struct backing *b, uint64_t budget, uint64_t charged)
{
	uint64_t held = 0;

	if (is_huge(b))
		held = charged;
	else if (backing_resident_total(b, &held))
		held = 0;
	return budget > held ? budget - held : 0;
}

int backing_check_room(const struct backing *b, uint64_t budget, uint64_t charged, struct mb_error *err)
{
	struct statfs fs;
	uint64_t room, want = to_be_had(b, budget, charged);

	/* 0, and on a hugetlbfs also -1: without a bound of its own, as is what has no mount */
	if (b->fd < 0 || fstatfs(b->fd, &fs) || !fs.f_blocks || (int64_t)fs.f_blocks < 0)
		return 0;
	room = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
	if (room >= want)
		return 0;
	if (is_huge(b))
		return host_error(
		    err, -ENOSPC,
		    "the hugetlbfs mount has room for %s, of the budget of %s %s are still to be had: "
		    "lower the budget, or use a mount with a larger size=",
		    host_size(room).text, host_size(budget).text, host_size(want).text);
	return host_error(err, -ENOSPC,
			  "the memory file's file system has room for %s, of the budget of %s %s are still to "
			  "be had: a guest would "
			  "die of SIGBUS; lower the budget, or make room (tmpfs: `mount -o remount,size=`)",
			  host_size(room).text, host_size(budget).text, host_size(want).text);
}

static void warn_huge(const struct backing *b, uint64_t budget, uint64_t want, struct mb_error *warning)
{
	struct hostinfo_hugetlb host = {0, 0};
	uint64_t pages = want / b->granule, missing;

	if (!hostinfo_hugetlb(b->granule, &host) || pages <= host.available)
		return;
	missing = pages - host.available;
	host_warn_more(warning,
		       "the budget is %s, but of the %" PRIu64 " huge pages of %s that it wants %" PRIu64
		       " are free: VMs that need more are refused; `echo %" PRIu64
		       " > /sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages`",
		       host_size(budget).text, pages, host_size(b->granule).text, host.available,
		       host.total + missing, b->granule >> 10);
}

void backing_warn_memory(const struct backing *b, uint64_t budget, uint64_t charged, struct mb_error *warning)
{
	uint64_t want = to_be_had(b, budget, charged), left;
	const char *whose;

	if (is_huge(b)) {
		warn_huge(b, budget, want, warning);
		return;
	}
	left = hostmem_left(&whose);
	/* What lies on a disk is written there when memory is short. */
	if (!b->blocks_exact || want <= left)
		return;
	host_warn_more(
	    warning,
	    "the budget is %s, but %s has %s left: guests that use all of it end in swapping, or in the "
	    "OOM killer's hands; lower it with `membackctl pool set-budget`",
	    host_size(budget).text, whose, host_size(left).text);
}

int backing_check_memory(const struct backing *b, uint64_t bytes, struct mb_error *err)
{
	uint64_t left, most, unit = b->granule > HUGE_BYTES ? b->granule : HUGE_BYTES;
	const char *whose;

	/* Huge pages are reserved, and what lies on a disk is written there when memory is short. */
	if (is_huge(b) || (b->fd >= 0 && !b->blocks_exact))
		return 0;
	left = hostmem_most(&whose);
	/* page tables and KVM's own take a part in 256, and the rest of the host goes on meanwhile */
	most = (left - left / 64) & ~(unit - 1);
	if (left == UINT64_MAX || bytes <= most)
		return 0;
	return host_error(err, -ENOMEM,
			  "%s of guest memory cannot be made resident: %s has %s left, swap included, and the "
			  "OOM killer would come; at most %s would work now",
			  host_size(bytes).text, whose, host_size(left).text, host_size_to_type(most).text);
}
