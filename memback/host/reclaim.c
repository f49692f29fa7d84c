/* SPDX-License-Identifier: MIT */
/*
 * reclaim.c - inflate and deflate: holes come and go, bytes go back to the kernel and are charged again.
 *
 * Inflating: mark holes, guard ragged frames, give the bytes back, and only then uncharge; deflating: charge
 * first. So what the budget says is used is never less than what may be resident.
 *
 * Where the backing's granule is larger than a page, holes that do not fill their granule are pending: they
 * stay charged and resident. The last hole of a granule sends the whole granule back.
 *
 *   a granule of G bytes with h bytes of holes:   h < G: charged G, pending h    h = G: charged 0, pending 0
 *
 * All changes of one call are made by one struct change, whose undoing is the same with the sign turned.
 */
#include "charge.h"
#include "overcommit.h"
#include "owner.h"
#include "state.h"

#include <errno.h>
#include <string.h>

#define BURY_MS 5 /* of a deflation's time, while it is lacking bytes */

/* ---- holes in the allocator ---------------------------------------------------------------------------- */

static int set_holes(struct mb_space *space, const struct space_run *run, bool holes)
{
	mb_frame first = {run->frame};
	uint64_t count = run->len >> BASE_SHIFT;
	int rc = pool_fault(space->pool);

	if (rc)
		return rc;
	return holes ? mb_frame_holes_add(space->pool->frames, space->slot, first, count)
		     : mb_frame_holes_remove(space->pool->frames, space->slot, first, count);
}

/* All of [gpa, gpa + len), extent by extent, or nothing. */
static int set_holes_range(struct mb_space *space, uint64_t gpa, uint64_t len, bool holes)
{
	uint64_t pos = gpa;
	int rc = 0;

	while (pos < gpa + len && !rc) {
		struct space_run run = space_run_at(space, pos, gpa + len - pos);

		rc = set_holes(space, &run, holes);
		if (!rc)
			pos += run.len;
	}
	if (!rc)
		return 0;
	for (uint64_t end = pos, at = gpa; at < end;) {
		struct space_run run = space_run_at(space, at, end - at);

		(void)set_holes(space, &run, !holes);
		at += run.len;
	}
	return rc;
}

/* ---- counts of holes ----------------------------------------------------------------------------------- */

/* The part of [gpa, gpa + len) that lies in the unit (a power of two) that holds gpa, in pages. */
static uint64_t pages_in(uint64_t gpa, uint64_t len, uint64_t unit)
{
	uint64_t left = unit - gpa % unit;

	return (len < left ? len : left) >> BASE_SHIFT;
}

static uint64_t granule_index(const struct mb_space *space, uint64_t gpa)
{
	return ((space_index(space, gpa) << HUGE_SHIFT) + gpa % HUGE_BYTES) / space->mem.granule;
}

/* Adds to (or takes from) the huge frames' counts, and lets the guard see it. */
static void count_in_frames(struct mb_space *space, uint64_t gpa, uint64_t len, bool holes)
{
	uint64_t first = space_index(space, gpa), i = first, n;

	for (uint64_t pos = gpa; pos < gpa + len; pos += n << BASE_SHIFT) {
		n = pages_in(pos, gpa + len - pos, HUGE_BYTES);
		space->holes[i] = (uint16_t)(holes ? space->holes[i] + n : space->holes[i] - n);
		i++;
	}
	guard_update(space, first, i - first);
}

/* The same of the granules, where these are larger than a page. */
static void count_in_granules(struct mb_space *space, uint64_t gpa, uint64_t len, bool holes)
{
	uint64_t n;

	for (uint64_t pos = gpa; space->granule_holes && pos < gpa + len; pos += n << BASE_SHIFT) {
		uint32_t *g = &space->granule_holes[granule_index(space, pos)];

		n = pages_in(pos, gpa + len - pos, space->mem.granule);
		*g = (uint32_t)(holes ? *g + n : *g - n);
	}
}

static void count_holes(struct mb_space *space, uint64_t gpa, uint64_t len, bool holes)
{
	count_in_frames(space, gpa, len, holes);
	count_in_granules(space, gpa, len, holes);
}

