/* SPDX-License-Identifier: MIT */
/*
 * core.pml - the allocator's algorithms as memback/core does them, at reduced geometry, to be included by models.
 *
 * Two levels: lines of 2 words x 2 bits, and above them one word `up` of the top level (level 2 of the C code),
 * a bit a line. Each C atomic operation is one step here, in the same order. What is left out, and why that
 * changes nothing:
 *
 *  - A load followed by a CAS loop is one step: the CAS succeeds only where the loaded value still holds, so
 *    what it does follows from the word at that moment; and a failed one only looks again.
 *  - Words that nobody reads on the strength of (intents) do not exist; nor does
 *    where[], which the real code is checked for under the scheduler (fact 1 of struct mbc_slot).
 *  - Nor does the word in front of a ring (back[], which alloc_back() of alloc.c takes from): it would be one more
 *    ring entry, with races of its own: of who frees into it, who takes its last frame, and who merges its line.
 *    The real code is tried for them under the scheduler (the scenarios `front...` of scenarios-line.c), and its
 *    mutants `front-...` are found there.
 *  - The trees over the part bits have one block here, and so no tier: hint.pml models them.
 *  - Where a threshold or a hint of level 2 decides between two ways (worth holding, at[2]), both are tried.
 *
 * Limits: steps are in one order for everybody (sequential consistency). That this is enough for the weaker
 * orders of the C code is argued at each operation there. Rings have one entry, and counts are small.
 *
 * A model defines before it includes this: NL (lines), NT (threads, each with a slot of its own), and the names
 * of what it uses besides: DRAIN, OWNED. M_... are the mutants.
 *
 * Ghosts, which the algorithms never read, say who has what. They change in the very step that makes it so.
 * What is allocated may be freed by any thread at any time, so it does not matter here who has it; this is what
 * keeps the state space small.
 */

#define B(l)     (1 << (l))
#define ON(x, l) (((x) >> (l)) & 1)
#define FULL     3
#define W0(l)    (2 * (l))
#define W1(l)    (2 * (l) + 1)
#define NONE     (2 * NL)

byte word[2 * NL]; /* bit set: that frame is free */
byte split;        /* bit l: line l is valid */
byte held;
byte part;
byte up;     /* the word above: bit l set: frame l is whole and free */
bit uppart;  /* its part bit */
byte at[NT]; /* the word that a slot allocates from, or NONE */
byte ring[NT];
#ifdef DRAIN
byte drain;    /* of lines: all of it is leaving, what is set there has left */
byte special;  /* of lines */
byte updrain;  /* the masks of the top line, whose `special` is constant here: set */
byte uponline;
byte gone;     /* a ghost: somebody was told that all of this line is offline */
#endif
#ifdef OWNED
byte owned;
#endif

byte user[NL];  /* frames of line l that are allocated: anybody may free them at any time */
byte temp[NL];  /* frames of line l that a thread has within an operation */
byte whole;     /* lines whose frame above is allocated */
byte wtemp;     /* lines whose frame above a thread has within an operation */
byte busy;      /* threads that are within an operation */

#if NT == 2
#define HOLDERS(l)   ((at[0] / 2 == (l)) + (at[1] / 2 == (l)))
#define IN_RING(l)   (ring[0] == (l) + 1 || ring[1] == (l) + 1)
#else
#define HOLDERS(l)   ((at[0] / 2 == (l)) + (at[1] / 2 == (l)) + (at[2] / 2 == (l)))
#define IN_RING(l)   (ring[0] == (l) + 1 || ring[1] == (l) + 1 || ring[2] == (l) + 1)
#endif
#define BITS(w, x) ((x) << (2 * (w))) /* the frames of bits x of word w, in user[] and temp[] */

/* What a thread works with. */
#define LOCALS                                                                                                  \
	byte l, o, v, m, W;                                                                                     \
	bit ok, done, early, mine, some, got, st

/* Fact 1: the frames of these bits become somebody's, and were nobody's. */
inline take_ghost(mask, ll, w, bits)
{
	assert(!((user[ll] | temp[ll]) & BITS(w, bits)) && !ON(whole | wtemp, ll));
#ifdef DRAIN
	assert(!ON(gone, ll));
#endif
	mask = mask | BITS(w, bits)
}

