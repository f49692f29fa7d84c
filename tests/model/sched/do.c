/* SPDX-License-Identifier: MIT */
/* do.c - operations on the pool, each told to the shadow. See world.h. */
#include "world.h"

#include <errno.h>
#include <string.h>

static unsigned long long llu(uint64_t n)
{
	return n;
}

static struct extent *find(struct world *w, unsigned t, uint64_t x)
{
	for (unsigned n = w->now.held; n-- > 0;) {
		struct extent *e = &w->now.held_at[n];

		if (e->owner == t && x >= e->first && x < e->first + e->count)
			return e;
	}
	sched_fail("the scenario has thread %u use frame %llu, which it does not own", t, llu(x));
	return NULL;
}

static void enter(struct world *w, struct extent e)
{
	for (unsigned n = 0; n < w->now.held; n++) {
		const struct extent *o = &w->now.held_at[n];

		if (e.first < o->first + o->count && o->first < e.first + e.count) {
			sched_fail("frame %llu was given to thread %u while thread %u has it", llu(e.first),
				   e.owner, o->owner);
			return;
		}
	}
	if (w->now.gone && e.first < w->now.drain_first + w->now.drain_count &&
	    w->now.drain_first < e.first + e.count) {
		sched_fail("frame %llu was given to thread %u, and is offline", llu(e.first), e.owner);
		return;
	}
	if (e.first + e.count > w->capacity || w->now.held == WORLD_HELD) {
		sched_fail(w->now.held == WORLD_HELD ? "the shadow is full" : "a frame beyond the end");
		return;
	}
	w->now.held_at[w->now.held++] = e;
}

/* Cuts [first, first + count) out of an extent. */
static void cut(struct world *w, struct extent *e, uint64_t first, uint64_t count)
{
	struct extent was = *e, left = was, right = was;

	memmove(e, e + 1, (size_t)(&w->now.held_at[w->now.held] - (e + 1)) * sizeof(*e));
	w->now.held--;
	left.whole = right.whole = false;
	left.count = first - was.first;
	right.first = first + count;
	right.count = was.first + was.count - right.first;
	if (left.count)
		enter(w, left);
	if (right.count)
		enter(w, right);
}

void shadow_enter(struct world *w, struct extent e)
{
	enter(w, e);
}

void shadow_forget(struct world *w, unsigned t)
{
	for (unsigned n = w->now.held; n-- > 0;)
		if (w->now.held_at[n].owner == t)
			cut(w, &w->now.held_at[n], w->now.held_at[n].first, w->now.held_at[n].count);
}

/* Holes go with their frame. */
static void forget_holes(struct world *w, uint64_t first, uint64_t count)
{
	for (unsigned n = w->now.holes; n-- > 0;)
		if (w->now.hole_at[n].first >= first && w->now.hole_at[n].first < first + count)
			w->now.hole_at[n] = w->now.hole_at[--w->now.holes];
}

/* In band an owner writes to its frames, where blocks may come to lie, and finds there what it wrote. */
static void write_frames(struct world *w, unsigned t, uint64_t first, uint64_t count)
{
	for (uint64_t x = first; x < first + count && w->in_band; x = (x | (HUGE - 1)) + 1)
		if (x % HUGE < WORLD_HOMES)
			memset(w->mem + x * 4096, (int)(0x50 + t), 4096);
}

static void check_frames(struct world *w, unsigned t, uint64_t first, uint64_t count)
{
	for (uint64_t x = first; x < first + count && w->in_band; x = (x | (HUGE - 1)) + 1)
		for (unsigned n = 0; n < 4096 && x % HUGE < WORLD_HOMES; n += 64)
			if (w->mem[x * 4096 + n] != 0x50 + t)
				sched_fail("frame %llu of thread %u was written to", llu(x), t);
}

static void got(struct world *w, unsigned t, enum mb_level level, uint64_t first)
{
	uint64_t count = mb_level_frames(level);

	if (first & (count - 1))
		sched_fail("frame %llu is misaligned", llu(first));
	if (w->records)
		sched_step();
	enter(w, (struct extent){first, count, (uint8_t)t, (uint8_t)level, true});
	write_frames(w, t, first, count);
	records_set(w, t, level, first);
}

static bool may_lack(struct world *w)
{
	return w->may_lack || sched_point_failed();
}

bool do_alloc(struct world *w, unsigned t, enum mb_level level)
{
	mb_frame frame;
	int rc = mb_frame_alloc(w->f, w->now.slot[t], level, &frame);

	if (rc == -ENOMEM && may_lack(w) && (unsigned)level >= w->plenty)
		return false;
	if (rc) {
		sched_fail("thread %u: alloc at level %d: %d", t, (int)level, rc);
		return false;
	}
	got(w, t, level, frame.n);
	records_settle(w, t);
	return true;
}

