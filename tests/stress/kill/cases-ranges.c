/* SPDX-License-Identifier: MIT */
/* cases-ranges.c - ranges come, leave and drain; slots open and close. See cases.h. Frames that a case needs are noted in sh->note. */
#include "cases.h"

#include <stdio.h>

#define V (w->sh->victim)
#define L (w->sh->living)

static uint64_t *note(struct world *w)
{
	return w->sh->note;
}

/* ---- ranges ----------------------------------------------------------------------------------------- */

static bool offline_is(struct world *w, uint64_t a, uint64_t b)
{
	struct mb_frames_count c;

	mb_frames_count(w->f, &c);
	if (c.offline == a || c.offline == b)
		return true;
	snprintf(w->why, sizeof(w->why), "%llu base frames are offline, neither %llu nor %llu",
		 (unsigned long long)c.offline, (unsigned long long)a, (unsigned long long)b);
	return false;
}

static void add_giant(struct world *w)
{
	(void)!mb_range_add(w->f, (mb_frame){GIANT}, 2 * GIANT);
}

static bool after_add_giant(struct world *w)
{
	return offline_is(w, 2 * GIANT, 0);
}

static void add_part(struct world *w)
{
	(void)!mb_range_add(w->f, (mb_frame){GIANT + 30 * HUGE}, GIANT + 100 * HUGE);
}

static bool after_add_part(struct world *w)
{
	return offline_is(w, 2 * GIANT, GIANT - 100 * HUGE);
}

static void remove_range(struct world *w)
{
	(void)!mb_range_remove(w->f, (mb_frame){GIANT - 3 * HUGE}, GIANT + 5 * HUGE, NULL);
}

static bool after_remove_range(struct world *w)
{
	return offline_is(w, 0, GIANT + 5 * HUGE);
}

/* The same, and the last of it is in use. */
static void prepare_busy(struct world *w)
{
	(void)get_this(w, L, WHO_LIVING, MB_HUGE, 2 * GIANT + HUGE);
}

static bool after_busy(struct world *w)
{
	return offline_is(w, 0, 0);
}

static void remove_rest(struct world *w)
{
	(void)!mb_range_remove(w->f, (mb_frame){GIANT}, 2 * HUGE, NULL);
}

/* Of giant frame 1 only two huge frames are online. */
static void prepare_rest(struct world *w)
{
	(void)!mb_range_remove(w->f, (mb_frame){GIANT + 2 * HUGE}, GIANT - 2 * HUGE, NULL);
}

static bool after_rest(struct world *w)
{
	return offline_is(w, GIANT - 2 * HUGE, GIANT);
}

static void drain_range(struct world *w)
{
	(void)!mb_range_drain(w->f, (mb_frame){GIANT - 3 * HUGE}, GIANT + 5 * HUGE, NULL);
}

static bool after_drain_range(struct world *w)
{
	return offline_is(w, 0, GIANT + 5 * HUGE);
}

static void prepare_drain_used(struct world *w)
{
	(void)get_this(w, V, WHO_VICTIM, MB_HUGE, GIANT + 7 * HUGE);
	(void)get_this(w, L, WHO_LIVING, MB_HUGE, GIANT + 8 * HUGE);
	note(w)[0] = GIANT + 7 * HUGE;
}

static void prepare_draining(struct world *w)
{
	prepare_drain_used(w);
	(void)!mb_range_drain(w->f, (mb_frame){GIANT}, GIANT, NULL);
}

static void prepare_draining_giant(struct world *w)
{
	prepare_giant(w);
	(void)!mb_range_drain(w->f, (mb_frame){note(w)[0]}, GIANT, NULL);
}

/* ---- slots ------------------------------------------------------------------------------------------ */

static void prepare_open(struct world *w)
{
	mb_slot_close(w->f, V);
}

static void open_slot(struct world *w)
{
	(void)!mb_slot_open_at(w->f, V);
}

static void close_slot(struct world *w)
{
	mb_slot_close(w->f, V);
}

/* The victim holds a line that becomes whole when it is left. */
static void prepare_close_whole(struct world *w)
{
	prepare_pieces(w);
	prepare_held(w);
	(void)put(w, V, MB_HUGE, note(w)[0]);
}

const struct kill_case kill_cases_ranges[] = {
    {"add a range", NULL, add_giant, after_add_giant, GIANT, false},
    {"add a range, in part", NULL, add_part, after_add_part, GIANT, true},
    {"remove a range", NULL, remove_range, after_remove_range, 0, true},
    {"remove a range that is in use", prepare_busy, remove_range, after_busy, 0, true},
    {"remove the rest of a giant frame", prepare_rest, remove_rest, after_rest, 0, false},
    {"drain a range", NULL, drain_range, after_drain_range, 0, false},
    {"drain a range that is in use", prepare_drain_used, drain_range, NULL, 0, true},
    {"free what leaves", prepare_draining, free_huge, NULL, 0, false},
    {"free giant that leaves", prepare_draining_giant, free_giant, NULL, 0, true},
    {"open a slot", prepare_open, open_slot, NULL, 0, false},
    {"close a slot", prepare_rings, close_slot, NULL, 0, false},
    {"close a slot, and merge", prepare_close_whole, close_slot, NULL, 0, true},
    {0},
};
