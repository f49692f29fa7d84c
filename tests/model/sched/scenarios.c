/* SPDX-License-Identifier: MIT */
/*
 * scenarios.c - small ones, whose schedules are all gone through: the races that the facts of line.h, hint.h,
 * drain.h and inband.h speak of, each prepared so that the steps in question are taken at once.
 */
#include "explore.h"

/* A place that the preparation has chosen, for the threads to find. */
static uint64_t *note(struct world *w)
{
	return w->now.note[0];
}

/* Lets the owner's slot go of all that it holds and remembers. */
static void release(struct world *w, unsigned t)
{
	do_slot_close(w, t);
	do_slot_open(w, t);
}

/* One giant frame, split, with a huge frame that stays somebody's; nobody holds anything. */
static void prepare_split(struct world *w)
{
	world_make(w, 1, 0);
	do_alloc(w, NOBODY, MB_HUGE);
	release(w, NOBODY);
}

/* Besides, thread t holds a line of which it owns n frames, the first of them noted. */
static void prepare_line(struct world *w, unsigned t, unsigned n)
{
	prepare_split(w);
	do_alloc_batch(w, t, MB_BASE, n);
	note(w)[0] = world_last(w, t)->first / HUGE * HUGE;
}

/* A line that nobody holds, of which two frames are owned: by thread 0 and by thread 1. */
static void prepare_two(struct world *w, uint64_t a, uint64_t b)
{
	uint64_t first;

	prepare_line(w, 0, 512);
	first = note(w)[0];
	do_alloc(w, 0, MB_BASE);
	do_give(w, 0, NOBODY, world_last(w, 0)->first, 1);
	for (uint64_t n = 0; n < HUGE; n++)
		if (n != a && n != b)
			do_free(w, 0, first + n);
	do_give(w, 0, 1, first + b, 1);
	note(w)[1] = first + a;
	note(w)[2] = first + b;
}

/* ---- alloc | free, on the same line ------------------------------------------------------------------- */

static void prepare_full_line(struct world *w)
{
	prepare_line(w, 0, 512);
	do_give(w, 0, 1, note(w)[0] + 100, 2);
}

static void alloc_free(struct world *w, unsigned t)
{
	if (t == 0) {
		do_alloc(w, 0, MB_BASE);
		do_alloc(w, 0, MB_BASE);
	} else {
		do_free(w, 1, note(w)[0] + 100);
		do_free(w, 1, note(w)[0] + 101);
	}
}

/* ---- free | free, the line becomes whole -------------------------------------------------------------- */

static void prepare_two_words(struct world *w)
{
	prepare_two(w, 5, 500);
}

static void prepare_one_word(struct world *w)
{
	prepare_two(w, 450, 451);
}

static void free_free(struct world *w, unsigned t)
{
	do_free(w, t, note(w)[1 + t]);
}

/* The last frames of two huge frames, all else of the giant frame is free: merges on two levels. */
static void prepare_two_huge(struct world *w)
{
	world_make(w, 1, 0);
	for (unsigned t = 0; t < 2; t++) {
		do_alloc_batch(w, t, MB_BASE, 512);
		note(w)[1 + t] = world_last(w, t)->first;
	}
	for (unsigned t = 0; t < 2; t++) {
		while (w->now.held > 1 && world_last(w, t)->first != note(w)[1 + t])
			do_free_last(w, t);
		for (uint64_t x = note(w)[1 + t] - 511; x < note(w)[1 + t]; x++)
			do_free(w, t, x);
		release(w, t);
	}
}

/* ---- claim | leave ------------------------------------------------------------------------------------ */

static void prepare_leave(struct world *w)
{
	prepare_line(w, 1, 511);
	do_give(w, 1, 0, note(w)[0] + 300, 1);
}

static void claim_leave(struct world *w, unsigned t)
{
	if (t == 0) {
		do_free(w, 0, note(w)[0] + 300);
		do_alloc(w, 0, MB_BASE);
	} else {
		do_alloc(w, 1, MB_BASE);
		do_alloc(w, 1, MB_BASE);
	}
}

