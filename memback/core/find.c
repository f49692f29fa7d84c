/* SPDX-License-Identifier: MIT */
/*
 * find.c - where an allocation finds frames that the common path has not got. In this order, so that memory that
 * is split stays in use and memory that is whole stays whole:
 *
 *   the line that the slot holds - a line of the ring (the one in front of it included) - a line that is nobody's -
 *   a larger frame, split - lines of other slots, taken from without holding them
 *
 * At rest, fact 5 of line.h makes this complete; while others are between two steps, frames may be nobody's for a
 * moment, so it is done once more before -ENOMEM is said.
 */
#include "find.h"

#include "free.h"
#include "hint.h"
#include "inband.h"

/* A ring's line with few free frames is not worth holding: they are taken where they are. */
#define HOLD_WORTH 4u

/*
 * Does the common path read word W, of the line that the slot holds? at[] tells of the line only; and the place may
 * be unknown, since somebody took another line away from us late.
 */
static inline bool is_aimed(const struct mbc_slot *s, unsigned level, uint64_t W)
{
	if (level == MB_GIANT)
		return mbc_load_relaxed(&s->at[level]) == W;
	return mbc_load32_relaxed(&s->where[level]) &&
	       mbc_own64(&s->base[level]) == W * MBC_WORD_BITS << (MB_LEVEL_SHIFT * level);
}

/* Takes from the line that the slot holds, any word of it; gives up a line that has nothing left. */
static bool from_held(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	uint64_t at = mbc_load_relaxed(&s->at[level]);
	struct mbc_ref r;

	if (at == MBC_NONE)
		return false;
	r = mbc_ref_sure(f, level, at / MBC_LINE_WORDS);
	if (!mbc_line_is_empty(r) && mbc_line_take(f, s, r, at % MBC_LINE_WORDS, n, got)) {
		/* the next one finds this word at once */
		if (!is_aimed(s, level, got->W)) {
			mbc_slot_aim(f, s, level, got->W, mbc_word_at(f, level, got->W));
			/* fails if the line was taken away from us meanwhile */
			if (!mbc_cas_seq(&s->at[level], &at, got->W))
				mbc_slot_aim_nowhere(s, level);
		}
		return true;
	}
	mbc_slot_drop(f, s, s, level);
	return false;
}

/* Takes from a line without holding it. */
static bool from_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, unsigned n,
		      struct mbc_got *got)
{
	struct mbc_ref r = mbc_pin(f, s, level, L);
	bool ok;

	if (!r.block)
		return false;
	ok = mbc_is_split(r) && !mbc_has(&r.block->drain, r.bit) && mbc_line_take(f, s, r, 0, n, got);
	mbc_unpin(f, s);
	return ok;
}

/* Is there a word with so much free that holding the line pays? */
static inline bool worth_holding(struct mbc_ref r, unsigned n)
{
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t v = mbc_load_relaxed(&r.line->word[w]);

		if (v)
			return (v & (v - 1)) && mbc_popcount(v) >= HOLD_WORTH + n;
	}
	return false;
}

/*
 * Takes from the line of a ring's entry, by holding it or where it is. *keep: the entry is of use still. A line
 * that is empty need not be remembered: whoever frees there next sees an empty word, and remembers it.
 */
static MBC_INLINE bool from_entry(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned n,
				  struct mbc_got *got, bool *keep)
{
	*keep = false;
	if (worth_holding(r, n))
		return mbc_line_hold(f, s, r) && from_held(f, s, r.level, n, got);
	if (!mbc_is_split(r) || mbc_has(&r.block->drain, r.bit) || !mbc_line_take(f, s, r, 0, n, got))
		return false;
	*keep = !mbc_line_is_empty(r);
	return true;
}

/* Is there a line in the ring, or in front of it? */
static inline bool ring_has_some(const struct mbc_slot *s, unsigned level)
{
	return mbc_load32_relaxed(&s->turn[level]) >> 16 || mbc_load32_relaxed(&s->back[level]);
}

