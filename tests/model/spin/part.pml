/* SPDX-License-Identifier: MIT */
/*
 * part.pml - parts of a frame that was allocated whole are freed, by two threads at once, while a third one
 * allocates what comes free, or frees it again, twice.
 *
 * Mirrors part.c (free_piece, split_used; each caller frees a word of its own, as callers have no piece in common)
 * and free.c (mbc_free_own_mask and the tail), line.c for the rest. Facts 1 to 5 of line.h are assertions in
 * core.pml, which also says what is left out. It begins with the frame allocated whole and its line not split: all
 * its words are 0, so freeing a part is setting `split`, then the bits. Sequential consistency is assumed.
 *
 * mutant M_PART_BITS_FIRST: the bits are set before `split`
 * mutant M_PART_FILLS: splitting for a part stores words as the splitting of a free frame does
 * mutant M_PART_NOT_REMEMBERED: a part that is freed is not remembered
 * mutant M_PART_NOT_MERGED: the last part does not merge
 */
#define NL 1
#define NT 3
#define GONE(l)   0
#define LEAVES(l) 0
#include "core.pml"

/* mbc_free_own_mask() of bits x of word w, which are the thread's beyond doubt */
inline free_mask(w, x)
{
	d_step {
		v = word[w];
		assert(!(v & (x)));
		word[w] = v | (x);
		give_ghost(temp[0], 0, w, x)
	}
	if
#ifndef M_PART_NOT_MERGED
	:: (v | (x)) == FULL && at[me] / 2 != 0 ->
		merge_if_full(0);
		if
		:: !done && v == 0 ->
#ifndef M_PART_NOT_REMEMBERED
			if
			:: ON(held, 0)
			:: else -> remember(0)
			fi
#else
			skip
#endif
		:: else
		fi
#endif
#ifdef M_PART_NOT_MERGED
	:: v == 0 && at[me] / 2 != 0 ->
#else
	:: (v | (x)) != FULL && v == 0 && at[me] / 2 != 0 ->
#endif
#ifndef M_PART_NOT_REMEMBERED
		if
		:: ON(held, 0)
		:: else -> remember(0)
		fi
#else
		skip
#endif
	:: else
	fi;
	done = 0;
	v = 0
}

/* split_used() */
inline split_used()
{
#ifdef M_PART_FILLS
	split = split | 1;
	word[0] = 0;
	word[1] = 0
#else
	split = split | 1
#endif
}

/* mb_frame_free_part() of all of word w, or of one frame of it and then perhaps the other */
proctype freer(byte me; byte w)
{
	LOCALS;

	if
	:: 1 -> m = FULL
	:: 1 -> m = 1
	fi;
	do
	:: m ->
		W = m;
#ifdef M_PART_BITS_FIRST
		free_mask(w, W);
#endif
		if
		:: ON(split, 0)
		:: else ->
			split_used()
		fi;
#ifndef M_PART_BITS_FIRST
		free_mask(w, W);
#endif
		if
		:: W == FULL || got -> m = 0
		:: W != FULL && !got -> m = FULL - W; got = 1
		:: d_step {
			/* the rest of the word stays allocated, and is freed by itself or not */
			W != FULL && !got -> m = FULL - W;
			temp[0] = temp[0] - BITS(w, m);
			user[0] = user[0] | BITS(w, m);
			m = 0
		   }
		fi
	:: else -> break
	od;
	skip;
	finish()
}

proctype user_of_it(byte me; byte count)
{
	LOCALS;

end:	do
	:: count > 0 -> count--;
end_1:
		if
		:: alloc()
		:: free_frame(0, 0)
		:: free_frame(0, 1)
		:: free_frame(0, 2)
		:: free_frame(0, 3)
		fi;
		finish()
	:: count == 0 -> break
	od
}

init {
	atomic {
		at[0] = NONE;
		at[1] = NONE;
		at[2] = NONE;
		/* allocated whole, and to be freed in parts by its users */
		temp[0] = 15;
		busy = 2;
		run freer(0, 0);
		run freer(1, 1);
		run user_of_it(2, 2)
	}
}