/* ---- split | free ------------------------------------------------------------------------------------- */

static void split_free(struct world *w, unsigned t)
{
	if (t == 0) {
		do_alloc(w, 0, MB_BASE);
	} else {
		do_free(w, 1, note(w)[0] + 100);
		do_alloc(w, 1, MB_BASE);
		do_free_last(w, 1);
	}
}

/* ---- take | alloc ------------------------------------------------------------------------------------- */

static void prepare_take(struct world *w)
{
	prepare_line(w, 1, 510);
}

static void take_alloc(struct world *w, unsigned t)
{
	if (t == 0) {
		do_take(w, 0, MB_BASE, note(w)[0] + 511);
	} else {
		do_alloc(w, 1, MB_BASE);
		do_alloc(w, 1, MB_BASE);
	}
}

static void prepare_one(struct world *w)
{
	prepare_line(w, 1, 1);
}

/* The huge frame is free in pieces as soon as thread 1 has freed the last. */
static void take_pieces(struct world *w, unsigned t)
{
	if (t == 0) {
		do_take(w, 0, MB_HUGE, note(w)[0]);
	} else {
		do_free_last(w, 1);
		do_alloc(w, 1, MB_BASE);
	}
}

/* ---- batch | merge ------------------------------------------------------------------------------------ */

static void prepare_last_one(struct world *w)
{
	prepare_two(w, 5, 6);
	do_free(w, 0, note(w)[1]);
	release(w, 0);
}

static void batch_merge(struct world *w, unsigned t)
{
	if (t == 0)
		do_alloc_batch(w, 0, MB_BASE, 70);
	else
		do_free(w, 1, note(w)[2]);
}

static void free_batch_merge(struct world *w, unsigned t)
{
	if (t == 0)
		do_free_batch(w, 0, MB_BASE, note(w)[1], 2);
	else
		do_free(w, 1, note(w)[2]);
}

static void prepare_free_batch(struct world *w)
{
	prepare_two(w, 5, 70);
	/* of what is free, two frames in one word: thread 0's */
	for (unsigned n = 6; n < 8; n++)
		do_take(w, 0, MB_BASE, note(w)[0] + n);
	do_free(w, 0, note(w)[1]);
	note(w)[1] = note(w)[0] + 6;
}

/* ---- drop of another slot's line ---------------------------------------------------------------------- */

static void prepare_collect(struct world *w)
{
	prepare_line(w, 1, 1);
	w->may_lack = true;
	while (do_alloc(w, NOBODY, MB_HUGE))
		;
	release(w, NOBODY);
	/* the last one, that failed, has taken the line away */
	do_alloc(w, 1, MB_BASE);
	do_free_last(w, 1);
}

static void collect(struct world *w, unsigned t)
{
	if (t == 0) {
		do_alloc(w, 0, MB_HUGE);
	} else {
		do_free_last(w, 1);
		do_alloc(w, 1, MB_BASE);
	}
}

/* Thread 1 holds a line with free frames; besides, one huge frame is free, which is noted. */
static void prepare_take_drop(struct world *w)
{
	prepare_collect(w);
	note(w)[1] = world_last(w, NOBODY)->first;
	do_free_last(w, NOBODY);
	release(w, NOBODY);
}

/* Taking a frame splits the huge one, and moves the slot there while the line that it had is taken away. */
static void take_drop(struct world *w, unsigned t)
{
	if (t == 0) {
		do_alloc(w, 0, MB_HUGE);
		do_alloc(w, 0, MB_BASE);
	} else {
		do_take(w, 1, MB_BASE, note(w)[1] + 5);
	}
}

/* The line is merged and split again while thread 1 still reads it as its own. */
static void stale_split(struct world *w, unsigned t)
{
	if (t == 0) {
		if (do_alloc(w, 0, MB_HUGE))
			do_free_last(w, 0);
		do_alloc(w, 0, MB_BASE);
	} else if (do_alloc(w, 1, MB_BASE)) {
		do_free_last(w, 1);
	}
}