/*
 * Giant frames of which the last page has just gone give up their lines in the allocator. Only those that
 * [gpa, gpa + len) touches and that lie wholly in one extent; a frame that is not wholly holes ends the look.
 */
static void merge_holes(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	const uint64_t giant = mb_level_frames(MB_GIANT);

	for (uint64_t pos = gpa, n; pos < gpa + len; pos += n) {
		const struct extent *x = space_extent(space, pos);
		uint64_t frame = x->frame + ((pos - x->gpa) >> BASE_SHIFT), first = frame & ~(giant - 1);
		const uint16_t *holes;
		unsigned i = 0;

		n = (giant - frame % giant) << BASE_SHIFT;
		if (first < x->frame || first + giant > x->frame + x->count)
			continue;
		holes = &space->holes[space_index(space, x->gpa + ((first - x->frame) << BASE_SHIFT))];
		while (i < giant / HUGE_PAGES && holes[i] == HUGE_PAGES)
			i++;
		if (i < giant / HUGE_PAGES)
			continue;
		/* -EBUSY: it went as a whole, and has no lines */
		int ignored = mb_frame_holes_merge(space->pool->frames, space->slot, (mb_frame){first});
		(void)ignored;
	}
}

/* ---- which granules change hands ------------------------------------------------------------------------ */

/*
 * A granule that [gpa, gpa + len) touches: goes back (or comes back) as a whole, or merely has more (fewer)
 * pending pages. With a granule of one page all are whole.
 */
struct piece {
	uint64_t gpa;   /* of the part that is touched */
	uint64_t len;   /* bytes, in one granule; with 4 KiB granules the whole rest */
	uint64_t start; /* the granules' own range */
	uint64_t bytes;
	bool whole;
};

/* The next piece, counts being those with the range's holes in them. */
static struct piece piece_at(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	uint64_t granule = space->mem.granule;
	struct piece p = {.gpa = gpa, .len = len, .start = gpa, .bytes = len, .whole = true};

	if (!space->granule_holes)
		return p;
	p.len = pages_in(gpa, len, granule) << BASE_SHIFT;
	p.start = gpa - gpa % granule;
	p.bytes = granule;
	p.whole = space->granule_holes[granule_index(space, gpa)] == granule >> BASE_SHIFT;
	return p;
}

struct change {
	uint64_t whole;   /* bytes of granules that go back or come back */
	uint64_t pending; /* bytes: whole granules' holes outside the range, less those of other granules */
	uint64_t partial; /* bytes of holes in granules that are not whole */
};

static struct change sum_pieces(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	struct change c = {0};

	for (uint64_t pos = gpa; pos < gpa + len;) {
		struct piece p = piece_at(space, pos, gpa + len - pos);

		if (p.whole) {
			c.whole += p.bytes;
			c.pending += p.bytes - p.len;
		} else {
			c.partial += p.len;
		}
		pos += p.len;
	}
	return c;
}

typedef int run_fn(struct mb_space *space, const struct space_run *run);

/* fn for each contiguous run of frames of [gpa, gpa + len), which is granule-aligned. */
static int each_run(struct mb_space *space, uint64_t gpa, uint64_t len, run_fn *fn)
{
	for (uint64_t pos = gpa; pos < gpa + len;) {
		struct space_run run = space_run_at(space, pos, gpa + len - pos);
		int rc = pool_fault(space->pool);

		if (!rc)
			rc = fn(space, &run);
		if (rc)
			return rc;
		pos += run.len;
	}
	return 0;
}

/* fn for the whole granules of the range, neighbours joined: a call to the kernel costs more than its work. */
static int each_whole(struct mb_space *space, uint64_t gpa, uint64_t len, run_fn *fn)
{
	uint64_t start = 0, bytes = 0;
	int rc = 0;

	for (uint64_t pos = gpa; pos < gpa + len && !rc;) {
		struct piece p = piece_at(space, pos, gpa + len - pos);

		pos += p.len;
		if (p.whole && bytes && start + bytes == p.start) {
			bytes += p.bytes;
			continue;
		}
		if (bytes)
			rc = each_run(space, start, bytes, fn);
		start = p.start;
		bytes = p.whole ? p.bytes : 0;
	}
	if (!rc && bytes)
		rc = each_run(space, start, bytes, fn);
	return rc;
}

