/* SPDX-License-Identifier: MIT */
/* cases.c - see cases.h. Frames that a case needs are noted in sh->note. */
#include "cases.h"

#include <stdio.h>

#define V (w->sh->victim)
#define L (w->sh->living)

static uint64_t *note(struct world *w)
{
	return w->sh->note;
}

/* ---- allocating ------------------------------------------------------------------------------------- */

static void alloc_huge(struct world *w)
{
	uint64_t frame;

	(void)get(w, V, WHO_VICTIM, MB_HUGE, &frame);
}

static void alloc_giant(struct world *w)
{
	uint64_t frame;

	(void)get(w, V, WHO_VICTIM, MB_GIANT, &frame);
}

/* The victim holds a line. */
static void prepare_held(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[0]);
}

/* The word that the victim holds is used up. */
static void prepare_word_end(struct world *w)
{
	mb_frame out[64];

	(void)get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 64);
}

/* All is taken; the victim remembers one line, with one free frame. */
static void prepare_ring(struct world *w)
{
	uint64_t frame;

	while (get(w, L, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	(void)put(w, V, MB_HUGE, 5 * HUGE);
}

/* The same, with lines of all three giant frames free in part, so that its ring is full. */
static void prepare_rings(struct world *w)
{
	uint64_t frame;

	while (get(w, L, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	for (uint64_t g = 0; g < GIANTS; g++)
		for (uint64_t n = 0; n < 40; n++)
			(void)put(w, V, MB_HUGE, g * GIANT + n * 3 * HUGE);
}

/* A line that is nobody's has free frames, and nothing else has. */
static void prepare_part(struct world *w)
{
	uint64_t frame;

	while (get(w, w->sh->third, WHO_LIVING, MB_HUGE, &frame))
		note(w)[0] = frame;
	(void)put(w, w->sh->third, MB_HUGE, GIANT + 7 * HUGE);
	(void)put(w, w->sh->third, MB_HUGE, GIANT + 8 * HUGE);
	mb_slot_close(w->f, w->sh->third);
	(void)!mb_slot_open_at(w->f, w->sh->third);
}

/* What is free lies in a line that the living holds. */
static void prepare_others(struct world *w)
{
	uint64_t frame;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	while (get(w, V, WHO_LIVING, MB_GIANT, &frame))
		note(w)[0] = frame;
}

/* The victim holds an almost empty line, and will split for another. */
static void prepare_move(struct world *w)
{
	mb_frame out[64];

	for (unsigned n = 0; n < 512;)
		n += get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 64);
	(void)put(w, L, MB_HUGE, 3 * HUGE);
}

/* No giant frame is whole but for lines that slots hold. */
static void prepare_collect(struct world *w)
{
	uint64_t frame, more;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	while (get(w, w->sh->third, WHO_THIRD, MB_GIANT, &more))
		note(w)[0] = more;
	(void)put(w, L, MB_HUGE, frame);
}

static void alloc_batch(struct world *w)
{
	mb_frame out[100];

	(void)get_batch(w, V, WHO_VICTIM, MB_HUGE, out, 100);
}

static void alloc_batch_giant(struct world *w)
{
	mb_frame out[2];

	(void)get_batch(w, V, WHO_VICTIM, MB_GIANT, out, 2);
}

/* ---- taking ----------------------------------------------------------------------------------------- */

static void take_huge(struct world *w)
{
	(void)get_this(w, V, WHO_VICTIM, MB_HUGE, 9 * HUGE);
}

static void take_giant(struct world *w)
{
	(void)get_this(w, V, WHO_VICTIM, MB_GIANT, 0);
}

/* Giant frame 0 is free in pieces, in a line that the living holds. */
static void prepare_pieces(struct world *w)
{
	uint64_t frame = 0;

	(void)get(w, L, WHO_LIVING, MB_HUGE, &frame);
	(void)put(w, L, MB_HUGE, frame);
}

/* ---- freeing ---------------------------------------------------------------------------------------- */

static void prepare_two(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[0]);
	(void)get(w, V, WHO_VICTIM, MB_HUGE, &note(w)[1]);
}

static void free_huge(struct world *w)
{
	(void)put(w, V, MB_HUGE, note(w)[0]);
}

/* The last frame in use of a line that nobody holds. */
static void prepare_last(struct world *w)
{
	(void)get(w, w->sh->third, WHO_VICTIM, MB_HUGE, &note(w)[0]);
	mb_slot_close(w->f, w->sh->third);
	(void)!mb_slot_open_at(w->f, w->sh->third);
}

/* The first free frame of a line that is full. */
static void prepare_full(struct world *w)
{
	uint64_t frame;

	while (get(w, w->sh->third, WHO_VICTIM, MB_HUGE, &frame))
		note(w)[0] = frame;
}

/* The same, and the victim's ring is full of others. */
static void prepare_full_ring(struct world *w)
{
	prepare_full(w);
	for (uint64_t g = 0; g < GIANTS; g++)
		(void)put(w, V, MB_HUGE, g * GIANT + 4 * HUGE);
	note(w)[0] = GIANT;
}

static void prepare_giant(struct world *w)
{
	(void)get(w, V, WHO_VICTIM, MB_GIANT, &note(w)[0]);
}

static void free_giant(struct world *w)
{
	(void)put(w, V, MB_GIANT, note(w)[0]);
}

/* A giant frame that was taken as huge ones goes as a giant one. */
static void prepare_as_huge(struct world *w)
{
	note(w)[0] = GIANT;
	for (uint64_t n = 0; n < 512; n++)
		(void)get_this(w, V, WHO_VICTIM, MB_HUGE, GIANT + n * HUGE);
}

static void free_as_huge(struct world *w)
{
	if (put(w, V, MB_GIANT, GIANT))
		return;
	/* some of them; the others are in the dead one's hand then */
	for (uint64_t n = 0; n < 3; n++)
		(void)!mb_frame_free(w->f, V, MB_HUGE, (mb_frame){GIANT + n * HUGE});
}

static void free_batch(struct world *w)
{
	const mb_frame frames[] = {{note(w)[0]}, {note(w)[1]}};

	for (unsigned n = 0; n < 2; n++) {
		(void)!mb_slot_intend_free(w->f, V, MB_HUGE, frames[n]);
		record(w, WHO_NOBODY, MB_HUGE, frames[n].n);
		(void)!mb_frame_free_batch(w->f, V, MB_HUGE, &frames[n], 1);
	}
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

const struct kill_case kill_cases[] = {
    {"alloc by splitting", NULL, alloc_huge, NULL, 0, false},
    {"alloc from the held word", prepare_held, alloc_huge, NULL, 0, false},
    {"alloc from the next word", prepare_word_end, alloc_huge, NULL, 0, false},
    {"alloc from the ring", prepare_ring, alloc_huge, NULL, 0, false},
    {"alloc by holding a line of the ring", prepare_rings, alloc_huge, NULL, 0, false},
    {"alloc from a line that is nobody's", prepare_part, alloc_huge, NULL, 0, false},
    {"alloc from another's line", prepare_others, alloc_huge, NULL, 0, false},
    {"alloc, leaving a line", prepare_move, alloc_huge, NULL, 0, true},
    {"alloc giant", NULL, alloc_giant, NULL, 0, false},
    {"alloc giant by collecting", prepare_collect, alloc_giant, NULL, 0, true},
    {"alloc batch", NULL, alloc_batch, NULL, 0, false},
    {"alloc batch of the held word", prepare_held, alloc_batch, NULL, 0, false},
    {"alloc batch, giant", NULL, alloc_batch_giant, NULL, 0, false},
    {"take by splitting", NULL, take_huge, NULL, 0, true},
    {"take", prepare_held, take_huge, NULL, 0, false},
    {"take giant", NULL, take_giant, NULL, 0, false},
    {"take giant of pieces", prepare_pieces, take_giant, NULL, 0, false},
    {"free", prepare_two, free_huge, NULL, 0, false},
    {"free, and merge", prepare_last, free_huge, NULL, 0, true},
    {"free into a full line", prepare_full, free_huge, NULL, 0, false},
    {"free, and forget a line of the ring", prepare_full_ring, free_huge, NULL, 0, false},
    {"free giant", prepare_giant, free_giant, NULL, 0, false},
    {"free giant as huge ones", prepare_as_huge, free_as_huge, NULL, 0, false},
    {"free batch", prepare_two, free_batch, NULL, 0, false},
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
};
const unsigned kill_case_count = sizeof(kill_cases) / sizeof(kill_cases[0]);