inline give_ghost(mask, ll, w, bits)
{
	assert((mask & BITS(w, bits)) == BITS(w, bits));
	mask = mask & (15 - BITS(w, bits))
}

/* All of a line that a thread has becomes the frame above, and the reverse. */
inline join_ghost(ll)
{
	assert(temp[ll] == 15);
	temp[ll] = 0;
	wtemp = wtemp | B(ll)
}

inline part_ghost(ll)
{
	assert(ON(wtemp, ll) && !temp[ll]);
	temp[ll] = 15;
	wtemp = wtemp & (255 - B(ll))
}

/* mbc_part_set(), mbc_part_clear(): a look first whether it is so already changes nothing */
inline part_set(ll)
{
	part = part | B(ll)
}

inline part_clear(ll)
{
	part = part & (255 - B(ll))
}

/* usable(): of use to an allocation; what follows is done if it is, up to END_USABLE */
#if defined(DRAIN)
#define IF_USABLE(ll)                                                                                          \
	if                                                                                                      \
	:: ON(split, ll) ->                                                                                     \
		if                                                                                              \
		:: !ON(drain, ll) ->
#define END_USABLE                                                                                              \
		:: else                                                                                         \
		fi                                                                                              \
	:: else                                                                                                 \
	fi
#elif defined(OWNED)
#define IF_USABLE(ll)                                                                                          \
	if                                                                                                      \
	:: ON(split, ll) ->                                                                                     \
		if                                                                                              \
		:: !ON(owned, ll) ->
#define END_USABLE                                                                                              \
		:: else                                                                                         \
		fi                                                                                              \
	:: else                                                                                                 \
	fi
#else
#define IF_USABLE(ll)                                                                                          \
	if                                                                                                      \
	:: ON(split, ll) ->
#define END_USABLE                                                                                              \
	:: else                                                                                                 \
	fi
#endif

inline publish_if_free(ll)
{
	if
	:: ON(held, ll)
	:: else -> part_set(ll)
	fi
}

/* The end of leaving, merging and publishing alike: part, if of use, not empty and nobody's. */
inline publish_if(ll)
{
	IF_USABLE(ll)
		/* mbc_line_is_empty() */
		if
		:: word[W0(ll)] -> publish_if_free(ll)
		:: else ->
			if
			:: word[W1(ll)] -> publish_if_free(ll)
			:: else
			fi
		fi
	END_USABLE
}

#ifdef DRAIN
/* swallow() of the word above: takes of it what is to leave, and marks it as gone */
inline swallow_up()
{
	v = up;
	do
	:: 1 ->
		m = v & updrain;
		if
		:: m == 0 -> break
		:: d_step {
			m && up == v -> up = v - m;
			v = 0
		   } ->
#ifdef M_SWALLOW_ONLINE_FIRST
			uponline = uponline & (255 - m);
			updrain = updrain & (255 - m);
#else
			/* who finds it offline may add it again at once: the mark must be gone by then */
			updrain = updrain & (255 - m);
			uponline = uponline & (255 - m);
#endif
			break
		:: else -> v = up
		fi
	od;
	v = 0;
	m = 0
}
#endif

/* mbc_free_own() of frame ll of the level above, with the part of tail() that concerns level 2 */
inline free_up(ll)
{
	d_step {
		assert(ON(wtemp, ll) && !ON(up, ll));
		v = up;
		up = up | B(ll);
		wtemp = wtemp & (255 - B(ll))
	}
	if
	:: v == 0 ->
#ifndef M_TOP_NOT_REMEMBERED
		uppart = 1
#else
		skip
#endif
	:: else
	fi;
#ifdef DRAIN
#ifndef M_FREE_UP_NO_LOOK
	swallow_up()
#endif
#endif
}

/* mbc_settle_merge(), all the words being ours. */
inline settle_merge(ll)
{
#ifdef DRAIN
	if
	:: ON(special, ll) ->
		special = special & (255 - B(ll));
		drain = drain & (255 - B(ll))
	:: else
	fi
#else
	skip
#endif
}

