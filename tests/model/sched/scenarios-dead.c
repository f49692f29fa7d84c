/* SPDX-License-Identifier: MIT */
/*
 * scenarios-dead.c - a thread is killed at each of its steps, and recovered while another one works around the
 * same lines: judge.c, recover.c, recover_range.c, and the facts of intent.h and recover.h.
 *
 * Thread 0 recovers, thread 1 lives, thread 2 begins and dies (explore.h). Pools with owners, who keep records.
 */
#include "explore.h"
#include "prepare.h"

#include "intent.h"

#define DYING 2u

/* At random the dying runs beside the others, and perhaps to its end. */
static void recover(struct world *w)
{
	while (!sched_is_dead(DYING) && !sched_has_ended(DYING))
		sched_pause();
	do_recover(w, 0, DYING);
}

static void prepare_pool(struct world *w, uint64_t giants)
{
	world_make(w, giants, MB_FRAMES_OWNED);
	w->records = true;
	/* a line may be in the hands of the dead until they are recovered */
	w->may_lack = true;
}

/* One giant frame, split; nobody holds its line. */
static void prepare_line_of_all(struct world *w)
{
	prepare_pool(w, 1);
	do_take(w, NOBODY, MB_HUGE, 300 * HUGE);
	release(w, NOBODY);
}

/* Besides, the dying and the living have two huge frames each, in one word. */
static void prepare_shared_word(struct world *w)
{
	prepare_line_of_all(w);
	for (unsigned n = 0; n < 4; n++)
		do_take(w, n < 2 ? 1 : DYING, MB_HUGE, (64 + n) * HUGE);
	release(w, 1);
	release(w, DYING);
}

/* ---- alloc and free ----------------------------------------------------------------------------------- */

static void dead_alloc(struct world *w, unsigned t)
{
	if (t == 0) {
		recover(w);
	} else if (do_alloc(w, t, MB_HUGE)) {
		do_free_last(w, t);
	}
}

/* Both name the same frame, whose line nobody remembers: what the judge must not mix up. */
static void dead_named(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (do_take(w, t, MB_HUGE, 70 * HUGE) && t == 1)
		do_free_last(w, t);
}

/*
 * One that died before the run, with an intent for a frame that is free. The living takes it, frees it between
 * two looks of the judge, and takes it again after the last one.
 */
static void prepare_judge(struct world *w)
{
	prepare_line_of_all(w);
	records_intend_free(w, DYING, MB_HUGE, 70 * HUGE);
	w->now.dead = 1u << DYING;
	w->lingers = true;
}

static void dead_judge(struct world *w, unsigned t)
{
	if (t == 0) {
		recover(w);
	} else if (do_take(w, 1, MB_HUGE, 70 * HUGE)) {
		do_free_last(w, 1);
		do_take(w, 1, MB_HUGE, 70 * HUGE);
	}
}

/* The same with a line in hand, which the living leaves between two looks, and holds again after the last one. */
static void prepare_judge_held(struct world *w)
{
	const struct mbc_slot *s;

	prepare_line_of_all(w);
	s = mbc_slot_at(w->f, w->now.slot[DYING].n);
	mbc_journal_of(w->f, s)->line[0].raw = MB_HUGE | 1 << 8;
	w->now.dead = 1u << DYING;
}

static void dead_judge_held(struct world *w, unsigned t)
{
	if (t == 0) {
		recover(w);
		return;
	}
	do_alloc(w, 1, MB_HUGE);
	sched_go(0);
	release(w, 1);
	sched_go(0);
	do_alloc(w, 1, MB_HUGE);
}

/* All is one whole giant frame: the first one splits it, the last one merges it. */
static void prepare_whole(struct world *w)
{
	prepare_pool(w, 1);
}

static void dead_batch(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_free(w, 1, 64 * HUGE);
	else
		do_alloc_batch(w, t, MB_HUGE, 3);
}

static void dead_free(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else
		do_free_last(w, t);
}

/* The last two huge frames of a giant one are the dying's and the living's. */
static void prepare_last_two(struct world *w)
{
	prepare_pool(w, 1);
	do_take(w, 1, MB_HUGE, 5 * HUGE);
	do_take(w, DYING, MB_HUGE, 400 * HUGE);
	release(w, 1);
	release(w, DYING);
}

static void dead_merge(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (do_free_last(w, t) && t == 1)
		do_alloc(w, 1, MB_GIANT);
}

/* ---- lines -------------------------------------------------------------------------------------------- */

