/* SPDX-License-Identifier: MIT */
/*
 * owned.pml - a pool with owners: two threads of the owner of a giant frame make holes in it, which splits it
 * lazily, and free it in the end, while a thread with hints from the time when the giant frame was the pool's, and
 * split, tries to hold its line, and to take from it. Afterwards the frame is free, and may be split by that thread.
 *
 * Mirrors holes.c (open_line, add_piece, remove_piece, mbc_holes_clear) with a line of level 1 below the giant
 * frame and one line of level 0 a thread; line.c (mbc_line_hold, mbc_line_leave), line.h
 * (mbc_line_usable), ring.c (publish), find.c (from_line with a stale hint, from_above), take.c (from_line). What is
 * stated at the head of holes.c is an assertion: nobody but the owner takes anything inside a frame that is owned. Sequential consistency is assumed.
 *
 * `leave` here does not merge, and nothing is freed into the line while it is the pool's: line.pml does that.
 *
 * mutant M_SPLIT_BEFORE_OWNED: opening sets `split`, then `owned`
 * mutant M_OWNED_BEFORE_SPLIT: freeing clears `owned`, then `split`
 * mutant M_OWNED_FILLS: opening stores ones into the line of level 1, as the splitting of a free frame does
 * mutant M_HOLES_STAY: freeing leaves the line of level 0 split
 * mutant M_OPEN_PLAIN: opening sets `split` of level 0 by a load and a store
 * mutant M_UP_FIRST: the giant frame is freed before its line is closed
 */
byte word;  /* the line of level 1, two frames: free huge frames of the pool's */
bit split, owned, held, part;
byte split0; /* of the block of level 0: bit t is the line that thread t makes its holes in */
byte hole[2];
bit up;      /* the giant frame is free */

/* ghosts */
bit whole = 1;   /* it is its owner's */
byte parts;      /* huge frames of it that are allocated by themselves */
byte done;       /* threads of the owner that are done */
byte busy;

#define ON(x, n) (((x) >> (n)) & 1)

/* open_line(), add_piece(): idempotent */
inline hole_add(t)
{
	if
	:: split
	:: else ->
#ifdef M_SPLIT_BEFORE_OWNED
		split = 1;
		owned = 1;
#else
		owned = 1;
		split = 1;
#endif
#ifdef M_OWNED_FILLS
		word = 3
#endif
	fi;
	if
	:: ON(split0, t)
	:: else ->
#ifdef M_OPEN_PLAIN
		x = split0;
		split0 = x | (1 << t)
#else
		split0 = split0 | (1 << t)
#endif
	fi;
	/* only the owner has to do with this line, one thread at a time */
	hole[t] = 1;
	assert(ON(split0, t))
}

/* remove_piece() */
inline hole_remove(t)
{
	hole[t] = 0;
	split0 = split0 & (255 - (1 << t))
}

/* mbc_holes_clear(): both threads are done, and one of them frees the giant frame */
inline free_giant()
{
#ifdef M_UP_FIRST
	whole = 0;
	up = 1;
#endif
#ifndef M_HOLES_STAY
	hole[0] = 0;
	split0 = split0 & 254;
	hole[1] = 0;
	split0 = split0 & 253;
#endif
	if
	:: split ->
#ifdef M_OWNED_BEFORE_SPLIT
		owned = 0;
		split = 0
#else
		split = 0;
		owned = 0
#endif
	:: else
	fi;
#ifndef M_UP_FIRST
	d_step {
		/* whoever gets it finds all below as if it did not exist */
		assert(!split && !owned && !word && !split0 && !hole[0] && !hole[1]);
		whole = 0;
		up = 1
	}
#endif
}

proctype owner(byte t)
{
	byte n, x;

	do
	:: n < 2 -> n++;
		hole_add(t);
		if
		:: hole_remove(t)
		:: 1
		fi
	:: n > 0 -> break
	od;
	skip; /* a jump must not end in a d_step that follows */
	d_step {
		x = 0;
		done++;
		n = (done == 2)
	}
	if
	:: n -> free_giant()
	:: else
	fi
}

/* usable() */
inline usable()
{
	some = split;
	if
	:: some -> some = !owned
	:: else
	fi
}

/* mbc_line_leave(): without merging */
inline leave()
{
	held = 0;
	usable();
	if
	:: some ->
		if
		:: word -> part = 1
		:: else
		fi
	:: else
	fi
}

/* Takes the lowest frame of the line */
inline line_take()
{
	if
	:: d_step {
		word -> got = (word & 1 -> 1 : 2);
		word = word - got;
		assert(!whole && !(parts & got));
		parts = parts | got
	   }
	:: else
	fi
}

/* A thread of another owner, or of none, with a hint of the line: a ring's entry, a part bit, another's at[] */
proctype stranger()
{
	byte n, got;
	bit some, hold;

	do
	:: n < 3 -> n++;
		if
		:: 1 ->
			/* mbc_line_hold() */
			if
			:: d_step {
				!held -> held = 1;
				hold = 1
			   }
			:: else
			fi;
			if
			:: hold ->
				part = 0;
				usable();
				if
				:: some -> line_take()
				:: else
				fi;
				leave();
				hold = 0
			:: else
			fi
		:: 1 ->
			/* from_line() of find.c: without holding it, and not looking at `owned` */
			if
			:: split -> line_take()
			:: else
			fi
		:: 1 ->
			/* from_line() of take.c */
			usable();
			if
			:: some -> line_take()
			:: else
			fi
		:: 1 ->
			/* publish() */
			usable();
			if
			:: some && word -> part = 1
			:: else
			fi
		:: d_step {
			/* a line that is split and not owned is the pool's: what mbc_check_used() and walks go by */
			whole -> assert(!split || owned)
		   }
		:: d_step {
			/* from_above(): the giant frame is free, and split */
			up -> up = 0;
			assert(!whole)
		   } ->
			d_step {
				assert(!split && !owned && !word);
				split = 1
			}
			word = 3
		fi;
		got = 0;
		some = 0
	:: else -> break
	od
}

init {
	atomic {
		run owner(0);
		run owner(1);
		run stranger()
	}
}
