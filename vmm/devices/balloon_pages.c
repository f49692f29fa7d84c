/* SPDX-License-Identifier: MIT */
/*
 * balloon_pages.c - what is in a balloon, see balloon_pages.h.
 *
 * Guests name pages in any order; a call to the pool costs a system call, and one that runs while a vCPU
 * runs costs a TLB shootdown as well (16 µs). So numbers first go into a set, at about a nanosecond each
 * where they are neighbours, and come out as runs.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon_pages.h"

#include "log.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <time.h>

#define PAGE (UINT64_C(1) << BALLOON_PAGE_SHIFT)

/* Pages a call: between 2 MiB and 1 GiB, so that a call takes about as long as the bounds below. */
#define STRIDE_MIN     (UINT64_C(2) << 20 >> BALLOON_PAGE_SHIFT)
#define STRIDE_FIRST   (UINT64_C(32) << 20 >> BALLOON_PAGE_SHIFT)
#define STRIDE_MAX     (UINT64_C(1) << 30 >> BALLOON_PAGE_SHIFT)
#define CALL_SHORT     UINT64_C(300000) /* ns */
#define PIECES_A_CLOCK 16
#define CALL_LONG      UINT64_C(1500000) /* ns */

uint64_t balloon_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * UINT64_C(1000000000) + (uint64_t)ts.tv_nsec;
}

int balloon_pages_init(struct balloon_pages *bp, const struct guestmem *mem, uint64_t limit)
{
	int rc;

	memset(bp, 0, sizeof(*bp));
	bp->mem = mem;
	bp->space = mem->space;
	bp->limit = limit;
	bp->stride = STRIDE_FIRST;
	rc = pageset_init(&bp->given, limit);
	if (!rc)
		rc = pageset_init(&bp->returning, limit);
	if (rc)
		balloon_pages_free(bp);
	return rc;
}

void balloon_pages_free(struct balloon_pages *bp)
{
	pageset_free(&bp->given);
	pageset_free(&bp->returning);
}

static void reject(struct balloon_pages *bp, uint64_t page, uint64_t count, const char *why)
{
	bp->rejected += count;
	log_guest("balloon: %llu page(s) at %#llx or above refused: %s", (unsigned long long)count,
		  (unsigned long long)page << BALLOON_PAGE_SHIFT, why);
}

/* ---- gathering ---------------------------------------------------------------------------------------- */

static bool is_memory(const struct balloon_pages *bp, uint64_t first, uint64_t count)
{
	return first < bp->limit && count <= bp->limit - first &&
	       guestmem_hva(bp->mem, first << BALLOON_PAGE_SHIFT, count << BALLOON_PAGE_SHIFT);
}

/* What a batch of numbers had in it that we do not take: said once a batch. */
struct refusals {
	uint64_t foreign, first_foreign;
	uint64_t twice, first_twice;
};

static void gather_run(struct balloon_pages *bp, struct pageset *set, uint64_t first, uint64_t count,
		       struct refusals *no)
{
	uint64_t added = 0;

	if (is_memory(bp, first, count)) {
		added = pageset_add(set, first, count);
		if (added < count && !no->twice)
			no->first_twice = first;
		no->twice += count - added;
	} else if (count == 1) {
		if (!no->foreign)
			no->first_foreign = first;
		no->foreign++;
	} else {
		/* Half in, half out, or across two regions. */
		gather_run(bp, set, first, count / 2, no);
		gather_run(bp, set, first + count / 2, count - count / 2, no);
	}
}

void balloon_pages_gather(struct balloon_pages *bp, struct pageset *set, const uint32_t *numbers,
			  unsigned count)
{
	struct refusals no = {.foreign = 0};
	unsigned i = 0, j;

	while (i < count) {
		uint64_t start = le32toh(numbers[i]), first = start;

		for (j = i + 1; j < count && le32toh(numbers[j]) == start + (j - i); j++)
			;
		if (j == i + 1) {
			for (; j < count && le32toh(numbers[j]) == start - (j - i); j++)
				;
			first = start - (j - i - 1);
		}
		gather_run(bp, set, first, j - i, &no);
		i = j;
	}
	if (no.foreign)
		reject(bp, no.first_foreign, no.foreign, "not guest memory");
	if (no.twice)
		reject(bp, no.first_twice, no.twice, "named twice");
}

