/* SPDX-License-Identifier: MIT */
/*
 * oracle.c - is the pool, at rest after a run, what the shadow says that it must be?
 *
 *   all invariants hold; the counts add up, and are the shadow's; what the shadow has is in use, and all else
 *   is free; every free frame can be allocated; and when all is freed and the slots are closed, what was
 *   whole in the beginning is whole again.
 */
#include "world.h"

#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static unsigned long long llu(uint64_t n)
{
	return n;
}

static void validate(struct world *w, const char *when)
{
	struct mb_flaw flaw;

	if (mb_frames_validate(w->f, MB_VALIDATE_FULL, &flaw))
		sched_fail("%s: at frame %llu: %s", when, llu(flaw.frame.n), flaw.what);
}

/* Frames that hold level-0 blocks, besides those of the pool's own that are there for good. */
static uint64_t homes(const struct world *w)
{
	uint64_t n = 0;

	for (uint64_t b = 1; w->in_band && b < w->f->blocks[MB_BASE]; b++)
		n += mbc_load32_acquire(mbc_dir(w->f, b)) != 0;
	return n;
}

static uint64_t offline(const struct world *w)
{
	uint64_t first = w->now.drain_first, end = first + w->now.drain_count;
	uint64_t sum = w->now.offline + w->now.drain_count;

	for (unsigned n = 0; n < w->now.held; n++) {
		const struct extent *e = &w->now.held_at[n];
		uint64_t from = e->first > first ? e->first : first;
		uint64_t to = e->first + e->count < end ? e->first + e->count : end;

		sum -= from < to ? to - from : 0;
	}
	return sum;
}

static void check_counts(struct world *w, struct mb_frames_count *c)
{
	uint64_t held = 0, holes = 0;

	for (unsigned n = 0; n < w->now.held; n++)
		held += w->now.held_at[n].count;
	for (unsigned n = 0; n < w->now.holes; n++)
		holes += w->now.hole_at[n].count;
	held += w->pristine.used + homes(w);
	mb_frames_count(w->f, c);
	if (c->capacity != c->offline + c->used + c->holes + c->free)
		sched_fail("the counts do not add up");
	if (c->used + c->holes != held)
		sched_fail("%llu frames are in use, and %llu are owned", llu(c->used + c->holes), llu(held));
	if (c->holes != holes)
		sched_fail("there are %llu holes, and should be %llu", llu(c->holes), llu(holes));
	if (c->offline != offline(w))
		sched_fail("%llu frames are offline, and should be %llu", llu(c->offline), llu(offline(w)));
}

static int is_used(void *arg, const struct mb_run *run)
{
	(void)arg;
	return run->state == MB_FREE || run->state == MB_OFFLINE;
}

static void check_owned(struct world *w)
{
	for (unsigned n = 0; n < w->now.held; n++) {
		const struct extent *e = &w->now.held_at[n];

		if (mb_frames_walk(w->f, (mb_frame){e->first}, e->count, is_used, NULL))
			sched_fail("frame %llu of thread %u is not in use", llu(e->first), e->owner);
	}
}

/* What was allocated while the pool was drained, a bit a base frame. */
static void mark(struct world *w, unsigned char *seen, uint64_t first, uint64_t count)
{
	for (unsigned n = 0; n < w->now.held; n++) {
		const struct extent *e = &w->now.held_at[n];

		if (first < e->first + e->count && e->first < first + count)
			sched_fail("frame %llu of thread %u is given to another at rest", llu(first), e->owner);
	}
	if ((first | count) % HUGE == 0) {
		for (uint64_t n = first / HUGE; n < (first + count) / HUGE; n++) {
			for (unsigned k = 0; k < HUGE / 8; k++)
				if (seen[n * (HUGE / 8) + k])
					sched_fail("a part of huge frame %llu is given twice", llu(n));
			memset(seen + n * (HUGE / 8), 0xff, HUGE / 8);
		}
		return;
	}
	for (uint64_t x = first; x < first + count; x++) {
		if (seen[x / 8] >> (x % 8) & 1)
			sched_fail("frame %llu is given twice at rest", llu(x));
		seen[x / 8] |= (unsigned char)(1u << (x % 8));
	}
}

