/* SPDX-License-Identifier: MIT */
/*
 * scenarios-range.c - small ones, whose schedules are all gone through: ranges that leave and come back, and
 * frames that are freed in parts: drain.h, part.c, remove.c.
 */
#include "explore.h"
#include "prepare.h"

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

/* Two change ranges: one waits for the other. */
static void range_range(struct world *w, unsigned t)
{
	uint64_t first = (100 + t) * HUGE;

	if (do_remove(w, first, HUGE))
		do_add(w, first, HUGE);
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

/* Thread 1 frees the last frame of a line that nobody holds. */
static void drain_last(struct world *w, unsigned t)
{
	if (t == 0)
		do_drain(w, note(w)[0], HUGE);
	else
		do_free(w, 1, note(w)[2]);
}

/* Besides, thread 1 takes a frame of it, or comes too late; thread 2 frees. */
static void prepare_drain_gone(struct world *w)
{
	prepare_last_one(w);
	do_give(w, 1, 2, note(w)[2], 1);
	w->may_lack = true;
}

static void drain_gone(struct world *w, unsigned t)
{
	if (t == 0)
		do_drain(w, note(w)[0], HUGE);
	else if (t == 1)
		do_take(w, 1, MB_BASE, note(w)[0] + 300);
	else
		do_free(w, 2, note(w)[2]);
}

/* A huge frame, or a part of one, leaves as soon as thread 1 has freed it. */
static void prepare_again_huge(struct world *w)
{
	prepare_split(w);
	do_alloc(w, 1, MB_HUGE);
	note(w)[0] = world_last(w, 1)->first;
	note(w)[1] = HUGE;
	release(w, 1);
	do_drain(w, note(w)[0], HUGE);
}

static void prepare_again_part(struct world *w)
{
	prepare_line(w, 1, 1);
	note(w)[1] = 64;
	do_drain(w, note(w)[0], 64);
}

/* It comes back at once, is taken, and drained again. */
static void drain_again(struct world *w, unsigned t)
{
	if (t == 1) {
		do_free_last(w, 1);
	} else if (do_drain(w, note(w)[0], note(w)[1]) == 0) {
		do_add_drained(w);
		do_take(w, 0, note(w)[1] == HUGE ? MB_HUGE : MB_BASE, note(w)[0]);
		do_drain(w, note(w)[0], note(w)[1]);
	}
}

/* It comes back at once, for good. */
static void drain_add(struct world *w, unsigned t)
{
	if (t == 1)
		do_free_last(w, 1);
	else if (do_drain(w, note(w)[0], note(w)[1]) == 0)
		do_add_drained(w);
}

/* A giant frame whose last huge frame is freed meanwhile. */
static void prepare_drain_giant(struct world *w)
{
	world_make(w, 2, 0);
	do_take(w, 1, MB_HUGE, GIANT + 77 * HUGE);
	release(w, 1);
	note(w)[0] = note(w)[1] = GIANT;
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

const struct scenario scenarios_range[] = {
    {"remove", "remove | free, alloc (remove.c 1, 2)", 2, 2, prepare_one, remove_alloc, 0},
    {"range-range", "remove, add | the same beside it", 2, 1, prepare_split, range_range, 0},
    {"drain", "drain | free, alloc", 2, 2, prepare_one_lacking, drain_alloc, 0},
    {"drain-lack", "the same, with plenty of memory", 2, 1, prepare_one, drain_alloc, 0},
    {"drain-merge", "free of a frame that leaves | merge (drain.h 1)", 2, 1, prepare_drain_merge, drain_merge,
     0},
    {"drain-last", "drain | free: the line becomes whole (drain.h 1, 3)", 2, 2, prepare_last_one, drain_last,
     0},
    {"drain-gone", "drain | take | free: what is gone is gone (drain.h 5)", 3, 2, prepare_drain_gone,
     drain_gone, 0},
    {"drain-again", "drain, add, drain again | free (drain.h 2)", 2, 2, prepare_again_huge, drain_again, 0},
    {"drain-add", "drain, add | free", 2, 2, prepare_again_huge, drain_add, 0},
    {"drain-add-part", "the same of a part of a huge frame", 2, 2, prepare_again_part, drain_add, 0},
    {"drain-again-part", "the same of a part of a huge frame", 2, 2, prepare_again_part, drain_again, 0},
    {"drain-giant", "drain, add | free of the last of a giant frame (drain.h 1, 3)", 2, 1, prepare_drain_giant,
     drain_add, 0},
    {"drain-part", "drain of a part | free (drain.h 1)", 2, 2, prepare_one, drain_part, 0},
    {"drain-split", "drain | alloc by splitting (drain.h 4)", 2, 2, prepare_full_line_lacking, drain_split, 0},
    {"part", "free of parts of one huge frame (part.c 2)", 2, 2, prepare_part_huge, part_some, 0},
    {"part-all", "free of the halves of one huge frame (part.c 1, 2)", 2, 2, prepare_part_huge, part_all, 0},
    {"part-giant", "free of parts of one giant frame, alloc (part.c 3)", 2, 2, prepare_part_giant, part_giant,
     0},
    {0},
};