inline split_clear(ll)
{
	d_step {
		/* fact 2 */
		assert(word[W0(ll)] == 0 && word[W1(ll)] == 0);
		split = split & (255 - B(ll));
		join_ghost(ll)
	}
}

inline held_clear(ll)
{
	d_step {
		/* fact 4: it was somebody's, and the one who clears it is that one */
		assert(ON(held, ll));
		held = held & (255 - B(ll))
	}
}

/* merge_take() and merge_undo(): sets done */
inline merge_take(ll)
{
	if
	:: d_step {
		word[W0(ll)] == FULL -> word[W0(ll)] = 0;
		take_ghost(temp[ll], ll, 0, FULL)
	   } ->
		if
		:: d_step {
			word[W1(ll)] == FULL -> word[W1(ll)] = 0;
			take_ghost(temp[ll], ll, 1, FULL);
			done = 1
		   }
		:: else ->
			done = 0;
#ifndef M_MERGE_NO_ROLLBACK
			d_step {
				/* nobody else sets bits there */
				assert(word[W0(ll)] == 0);
				word[W0(ll)] = FULL;
				give_ghost(temp[ll], ll, 0, FULL)
			}
#endif
		fi
	:: else -> done = 0
	fi
}

/* mbc_merge(): done = the frame above was given back whole. Facts 2, 3, 4. */
inline merge(ll)
{
	early = 0;
	do
	:: 1 ->
#ifndef M_MERGE_NOT_HELD
		if
		:: d_step {
			!ON(held, ll) -> held = held | B(ll)
		   }
		:: else -> done = 0; early = 1; break
		fi;
#endif
		part_clear(ll);
		if
		:: ON(split, ll) ->
#ifdef M_MERGE_SPLIT_FIRST
			split = split & (255 - B(ll));
			merge_take(ll);
			if
			:: done -> d_step {
				join_ghost(ll)
			   }
			:: else -> split = split | B(ll)
			fi
#else
			merge_take(ll);
			if
			:: done ->
				settle_merge(ll);
#ifdef M_MERGE_UP_FIRST
				d_step {
					join_ghost(ll)
				}
				free_up(ll);
				split = split & (255 - B(ll))
#else
				split_clear(ll);
#ifndef M_MERGE_MARK_STAYS
				/* who drains may have marked it in between */
				settle_merge(ll)
#else
				skip
#endif
#endif
			:: else
			fi
#endif
		:: else -> done = 0
		fi;
#ifndef M_MERGE_NOT_HELD
		held_clear(ll);
#endif
#ifndef M_MERGE_NO_SECOND_LOOK
		/* who freed the last bit while we had some words did not see a full line */
		if
		:: !done && ON(split, ll) ->
			if
			:: word[W1(ll)] == FULL ->
				if
				:: word[W0(ll)] == FULL
				:: else -> break
				fi
			:: else -> break
			fi
		:: else -> break
		fi
#else
		break
#endif
	od;
	if
	:: done ->
#ifndef M_MERGE_UP_FIRST
		free_up(ll)
#else
		skip
#endif
	:: !done && !early ->
#ifndef M_MERGE_NOT_PUBLISHED
		if
		:: ON(held, ll)
		:: else ->
			IF_USABLE(ll)
				if
				:: word[W0(ll)] -> part_set(ll)
				:: else ->
					if
					:: word[W1(ll)] -> part_set(ll)
					:: else
					fi
				fi
			END_USABLE
		fi
#else
		skip
#endif
	:: else
	fi;
	early = 0
}

/* Merges if all of it is free: done */
inline merge_if_full(ll)
{
	/* mbc_line_is_full(): from the end */
	if
	:: word[W1(ll)] == FULL ->
		if
		:: word[W0(ll)] == FULL -> merge(ll)
		:: else
		fi
	:: else
	fi
}

/* mbc_line_leave(): fact 5, the holder's side. */
inline leave(ll)
{
#ifdef M_LEAVE_READ_FIRST
	some = (word[W0(ll)] != 0);
	if
	:: some
	:: else -> some = (word[W1(ll)] != 0)
	fi;
	held_clear(ll);
	merge_if_full(ll);
	if
	:: !done && some -> IF_USABLE(ll) publish_if_free(ll) END_USABLE
	:: else
	fi;
	some = 0;
#else
	held_clear(ll);
#ifndef M_LEAVE_NOT_MERGED
	merge_if_full(ll);
#endif
	if
	:: done
	:: else ->
#ifndef M_LEAVE_NO_REREAD
		publish_if(ll)
#else
		skip
#endif
	fi;
#endif
	done = 0
}