void balloon_pages_gather_range(struct balloon_pages *bp, struct pageset *set, uint64_t gpa, uint64_t len)
{
	uint64_t first = (gpa + PAGE - 1) >> BALLOON_PAGE_SHIFT, end = (gpa + len) >> BALLOON_PAGE_SHIFT;

	/* Which pages of a range are named twice does not matter here. */
	if (first < end && is_memory(bp, first, end - first))
		pageset_add(set, first, end - first);
}

void balloon_pages_spare(struct balloon_pages *bp, struct pageset *set, uint64_t gpa, uint64_t len)
{
	uint64_t first = gpa >> BALLOON_PAGE_SHIFT, end = ((gpa + len - 1) >> BALLOON_PAGE_SHIFT) + 1, n;

	if (!set->count || end > bp->limit)
		return;
	n = pageset_remove(set, first, end - first);
	if (n)
		reject(bp, first, n, "the device's own rings lie there");
}

/* ---- calls to the pool --------------------------------------------------------------------------------- */

typedef int space_call(struct mb_space *space, uint64_t gpa, uint64_t len);

/*
 * One call, which takes its time, and the stride adapts: the loop must turn, but few calls are fast. The clock
 * is read once a call, since scattered pages are a call each; what we do between two calls counts as the
 * second one's.
 */
static int timed_call(struct balloon_pages *bp, space_call *call, uint64_t first, uint64_t count)
{
	int rc = call(bp->space, first << BALLOON_PAGE_SHIFT, count << BALLOON_PAGE_SHIFT);
	uint64_t now = balloon_now_ns(), took = now - bp->now;

	bp->now = now;
	if (took > CALL_LONG && bp->stride > STRIDE_MIN)
		bp->stride /= 2;
	else if (took < CALL_SHORT && count > bp->stride / 2 && bp->stride < STRIDE_MAX)
		bp->stride *= 2;
	return rc;
}

/* As much of a run as one call shall do, up to the end of a huge page: half of one costs more than all of it. */
static uint64_t stride_of(const struct balloon_pages *bp, uint64_t first, uint64_t count)
{
	return count <= bp->stride ? count : (first + bp->stride) / STRIDE_MIN * STRIDE_MIN - first;
}

/* Whether a slice of work is over, seen from the last call to the pool. */
static bool is_late(struct balloon_pages *bp, uint64_t deadline, unsigned *pieces)
{
	/* Pieces that need no call, refused ones, pass some time too. */
	if (++*pieces % PIECES_A_CLOCK == 0)
		bp->now = balloon_now_ns();
	return bp->now >= deadline;
}

/* As many pages of a run as the pool takes in one call that works: it refuses a call as a whole, so halve it
 * until the culprit stands alone. Returns how many pages are dealt with, one way or the other. */
static uint64_t inflate_some(struct balloon_pages *bp, uint64_t first, uint64_t count)
{
	int rc = 0;

	for (; count; count /= 2) {
		rc = timed_call(bp, mb_space_inflate, first, count);
		if (!rc) {
			pageset_add(&bp->given, first, count);
			bp->inflated_total += count;
			return count;
		}
	}
	reject(bp, first, 1, rc == -EALREADY ? "inflated already" : strerror(-rc));
	return 1;
}

/* The same with mb_space_deflate() or mb_space_restore(), except that some errors may pass. */
static int deflate_some(struct balloon_pages *bp, space_call *call, uint64_t first, uint64_t count,
			uint64_t *done)
{
	uint64_t left;
	int rc = 0;

	while (count) {
		rc = timed_call(bp, call, first, count);
		if (!rc) {
			bp->deflated_total += count;
			*done = count;
			return 0;
		}
		left = mb_space_budget_left(bp->space) >> BALLOON_PAGE_SHIFT;
		count = rc == -EDQUOT && left && left < count ? left : count / 2;
	}
	/* Anything else may pass: reserved huge pages that are out just now, say. What must not happen is
	 * that the guest touches a page whose memory could not be had. */
	if (rc != -EALREADY && rc != -ERANGE)
		return rc;
	reject(bp, first, 1, "not inflated");
	*done = 1;
	return 0;
}

/* ---- inflate -------------------------------------------------------------------------------------------- */

