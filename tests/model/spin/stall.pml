/* SPDX-License-Identifier: MIT */
/*
 * stall.pml - one thread stands still for ever somewhere in the splitting of frame 1; another one allocates and
 * frees all the while from what else there is: frame 0, whole and free at the beginning.
 *
 * Mirrors mbc_split() of line.c with its points, and what line.pml has for the other thread. Assertion: the other
 * one gets a frame whenever something of line 0 is free; facts 1 to 4 of line.h hold (at rest it is never, so that
 * fact 5 is not asked here). And the search is for cycles without progress: whoever is within an operation comes to
 * its end, whatever the one who stands still has in his hands. (Standing still is also what every other search
 * allows: no scheduler is assumed to be fair.)
 *
 * Sequential consistency is assumed. search: progress
 *
 * mutant M_KEEPS_TOP: splitting keeps all of the word above to itself until it is done
 * mutant M_WAITS: who finds a line held waits until it is not
 * mutant M_WAITS_FOR_SPLIT: who is led to a line that is not split yet waits until it is
 */
#define NL 2
#define NT 2
#define GONE(l)   0
#define LEAVES(l) 0
#include "core.pml"

proctype stands_still(byte me)
{
	LOCALS;

	/* frame 1 is its own: it stops before, between or after the steps of splitting */
#ifdef M_KEEPS_TOP
	up = 0;
#endif
	if
	:: goto end_stopped
	:: d_step {
		mine = !ON(held, 1);
		held = held | 2
	   }
	fi;
	if
	:: goto end_stopped
	:: d_step {
		split = split | 2;
		part_ghost(1)
	   }
	fi;
	if
	:: goto end_stopped
	:: d_step {
		word[2] = FULL - 1;
		give_ghost(temp[1], 1, 0, (FULL - 1))
	   }
	fi;
	if
	:: goto end_stopped
	:: d_step {
		word[3] = FULL;
		give_ghost(temp[1], 1, 1, FULL)
	   }
	fi;
	if
	:: mine -> at[me] = 2
	:: else -> ring[me] = 2
	fi;
#ifdef M_KEEPS_TOP
	up = 1;
#endif
end_stopped:
	false
}

proctype thread(byte me)
{
	LOCALS;
	bit must;

	do
	:: 1 ->
		if
		:: 1 ->
			must = (up & 1) || word[0] || word[1];
			/* a line that it has a hint of, from another time: a ring's entry */
			if
			:: ring[me] == 0 -> ring[me] = 2
			:: 1
			fi;
#ifdef M_WAITS
			do
			:: ON(held, 1)
			:: !ON(held, 1) -> break
			od;
#endif
#ifdef M_WAITS_FOR_SPLIT
			do
			:: !ON(split, 1)
			:: ON(split, 1) -> break
			od;
#endif
			alloc();
			assert(got || !must)
		:: free_frame(0, 0)
		:: free_frame(0, 1)
		:: free_frame(0, 2)
		:: free_frame(0, 3)
		fi;
		must = 0;
		finish();
progress:	skip
	od
}

init {
	atomic {
		up = 1;
		uppart = 1;
		wtemp = 2;
		busy = 1; /* it stands still within its operation */
		at[0] = NONE;
		at[1] = NONE;
		run stands_still(0);
		run thread(1)
	}
}