static int give_back_run(struct mb_space *space, const struct space_run *run)
{
	if (space->over)
		return overcommit_give_back(space, run);
	return space->mem.ops->give_back(&space->mem, space_at(space, run->gpa), run->frame << BASE_SHIFT,
					 run->len);
}

static int purge_run(struct mb_space *space, const struct space_run *run)
{
	if (space->over)
		return overcommit_give_back(space, run);
	return space->mem.ops->purge(&space->mem, space_at(space, run->gpa), run->frame << BASE_SHIFT,
				     run->len);
}

static int reserve_run(struct mb_space *space, const struct space_run *run)
{
	return space->mem.ops->reserve(&space->mem, run->frame << BASE_SHIFT, run->len);
}

static int populate_run(struct mb_space *space, const struct space_run *run)
{
	return backing_populate(space_at(space, run->gpa), run->len);
}

/* ---- inflate ------------------------------------------------------------------------------------------- */

/* Splits large pages at the ends of the range that had no hole before, so that their bytes really go. */
static void split_ends(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	uint64_t head = pages_in(gpa, len, HUGE_BYTES), end = gpa + len,
		 tail = (end % HUGE_BYTES) >> BASE_SHIFT;

	if (!space->mem.ops->split)
		return;
	if (head < HUGE_PAGES && space->holes[space_index(space, gpa)] == head)
		space->mem.ops->split(&space->mem, space_at(space, gpa), head << BASE_SHIFT);
	if (head << BASE_SHIFT < len && tail && space->holes[space_index(space, end - 1)] == tail)
		space->mem.ops->split(&space->mem, space_at(space, end - (tail << BASE_SHIFT)),
				      tail << BASE_SHIFT);
}

static int check_range(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	if (!len || gpa % BASE_BYTES || len % BASE_BYTES)
		return -EINVAL;
	return space_region(space, gpa, len) ? 0 : -ERANGE;
}

/* The totals that a change leaves; holes: it is an inflation. */
static void account(struct mb_space *space, const struct change *c, uint64_t len, bool holes)
{
	uint64_t sign = holes ? 1 : UINT64_MAX; /* times 1 or times -1, modulo 2^64 */

	space_add(&space->inflated, sign * len);
	space_add(&space->pending, sign * (c->partial - c->pending));
	space_publish(space);
}

/* After a failure: memory that went back already must not fail when it is touched. Counts still say holes. */
static void restore(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	if (space->mem.ops->reserve && !space->over)
		(void)each_whole(space, gpa, len, reserve_run);
	if (space->prealloc)
		(void)each_whole(space, gpa, len, populate_run);
}

int mb_space_inflate(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	struct change c;
	int rc = check_range(space, gpa, len);

	if (!rc)
		rc = set_holes_range(space, gpa, len, true);
	if (rc)
		return rc;
	count_holes(space, gpa, len, true);
	c = sum_pieces(space, gpa, len);
	split_ends(space, gpa, len);
	rc = each_whole(space, gpa, len, give_back_run);
	if (rc) {
		restore(space, gpa, len);
		count_holes(space, gpa, len, false);
		(void)set_holes_range(space, gpa, len, false);
		return rc;
	}
	if (!space->over)
		space_uncharge(space, c.whole); /* with overcommit what is there is charged, and nothing else */
	account(space, &c, len, true);
	merge_holes(space, gpa, len);
	return 0;
}

/* The counts of a region that becomes holes as a whole: no frame of it is ragged, so the guard need not see it.
 */
static void count_whole(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	uint16_t *holes = &space->holes[space_index(space, gpa)];
	uint64_t granule = space->mem.granule;

	for (uint64_t i = 0; i < len >> HUGE_SHIFT; i++)
		holes[i] = HUGE_PAGES;
	for (uint64_t i = 0; space->granule_holes && i < len / granule; i++)
		space->granule_holes[granule_index(space, gpa) + i] = (uint32_t)(granule >> BASE_SHIFT);
}

int space_begin_out(struct mb_space *space)
{
	for (unsigned i = space->first_out; i < space->regions; i++) {
		const struct mb_region *r = &space->region[i];
		int rc = set_holes_range(space, r->gpa, r->size, true);

		if (rc)
			return rc;
		count_whole(space, r->gpa, r->size);
		space_add(&space->inflated, r->size);
	}
	space_publish(space);
	return 0;
}