static void prepare_stale_split(struct world *w)
{
	prepare_collect(w);
	do_free_last(w, 1);
}

/* ---- ranges leave ------------------------------------------------------------------------------------- */

/* A drain that cuts through a giant frame keeps its line for a while, which nobody finds then. */

static void prepare_one_lacking(struct world *w)
{
	prepare_line(w, 1, 1);
	w->may_lack = true;
}

static void prepare_full_line_lacking(struct world *w)
{
	prepare_full_line(w);
	w->may_lack = true;
}

/* Two huge frames of a giant one are in use; nobody holds its line. */
static void prepare_drain_merge(struct world *w)
{
	world_make(w, 1, 0);
	for (unsigned t = 0; t < 2; t++) {
		do_alloc(w, t, MB_HUGE);
		note(w)[t] = world_last(w, t)->first;
	}
	release(w, 0);
	release(w, 1);
	do_drain(w, note(w)[0], HUGE);
}

static void drain_merge(struct world *w, unsigned t)
{
	do_free(w, t, note(w)[t]);
}

static void remove_alloc(struct world *w, unsigned t)
{
	if (t == 0) {
		do_remove(w, note(w)[0], HUGE);
	} else {
		do_free_last(w, 1);
		do_alloc(w, 1, MB_BASE);
	}
}

static void drain_alloc(struct world *w, unsigned t)
{
	if (t == 0) {
		do_drain(w, note(w)[0], HUGE);
	} else {
		do_free_last(w, 1);
		do_alloc(w, 1, MB_BASE);
	}
}

static void drain_part(struct world *w, unsigned t)
{
	if (t == 0)
		do_drain(w, note(w)[0], 64);
	else
		do_free_last(w, 1);
}

static void drain_split(struct world *w, unsigned t)
{
	if (t == 0)
		do_drain(w, note(w)[0] + HUGE, HUGE);
	else
		do_alloc(w, 1, MB_BASE);
}

/* ---- free of parts ------------------------------------------------------------------------------------ */

static void prepare_part_huge(struct world *w)
{
	prepare_split(w);
	do_alloc(w, 0, MB_HUGE);
	release(w, 0);
	note(w)[0] = world_last(w, 0)->first;
	do_give(w, 0, 1, note(w)[0] + 256, 256);
}

static void part_some(struct world *w, unsigned t)
{
	do_free_part(w, t, note(w)[0] + t * 256 + 60, 8);
}

static void part_all(struct world *w, unsigned t)
{
	do_free_part(w, t, note(w)[0] + t * 256, 256);
}

static void prepare_part_giant(struct world *w)
{
	world_make(w, 1, 0);
	do_alloc(w, 0, MB_GIANT);
	do_give(w, 0, 1, GIANT / 2, GIANT / 2);
}

static void part_giant(struct world *w, unsigned t)
{
	do_free_part(w, t, t * GIANT / 2 + 3 * HUGE, HUGE);
	do_alloc(w, t, MB_BASE);
}

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

/* ---- full memory -------------------------------------------------------------------------------------- */

/* Thread 1 holds a line with two free frames; there is nothing else. */
static void prepare_close(struct world *w)
{
	prepare_collect(w);
	while (do_alloc(w, 1, MB_BASE))
		;
	do_free_last(w, 1);
	do_free_last(w, 1);
	do_alloc(w, 1, MB_BASE);
	do_free_last(w, 1);
	/* while the line is being left it is nobody's, and there is nothing else */
	w->may_lack = true;
}

static void close_take(struct world *w, unsigned t)
{
	if (t == 1)
		do_slot_close(w, 1);
	else
		do_alloc(w, 0, MB_BASE);
}

/* ---- giant frames ------------------------------------------------------------------------------------- */

