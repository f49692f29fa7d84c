/* SPDX-License-Identifier: MIT */
/* cases-holes.c - holes are added, removed and merged. See cases.h. Frames that a case needs are noted in sh->note. */
#include "cases.h"

#include <stdio.h>

#define V (w->sh->victim)

static uint64_t *note(struct world *w)
{
	return w->sh->note;
}

/* ---- holes ------------------------------------------------------------------------------------------ */

static void holes(struct world *w, bool add, uint64_t first, uint64_t count)
{
	if (add)
		(void)!mb_frame_holes_add(w->f, V, (mb_frame){first}, count);
	else
		(void)!mb_frame_holes_remove(w->f, V, (mb_frame){first}, count);
}

static void prepare_holes(struct world *w)
{
	prepare_two(w);
	holes(w, true, note(w)[0] + 100, 300);
}

static void prepare_giant_holes(struct world *w)
{
	prepare_giant(w);
	holes(w, true, note(w)[0] + 5 * HUGE + 100, HUGE);
}

static void prepare_giant_gone(struct world *w)
{
	prepare_giant(w);
	holes(w, true, note(w)[0], GIANT);
}

static uint64_t count_holes(const struct world *w)
{
	struct mb_frames_count c;

	mb_frames_count(w->f, &c);
	return c.holes;
}

/* Undone, or it was through. */
static bool one_of(struct world *w, uint64_t a, uint64_t b)
{
	uint64_t n = count_holes(w);

	if (n == a || n == b)
		return true;
	snprintf(w->why, sizeof(w->why), "%llu holes, neither %llu nor %llu", (unsigned long long)n,
		 (unsigned long long)a, (unsigned long long)b);
	return false;
}

/* A giant frame that became holes in pieces. */
static void prepare_pieces_gone(struct world *w)
{
	prepare_giant(w);
	for (uint64_t n = 0; n < 512; n++)
		holes(w, true, note(w)[0] + n * HUGE, HUGE);
}

static void merge_holes(struct world *w)
{
	(void)!mb_frame_holes_merge(w->f, V, (mb_frame){note(w)[0]});
}

static bool after_merge(struct world *w)
{
	return one_of(w, GIANT, GIANT);
}

static void add_holes(struct world *w)
{
	holes(w, true, note(w)[0] + 60, 8);
}

static void remove_holes(struct world *w)
{
	holes(w, false, note(w)[0] + 100, 300);
}

static void add_across(struct world *w)
{
	holes(w, true, note(w)[0] + 3 * HUGE - 70, 2 * HUGE);
}

static void remove_across(struct world *w)
{
	holes(w, false, note(w)[0] + 5 * HUGE + 100, HUGE);
}

static void add_gone(struct world *w)
{
	holes(w, true, note(w)[0], GIANT);
}

static void remove_gone(struct world *w)
{
	holes(w, false, note(w)[0], GIANT);
}

static void open_gone(struct world *w)
{
	holes(w, false, note(w)[0] + 7 * HUGE + 3, 2);
}

static bool after_add(struct world *w)
{
	return one_of(w, 0, 8);
}

static bool after_remove(struct world *w)
{
	return one_of(w, 300, 0);
}

static bool after_add_across(struct world *w)
{
	return one_of(w, 0, 2 * HUGE);
}

static bool after_remove_across(struct world *w)
{
	return one_of(w, HUGE, 0);
}

static bool after_gone(struct world *w)
{
	return one_of(w, GIANT, 0);
}

static bool after_open(struct world *w)
{
	return one_of(w, GIANT, GIANT - 2);
}

const struct kill_case kill_cases_holes[] = {
    {"free with holes", prepare_holes, free_huge, NULL, 0, true},
    {"free giant with holes", prepare_giant_holes, free_giant, NULL, 0, false},
    {"free giant that is gone", prepare_giant_gone, free_giant, NULL, 0, false},
    {"add holes", prepare_two, add_holes, after_add, 0, false},
    {"remove holes", prepare_holes, remove_holes, after_remove, 0, false},
    {"add holes in a giant frame", prepare_giant, add_across, after_add_across, 0, false},
    {"remove holes in a giant frame", prepare_giant_holes, remove_across, after_remove_across, 0, true},
    {"add a giant hole", prepare_giant, add_gone, after_gone, 0, false},
    {"remove a giant hole", prepare_giant_gone, remove_gone, after_gone, 0, false},
    {"open a giant hole", prepare_giant_gone, open_gone, after_open, 0, false},
    {"merge the holes of a giant frame", prepare_pieces_gone, merge_holes, after_merge, 0, false},
    {0},
};
