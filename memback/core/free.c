/* SPDX-License-Identifier: MIT */
/*
 * free.c - free one frame or a batch.
 *
 * The common path reads `split` and `special` of the line together and sets the bits by CAS. The old word
 * tells a double free; a word that was empty makes the line remembered, one that is full now makes us look
 * whether the line can be merged.
 */
#include "free.h"

#include "drain.h"
#include "holes.h"
#include "state.h"

/* What a free has to do now and then: v is the word before, now the word after. */
static void tail(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, uint64_t v, uint64_t now)
{
	/* our own line needs neither remembering nor merging; at level 2 at[] is a hint, and nobody's */
	if (r.level != MB_GIANT && mbc_load_relaxed(&s->at[r.level]) / MBC_LINE_WORDS == r.L)
		return;
	r = mbc_pin(f, s, r.level, r.L);
	if (!r.block)
		return;
	if (r.level == MB_GIANT) {
		if (v == 0)
			mbc_remember(f, s, r.level, r.L);
	} else if (!(now == MBC_FULL && mbc_line_is_full(f, r) && mbc_merge(f, s, r))) {
		/* seq, after the CAS: fact 5 of line.h */
		if (v == 0 && !mbc_has(&r.block->held, r.bit))
			mbc_remember(f, s, r.level, r.L);
	}
	mbc_unpin(f, s);
}

void mbc_free_own_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_ref_get(f, level, W / MBC_LINE_WORDS);
	mbc_a64 *word = &r.line->word[W % MBC_LINE_WORDS];
	uint64_t v = mbc_load_relaxed(word);

	while (!mbc_cas_seq(word, &v, v | mask))
		;
	tail(f, s, r, v, v | mask);
	mbc_settle_free(f, s, level, W);
}

void mbc_free_own(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	mbc_free_own_mask(f, s, level, X / MBC_WORD_BITS, mbc_bit(X));
}

/* A frame whose line is not plain, or that looks wrong: find out what it is. */
static int free_odd(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	int rc;

	if (level < f->lowest)
		return -MBC_EPERM;
	rc = mbc_check_used(f, level, X);
	if (rc)
		return rc;
	if (level > 0)
		mbc_holes_clear(f, s, level, X);
	mbc_free_own(f, s, level, X);
	return 0;
}

/* Frees the frames of a mask in word W of a level; all of them or none (then: why not). */
static inline int free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_ref_get(f, level, W / MBC_LINE_WORDS);
	mbc_a64 *word;
	uint64_t v;

	/* relaxed: the frame is the caller's, so its line is split since before the caller got it */
	if (!r.block || !(mbc_load_relaxed(&r.block->split) & ~mbc_load_relaxed(&r.block->special) & r.bit))
		return -MBC_EAGAIN;
	word = &r.line->word[W % MBC_LINE_WORDS];
	v = mbc_load_relaxed(word);
	do {
		if (v & mask)
			return -MBC_EALREADY;
		/* seq: publishes what was done in the frame, and comes before the looks at `held` and `special`
		 */
	} while (!mbc_cas_seq(word, &v, v | mask));
	if (v == 0 || (v | mask) == MBC_FULL)
		tail(f, s, r, v, v | mask);
	/* seq: either whoever drains sees our bit, or we see that it drains */
	if (mbc_load_seq(&r.block->special) & r.bit)
		mbc_settle_free(f, s, level, W);
	return 0;
}

/* Is a frame of a level above the base split, so that it is not one that was allocated whole? */
static inline bool child_is_split(const struct mb_frames *f, unsigned level, uint64_t X)
{
	uint64_t begun;
	bool split;

	if (level == 0)
		return false;
	do {
		begun = mbc_look_begin(f);
		split = mbc_is_split(mbc_ref_get(f, level - 1, X));
	} while (mbc_look_again(f, begun));
	return split;
}

int mb_frame_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	unsigned shift = MB_LEVEL_SHIFT * (unsigned)level;
	uint64_t X;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS)
		return -MBC_EINVAL;
	X = frame.n >> shift;
	if (X << shift != frame.n)
		return -MBC_EINVAL;
	if (frame.n >= f->capacity)
		return -MBC_ERANGE;
	if ((unsigned)level < f->lowest || child_is_split(f, level, X))
		return free_odd(f, s, level, X);
	rc = free_mask(f, s, level, X / MBC_WORD_BITS, mbc_bit(X));
	return rc == -MBC_EAGAIN ? free_odd(f, s, level, X) : rc;
}

/* How many of the frames follow one another upwards in the word of the first; *mask: their bits. */
static unsigned gather(const struct mb_frames *f, unsigned level, const mb_frame *frames, unsigned count,
		       uint64_t *mask)
{
	unsigned shift = MB_LEVEL_SHIFT * level, n = 0;
	uint64_t low = (UINT64_C(1) << shift) - 1;
	uint64_t W = frames[0].n >> shift >> 6, m = 0;

	while (n < count) {
		uint64_t x = frames[n].n;
		uint64_t bit = mbc_bit(x >> shift);

		if (x >> shift >> 6 != W || (x & low) || bit <= m || x >= f->capacity)
			break;
		m |= bit;
		n++;
	}
	*mask = m;
	return n;
}

int mb_frame_free_batch(struct mb_frames *f, mb_slot slot, enum mb_level level, const mb_frame *frames,
			unsigned count)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	unsigned done = 0;

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || !count || count > INT32_MAX)
		return -MBC_EINVAL;
	while (done < count) {
		uint64_t mask, W = frames[done].n >> (MB_LEVEL_SHIFT * (unsigned)level) >> 6;
		unsigned n = level == f->lowest && level == MB_BASE
				 ? gather(f, level, frames + done, count - done, &mask)
				 : 0;
		int rc;

		if (n > 1 && free_mask(f, s, level, W, mask) == 0) {
			done += n;
			continue;
		}
		/* one by one: to find the bad one, or because their line is not plain */
		rc = mb_frame_free(f, slot, level, frames[done]);
		if (rc)
			return done ? (int)done : rc;
		done++;
	}
	return (int)done;
}