static void prepare_giant(struct world *w)
{
	world_make(w, 1, 0);
	w->may_lack = true;
	do_alloc(w, 1, MB_HUGE);
	release(w, 1);
}

static void giant(struct world *w, unsigned t)
{
	if (t == 0) {
		do_alloc(w, 0, MB_GIANT);
	} else {
		do_free_last(w, 1);
		do_alloc(w, 1, MB_HUGE);
	}
}

const struct scenario scenarios[] = {
    {"alloc-free", "alloc | free, on the same line", 2, 2, prepare_full_line, alloc_free, NULL},
    {"free-free", "free | free: the line becomes whole", 2, 2, prepare_two_words, free_free, NULL},
    {"free-free-word", "the same, in one word", 2, 2, prepare_one_word, free_free, NULL},
    {"free-free-huge", "the same, in two huge frames of one giant one", 2, 2, prepare_two_huge, free_free,
     NULL},
    {"claim-leave", "alloc from a line | leave it", 2, 2, prepare_leave, claim_leave, NULL},
    {"split-free", "split | free", 2, 2, prepare_full_line, split_free, NULL},
    {"take-alloc", "take | alloc", 2, 2, prepare_take, take_alloc, NULL},
    {"take-pieces", "take, of pieces | free, alloc", 2, 2, prepare_one, take_pieces, NULL},
    {"batch-merge", "batch | free: the line becomes whole", 2, 2, prepare_last_one, batch_merge, NULL},
    {"free-batch", "free of a batch | free", 2, 2, prepare_free_batch, free_batch_merge, NULL},
    {"collect", "drop of a slot's line | free, alloc", 2, 2, prepare_collect, collect, NULL},
    {"take-drop", "take by splitting | drop of the slot's line", 2, 2, prepare_take_drop, take_drop, NULL},
    {"stale-split", "merge, split | alloc from the line of before", 2, 2, prepare_stale_split, stale_split,
     NULL},
    {"remove", "remove | free, alloc", 2, 2, prepare_one, remove_alloc, NULL},
    {"drain", "drain | free, alloc", 2, 2, prepare_one_lacking, drain_alloc, NULL},
    {"drain-lack", "the same, with plenty of memory", 2, 1, prepare_one, drain_alloc, NULL},
    {"drain-merge", "free of a frame that leaves | merge", 2, 1, prepare_drain_merge, drain_merge, NULL},
    {"drain-part", "drain of a part | free", 2, 2, prepare_one, drain_part, NULL},
    {"drain-split", "drain | alloc by splitting", 2, 2, prepare_full_line_lacking, drain_split, NULL},
    {"part", "free of parts of one huge frame", 2, 2, prepare_part_huge, part_some, NULL},
    {"part-all", "free of the halves of one huge frame", 2, 2, prepare_part_huge, part_all, NULL},
    {"part-giant", "free of parts of one giant frame, alloc", 2, 2, prepare_part_giant, part_giant, NULL},
    {"vanish-alloc", "an in-band block vanishes | alloc", 2, 2, prepare_in_band, vanish_alloc, NULL},
    {"vanish-take", "an in-band block vanishes | take", 2, 2, prepare_in_band, vanish_take, NULL},
    {"vanish-part", "the same | free of a part", 2, 2, prepare_vanish_part, vanish_part, NULL},
    {"vanish-free", "the same | take, free", 2, 2, prepare_in_band, vanish_take_free, NULL},
    {"stale-held", "owned giant | a slot that held its line", 2, 2, prepare_stale_held, stale_held, NULL},
    {"stale-ring", "owned giant freed | a slot that remembers its line", 2, 2, prepare_stale_ring, stale_ring,
     NULL},
    {"holes", "holes of two huge frames in one giant one", 2, 2, prepare_holes, holes, NULL},
    {"close-take", "close of a slot | alloc, full memory", 2, 2, prepare_close, close_take, NULL},
    {"giant", "alloc of a giant frame | free, alloc of a huge one", 2, 2, prepare_giant, giant, NULL},
    {0},
};