/* mbc_slot_drop() of slot t */
inline slot_drop(t)
{
	if
	:: d_step {
		at[t] != NONE -> o = at[t] / 2;
		at[t] = NONE
	   } -> leave(o); o = 0
	:: else
	fi
}

/* mbc_slots_drop_line() */
inline drop_line(ll)
{
	W = 0;
	do
	:: W < NT ->
		if
		:: at[W] / 2 == (ll) -> slot_drop(W)
		:: else
		fi;
		W++
	:: else -> break
	od;
	W = 0
}

/* move_to(): at[] is word x now, of a line whose `held` is ours; the line before is left. */
inline move_to(x)
{
#ifdef M_MOVE_PLAIN
	o = at[me];
	at[me] = x;
#else
	d_step {
		o = at[me];
		/* fact 4 */
		assert(HOLDERS((x) / 2) == (o / 2 == (x) / 2));
		at[me] = x
	}
#endif
#if NL > 1
	if
	:: o != NONE && o / 2 != (x) / 2 -> o = o / 2; leave(o)
	:: else
	fi;
#endif
	o = 0
}

/* mbc_line_hold(): ok = it is ours and in at[]. Facts 4, 5. */
inline hold(ll)
{
#ifdef M_HOLD_BLIND
	if
	:: ON(held, ll) -> ok = 0
	:: else -> held = held | B(ll); ok = 1
	fi;
#else
	if
	:: d_step {
		!ON(held, ll) -> held = held | B(ll)
	   } -> ok = 1
	:: else -> ok = 0
	fi;
#endif
	if
	:: ok ->
#ifndef M_HOLD_PART_LATE
		part_clear(ll);
#endif
		ok = 0;
		W = 0;
		IF_USABLE(ll)
			if
			:: word[W0(ll)]
			:: else ->
				W = 1;
				if
				:: word[W1(ll)]
				:: else -> W = 2
				fi
			fi
		END_USABLE;
		if
		:: W == 2
		:: else -> IF_USABLE(ll) ok = 1 END_USABLE
		fi;
		if
		:: ok -> move_to(2 * (ll) + W);
			W = 0;
#ifndef M_HOLD_NO_LAST_LOOK
			ok = 0;
			IF_USABLE(ll) ok = 1 END_USABLE;
			if
			:: ok
			:: else ->
#if defined(DRAIN) || defined(OWNED)
				slot_drop(me)
#else
				/* somebody took the line away again, and merged it: nothing is left to drop */
				assert(at[me] == NONE)
#endif
			fi
#endif
		:: else -> W = 0; leave(ll)
		fi
#ifdef M_HOLD_PART_LATE
		; part_clear(ll)
#endif
	:: else
	fi
}

/* publish(): a line has fallen out of a ring. Here `held` is read before the words. */
inline publish(ll)
{
	IF_USABLE(ll)
		if
		:: ON(held, ll)
		:: else ->
			if
			:: word[W0(ll)] -> part_set(ll)
			:: else ->
				if
				:: word[W1(ll)] -> part_set(ll)
				:: else
				fi
			fi
		fi
	END_USABLE
}

/* mbc_remember(): in the ring, and what falls out of it as part. Others read rings as hints only. */
inline remember(ll)
{
	d_step {
		o = (ring[me] == (ll) + 1 -> 0 : ring[me]);
		ring[me] = (ll) + 1
	}
#if NL > 1 && !defined(M_RING_FORGETS)
	if
	:: o -> o = o - 1; publish(o)
	:: else
	fi;
#endif
	o = 0
}

/* Takes the lowest bit of word w of the line, in one step that can be made only if there is one. */
inline take_bit(ll, w)
{
	word[2 * (ll) + w] ->
	m = (word[2 * (ll) + w] & 1 -> 1 : 2);
	word[2 * (ll) + w] = word[2 * (ll) + w] - m;
	take_ghost(user[ll], ll, w, m);
	m = 0;
	v = w;
	got = 1
}