/*
 * A ring may be full of lines that became empty, and they shall not cost much: nothing but the words is looked up.
 * In band a block may be gone, so that the long way is taken.
 */
static inline bool seems_empty(const struct mb_frames *f, unsigned level, uint64_t L)
{
	mbc_a64 *word;

	if (mbc_by_directory(f, level))
		return false;
	word = mbc_word_at(f, level, L * MBC_LINE_WORDS);
	return mbc_words_are_empty(word);
}

static MBC_COLD bool from_ring(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	uint32_t size = level == MB_BASE ? MBC_RING0 : MBC_RING1;
	mbc_a32 *ring = level == MB_BASE ? s->ring : s->ring + MBC_RING0;
	uint32_t turn;

	mbc_front_to_ring(f, s, level);
	turn = mbc_load32_relaxed(&s->turn[level]);
	for (uint32_t k = 0; k < size && mbc_load32_relaxed(&s->turn[level]) >> 16; k++) {
		uint32_t at = (turn - 1 - k) & (size - 1);
		uint32_t e = mbc_load32_relaxed(&ring[at]);
		bool ok = false, keep = false;
		struct mbc_ref r;

		if (!e)
			continue;
		if (!seems_empty(f, level, e - 1)) {
			r = mbc_pin(f, s, level, e - 1);
			if (r.block && !mbc_line_is_empty(r))
				ok = from_entry(f, s, r, n, got, &keep);
			mbc_unpin(f, s);
		}
		if (!keep)
			mbc_ring_drop(s, level, at);
		if (ok)
			return true;
	}
	return false;
}

static MBC_COLD bool hold_named(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned hand = mbc_hand(f, s, r.level, r.L);
	bool ok = mbc_part_clear(f, r) && mbc_line_hold(f, s, r);

	mbc_unhand(f, s, hand);
	return ok;
}

/* Takes a line that is nobody's, the lowest there is. */
static bool from_part(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	uint64_t b;

	while (mbc_part_find(f, s, level, &b)) {
		struct mbc_ref r = mbc_pin(f, s, level, b * MBC_BLOCK_LINES);
		uint64_t part = r.block ? mbc_load_seq(&r.block->part) : 0;
		bool held;

		if (!part) {
			mbc_part_forget(f, s, level, b);
			mbc_unpin(f, s);
			continue;
		}
		r = mbc_ref_at(r.block, level, b * MBC_BLOCK_LINES + mbc_lowest(part));
		held = mbc_owned_pool(f) ? hold_named(f, s, r) : mbc_part_clear(f, r) && mbc_line_hold(f, s, r);
		mbc_unpin(f, s);
		if (held && from_held(f, s, level, n, got))
			return true;
	}
	return false;
}

static int alloc_once(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got);

/* Splits a larger frame. */
static int from_above(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	struct mbc_got above;
	uint64_t X;
	int rc = alloc_once(f, s, level + 1, 1, &above);

	if (rc)
		return rc;
	X = above.W * MBC_WORD_BITS + mbc_lowest(above.mask);
	/* in band its first frame is where the block goes, if there is none yet */
	rc = mbc_split(f, s, level, X, n < MBC_WORD_BITS ? n : MBC_WORD_BITS, X * MBC_LINE_FRAMES, got);
	if (rc) {
		mbc_free_own(f, s, level + 1, X);
		mbc_intend_none(f, s);
		return rc;
	}
	return 0;
}

/* Takes from lines that other slots hold, or remember. */
static MBC_COLD bool from_others(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n,
				 struct mbc_got *got)
{
	uint32_t first = level == MB_BASE ? 0 : MBC_RING0;
	uint32_t last = level == MB_BASE ? MBC_RING0 : MBC_RING0 + MBC_RING1;

	for (uint32_t k = 0; k <= f->slots; k++) {
		struct mbc_slot *t = mbc_slot_at(f, k);
		uint64_t at;

		if (t == s || mbc_load32_relaxed(&t->state) != MBC_SLOT_OPEN)
			continue;
		at = mbc_load_seq(&t->at[level]);
		if (at != MBC_NONE && from_line(f, s, level, at / MBC_LINE_WORDS, n, got))
			return true;
		for (uint32_t e = first; e <= last; e++) {
			uint32_t L = e < last ? mbc_load32_relaxed(&t->ring[e]) : mbc_front_line(t, level);

			if (L && from_line(f, s, level, L - 1, n, got))
				return true;
		}
	}
	return false;
}

