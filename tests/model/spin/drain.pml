/* SPDX-License-Identifier: MIT */
/*
 * drain.pml - a frame of the level above is drained: one thread allocates and frees twice, another one once, a
 * third one drains, asks how it went, and adds the frame again. It begins with the frame whole and free, or split with some of it
 * allocated, and its line held, or nobody's.
 *
 * Mirrors drain.c (mark_huge, swallow, mark_base_line, settle_free, settle_split, settle_merge), line.c (the last
 * look of mbc_line_hold, mbc_slots_drop_line, and what line.pml has). The facts are those of line.h, and the rule
 * of drain.h: who drains sets its marks, then sweeps; who frees, splits or merges stores, then looks at the marks.
 * Assertions besides those of core.pml: what is to leave is not free at rest; no slot holds a line that leaves; what
 * was said to be offline is never handed out.
 *
 * Whole frames of level 1 only (ragged ends have masks in edges, and are swallowed as the word above is here).
 * core.pml says what is left out. Sequential consistency is assumed.
 *
 * mutant M_DRAIN_SWEEP_FIRST: draining takes what is free, then sets the mark
 * mutant M_FREE_UP_NO_LOOK: who frees the frame above does not look whether it is to leave
 * mutant M_SPLIT_NO_LOOK: who splits a frame does not look whether it is to leave
 * mutant M_SPLIT_KEEPS: who splits a frame that is to leave goes on to allocate from its line
 * mutant M_SPLIT_KEEPS_OTHERS: who splits a frame that is to leave takes its line away from its own slot only
 * mutant M_SWALLOW_ONLINE_FIRST: what leaves is offline before its mark is cleared
 * mutant M_DRAIN_NO_REVOKE: draining takes no line away from slots
 * mutant M_DRAIN_REVOKE_FIRST: draining takes the line away from slots, then marks it
 * mutant M_HOLD_NO_LAST_LOOK: who has put a line into at[] does not look again whether it is to leave
 * mutant M_MARK_STAYS: a mark that was set after the line was merged stays for the next one
 * mutant M_MERGE_MARK_STAYS: the same of one that was set while the line was merged
 * mutant M_GONE_WHEN_FREE: a leaving line of which all is free counts as gone before it is merged
 */
#define NL 1
#define NT 2
#define DRAIN
#define GONE(l)   (!ON(uponline, l))
#define LEAVES(l) ON(drain, l)
#include "core.pml"

inline one_operation()
{
	if
	:: alloc()
	:: free_frame(0, 0)
	:: free_frame(0, 1)
	:: free_frame(0, 2)
	:: free_frame(0, 3)
	fi;
	finish()
}

proctype thread(byte me; byte count)
{
	LOCALS;

end:	do
	:: count > 0 -> count--;
end_1:		one_operation()
	:: count == 0 -> break
	od
}

/* mb_range_drain() of frame 0, and then what its caller is told */
proctype drainer()
{
	LOCALS;

	busy++;
	/* mark_huge() */
#ifdef M_DRAIN_SWEEP_FIRST
	swallow_up();
	updrain = updrain | (uponline & 1);
#else
	updrain = updrain | (uponline & 1);
	swallow_up();
#endif
	/* mark_base_line() */
	if
	:: ON(split, 0) ->
#ifdef M_DRAIN_REVOKE_FIRST
		drop_line(0);
#endif
		mark_line(0);
		if
		:: some ->
			some = 0;
#if !defined(M_DRAIN_NO_REVOKE) && !defined(M_DRAIN_REVOKE_FIRST)
			drop_line(0);
#endif
			/* if it is wholly free, whoever left it has merged it; looking again does no harm */
			if
			:: ON(split, 0) -> merge_if_full(0)
			:: else
			fi
		:: !some && early -> early = 0; publish(0) /* from its ring, when it ends */
		:: else
		fi;
		early = 0
	:: else
	fi;
	finish();
	/* *left is 0 */
end:	if
	:: d_step {
		!ON(uponline, 0) -> gone = 1
	   }
#ifdef M_GONE_WHEN_FREE
	:: d_step {
		ON(split & drain, 0) && word[0] == FULL && word[1] == FULL -> gone = 1
	   }
#endif
	fi;
	/* mb_range_add() of it: online first, then free */
	d_step {
		busy++;
		gone = 0;
		uponline = 1;
		wtemp = 1
	}
	free_up(0);
	finish()
}

init {
	atomic {
		uponline = 1;
		at[0] = NONE;
		at[1] = NONE;
		if
		:: up = 1; uppart = 1 /* whole and free */
		:: split = 1;
			/* split, some of it allocated: held by thread 0, or nobody's */
			if
			:: user[0] = 1; word[0] = 2; word[1] = FULL
			:: user[0] = 3; word[1] = FULL
			fi;
			if
			:: held = 1; at[0] = 0
			:: part = 1
			fi
		fi;
		run thread(0, 2);
		run thread(1, 1);
		run drainer()
	}
}