/* Allocates all that there is at a level; returns the number of base frames. */
static uint64_t take_all(struct world *w, mb_slot slot, enum mb_level level, unsigned char *seen)
{
	uint64_t size = mb_level_frames(level), sum = 0;
	mb_frame out[512];
	int rc;

	while ((rc = mb_frame_alloc_batch(w->f, slot, level, out, 512)) > 0) {
		for (int n = 0, m; n < rc; n = m) {
			for (m = n + 1; m < rc && out[m].n == out[m - 1].n + size;)
				m++;
			mark(w, seen, out[n].n, (uint64_t)(m - n) * size);
		}
		sum += (uint64_t)rc * size;
	}
	if (rc != -ENOMEM)
		sched_fail("taking all that is free: %d", rc);
	return sum;
}

/* Every free frame can be allocated, and once. */
static void check_drain(struct world *w, const struct mb_frames_count *c)
{
	unsigned char *seen = (unsigned char *)calloc(1, w->capacity / 8 + HUGE);
	uint64_t sum, before = homes(w);
	struct mb_frames_count after;
	mb_slot slot = w->now.slot[NOBODY];

	if (!seen)
		abort();
	sum = take_all(w, slot, MB_GIANT, seen);
	sum += take_all(w, slot, MB_HUGE, seen);
	if (!(w->flags & MB_FRAMES_OWNED))
		sum += take_all(w, slot, MB_BASE, seen);
	free(seen);
	mb_frames_count(w->f, &after);
	if (after.free || sum + homes(w) - before != c->free)
		sched_fail("%llu frames were free, and %llu could be allocated", llu(c->free), llu(sum));
	validate(w, "after taking all");
}

static void free_extents(struct world *w)
{
	while (w->now.held) {
		struct extent *e = &w->now.held_at[w->now.held - 1];

		if (w->now.slot[e->owner].n == UINT32_MAX)
			e->owner = NOBODY;
		do_free(w, e->owner, e->first);
		if (w->now.held && &w->now.held_at[w->now.held - 1] == e)
			return;
	}
}

/* In band a block may stay that was looked into when it became free; whoever lacks a giant frame lets it go. */
static void ask_for_giant(struct world *w)
{
	mb_frame frame;

	if (!w->in_band)
		return;
	for (unsigned t = 0; t < SCHED_THREADS; t++)
		if (w->now.slot[t].n != UINT32_MAX)
			do_slot_close(w, t);
	if (mb_frame_alloc(w->f, w->now.slot[NOBODY], MB_GIANT, &frame) != -ENOMEM)
		sched_fail("a giant frame that cannot be");
}

/* When all is freed, all is whole. */
static void check_whole(struct world *w)
{
	struct mb_frames_count c;

	free_extents(w);
	ask_for_giant(w);
	for (unsigned t = 0; t < WORLD_OWNERS; t++)
		if (w->now.slot[t].n != UINT32_MAX)
			do_slot_close(w, t);
	validate(w, "after freeing all");
	mb_frames_count(w->f, &c);
	if (c.used - homes(w) != w->pristine.used || c.holes)
		sched_fail(
		    "all was freed, and %llu frames are in use, %llu of them for blocks, instead of %llu",
		    llu(c.used), llu(homes(w)), llu(w->pristine.used));
	if (c.offline != offline(w))
		sched_fail("all was freed, and %llu frames are offline", llu(c.offline));
	if (w->now.moved)
		return;
	if (c.whole[MB_GIANT] != w->pristine.whole[MB_GIANT] ||
	    c.whole[MB_HUGE] != w->pristine.whole[MB_HUGE] || c.lines != w->pristine.lines)
		sched_fail("all was freed, and %llu giant and %llu huge frames are whole, %llu lines are left",
			   llu(c.whole[MB_GIANT]), llu(c.whole[MB_HUGE]), llu(c.lines));
}

/* The run's end once more: of everything that world_reset() sets back to the run's beginning. */
struct kept {
	struct shadow shadow;
	unsigned char page[WORLD_PIECES][MBC_PAGE];
};

static struct kept *keep(const struct world *w)
{
	struct kept *k = (struct kept *)malloc(sizeof(*k));

	if (!k)
		abort();
	k->shadow = w->now;
	for (unsigned n = 0; n < w->pieces; n++)
		memcpy(k->page[n], w->piece[n].at, MBC_PAGE);
	return k;
}

static void restore(struct world *w, const struct kept *k)
{
	w->now = k->shadow;
	for (unsigned n = 0; n < w->pieces; n++)
		memcpy(w->piece[n].at, k->page[n], MBC_PAGE);
}

void world_check(struct world *w)
{
	struct kept *kept = keep(w);
	struct mb_frames_count c;

	validate(w, "at rest");
	check_counts(w, &c);
	check_owned(w);
	check_drain(w, &c);
	restore(w, kept);
	check_whole(w);
	free(kept);
}
