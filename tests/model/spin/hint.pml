/* SPDX-License-Identifier: MIT */
/*
 * hint.pml - the tree over the part bits: two threads set and clear part bits of two blocks, and look for blocks
 * through a tree of three tiers, in every order, for ever. At rest every part bit can be reached from the root.
 *
 * Mirrors hint.c (tree_set, tree_clear, below, mbc_part_set, mbc_part_clear, mbc_part_find, mbc_part_forget) and
 * the loop of from_part() in find.c. Fact 1 of hint.h is the assertion. Here two blocks share the only word of
 * tier 0, so tiers 1 and 2 have one bit each; a block has one line. One step for each atomic operation, but that
 * looking whether a bit is set before it is set (or cleared) is left out, since it changes nothing. Sequential
 * consistency is assumed: all these operations are seq in the C code.
 *
 * mutant M_CLEAR_NO_SECOND_LOOK: who clears a bit of a tier does not look below it again
 * mutant M_CLEAR_LOOK_FIRST: who clears a bit of a tier looks below it before
 * mutant M_SET_TOP_FIRST: the tree is set before the part bit
 * mutant M_SET_ONE_TIER: setting stops at the first tier
 * mutant M_AGAIN_ONE_TIER: who sets a bit again after the second look does not set those above it
 * mutant M_FIND_AGAIN_ONE_TIER: the same of a search that met a dead end
 * mutant M_FIND_NO_SECOND_LOOK: a search that clears a dead end does not look again
 */

bit part[2];
byte tier[3]; /* words of the tiers: bit n of tier 0 is block n, tiers 1 and 2 have bit 0 only */
byte busy;

#define ON(x, n) (((x) >> (n)) & 1)

/* tree_set(), from tier `from` on: t = tier, n = bit in it */
inline tree_set(from)
{
	t = from;
	do
	:: t < 3 -> tier[t] = tier[t] | (1 << n);
#ifdef M_SET_ONE_TIER
		break;
#endif
		t++;
		n = 0
	:: else -> break
	od
}

/* The bit of this tier was cleared, or is about to be, and there is something below: all is set again. */
inline set_again()
{
#ifdef M_AGAIN_ONE_TIER
	tier[t] = tier[t] | (1 << n)
#else
	do
	:: t < 3 -> tier[t] = tier[t] | (1 << n);
		t++;
		n = 0
	:: else -> break
	od
#endif
}

/* below(): some */
inline below()
{
	if
	:: t == 0 -> some = part[n]
	:: else -> some = (tier[t - 1] != 0)
	fi
}

/* tree_clear() of block n */
inline tree_clear()
{
	t = 0;
	do
	:: t < 3 ->
#ifdef M_CLEAR_LOOK_FIRST
		below();
#endif
		d_step {
			tier[t] = tier[t] & (255 - (1 << n));
			left = (tier[t] != 0)
		}
#ifdef M_CLEAR_NO_SECOND_LOOK
		some = 0;
#elif !defined(M_CLEAR_LOOK_FIRST)
		below();
#endif
		if
		:: some -> set_again(); break
		:: !some && left -> break
		:: else -> t++; n = 0
		fi
	:: else -> break
	od
}

/* mbc_part_find(): ok, n = the block. One way down; a dead end is cleared, and then it begins again. */
inline part_find()
{
	ok = 0;
	do
	:: 1 ->
		if
		:: tier[2] == 0 -> break
		:: else
		fi;
		if
		:: tier[1] == 0 -> t = 2
		:: else ->
			if
			:: d_step {
				tier[0] != 0 -> n = (tier[0] & 1 -> 0 : 1);
				ok = 1
			   } -> break
			:: else -> t = 1
			fi
		fi;
		/* the word of tier t - 1 is empty, so bit 0 of tier t leads nowhere */
		if
		:: tier[t - 1] == 0 -> tier[t] = tier[t] & 254
		:: else
		fi;
#ifndef M_FIND_NO_SECOND_LOOK
		if
		:: tier[t - 1] != 0 ->
			n = 0;
#ifdef M_FIND_AGAIN_ONE_TIER
			tier[t] = tier[t] | 1
#else
			set_again()
#endif
		:: else
		fi
#endif
	od
}

inline check()
{
	/* fact 1 of hint.h */
	assert(!(part[0] || part[1]) || (tier[1] && tier[2]));
	assert(part[0] <= ON(tier[0], 0) && part[1] <= ON(tier[0], 1))
}

proctype thread()
{
	byte n, t;
	bit some, left, ok;

end:	do
	:: 1 ->
		busy++;
		if
		:: n = 0
		:: n = 1
		fi;
		if
		:: 1 ->
			/* mbc_part_set() */
#ifdef M_SET_TOP_FIRST
			some = n;
			tree_set(0);
			part[some] = 1
#else
			part[n] = 1;
			tree_set(0)
#endif
		:: 1 ->
			/* mbc_part_clear() */
			part[n] = 0;
			tree_clear()
		:: 1 ->
			/* from_part(): finds a block, and forgets it where it has no part bits */
			part_find();
			if
			:: ok ->
				if
				:: part[n] == 0 -> tree_clear()
				:: else
				fi
			:: else
			fi
		fi;
		skip; /* a jump must not end in a d_step that follows */
		d_step {
			n = 0; t = 0; some = 0; left = 0; ok = 0;
			busy--;
			if
			:: busy == 0 -> check()
			:: else
			fi
		}
	od
}

init {
	atomic {
		run thread();
		run thread()
	}
}