/* Level 2: lines are nobody's, at[] is where the slot found something last. */
static bool from_top(struct mb_frames *f, struct mbc_slot *s, unsigned n, struct mbc_got *got)
{
	uint64_t b;

	while (mbc_part_find(f, s, MB_GIANT, &b)) {
		struct mbc_ref r = mbc_ref_get(f, MB_GIANT, b * MBC_BLOCK_LINES);
		uint64_t part = mbc_load_seq(&r.block->part);
		/* slots begin at different words, so as not to fight for the same one: eight to a line, line by
		 * line */
		uint64_t own = (uint64_t)(s - mbc_slot_at(f, 0));
		unsigned turn = (unsigned)(own / MBC_LINE_WORDS %
					   mbc_min(f->lines[MB_GIANT] - b * MBC_BLOCK_LINES, MBC_BLOCK_LINES));
		uint64_t high = part & ~mbc_mask(0, turn);
		unsigned hand;

		if (!part) {
			mbc_part_forget(f, s, MB_GIANT, b);
			continue;
		}
		r = mbc_ref_at(r.block, MB_GIANT, b * MBC_BLOCK_LINES + mbc_lowest(high ? high : part));
		if (mbc_line_take(f, s, r, (unsigned)(own % MBC_LINE_WORDS), n, got)) {
			mbc_slot_aim(f, s, MB_GIANT, got->W, mbc_word_at(f, MB_GIANT, got->W));
			mbc_store_relaxed(&s->at[MB_GIANT], got->W);
			return true;
		}
		hand = mbc_hand(f, s, MB_GIANT, r.L);
		mbc_part_clear(f, r);
		/* seq: pairs with the free into an empty word, which sets its bit and then `part` */
		if (!mbc_line_is_empty(r))
			mbc_part_set(f, r);
		mbc_unhand(f, s, hand);
	}
	return false;
}

static int alloc_once(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	int rc = -MBC_ENOMEM;

	if (from_held(f, s, level, n, got))
		return 0;
	if (level == MB_GIANT)
		return from_top(f, s, n, got) ? 0 : -MBC_ENOMEM;
	if ((ring_has_some(s, level) && from_ring(f, s, level, n, got)) || from_part(f, s, level, n, got))
		return 0;
	rc = from_above(f, s, level, n, got);
	if (rc && from_others(f, s, level, n, got))
		return 0;
	return rc;
}

/* Gives up the lines below a level that slots hold and do not use, so that their frames can become whole. */
static void collect(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	for (unsigned l = 0; l < level; l++)
		for (uint32_t k = 0; k <= f->slots; k++) {
			struct mbc_slot *t = mbc_slot_at(f, k);

			/* in band a level-0 line of another slot may be in use this moment, in a block that
			 * would vanish */
			if (t == s ||
			    (mbc_load32_relaxed(&t->state) == MBC_SLOT_OPEN && !(f->in_band && l == 0)))
				mbc_slot_drop(f, s, t, l);
		}
	mbc_blocks_sweep(f, s);
}

static int alloc_patiently(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n,
			   struct mbc_got *got)
{
	int rc = alloc_once(f, s, level, n, got);

	for (unsigned tries = 0; rc == -MBC_EAGAIN && tries < 1000; tries++) {
		mbc_pause();
		rc = alloc_once(f, s, level, n, got);
	}
	return rc == -MBC_EAGAIN ? -MBC_ENOMEM : rc;
}

int mbc_find(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	int rc;

	if (level < f->lowest)
		return -MBC_EPERM;
	rc = alloc_once(f, s, level, n, got);
	if (!rc)
		return 0;
	if (level > f->lowest)
		collect(f, s, level);
	return alloc_patiently(f, s, level, n, got);
}
