/* SPDX-License-Identifier: MIT */
/*
 * take.c - take this very frame.
 *
 * Facts, beside those of line.h:
 *
 *  1. A mask is taken whole or not at all: one CAS on one word (fact 1 of line.h).
 *  2. Where the frame lies in a larger one that is free, that one is taken first, level by level from above: the
 *     thread owns all of it, splits it (fact 3 of line.h), and takes the frame as anybody would. Somebody may be
 *     quicker: then it is busy, and what was split stays usable by all.
 *  3. A frame that is free in pieces only is gathered: lines that slots hold are taken away, and merge when they are
 *     left. What is in use stays so, and the answer is then busy.
 */
#include "take.h"

#include "free.h"
#include "hint.h"
#include "point.h"
#include "state.h"

/* Clears the bits, all of them or none. */
static bool take_bits(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, uint64_t W, uint64_t mask)
{
	mbc_a64 *word = &r.line->word[W % MBC_LINE_WORDS];
	uint64_t v = mbc_load_relaxed(word);

	if ((v & mask) != mask)
		return false;
	mbc_intend_got(f, s, r.level, W, mask);
	while ((v & mask) == mask)
		/* pairs with the free that set the bits; seq: after the intent */
		if (mbc_cas_seq(word, &v, v & ~mask))
			return true;
	mbc_intend_none(f, s);
	return false;
}

static int from_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_pin(f, s, level, W / MBC_LINE_WORDS);
	int rc = -MBC_ENOENT;

	if (!r.block)
		return rc;
	if (mbc_is_split(r) && !mbc_has(&r.block->owned, r.bit)) {
		bool leaving = mbc_has(&r.block->drain, r.bit);

		rc = !leaving && take_bits(f, s, r, W, mask) ? 0 : -MBC_EBUSY;
		if (!rc)
			mbc_part_tidy(f, s, r);
	}
	mbc_unpin(f, s);
	return rc;
}

/* All of a line's frames may be free and the line not merged, since a slot holds it. */
static bool gather(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	struct mbc_ref r;
	bool done;

	mbc_slots_drop_line(f, s, level, L);
	if (level == MB_HUGE)
		for (uint64_t n = 0; n < MBC_LINE_FRAMES && L * MBC_LINE_FRAMES + n < f->lines[0]; n++)
			if (!mbc_owned_pool(f) &&
			    mbc_is_split(mbc_ref_get(f, MB_BASE, L * MBC_LINE_FRAMES + n)))
				gather(f, s, MB_BASE, L * MBC_LINE_FRAMES + n);
	r = mbc_pin(f, s, level, L);
	if (!r.block)
		return true;
	done = !mbc_is_split(r) || (mbc_line_is_full(f, r) && mbc_merge(f, s, r));
	mbc_unpin(f, s);
	return done;
}

/* Takes the frame above, and splits it so that the wanted bits stay the caller's. */
static int from_above(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask,
		      uint64_t home)
{
	uint64_t L = W / MBC_LINE_WORDS;
	struct mbc_got got;
	int rc = mbc_take(f, s, level + 1, L / MBC_WORD_BITS, mbc_bit(L), home);

	if (rc)
		return rc;
	if (mbc_point(MBC_POINT_TAKE_SPLIT) || mbc_split(f, s, level, L, 0, home, &got)) {
		/* the rollback: the frame above goes back whole */
		mbc_free_own(f, s, level + 1, L);
		mbc_intend_none(f, s);
		return -MBC_EBUSY;
	}
	return from_line(f, s, level, W, mask);
}

int mbc_take(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask, uint64_t home)
{
	int rc = from_line(f, s, level, W, mask);

	if (rc == -MBC_ENOENT && level < MB_GIANT)
		rc = from_above(f, s, level, W, mask, home);
	return rc == -MBC_ENOENT ? -MBC_EBUSY : rc;
}

int mbc_take_frame(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	/* in band, a block that has to come shall not lie in the very frame that is wanted */
	uint64_t home = X % MBC_LINE_FRAMES ? X - X % MBC_LINE_FRAMES : X + 1;
	int rc = mbc_take(f, s, level, X / MBC_WORD_BITS, mbc_bit(X), home);

	if (rc == -MBC_EBUSY && level > f->lowest && mbc_is_split(mbc_ref_get(f, level - 1, X)) &&
	    gather(f, s, level - 1, X))
		rc = mbc_take(f, s, level, X / MBC_WORD_BITS, mbc_bit(X), home);
	return rc;
}

int mb_frame_take(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	unsigned shift = MB_LEVEL_SHIFT * (unsigned)level;
	uint64_t X;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || frame.n & (mb_level_frames(level) - 1))
		return -MBC_EINVAL;
	if ((unsigned)level < f->lowest)
		return -MBC_EPERM;
	if (frame.n >= f->capacity)
		return -MBC_ERANGE;
	X = frame.n >> shift;
	rc = mbc_check_used(f, level, X);
	if (rc == -MBC_ENXIO)
		return rc;
	return mbc_take_frame(f, s, level, X);
}