/* The dying slot holds the line, and goes. */
static void prepare_held(struct world *w)
{
	prepare_line_of_all(w);
	do_alloc(w, DYING, MB_HUGE);
}

static void dead_close(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else
		do_slot_close(w, t);
}

/* It remembers the line of a giant frame, and moves to another one. */
static void prepare_two_lines(struct world *w)
{
	prepare_pool(w, 2);
	do_take(w, NOBODY, MB_HUGE, 300 * HUGE);
	do_take(w, NOBODY, MB_HUGE, GIANT + 300 * HUGE);
	do_take(w, DYING, MB_HUGE, GIANT + 70 * HUGE);
	release(w, NOBODY);
	do_free_last(w, DYING);
	do_alloc(w, DYING, MB_HUGE);
}

static void dead_move(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_take(w, 1, MB_GIANT, 0);
	else
		do_alloc_batch(w, t, MB_HUGE, 64);
}

/* ---- take, giant frames ------------------------------------------------------------------------------- */

static void dead_take(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else
		do_take(w, t, MB_HUGE, 70 * HUGE);
}

/* The records of a giant frame are written, and cleared, one by one. */
static void dead_giant(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else if (do_alloc(w, t, MB_GIANT))
		do_free_last(w, t);
}

static void dead_part(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (do_take(w, t, MB_GIANT, 0) && t == 1)
		do_free_last(w, t);
}

/* The living has the giant frame, and makes and fills holes in it while others are recovered. */
static void prepare_living_giant(struct world *w)
{
	prepare_pool(w, 2);
	do_take(w, 1, MB_GIANT, GIANT);
	do_holes_add(w, 1, GIANT + 3 * HUGE, 8);
	release(w, 1);
}

static void living_giant(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_free(w, 1, GIANT);
	else if (do_take(w, t, MB_HUGE, GIANT))
		do_free_last(w, t);
}

/* ---- holes -------------------------------------------------------------------------------------------- */

/* The dying has a huge frame, and the one giant frame that is not split. */
static void prepare_dying_owner(struct world *w)
{
	prepare_pool(w, 2);
	do_take(w, NOBODY, MB_HUGE, 300 * HUGE);
	do_take(w, DYING, MB_HUGE, 70 * HUGE);
	do_take(w, DYING, MB_GIANT, GIANT);
	release(w, NOBODY);
	release(w, DYING);
}

static void dead_holes(struct world *w, unsigned t)
{
	if (t == 0) {
		recover(w);
	} else if (t == 1) {
		do_alloc(w, 1, MB_HUGE);
	} else {
		do_holes_add(w, t, 70 * HUGE + 60, 8);
		do_holes_remove(w, t, 70 * HUGE + 60, 8);
		do_holes_add(w, t, 70 * HUGE, HUGE);
		do_free(w, t, 70 * HUGE);
	}
}

/* All of a giant frame becomes holes, and a part of them is taken back, which gives all of it lines. */
static void dead_gone(struct world *w, unsigned t)
{
	if (t == 0) {
		recover(w);
	} else if (t == 1) {
		do_alloc(w, 1, MB_HUGE);
	} else {
		do_holes_add(w, t, GIANT, GIANT);
		do_holes_remove(w, t, GIANT + 5 * HUGE, HUGE);
	}
}

/* All of its giant frame is holes, piece by piece, and becomes one. */
static void prepare_pieces_of_holes(struct world *w)
{
	prepare_dying_owner(w);
	for (unsigned n = 0; n < 512; n++)
		do_holes_add(w, DYING, GIANT + n * HUGE, HUGE);
}

static void dead_holes_merge(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else if (mb_frame_holes_merge(w->f, w->now.slot[t], (mb_frame){GIANT}))
		sched_fail("holes do not merge");
}

/* ---- ranges ------------------------------------------------------------------------------------------- */

/* Two huge frames leave, one of which the living has; the dying drains them. */
static void dead_drain(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_free(w, 1, 65 * HUGE);
	else
		do_drain(w, 65 * HUGE, 2 * HUGE);
}

/* They are leaving already, and both free theirs. */
static void prepare_leaving(struct world *w)
{
	prepare_shared_word(w);
	do_drain(w, 65 * HUGE, 2 * HUGE);
}

static void dead_leaving(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else
		do_free(w, t, (t == 1 ? 65 : 66) * HUGE);
}

static void dead_remove(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_free(w, 1, 64 * HUGE);
	else
		do_remove(w, 63 * HUGE, HUGE);
}