unsigned do_alloc_batch(struct world *w, unsigned t, enum mb_level level, unsigned count)
{
	mb_frame out[512];
	int rc = mb_frame_alloc_batch(w->f, w->now.slot[t], level, out, count);

	if ((rc < 0 && rc != -ENOMEM) || rc == 0 || rc > (int)count || (rc != (int)count && !may_lack(w)))
		sched_fail("thread %u: batch of %u at level %d: %d", t, count, (int)level, rc);
	for (int n = 0; n < rc; n++)
		got(w, t, level, out[n].n);
	records_settle(w, t);
	return rc > 0 ? (unsigned)rc : 0;
}

bool do_take(struct world *w, unsigned t, enum mb_level level, uint64_t first)
{
	int rc = mb_frame_take(w->f, w->now.slot[t], level, (mb_frame){first});

	if (rc == -EBUSY || (rc == -ENXIO && (w->in_band || w->now.moved)))
		return false;
	if (rc)
		sched_fail("thread %u: take of frame %llu: %d", t, llu(first), rc);
	got(w, t, level, first);
	records_settle(w, t);
	return true;
}

void do_free(struct world *w, unsigned t, uint64_t first)
{
	struct extent *e = find(w, t, first), was;
	int rc;

	if (!e)
		return;
	was = *e;
	check_frames(w, t, was.first, was.whole ? was.count : 0);
	records_intend_free(w, t, (enum mb_level)was.level, was.first);
	records_clear(w, was.first, was.count);
	/* others may have moved it in the list meanwhile */
	e = find(w, t, first);
	if (!e)
		return;
	forget_holes(w, was.first, was.count);
	cut(w, e, was.first, was.count);
	if (w->lingers)
		sched_go(0);
	if (was.whole)
		rc = mb_frame_free(w->f, w->now.slot[t], (enum mb_level)was.level, (mb_frame){was.first});
	else
		rc = mb_frame_free_part(w->f, w->now.slot[t], (mb_frame){was.first}, was.count);
	if (rc)
		sched_fail("thread %u: free of frame %llu, %llu at level %u: %d", t, llu(was.first),
			   llu(was.count), was.level, rc);
	if (w->lingers)
		sched_go(0);
}

struct extent *world_last(struct world *w, unsigned t)
{
	for (unsigned n = w->now.held; n-- > 0;)
		if (w->now.held_at[n].owner == t)
			return &w->now.held_at[n];
	return NULL;
}

bool do_free_last(struct world *w, unsigned t)
{
	const struct extent *e = world_last(w, t);

	if (e)
		do_free(w, t, e->first);
	return e != NULL;
}

void do_free_batch(struct world *w, unsigned t, enum mb_level level, uint64_t first, unsigned count)
{
	mb_frame in[512];
	int rc;

	for (unsigned n = 0; n < count; n++) {
		struct extent *e;

		in[n].n = first + n * mb_level_frames(level);
		e = find(w, t, in[n].n);
		if (!e)
			return;
		cut(w, e, in[n].n, mb_level_frames(level));
	}
	rc = mb_frame_free_batch(w->f, w->now.slot[t], level, in, count);
	if (rc != (int)count)
		sched_fail("thread %u: free of %u frames from %llu on: %d", t, count, llu(first), rc);
}

void do_free_part(struct world *w, unsigned t, uint64_t first, uint64_t count)
{
	struct extent *e = find(w, t, first);
	int rc;

	if (!e)
		return;
	cut(w, e, first, count);
	rc = mb_frame_free_part(w->f, w->now.slot[t], (mb_frame){first}, count);
	if (rc)
		sched_fail("thread %u: free of part %llu, %llu: %d", t, llu(first), llu(count), rc);
}

/* What is left of the nth run of holes without [first, end), which is within it or beside it. */
static void cut_hole(struct world *w, unsigned n, uint64_t first, uint64_t end)
{
	struct extent was = w->now.hole_at[n], right = was;

	if (first >= was.first + was.count || was.first >= end)
		return;
	right.first = end;
	right.count = was.first + was.count - end;
	w->now.hole_at[n].count = first - was.first;
	if (right.count && w->now.holes < WORLD_HOLES)
		w->now.hole_at[w->now.holes++] = right;
	if (first == was.first)
		w->now.hole_at[n] = w->now.hole_at[--w->now.holes];
}

