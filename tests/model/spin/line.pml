/* SPDX-License-Identifier: MIT */
/*
 * line.pml - the life of one line: two threads allocate and free in every order, for ever, and one of them also
 * takes the frame above whole and gives it back; the line is split and merged, held, left, and taken away from
 * its holder meanwhile.
 *
 * Mirrors find.c (alloc_once, collect), free.c (free_mask, tail), line.c (all of it), ring.c (publish, mbc_remember).
 * Facts 1 to 5 of line.h are assertions in core.pml, which also says what is left out; at rest no frame is lost, and
 * none forgotten.
 *
 * mutant M_SPLIT_LATE: `split` is set after the ones
 * mutant M_MERGE_NO_ROLLBACK: a merge that fails at its second word keeps the first
 * mutant M_MERGE_SPLIT_FIRST: a merge clears `split` before it has the words
 * mutant M_MERGE_UP_FIRST: a merge gives the frame above back before it clears `split`
 * mutant M_MERGE_NO_SECOND_LOOK: a merge that failed does not look again whether all is free
 * mutant M_MERGE_NOT_HELD: a merge does not take `held`
 * mutant M_MERGE_NOT_PUBLISHED: a merge that failed does not set part
 * mutant M_LEAVE_READ_FIRST: leaving reads the words, then clears `held`
 * mutant M_LEAVE_NO_REREAD: leaving does not read the words at all
 * mutant M_LEAVE_NOT_MERGED: leaving a line that is wholly free does not merge it
 * mutant M_FREE_HELD_FIRST: a free into an empty word reads `held` before it sets the bit
 * mutant M_FREE_NOT_REMEMBERED: a free into an empty word does not remember the line
 * mutant M_FREE_NOT_MERGED: the last free does not merge
 * mutant M_HOLD_BLIND: holding reads `held` and then sets it, in two steps
 * mutant M_HOLD_PART_LATE: holding clears part at its end
 * mutant M_TAKE_PLAIN: a bit is read and then cleared, in two steps
 * mutant M_TOP_NO_SECOND_LOOK: clearing part of the top level is not followed by a look at the word
 * mutant M_TOP_NOT_REMEMBERED: a free into an empty word of the top level does not set part
 * mutant M_SPLIT_FORGETS: a split that could not get `held` does not remember the line
 */
#define NL 1
#define NT 2
#define GONE(l)   0
#define LEAVES(l) 0
#include "core.pml"

proctype thread(byte me)
{
	LOCALS;

end:	do
	:: 1 ->
		if
		:: alloc()        /* mb_frame_alloc() */
		:: free_frame(0, 0) /* mb_frame_free() */
		:: free_frame(0, 1)
		:: free_frame(0, 2)
		:: free_frame(0, 3)
		:: me == 0 -> busy++;
			/* mb_frame_alloc() of the level above: alloc_slow() with collect() */
			from_top();
			if
			:: m
			:: else ->
				do
				:: W < NT -> slot_drop(W); W++
				:: else -> break
				od;
				from_top()
			fi;
			d_step {
				wtemp = wtemp - m;
				whole = whole | m
			}
		:: d_step {
			/* mb_frame_free() of the level above */
			me == 0 && whole -> whole = 0;
			busy++;
			wtemp = 1
		   } -> free_up(0)
		fi;
		finish()
	od
}

init {
	atomic {
		up = 1;
		uppart = 1;
		at[0] = NONE;
		at[1] = NONE;
		run thread(0);
		run thread(1)
	}
}
