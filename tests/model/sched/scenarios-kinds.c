/* SPDX-License-Identifier: MIT */
/*
 * scenarios-kinds.c - small ones, whose schedules are all gone through: pools in band (inband.h), threads that
 * stand still, and pools with owners (holes.c).
 */
#include "explore.h"
#include "prepare.h"

/* ---- in band ------------------------------------------------------------------------------------------ */

/* Of block 1, huge frame 62 is split, thread 1 owns a frame of it, and nobody holds it. */
static void prepare_in_band(struct world *w)
{
	w->may_lack = false;
	world_make_in_band(w, 66 * HUGE);
	w->may_lack = true;
	for (uint64_t huge = 1; huge < 62; huge++)
		do_take(w, NOBODY, MB_HUGE, huge * HUGE);
	for (uint64_t x = w->f ? w->pristine.used : 0; x < HUGE; x++)
		do_take(w, NOBODY, MB_BASE, x);
	release(w, NOBODY);
	/* not in the word of the block's own frame */
	do_take(w, 1, MB_BASE, 62 * HUGE + 70);
	release(w, 1);
}

static void vanish_alloc(struct world *w, unsigned t)
{
	if (t == 1)
		do_free_last(w, 1);
	else
		do_alloc(w, 0, MB_BASE);
}

static void vanish_take(struct world *w, unsigned t)
{
	if (t == 1)
		do_free_last(w, 1);
	else
		do_take(w, 0, MB_BASE, 62 * HUGE + 7);
}

/* Thread 0 owns the huge frame behind the block's. */
static void prepare_vanish_part(struct world *w)
{
	prepare_in_band(w);
	do_take(w, 0, MB_HUGE, 63 * HUGE);
	release(w, 0);
}

static void vanish_part(struct world *w, unsigned t)
{
	if (t == 1)
		do_free_last(w, 1);
	else
		do_free_part(w, 0, 63 * HUGE, 8);
}

static void vanish_take_free(struct world *w, unsigned t)
{
	if (t == 1)
		do_free_last(w, 1);
	else if (do_take(w, 0, MB_BASE, 62 * HUGE + 7))
		do_free_last(w, 0);
}

/* Of block 1 no line is split, so that it does not exist; all of block 0 is in use. */
static void prepare_no_block(struct world *w)
{
	prepare_in_band(w);
	do_free_last(w, 1);
	release(w, 1);
}

/* Two threads make the block, or its second line, and it goes with the last frame. */
static void block_two(struct world *w, unsigned t)
{
	if (do_alloc(w, t, MB_BASE))
		do_free_last(w, t);
}

/* The same in two lines: whoever is first has the block in his own. */
static void block_lines(struct world *w, unsigned t)
{
	if (do_take(w, t, MB_BASE, (62 + t) * HUGE + 7))
		do_free_last(w, t);
}

/* The very frame is wanted in which the block would lie. */
static void block_home(struct world *w, unsigned t)
{
	if (do_take(w, t, MB_BASE, 62 * HUGE + t))
		do_free_last(w, t);
}

/* One frame of each line: the one whose line holds the block is freed while the other one's line is split. */
static void prepare_block_two_lines(struct world *w)
{
	prepare_no_block(w);
	do_take(w, 0, MB_BASE, 62 * HUGE + 70);
	do_take(w, 1, MB_BASE, 63 * HUGE + 70);
	release(w, 0);
	release(w, 1);
}

static void block_merge(struct world *w, unsigned t)
{
	do_free_last(w, t);
	do_alloc(w, t, MB_HUGE);
}

/* A huge frame is freed in parts, which splits it: its line comes to be in the block that the other one leaves. */
static void prepare_block_part(struct world *w)
{
	prepare_no_block(w);
	do_take(w, 0, MB_HUGE, 63 * HUGE);
	do_take(w, 1, MB_BASE, 62 * HUGE + 70);
	release(w, 0);
	release(w, 1);
}

static void block_part(struct world *w, unsigned t)
{
	if (t == 0)
		do_free_part(w, 0, 63 * HUGE, 8);
	else
		do_free_last(w, 1);
}

/* Another thread needs the whole of it: A11, the range that is locked is missing and nothing else. */
static void block_huge(struct world *w, unsigned t)
{
	if (t == 0)
		do_alloc(w, 0, MB_HUGE);
	else if (do_alloc(w, 1, MB_BASE))
		do_free_last(w, 1);
}

/* ---- one stands still --------------------------------------------------------------------------------- */

/* Thread 1 stops for good at each of its steps, in the middle of a split or a merge. */
static void prepare_still(struct world *w)
{
	world_make(w, 4, 0);
	w->stands = true;
}