/* mbc_line_take() of one frame, from word `from` on: got, v = the word */
inline line_take(ll, from)
{
#ifdef M_TAKE_PLAIN
	m = (word[2 * (ll)] & 1 -> 1 : word[2 * (ll)] & 2);
	if
	:: m -> d_step {
		word[2 * (ll)] = word[2 * (ll)] & (FULL - m);
		take_ghost(user[ll], ll, 0, m);
		m = 0;
		got = 1
	   }
#else
	if
	:: d_step {
		take_bit(ll, from)
	   }
#endif
	:: else ->
		if
		:: d_step {
			take_bit(ll, (1 - (from)))
		   }
		:: else
		fi
	fi
}

/* from_held(), and the common path, which does the same with the first of these words: got */
inline from_held()
{
	if
	:: d_step {
		at[me] != NONE -> W = at[me];
		l = W / 2
	   } ->
		line_take(l, (W % 2));
		if
		:: d_step {
			/* goes on with this word from now on; fails if the line was taken away meanwhile */
			got && at[me] == W -> at[me] = 2 * l + v
		   }
		:: got && at[me] != W
		:: !got -> slot_drop(me)
		fi;
		W = 0;
		v = 0;
		l = 0
	:: else
	fi
}

/* from_line() of find.c: takes from a line without holding it */
inline from_line(ll)
{
	if
	:: ON(split, ll) ->
#ifdef DRAIN
		if
		:: !ON(drain, ll) -> line_take(ll, 0)
		:: else
		fi;
#else
		line_take(ll, 0);
#endif
		v = 0
	:: else
	fi
}

/*
 * The first three ways of alloc_once(): what is held, the ring, what is nobody's; written as one loop since the
 * latter two end in holding a line and taking from it. st: the ring had its turn.
 */
inline alloc_from_lines()
{
	d_step {
		busy++;
		st = 0
	}
	do
	:: 1 -> from_held();
		do
		:: got -> break
		:: !got && !st ->
			/* from_ring(), from_entry() */
			st = 1;
			if
			:: d_step {
				ring[me] -> l = ring[me] - 1
			   } ->
				if
				:: 1 -> hold(l); /* worth holding */
					ring[me] = 0;
					l = 0;
					if
					:: ok -> break
					:: else
					fi
				:: 1 -> from_line(l);
					/* *keep: the line is not empty */
					if
#ifndef M_RING_DROPPED
					:: got && word[W0(l)]
					:: got && !word[W0(l)] ->
						if
						:: word[W1(l)]
						:: else -> ring[me] = 0
						fi
#endif
					:: else -> ring[me] = 0
					fi;
					l = 0
				fi
			:: else
			fi
		:: !got && st ->
			/* from_part(): the lowest line that is nobody's */
			if
			:: d_step {
				part -> l = (part & 1 -> 0 : 1)
			   } ->
				if
				:: d_step {
					ON(part, l) -> part = part & (255 - B(l))
				   } -> hold(l);
					l = 0;
					if
					:: ok -> break
					:: else
					fi
				:: else -> l = 0
				fi
			:: else -> break
			fi
		od;
		if
		:: ok -> ok = 0
		:: else -> break
		fi
	od;
	st = 0
}

/* Takes the lowest frame of the word above: m = its bit, or 0 */
inline take_up()
{
	d_step {
		m = (up & 1 -> 1 : (up & 2 -> 2 : up & 4));
		up = up - m;
		assert(!((whole | wtemp) & m));
		assert(!m || !(user[m / 2] | temp[m / 2]));
#ifdef DRAIN
		assert(!(gone & m));
#endif
		wtemp = wtemp | m
	}
}

/* from_held() and from_top() at level 2: m */
inline from_top()
{
	if
	:: 1 -> take_up() /* at[2] names the word */
	:: 1
	fi;
	do
	:: m == 0 && uppart -> take_up();
		if
		:: m
		:: else ->
			/* nothing: clears `part`, then looks again */
			uppart = 0;
#ifndef M_TOP_NO_SECOND_LOOK
			if
			:: up -> uppart = 1
			:: else
			fi
#endif
		fi
	:: else -> break
	od;
	skip /* a jump must not end in a d_step that follows */
}

