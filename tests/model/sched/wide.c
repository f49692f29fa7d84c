/* SPDX-License-Identifier: MIT */
/*
 * wide.c - large scenarios, for schedules at random: each thread does some dozens of operations, chosen at
 * random by a seed of its own.
 */
#include "explore.h"

#define OPS 40u

static uint64_t draw(struct world *w, unsigned t, uint64_t below)
{
	return sched_random(&w->random[t]) % below;
}

static unsigned count_held(const struct world *w, unsigned t)
{
	unsigned n = 0;

	for (unsigned k = 0; k < w->now.held; k++)
		n += w->now.held_at[k].owner == t;
	return n;
}

/* Some extent of the thread; NULL: it has none. */
static struct extent *some_extent(struct world *w, unsigned t)
{
	unsigned n = count_held(w, t);

	n = n ? (unsigned)draw(w, t, n) + 1 : 0;
	for (unsigned k = 0; n && k < w->now.held; k++)
		if (w->now.held_at[k].owner == t && !--n)
			return &w->now.held_at[k];
	return NULL;
}

static void free_some(struct world *w, unsigned t)
{
	const struct extent *e = some_extent(w, t);

	if (e)
		do_free(w, t, e->first);
}

static void free_part_of_some(struct world *w, unsigned t)
{
	const struct extent *e = some_extent(w, t);
	uint64_t first, count;

	if (!e || e->count < 2)
		return;
	/* in band, a block comes to lie in the first frame that is freed of a whole one */
	first = draw(w, t, w->in_band && e->whole ? WORLD_HOMES : e->count);
	count = draw(w, t, e->count - first < 1500 ? e->count - first : 1500) + 1;
	do_free_part(w, t, e->first + first, count);
}

static enum mb_level some_level(struct world *w, unsigned t)
{
	uint64_t n = draw(w, t, 16);

	if (n < 10 && !(w->flags & MB_FRAMES_OWNED))
		return MB_BASE;
	return n == 15 && !w->plenty ? MB_GIANT : MB_HUGE;
}

static void take_some(struct world *w, unsigned t)
{
	enum mb_level level = some_level(w, t);
	uint64_t n = w->capacity / mb_level_frames(level);

	if (n && level != MB_GIANT)
		do_take(w, t, level, draw(w, t, n) * mb_level_frames(level));
}

static void act(struct world *w, unsigned t)
{
	uint64_t n = draw(w, t, 32);

	if (n < 11)
		do_alloc(w, t, some_level(w, t));
	else if (n < 13)
		do_alloc_batch(w, t, some_level(w, t) == MB_BASE ? MB_BASE : MB_HUGE,
			       (unsigned)draw(w, t, 70) + 1);
	else if (n < 15)
		take_some(w, t);
	else if (n == 15 && !(w->flags & MB_FRAMES_OWNED))
		free_part_of_some(w, t);
	else if (n == 16 && draw(w, t, 4) == 0) {
		do_slot_close(w, t);
		do_slot_open(w, t);
	} else if (n > 28) {
		for (unsigned k = 0; k < 30; k++)
			free_some(w, t);
	} else {
		free_some(w, t);
	}
}

static void wide(struct world *w, unsigned t)
{
	for (unsigned n = 0; n < OPS; n++) {
		if (count_held(w, t) > 150)
			free_some(w, t);
		act(w, t);
	}
}

/* As before, while ranges come and go: thread 0 removes and adds huge frames. */
static void wide_ranges(struct world *w, unsigned t)
{
	uint64_t first;

	if (t) {
		wide(w, t);
		return;
	}
	for (unsigned n = 0; n < 6; n++) {
		first = draw(w, 0, w->capacity / HUGE) * HUGE;
		if (do_remove(w, first, HUGE))
			do_add(w, first, HUGE);
	}
}

