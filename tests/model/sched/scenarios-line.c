/* SPDX-License-Identifier: MIT */
/*
 * scenarios-line.c - small ones, whose schedules are all gone through: allocating, freeing, claiming, leaving,
 * splitting and merging, the races that the facts of line.h and hint.h speak of, each prepared so that the
 * steps in question are taken at once.
 */
#include "explore.h"
#include "prepare.h"

/* ---- alloc | free, on the same line ------------------------------------------------------------------- */

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

/* ---- the line in front of the ring -------------------------------------------------------------------- */

/*
 * All memory is full, and no slot holds a line. Threads 0 and 1 have a frame each of one word, noted, thread 1
 * another one in another word, and thread 0 one of another line.
 */
static void prepare_front(struct world *w)
{
	world_make(w, 1, 0);
	/* a frame is not found while who frees it has not said yet where it is */
	w->may_lack = true;
	for (unsigned n = 0; n < 511; n++)
		do_alloc(w, NOBODY, MB_HUGE);
	do_alloc_batch(w, 0, MB_BASE, 512);
	note(w)[0] = world_last(w, 0)->first / HUGE * HUGE;
	for (unsigned n = 0; n < 512; n++)
		if (n != 5)
			do_give(w, 0, n == 6 || n == 300 ? 1 : NOBODY, note(w)[0] + n, 1);
	/* of another huge frame, which becomes a line that is full */
	note(w)[1] = note(w)[0] ? 0 : 7 * HUGE;
	do_free_part(w, NOBODY, note(w)[1] + 9, 1);
	do_take(w, 0, MB_BASE, note(w)[1] + 9);
	for (unsigned t = 0; t < WORLD_OWNERS; t++)
		release(w, t);
}

/* What a thread frees it gets again, or what the other one has freed. */
static void front(struct world *w, unsigned t)
{
	do_free(w, t, note(w)[0] + 5 + t);
	if (do_alloc(w, t, MB_BASE))
		do_free_last(w, t);
}

/* The line in front is another one now: the first is in the ring. */
static void front_move(struct world *w, unsigned t)
{
	do_free(w, t, note(w)[0] + 5 + t);
	if (t == 0)
		do_free(w, 0, note(w)[1] + 9);
	else
		do_free(w, 1, note(w)[0] + 300);
	do_alloc(w, t, MB_BASE);
}

static void front_close(struct world *w, unsigned t)
{
	do_free(w, t, note(w)[0] + 5 + t);
	if (t == 0)
		do_slot_close(w, 0);
	else
		do_alloc(w, 1, MB_BASE);
}

/* Thread 0 frees, and has it in front; only thread 1 looks for a frame. */
static void front_other(struct world *w, unsigned t)
{
	if (t == 0) {
		do_free(w, 0, note(w)[0] + 5);
	} else {
		do_free(w, 1, note(w)[0] + 6);
		do_alloc(w, 1, MB_BASE);
		do_alloc(w, 1, MB_BASE);
	}
}

/* Thread 0 has freed its frame already. */
static void prepare_front_other(struct world *w)
{
	prepare_front(w);
	do_free(w, 0, note(w)[0] + 5);
}

static void front_taken(struct world *w, unsigned t)
{
	if (t == 0) {
		if (do_alloc(w, 0, MB_BASE))
			do_free_last(w, 0);
	} else {
		do_free(w, 1, note(w)[0] + 6);
		do_alloc(w, 1, MB_BASE);
	}
}

/* The same with huge frames. */
static void prepare_front_huge(struct world *w)
{
	world_make(w, 1, 0);
	w->may_lack = true;
	for (unsigned n = 0; n < 512; n++)
		do_alloc(w, NOBODY, MB_HUGE);
	do_give(w, NOBODY, 0, 5 * HUGE, HUGE);
	do_give(w, NOBODY, 1, 6 * HUGE, HUGE);
	for (unsigned t = 0; t < WORLD_OWNERS; t++)
		release(w, t);
}

static void front_huge(struct world *w, unsigned t)
{
	do_free(w, t, (5 + t) * HUGE);
	if (do_alloc(w, t, MB_HUGE))
		do_free_last(w, t);
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

const struct scenario scenarios_line[] = {
    {"alloc-free", "alloc | free, on the same line", 2, 2, prepare_full_line, alloc_free, 0},
    {"free-free", "free | free: the line becomes whole (line.h 3, 6)", 2, 2, prepare_two_words, free_free, 0},
    {"free-free-word", "the same, in one word", 2, 2, prepare_one_word, free_free, 0},
    {"free-free-huge", "the same, in two huge frames of one giant one", 2, 2, prepare_two_huge, free_free, 0},
    {"claim-leave", "alloc from a line | leave it (line.h 4, 5, 7)", 2, 2, prepare_leave, claim_leave, 0},
    {"split-free", "split | free (line.h 2)", 2, 2, prepare_full_line, split_free, 0},
    {"take-alloc", "take | alloc (take.c 1)", 2, 2, prepare_take, take_alloc, 0},
    {"take-pieces", "take, of pieces | free, alloc (take.c 3)", 2, 2, prepare_one, take_pieces, 0},
    {"batch-merge", "batch | free: the line becomes whole (line.h 8)", 2, 2, prepare_last_one, batch_merge, 0},
    {"free-batch", "free of a batch | free (line.h 8)", 2, 2, prepare_free_batch, free_batch_merge, 0},
    {"collect", "drop of a slot's line | free, alloc (line.h 4)", 2, 2, prepare_collect, collect, 0},
    {"take-drop", "take by splitting | drop of the slot's line (take.c 2)", 2, 2, prepare_take_drop, take_drop,
     0},
    {"stale-split", "merge, split | alloc from the line of before (line.h 2)", 2, 2, prepare_stale_split,
     stale_split, 0},
    {"close-take", "close of a slot | alloc, full memory", 2, 2, prepare_close, close_take, 0},
    {"front", "free into an empty word, alloc | the same word (alloc.c 1)", 2, 2, prepare_front, front, 0},
    {"front-huge", "the same with huge frames", 2, 2, prepare_front_huge, front_huge, 0},
    {"front-move", "the same, another line comes in front", 2, 2, prepare_front, front_move, 0},
    {"front-close", "the same, its slot closes", 2, 2, prepare_front, front_close, 0},
    {"front-other", "the same, another slot looks for it", 2, 2, prepare_front, front_other, 0},
    {"front-taken", "the same, which is in front already", 2, 2, prepare_front_other, front_taken, 0},
    {"giant", "alloc of a giant frame | free, alloc of a huge one", 2, 2, prepare_giant, giant, 0},
    {0},
};