#ifdef DRAIN
/* mark_line() of drain.c: some = it is marked, and was split still; early = it was marked for a moment */
inline mark_line(ll)
{
	some = 0;
	do
	:: ON(split, ll) ->
		if
		:: ON(updrain, ll) ->
			drain = drain | B(ll);
			special = special | B(ll);
#ifdef M_MARK_STAYS
			some = 1;
			break
#else
			if
			:: ON(split, ll) ->
				if
				:: ON(updrain, ll) -> some = 1; break
				:: else
				fi
			:: else
			fi;
			special = special & (255 - B(ll));
			drain = drain & (255 - B(ll));
			early = 1
#endif
		:: else -> break
		fi
	:: else -> break
	od;
	skip
}

/* mbc_settle_split() into a line of level 0: if its frame was to leave, so is all of the line. */
inline settle_split(ll)
{
#ifndef M_SPLIT_NO_LOOK
	mark_line(ll);
	if
	:: some ->
		some = 0;
#ifdef M_SPLIT_KEEPS_OTHERS
		slot_drop(me)
#elif !defined(M_SPLIT_KEEPS)
		/* nobody allocates from it any more: it may have changed hands since it was filled */
		drop_line(ll)
#endif
	:: !some && early -> early = 0; remember(ll)
	:: else
	fi;
	early = 0
#else
	skip
#endif
}
#endif

/* mbc_split() of frame ll, which is the thread's; its first n frames (0 or 1) stay so. Facts 2, 3. */
inline split_line(ll, n)
{
	d_step {
		mine = !ON(held, ll);
		held = held | B(ll)
	}
#ifdef M_SPLIT_LATE
	d_step {
		part_ghost(ll)
	}
#else
	d_step {
		assert(!ON(split, ll));
		/* fact 2 */
		assert(word[W0(ll)] == 0 && word[W1(ll)] == 0);
		split = split | B(ll);
		part_ghost(ll)
	}
#endif
	d_step {
		assert(word[W0(ll)] == 0);
		word[W0(ll)] = FULL - n;
		give_ghost(temp[ll], ll, 0, FULL - n)
	}
	d_step {
		assert(word[W1(ll)] == 0);
		word[W1(ll)] = FULL;
		give_ghost(temp[ll], ll, 1, FULL)
	}
#ifdef M_SPLIT_LATE
	split = split | B(ll);
#endif
	if
	:: mine -> move_to(2 * (ll))
	:: else ->
#ifndef M_SPLIT_FORGETS
		remember(ll)
#else
		skip
#endif
	fi;
	mine = 0;
#ifdef DRAIN
	settle_split(ll);
#endif
	d_step {
		/* what was asked for is the caller's from now on */
		temp[ll] = temp[ll] - n;
		user[ll] = user[ll] | n
	}
}

/* from_above(): splits a larger frame */
inline from_above()
{
	from_top();
	if
	:: m ->
		l = m / 2;
		m = 0;
		split_line(l, 1);
		got = 1
	:: else
	fi;
	l = 0
}

/* from_others(): takes from lines that another slot t holds, or remembers */
inline from_other(t)
{
	if
	:: got
	:: else ->
		l = at[t] / 2;
		if
		:: l != NL -> from_line(l)
		:: else
		fi;
		if
		:: got
		:: else ->
			l = ring[t];
			if
			:: l -> l = l - 1; from_line(l)
			:: else
			fi
		fi;
		l = 0
	fi
}

/* alloc_once() at the level of the lines: got */
inline alloc()
{
	alloc_from_lines();
	if
	:: got
	:: else -> from_above()
	fi;
#if NT == 2
	from_other(1 - me)
#else
	from_other((me + 1) % NT);
	from_other((me + 2) % NT)
#endif
}