/* Nobody waits for it: there is enough besides what it has locked. */
static void still(struct world *w, unsigned t)
{
	if (t == 1) {
		do_alloc(w, 1, MB_BASE);
		do_free_last(w, 1);
		do_slot_close(w, 1);
		return;
	}
	for (unsigned level = 0; level < MB_LEVELS; level++)
		do_alloc(w, 0, (enum mb_level)level);
	while (do_free_last(w, 0))
		;
	for (unsigned level = MB_LEVELS; level-- > 0;)
		do_alloc(w, 0, (enum mb_level)level);
}

static void still_free(struct world *w, unsigned t)
{
	if (t == 1)
		do_free(w, 1, note(w)[2]);
	else
		for (unsigned level = 0; level < MB_LEVELS; level++)
			do_alloc(w, 0, (enum mb_level)level);
}

static void prepare_still_free(struct world *w)
{
	world_make(w, 4, 0);
	do_alloc(w, 1, MB_BASE);
	note(w)[2] = world_last(w, 1)->first;
	release(w, 1);
	w->stands = true;
}

/* ---- pools with owners -------------------------------------------------------------------------------- */

/* Thread 1 holds the line of the giant frame. */
static void prepare_stale_held(struct world *w)
{
	world_make(w, 1, MB_FRAMES_OWNED);
	w->may_lack = true;
	do_alloc(w, 1, MB_HUGE);
	do_free_last(w, 1);
}

/* Thread 1 remembers the line of the giant frame, which has been merged since and is thread 0's, with holes. */
static void prepare_stale_ring(struct world *w)
{
	world_make(w, 1, MB_FRAMES_OWNED);
	w->may_lack = true;
	do_alloc_batch(w, NOBODY, MB_HUGE, 64);
	release(w, NOBODY);
	do_give(w, NOBODY, 1, 0, 2 * HUGE);
	do_free(w, 1, 0);
	do_free_batch(w, NOBODY, MB_HUGE, 2 * HUGE, 62);
	do_free(w, 1, HUGE);
	do_alloc(w, 0, MB_GIANT);
	do_holes_add(w, 0, 7 * HUGE, 8);
}

static void stale_held(struct world *w, unsigned t)
{
	if (t == 0) {
		if (do_alloc(w, 0, MB_GIANT))
			do_holes_add(w, 0, 7 * HUGE, 8);
	} else if (do_alloc(w, 1, MB_HUGE)) {
		do_free_last(w, 1);
	}
}

static void stale_ring(struct world *w, unsigned t)
{
	if (t == 0)
		do_free(w, 0, 0);
	else
		do_alloc(w, 1, MB_HUGE);
}

static void prepare_holes(struct world *w)
{
	world_make(w, 1, MB_FRAMES_OWNED);
	do_alloc(w, 0, MB_GIANT);
}

/* Two threads of one owner. */
static void holes(struct world *w, unsigned t)
{
	do_holes_add(w, t, (3 + t) * HUGE + 60, 8);
	do_holes_remove(w, t, (3 + t) * HUGE + 60, 8);
	do_holes_add(w, t, (3 + t) * HUGE, 1);
}

const struct scenario scenarios_kinds[] = {
    {"vanish-alloc", "an in-band block vanishes | alloc", 2, 2, prepare_in_band, vanish_alloc, 0},
    {"vanish-take", "an in-band block vanishes | take", 2, 2, prepare_in_band, vanish_take, 0},
    {"vanish-part", "the same | free of a part", 2, 2, prepare_vanish_part, vanish_part, 0},
    {"vanish-free", "the same | take, free", 2, 2, prepare_in_band, vanish_take_free, 0},
    {"block-two", "an in-band block comes and goes: alloc, free | the same (A11, line.h 2, 3)", 2, 2,
     prepare_no_block, block_two, 0},
    {"block-lines", "the same, in two lines of it", 2, 2, prepare_no_block, block_lines, 0},
    {"block-home", "the same, of the frame where the block would lie", 2, 2, prepare_no_block, block_home, 0},
    {"block-merge", "its two lines merge, alloc of huge frames", 2, 2, prepare_block_two_lines, block_merge, 0},
    {"block-part", "free of parts makes a line in it | its other line merges", 2, 2, prepare_block_part,
     block_part, 0},
    {"block-huge", "it comes and goes | alloc of a huge frame (A11)", 2, 2, prepare_no_block, block_huge, 0},
    {"still", "one stops in alloc, free, close | all others go on (A11)", 2, 0, prepare_still, still, 1},
    {"still-free", "one stops in a free that merges | all others go on", 2, 0, prepare_still_free, still_free,
     1},
    {"stale-held", "owned giant | a slot that held its line", 2, 2, prepare_stale_held, stale_held, 0},
    {"stale-ring", "owned giant freed | a slot that remembers its line", 2, 2, prepare_stale_ring, stale_ring,
     0},
    {"holes", "holes of two huge frames in one giant one", 2, 2, prepare_holes, holes, 0},
    {0},
};
