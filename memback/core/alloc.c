/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - allocate one frame or a batch.
 *
 * The common path takes bits out of the word that the slot's at[] names. Then, in this order, so that memory
 * that is split stays in use and memory that is whole stays whole:
 *
 *   the other words of the line - the word in front of the ring, if no line is held - a line of the ring (the
 * one in front of it included) - a line that is nobody's - a larger frame, split - lines of other slots, taken
 * from without holding them
 *
 * Why a slot has no private store of frames, which plain stores could serve faster than a locked operation:
 * nobody else could take them back without its owner's help, so that free memory would be out of reach, ranges
 * could not be removed, and freeing twice what lies in a store would look right.
 *
 * At rest, fact 5 of line.h makes this complete; while others are between two steps, frames may be nobody's
 * for a moment, so it is done once more before -ENOMEM is said.
 */
#include "line.h"

#include "free.h"
#include "hint.h"
#include "inband.h"

/* A ring's line with few free frames is not worth holding: they are taken where they are. */
#define HOLD_WORTH 4u

/* Takes from the line that the slot holds, any word of it; gives up a line that has nothing left. */
static bool from_held(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
{
	uint64_t at = mbc_load_relaxed(&s->at[level]);

	if (at == MBC_NONE)
		return false;
	if (mbc_line_take(f, s, mbc_ref_sure(f, level, at / MBC_LINE_WORDS), at % MBC_LINE_WORDS, n, got)) {
		/* the next one finds this word at once; fails if the line was taken away from us meanwhile */
		if (got->W != at && mbc_cas_seq(&s->at[level], &at, got->W))
			mbc_slot_locate(f, s, level, mbc_word_at(f, level, got->W));
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

static bool from_ring(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got)
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
		r = mbc_pin(f, s, level, e - 1);
		if (r.block)
			ok = from_entry(f, s, r, n, got, &keep);
		mbc_unpin(f, s);
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
static bool from_others(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n,
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
			uint32_t L = mbc_load32_relaxed(e < last ? &t->ring[e] : &t->front[level]);

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
			mbc_store_relaxed(&s->at[MB_GIANT], got->W);
			mbc_slot_locate(f, s, MB_GIANT, mbc_word_at(f, MB_GIANT, got->W));
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
	if (from_ring(f, s, level, n, got) || from_part(f, s, level, n, got))
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

/* What the common path could not do. */
static MBC_COLD int alloc_slow(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n,
			       struct mbc_got *got)
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

static MBC_COLD int alloc_one_slow(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	struct mbc_got got;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if (level >= MB_LEVELS)
		return -MBC_EINVAL;
	rc = alloc_slow(f, s, level, 1, &got);
	if (!rc)
		out->n = (got.W * MBC_WORD_BITS + mbc_lowest(got.mask)) << (MB_LEVEL_SHIFT * level);
	return rc;
}

/* The word that at[] names, or one without frames where its place is not known, as in a slot never opened. */
static MBC_INLINE mbc_a64 *held_word(const struct mb_frames *f, const struct mbc_slot *s, unsigned level)
{
	return (mbc_a64 *)((uintptr_t)&f->nowhere +
			   (uint64_t)mbc_load32_relaxed(&s->where[level]) * sizeof(mbc_a64));
}

/*
 * The word that at[] names is empty, or somebody was faster: goes on to the next one of the line that has
 * something. Levels 0 and 1, and mostly the same as from_held(); of its own because it is due every 64 frames.
 */
static MBC_COLD int alloc_next(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint64_t at = mbc_load_relaxed(&s->at[level]);
	mbc_a64 *word = held_word(f, s, level);

	if (!mbc_slot_is_open(f, slot) || at == MBC_NONE || word == &f->nowhere || level == MB_GIANT)
		return alloc_one_slow(f, slot, level, out);
	for (unsigned k = 0; at % MBC_LINE_WORDS + k < MBC_LINE_WORDS; k++) {
		uint64_t v = mbc_load_relaxed(word + k);

		while (v)
			if (mbc_cas_acquire(word + k, &v, v & (v - 1))) {
				uint64_t next = at + k;

				out->n = (next * MBC_WORD_BITS + mbc_lowest(v)) << (MB_LEVEL_SHIFT * level);
				/* fails if the line was taken away from us meanwhile */
				if (k && mbc_cas_seq(&s->at[level], &at, next))
					mbc_store32_relaxed(&s->where[level],
							    mbc_load32_relaxed(&s->where[level]) + k);
				return 0;
			}
	}
	return alloc_one_slow(f, slot, level, out);
}

/* The frame of the lowest bit of a word, given the word's address. Out of band. */
static MBC_INLINE uint64_t frame_at(const struct mb_frames *f, unsigned level, const mbc_a64 *word, uint64_t v)
{
	uint64_t off = (uintptr_t)word - (uintptr_t)f - f->off_block[level];
	uint64_t W =
	    off / sizeof(mbc_a64) - (off / MBC_PAGE + 1) * (2 * sizeof(struct mbc_line) / sizeof(mbc_a64));

	return (W * MBC_WORD_BITS + mbc_lowest(v)) << (MB_LEVEL_SHIFT * level);
}

/*
 * No line is held. The one that full memory lives on: a frame came back into a word of which nothing else is
 * free, and is taken again where it is. All else goes the long way.
 *
 * Fact 1: front and back speak of one word, which was empty when it was put there. Whoever frees into it while
 * it is not empty relies on us, and his bit is seen here, or else his CAS finds the word empty after ours and
 * he remembers it himself. The line's other words are remembered by others, as they were before.
 */
static MBC_COLD int alloc_back(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint32_t back = level < MB_GIANT ? mbc_load32_relaxed(&s->back[level]) : 0;
	mbc_a64 *word = &f->nowhere + back;
	struct mbc_block *block;
	uint64_t v, off;
	unsigned i;

	if (!back || mbc_load32_relaxed(&s->state) != MBC_SLOT_OPEN)
		return alloc_one_slow(f, slot, level, out);
	off = (uintptr_t)word - (uintptr_t)f;
	/* blocks are pages, and their headers are two lines */
	block = (struct mbc_block *)mbc_at(f, off & ~(uint64_t)(MBC_PAGE - 1));
	i = (unsigned)(off % MBC_PAGE / sizeof(struct mbc_line)) - 2;
	v = mbc_load_relaxed(word);
	/* as in from_entry(): a hint, so look whether the line is still one of ours */
	if (!v || (v & (v - 1)) || !((mbc_load_seq(&block->split) & ~mbc_load_seq(&block->drain)) >> i & 1) ||
	    /* if it is published, the long way sees to that: fact 2 of hint.h */
	    (mbc_load_relaxed(&block->part) >> i & 1) || !mbc_cas_acquire(word, &v, 0))
		return alloc_one_slow(f, slot, level, out);
	mbc_store32_relaxed(&s->back[level], 0);
	mbc_store32_relaxed(&s->front[level], 0);
	out->n = frame_at(f, level, word, v);
	return 0;
}

/* The common path: a bit of the word that at[] names. A slot that is closed names none. */
static MBC_INLINE int alloc_one(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint64_t at, v;
	mbc_a64 *word;

	if (MBC_SELDOM(slot.n >= f->slots))
		return alloc_one_slow(f, slot, level, out);
	at = mbc_load_relaxed(&s->at[level]);
	if (MBC_SELDOM(at == MBC_NONE))
		return alloc_back(f, slot, level, out);
	word = held_word(f, s, level);
	v = mbc_load_relaxed(word);
	/* acquire: pairs with the free that set the bit */
	if (MBC_SELDOM(!v) || MBC_SELDOM(!mbc_cas_acquire(word, &v, v & (v - 1))))
		return alloc_next(f, slot, level, out);
	out->n = (at * MBC_WORD_BITS + mbc_lowest(v)) << (MB_LEVEL_SHIFT * level);
	return 0;
}

int mb_frame_alloc(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame *out)
{
	if (MBC_OFTEN(level == MB_BASE))
		return alloc_one(f, slot, MB_BASE, out);
	/* with owners an intent comes first */
	if ((unsigned)level >= MB_LEVELS || mbc_owned_pool(f))
		return alloc_one_slow(f, slot, level, out);
	return alloc_one(f, slot, level, out);
}

/* Writes out the lowest n bits of v as frames of word W; returns what is left of v. */
static MBC_INLINE uint64_t write_out(uint64_t v, uint64_t W, unsigned shift, mb_frame *out, unsigned n)
{
	unsigned first = mbc_lowest(v);
	uint64_t x = (W * MBC_WORD_BITS + first) << shift, run = v >> first;

	/* mostly they are neighbours */
	if ((run & mbc_mask(0, n)) == mbc_mask(0, n)) {
		for (unsigned k = 0; k < n; k++)
			out[k].n = x + ((uint64_t)k << shift);
		return v & ~(mbc_mask(0, n) << first);
	}
	for (unsigned k = 0; k < n; k++, v &= v - 1)
		out[k].n = (W * MBC_WORD_BITS + mbc_lowest(v)) << shift;
	return v;
}

/* As many as there are in the word that at[] names. */
static unsigned batch_held(struct mb_frames *f, struct mbc_slot *s, unsigned level, mb_frame *out,
			   unsigned count)
{
	uint64_t at = mbc_load_relaxed(&s->at[level]), v, rest;
	mbc_a64 *word;
	unsigned n;

	if (at == MBC_NONE)
		return 0;
	word = held_word(f, s, level);
	v = mbc_load_relaxed(word);
	do {
		if (!v)
			return 0;
		n = mbc_popcount(v);
		n = n < count ? n : count;
		rest = write_out(v, at, MB_LEVEL_SHIFT * level, out, n);
		/* acquire: pairs with the frees that set the bits */
	} while (!mbc_cas_acquire(word, &v, rest));
	return n;
}

/* In a pool with owners: as many as one word gives. */
static MBC_COLD int batch_intended(struct mb_frames *f, struct mbc_slot *s, unsigned level, mb_frame *out,
				   unsigned count)
{
	struct mbc_got got;
	int rc = alloc_slow(f, s, level, count, &got);
	unsigned n = mbc_popcount(got.mask);

	if (rc)
		return rc;
	write_out(got.mask, got.W, MB_LEVEL_SHIFT * level, out, n);
	return (int)n;
}

int mb_frame_alloc_batch(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame *out, unsigned count)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	unsigned shift = MB_LEVEL_SHIFT * (unsigned)level, done = 0;

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || !count || count > INT32_MAX)
		return -MBC_EINVAL;
	/* with owners an intent comes first, and it names one word */
	if (mbc_owned_pool(f))
		return batch_intended(f, s, level, out, count);
	while (done < count) {
		unsigned n = batch_held(f, s, level, out + done, count - done);
		struct mbc_got got;
		int rc;

		done += n;
		if (n)
			continue;
		rc = alloc_slow(f, s, level, count - done, &got);
		if (rc)
			return done ? (int)done : rc;
		for (uint64_t m = got.mask; m; m &= m - 1)
			out[done++].n = (got.W * MBC_WORD_BITS + mbc_lowest(m)) << shift;
	}
	return (int)done;
}