/* An owner changes holes in its own huge frames. */
static void wide_owners(struct world *w, unsigned t)
{
	const struct extent *e;

	for (unsigned n = 0; n < OPS; n++) {
		if (count_held(w, t) > 100)
			free_some(w, t);
		act(w, t);
		e = some_extent(w, t);
		if (e && w->now.holes < WORLD_HOLES - SCHED_THREADS && draw(w, t, 3) == 0) {
			uint64_t first = e->first + draw(w, t, e->count / HUGE) * HUGE;
			bool had = false;

			for (unsigned k = 0; k < w->now.holes; k++)
				had = had || w->now.hole_at[k].first / HUGE == first / HUGE;
			if (had)
				continue;
			do_holes_add(w, t, first + draw(w, t, 400), 1 + draw(w, t, 100));
		}
	}
}

/* Thread 3 is killed, and thread 0 recovers it between its own operations, or when it has nothing else to do. */
static void wide_dead(struct world *w, unsigned t)
{
	for (unsigned n = 0; n < OPS; n++) {
		if (count_held(w, t) > 100)
			free_some(w, t);
		act(w, t);
		if (t == 0)
			do_recover(w, 0, 3);
	}
	while (t == 0 && !sched_has_ended(3) && !sched_is_dead(3))
		sched_pause();
	if (t == 0)
		do_recover(w, 0, 3);
}

/* Most of it is in use. */
static void prepare_tight(struct world *w)
{
	world_make(w, 2, 0);
	w->may_lack = true;
	do_alloc(w, NOBODY, MB_GIANT);
	do_alloc_batch(w, NOBODY, MB_HUGE, 500);
	do_slot_close(w, NOBODY);
	do_slot_open(w, NOBODY);
}

static void prepare_loose(struct world *w)
{
	world_make(w, 2, 0);
	w->may_lack = true;
}

/*
 * More is free than three threads can have in their hands for a moment, a giant frame each: nobody may lack
 * anything.
 */
static void prepare_ample(struct world *w)
{
	world_make(w, 5, 0);
	w->may_lack = true;
	w->plenty = MB_GIANT;
}

/* All of one giant frame that is not NOBODY's is in use time and again, and all slots remember its line. */
static void prepare_owners_tight(struct world *w)
{
	world_make(w, 1, MB_FRAMES_OWNED);
	w->may_lack = true;
	do_alloc_batch(w, NOBODY, MB_HUGE, 64);
	do_alloc_batch(w, NOBODY, MB_HUGE, 64);
	for (unsigned n = 0; n < 360; n++)
		do_alloc(w, NOBODY, MB_HUGE);
	do_slot_close(w, NOBODY);
	do_slot_open(w, NOBODY);
}

static void prepare_in_band(struct world *w)
{
	w->may_lack = true;
	world_make_in_band(w, 66 * HUGE);
	w->may_lack = true;
	for (uint64_t huge = 1; huge < 60; huge++)
		do_take(w, NOBODY, MB_HUGE, huge * HUGE);
	do_slot_close(w, NOBODY);
	do_slot_open(w, NOBODY);
}

static void prepare_owners(struct world *w)
{
	world_make(w, 2, MB_FRAMES_OWNED);
	w->may_lack = true;
	do_alloc_batch(w, NOBODY, MB_HUGE, 500);
	do_slot_close(w, NOBODY);
	do_slot_open(w, NOBODY);
}

static void prepare_dead(struct world *w)
{
	world_make(w, 2, MB_FRAMES_OWNED);
	w->records = true;
	w->may_lack = true;
	do_alloc_batch(w, NOBODY, MB_HUGE, 64);
	do_alloc(w, NOBODY, MB_HUGE);
	do_slot_close(w, NOBODY);
	do_slot_open(w, NOBODY);
}

const struct scenario scenarios_wide[] = {
    {"tight", "all operations, little memory", 4, 0, prepare_tight, wide, 0},
    {"ample", "all operations, much memory", 3, 0, prepare_ample, wide, 0},
    {"ranges", "the same, ranges come and go", 3, 0, prepare_loose, wide_ranges, 0},
    {"in-band", "the same, in band", 3, 0, prepare_in_band, wide, 0},
    {"owners-tight", "two owners and more, memory exhausted", 4, 0, prepare_owners_tight, wide_owners, 0},
    {"owners", "the same with owners and holes", 4, 0, prepare_owners, wide_owners, 0},
    {"owners-dead", "the same, one is killed somewhere and recovered meanwhile (recover.h)", 4, 0, prepare_dead,
     wide_dead, 3},
    {0},
};