/* The piece of [first, first + count) from first on that is wholly in, or wholly out of, other. */
static uint64_t piece_of(const struct pageset *other, uint64_t first, uint64_t count, bool *in)
{
	uint64_t start, n;

	*in = false;
	if (!pageset_next(other, first, first + count, &start, &n))
		return count;
	*in = start == first;
	return *in ? n : start - first;
}

/* Deals with some pages from the start of a run, and says how many. */
static uint64_t inflate_piece(struct balloon_pages *bp, uint64_t first, uint64_t count)
{
	bool given, returning;
	int rc;

	count = stride_of(bp, first, count);
	count = piece_of(&bp->given, first, count, &given);
	if (given) {
		reject(bp, first, count, "in the balloon already");
		return count;
	}
	count = piece_of(&bp->returning, first, count, &returning);
	if (returning) {
		/* The driver before had given it, and the guest may have written to it since; so it is given
		 * again, but the budget need not be asked for it in between. */
		count = stride_of(bp, first, count);
		rc = timed_call(bp, mb_space_purge, first, count);
		if (rc)
			log_at(LOG_WARN, "balloon: what a guest wrote to inflated memory stays: %s",
			       strerror(-rc));
		pageset_remove(&bp->returning, first, count);
		pageset_add(&bp->given, first, count);
		return count;
	}
	return inflate_some(bp, first, count);
}

int balloon_pages_inflate(struct balloon_pages *bp, struct pageset *set, uint64_t deadline)
{
	uint64_t first = 0, count, done;
	unsigned pieces = 0;

	bp->now = balloon_now_ns();
	while (pageset_next(set, first, set->limit, &first, &count)) {
		done = inflate_piece(bp, first, count);
		pageset_remove(set, first, done);
		if (set->count && is_late(bp, deadline, &pieces))
			return -EAGAIN;
	}
	return 0;
}

/* ---- report --------------------------------------------------------------------------------------------- */

int balloon_pages_report(struct balloon_pages *bp, struct pageset *set, uint64_t deadline)
{
	uint64_t first = 0, count;
	unsigned pieces = 0;
	int rc;

	if (bp->keep_reported)
		pageset_clear(set);
	bp->now = balloon_now_ns();
	while (pageset_next(set, first, set->limit, &first, &count)) {
		count = stride_of(bp, first, count);
		rc = timed_call(bp, mb_space_discard, first, count);
		if (!rc)
			bp->reported_total += count;
		else
			log_at(LOG_WARN, "balloon: what a guest reports as free stays: %s", strerror(-rc));
		pageset_remove(set, first, count);
		if (set->count && is_late(bp, deadline, &pieces))
			return -EAGAIN;
	}
	return 0;
}

/* ---- deflate, return, reset ------------------------------------------------------------------------------ */

int balloon_pages_deflate(struct balloon_pages *bp, struct pageset *set, uint64_t deadline)
{
	uint64_t first = 0, count, done;
	unsigned pieces = 0;
	bool given;
	int rc;

	bp->now = balloon_now_ns();
	while (pageset_next(set, first, set->limit, &first, &count)) {
		done = count = piece_of(&bp->given, first, count, &given);
		if (given) {
			rc = deflate_some(bp, mb_space_deflate, first, stride_of(bp, first, count),
					  &done);
			if (rc)
				return rc;
			pageset_remove(&bp->given, first, done);
		} else {
			reject(bp, first, count, "not in the balloon");
		}
		pageset_remove(set, first, done);
		if (set->count && is_late(bp, deadline, &pieces))
			return -EAGAIN;
	}
	return 0;
}

int balloon_pages_return(struct balloon_pages *bp, uint64_t deadline)
{
	uint64_t first = 0, count, done;
	unsigned pieces = 0;
	int rc;

	bp->now = balloon_now_ns();
	while (pageset_next(&bp->returning, first, bp->limit, &first, &count)) {
		rc = deflate_some(bp, mb_space_restore, first, stride_of(bp, first, count), &done);
		if (rc)
			return rc;
		pageset_remove(&bp->returning, first, done);
		if (bp->returning.count && is_late(bp, deadline, &pieces))
			return -EAGAIN;
	}
	return 0;
}

void balloon_pages_reset(struct balloon_pages *bp)
{
	pageset_move(&bp->returning, &bp->given);
}