/* mb_frame_free() of frame x (0 to 3) of line ll: free_mask(), free_after(), tail(). Fact 5, the freer's side. */
inline free_frame(ll, x)
{
#ifdef M_FREE_HELD_FIRST
	d_step {
		(user[ll] & B(x)) -> user[ll] = user[ll] - B(x);
		temp[ll] = temp[ll] | B(x);
		mine = ON(held, ll);
		busy++
	}
#endif
	d_step {
#ifdef M_FREE_HELD_FIRST
		user[ll] = user[ll] | B(x);
		temp[ll] = temp[ll] - B(x);
#else
		(user[ll] & B(x)) ->
		busy++;
#endif
		/* what was read before the CAS: `split`, and for a line that is special mbc_check_used(). None of
		 * it changes while the frame is somebody's: facts 1, 2 */
		assert(ON(split, ll) && !ON(up, ll));
#ifdef DRAIN
		assert(ON(uponline, ll));
#endif
		v = word[2 * (ll) + (x) / 2];
		assert(!(v & B((x) % 2)));
		word[2 * (ll) + (x) / 2] = v | B((x) % 2);
		give_ghost(user[ll], ll, (x) / 2, B((x) % 2))
	}
	/* tail_is_due(): our own line needs no look. tail() */
	if
	:: v == FULL - B((x) % 2) && at[me] / 2 != (ll) ->
#ifndef M_FREE_NOT_MERGED
		merge_if_full(ll)
#else
		skip
#endif
	:: v == 0 && at[me] / 2 != (ll) ->
#ifdef M_FREE_HELD_FIRST
		if
		:: mine
		:: else -> remember(ll)
		fi
#elif defined(M_FREE_NOT_REMEMBERED)
		skip
#else
		if
		:: ON(held, ll)
		:: else -> remember(ll)
		fi
#endif
	:: else
	fi;
#ifdef DRAIN
	/* settle_free(): at level 0 a whole line that leaves has no masks of its own, so nothing to swallow */
#endif
	mine = 0;
	done = 0;
	ok = 0;
	some = 0;
	v = 0
}

/* An operation begins; and ends. When nobody is within one, all that is said of rest must hold. */
inline begin()
{
	busy++
}

inline finish()
{
	d_step {
		l = 0; o = 0; v = 0; m = 0; W = 0;
		ok = 0; done = 0; early = 0; mine = 0; some = 0; got = 0; st = 0;
		busy--;
		if
		:: busy == 0 ->
			at_rest(0);
#if NL > 1
			at_rest(1);
#endif
			at_rest_above()
		:: else
		fi
	}
}

/* What holds of line ll when nobody is within an operation. */
inline at_rest(ll)
{
#ifdef DRAIN
	/* what is marked is to leave, and a line that is not split is not marked */
	assert(!ON(drain, ll) || (ON(split, ll) && ON(updrain, ll)));
	assert(ON(split, ll) || !ON(special, ll));
#endif
	if
	:: ON(up, ll) ->
		/* the frame above is free and whole: all below is as if it did not exist */
		assert(!ON(split, ll) && !word[W0(ll)] && !word[W1(ll)]);
		assert(!user[ll] && !ON(whole, ll) && HOLDERS(ll) == 0 && !ON(held, ll))
	:: !ON(up, ll) && !ON(split, ll) ->
		/* allocated whole, to somebody: not lost */
		assert(!word[W0(ll)] && !word[W1(ll)] && !user[ll]);
		assert(ON(whole, ll) || GONE(ll))
	:: else ->
		/* every frame is free or somebody's */
		assert(!ON(whole, ll) && (user[ll] ^ (word[W0(ll)] | word[W1(ll)] << 2)) == 15);
		/* fact 4 */
		assert(HOLDERS(ll) == ON(held, ll));
		/* fact 5: no claim is forgotten */
		assert(LEAVES(ll) || ON(held, ll) || IN_RING(ll) || ON(part, ll) || !(word[W0(ll)] | word[W1(ll)]));
		/* and what is wholly free is whole again */
		assert(ON(held, ll) || word[W0(ll)] != FULL || word[W1(ll)] != FULL)
	fi
}

inline at_rest_above()
{
#ifdef DRAIN
	assert(!(up & updrain));
	assert(!drain || HOLDERS(0) == 0);
#endif
	assert((!up || uppart) && !wtemp && !temp[0] && !temp[NL - 1])
}