void do_holes_add(struct world *w, unsigned t, uint64_t first, uint64_t count)
{
	int rc = mb_frame_holes_add(w->f, w->now.slot[t], (mb_frame){first}, count);

	if (rc == -EALREADY && sched_point_failed())
		return;
	if (!rc && w->now.holes && w->now.hole_at[w->now.holes - 1].owner == t &&
	    w->now.hole_at[w->now.holes - 1].first + w->now.hole_at[w->now.holes - 1].count == first &&
	    first % GIANT) {
		w->now.hole_at[w->now.holes - 1].count += count;
		return;
	}
	if (rc || w->now.holes == WORLD_HOLES)
		sched_fail("thread %u: holes from %llu on: %d", t, llu(first), rc);
	else
		w->now.hole_at[w->now.holes++] = (struct extent){first, count, (uint8_t)t, 0, false};
}

void do_holes_remove(struct world *w, unsigned t, uint64_t first, uint64_t count)
{
	int rc = mb_frame_holes_remove(w->f, w->now.slot[t], (mb_frame){first}, count);

	if (rc == -EALREADY && sched_point_failed())
		return;
	if (rc)
		sched_fail("thread %u: holes away from %llu on: %d", t, llu(first), rc);
	for (unsigned n = w->now.holes; n-- > 0;)
		cut_hole(w, n, first, first + count);
}

void do_slot_close(struct world *w, unsigned t)
{
	int rc = mb_slot_close(w->f, w->now.slot[t]);

	if (rc)
		sched_fail("thread %u: close of its slot: %d", t, rc);
	w->now.slot[t].n = UINT32_MAX;
}

void do_slot_open(struct world *w, unsigned t)
{
	int rc = mb_slot_open(w->f, &w->now.slot[t]);

	if (rc)
		sched_fail("thread %u: open of a slot: %d", t, rc);
}

static void begin_change(struct world *w, enum change what, uint64_t first, uint64_t count)
{
	w->now.change.what = what;
	w->now.change.first = first;
	w->now.change.count = count;
}

bool do_remove(struct world *w, uint64_t first, uint64_t count)
{
	int rc;

	w->now.moved = true;
	begin_change(w, CHANGE_REMOVE, first, count);
	rc = mb_range_remove(w->f, (mb_frame){first}, count, NULL);
	w->now.change.what = CHANGE_NONE;
	if (rc && rc != -EBUSY)
		sched_fail("remove from %llu on: %d", llu(first), rc);
	if (!rc)
		w->now.offline += count;
	return rc == 0;
}

uint64_t do_drain(struct world *w, uint64_t first, uint64_t count)
{
	uint64_t left = 0;
	int rc;

	w->now.moved = true;
	begin_change(w, CHANGE_DRAIN, first, count);
	rc = mb_range_drain(w->f, (mb_frame){first}, count, &left);
	w->now.change.what = CHANGE_NONE;
	if (rc && rc != -EBUSY)
		sched_fail("drain from %llu on: %d", llu(first), rc);
	if (rc)
		return UINT64_MAX;
	w->now.drain_first = first;
	w->now.drain_count = count;
	w->now.gone = left == 0;
	return left;
}

void do_add_drained(struct world *w)
{
	mb_frame first = {w->now.drain_first};
	uint64_t count = w->now.drain_count;
	int rc;

	w->now.gone = false;
	w->now.drain_count = 0;
	rc = mb_range_add(w->f, first, count);
	if (rc)
		sched_fail("add of what was drained, from %llu on: %d", llu(first.n), rc);
}

void do_add(struct world *w, uint64_t first, uint64_t count)
{
	int rc;

	w->now.moved = true;
	begin_change(w, CHANGE_ADD, first, count);
	rc = mb_range_add(w->f, (mb_frame){first}, count);
	w->now.change.what = CHANGE_NONE;
	if (rc)
		sched_fail("add from %llu on: %d", llu(first), rc);
	w->now.offline -= count;
}

void do_give(struct world *w, unsigned from, unsigned to, uint64_t first, uint64_t count)
{
	while (count) {
		struct extent *e = find(w, from, first), piece;

		if (!e)
			return;
		piece = *e;
		if (piece.first != first || piece.count > count) {
			piece.count -= first - piece.first;
			piece.first = first;
			piece.count = piece.count < count ? piece.count : count;
			piece.whole = false;
		}
		cut(w, e, piece.first, piece.count);
		piece.owner = (uint8_t)to;
		enter(w, piece);
		if (piece.whole)
			write_frames(w, to, piece.first, piece.count);
		first += piece.count;
		count -= piece.count;
	}
}