static void prepare_offline(struct world *w)
{
	prepare_shared_word(w);
	do_remove(w, 63 * HUGE, HUGE);
	do_remove(w, 68 * HUGE, HUGE);
}

static void dead_add(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else
		do_add(w, 63 * HUGE, HUGE);
}

/* Giant frames come and go. */
static void prepare_two_giants(struct world *w)
{
	prepare_pool(w, 2);
	do_take(w, NOBODY, MB_HUGE, 300 * HUGE);
	release(w, NOBODY);
}

static void dead_remove_giant(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else
		do_remove(w, GIANT, GIANT);
}

static void dead_drain_giant(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_HUGE);
	else
		do_drain(w, GIANT, GIANT);
}

static void prepare_giant_offline(struct world *w)
{
	prepare_two_giants(w);
	do_remove(w, GIANT, GIANT);
}

static void dead_add_giant(struct world *w, unsigned t)
{
	if (t == 0)
		recover(w);
	else if (t == 1)
		do_alloc(w, 1, MB_GIANT);
	else
		do_add(w, GIANT, GIANT);
}

const struct scenario scenarios_dead[] = {
    {"dead-alloc", "killed in alloc, free | alloc, free on its line (intent.h 2)", 3, 1, prepare_line_of_all,
     dead_alloc, DYING},
    {"dead-named", "killed in a take | take, free of the same frame (intent.h 1)", 3, 1, prepare_line_of_all,
     dead_named, DYING},
    {"dead-judge", "dead | freed between two looks of the judge (intent.h 3, recover.h 1 to 3)", 2, 2,
     prepare_judge, dead_judge, 0},
    {"dead-held", "dead | left and held between two looks of the judge (intent.h 2, 3)", 2, 2,
     prepare_judge_held, dead_judge_held, 0},
    {"dead-part", "the same of a giant frame, recorded step by step", 3, 1, prepare_whole, dead_part, DYING},
    {"dead-split", "killed in a split, and a merge | the same (intent.h 1)", 3, 1, prepare_whole, dead_alloc,
     DYING},
    {"dead-batch", "killed in a batch | free in the same word", 3, 1, prepare_shared_word, dead_batch, DYING},
    {"dead-free", "killed in a free | free in the same word (intent.h 4)", 3, 1, prepare_shared_word, dead_free,
     DYING},
    {"dead-merge", "killed in a free that merges | free, alloc of the giant frame (intent.h 3)", 3, 1,
     prepare_last_two, dead_merge, DYING},
    {"dead-close", "killed while its slot closes | alloc (intent.h 2)", 3, 1, prepare_held, dead_close, DYING},
    {"dead-move", "killed while it moves to another line | take of the giant frame", 3, 1, prepare_two_lines,
     dead_move, DYING},
    {"dead-take", "killed in a take that splits | alloc", 3, 1, prepare_whole, dead_take, DYING},
    {"dead-giant", "killed with a giant frame recorded in part | alloc", 3, 1, prepare_whole, dead_giant,
     DYING},
    {"dead-other", "killed in a take | free of a giant frame with holes", 3, 1, prepare_living_giant,
     living_giant, DYING},
    {"dead-holes", "killed in holes, free | alloc", 3, 1, prepare_dying_owner, dead_holes, DYING},
    {"dead-gone", "killed in holes of a whole giant frame | alloc", 3, 0, prepare_dying_owner, dead_gone,
     DYING},
    {"dead-merged", "killed while holes merge to a giant one | alloc", 3, 0, prepare_pieces_of_holes,
     dead_holes_merge, DYING},
    {"dead-remove-1g", "killed while a giant frame is removed | alloc", 3, 1, prepare_two_giants,
     dead_remove_giant, DYING},
    {"dead-drain-1g", "killed while a giant frame is drained | alloc", 3, 1, prepare_two_giants,
     dead_drain_giant, DYING},
    {"dead-add-1g", "killed while a giant frame is added | alloc of it", 3, 1, prepare_giant_offline,
     dead_add_giant, DYING},
    {"dead-drain", "killed in a drain | free of what leaves", 3, 1, prepare_shared_word, dead_drain, DYING},
    {"dead-leaving", "killed in a free of what leaves | the same", 3, 1, prepare_leaving, dead_leaving, DYING},
    {"dead-remove", "killed in a removal | free beside it", 3, 1, prepare_shared_word, dead_remove, DYING},
    {"dead-add", "killed while it adds a range | alloc", 3, 1, prepare_offline, dead_add, DYING},
    {0},
};