/* ---- deflate ------------------------------------------------------------------------------------------- */

/* Holes that were only pending still hold what the guest left there. */
static void zero_pending(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	for (uint64_t pos = gpa; pos < gpa + len;) {
		struct piece p = piece_at(space, pos, gpa + len - pos);

		if (!p.whole && space->over)
			overcommit_zero(space, p.gpa, p.len);
		else if (!p.whole)
			memset(space_at(space, p.gpa), 0, p.len);
		pos += p.len;
	}
}

/*
 * Makes the memory usable: gives it back once more, since a guest may have touched what it did not have, and
 * what comes back reads as zero; reserves; populates. The granules' counts still say holes.
 * keep: what the guest wrote there meanwhile stays, and so does what pending holes still hold.
 */
static int make_usable(struct mb_space *space, uint64_t gpa, uint64_t len, bool keep)
{
	int rc = keep ? 0 : each_whole(space, gpa, len, purge_run);

	if (!rc && space->mem.ops->reserve && !space->over)
		rc = each_whole(space, gpa, len, reserve_run);
	if (!rc && space->prealloc)
		rc = each_whole(space, gpa, len, populate_run);
	if (keep)
		return rc;
	if (rc)
		(void)each_whole(space, gpa, len, give_back_run);
	else
		zero_pending(space, gpa, len);
	return rc;
}

/*
 * What is lacking may be in the hands of the dead, of whom nobody has told yet. Our caller has other work, too: a
 * part of it is taken back now, and more when he tries again. Who has been served leaves the queue.
 */
static int charge_or_recover(struct mb_space *space, uint64_t bytes)
{
	int rc = space_charge(space, bytes, NULL);

	if (rc == -EDQUOT) {
		(void)owner_bury_some(space->pool, BURY_MS);
		rc = space_charge(space, bytes, NULL);
	}
	if (!rc)
		space_leave_queue(space);
	return rc;
}

static int deflate(struct mb_space *space, uint64_t gpa, uint64_t len, bool keep)
{
	struct change c;
	int rc = check_range(space, gpa, len);

	if (!rc)
		rc = set_holes_range(space, gpa, len, false);
	if (rc)
		return rc;
	c = sum_pieces(space, gpa, len);
	rc = pool_fault(space->pool);
	if (!rc && !space->over)
		rc = charge_or_recover(space, c.whole);
	if (!rc) {
		/* before anything is resident: a huge page would fill the holes that a frame of it keeps */
		count_in_frames(space, gpa, len, false);
		rc = make_usable(space, gpa, len, keep);
		if (rc)
			count_in_frames(space, gpa, len, true);
		if (rc && !space->over)
			space_uncharge(space, c.whole);
	}
	if (rc) {
		(void)set_holes_range(space, gpa, len, true);
		return rc;
	}
	count_in_granules(space, gpa, len, false);
	account(space, &c, len, false);
	return 0;
}

int mb_space_deflate(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	return deflate(space, gpa, len, false);
}

int mb_space_restore(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	return deflate(space, gpa, len, true);
}

int mb_space_purge(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	int rc = check_range(space, gpa, len);

	/* That all of it is holes shows in that they can be removed; they are ours alone to add again. */
	if (!rc)
		rc = set_holes_range(space, gpa, len, false);
	if (rc)
		return rc;
	rc = each_whole(space, gpa, len, purge_run);
	(void)set_holes_range(space, gpa, len, true);
	return rc;
}

void mb_space_queue_up(struct mb_space *space, uint64_t bytes)
{
	if (!space->over)
		space_queue_up(space, bytes);
}

void mb_space_leave_queue(struct mb_space *space)
{
	if (!space->over)
		space_leave_queue(space);
}

uint64_t mb_space_budget_left(const struct mb_space *space)
{
	const struct pool_vars *vars = space->pool->vars;
	uint64_t used = atomic_load_explicit(&vars->budget_used, memory_order_relaxed);
	uint64_t budget = atomic_load_explicit(&vars->budget, memory_order_relaxed);

	return used < budget ? budget - used : 0;
}
