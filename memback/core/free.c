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
static MBC_COLD void tail(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, uint64_t v,
			  uint64_t now)
{
	struct mbc_ref r = mbc_pin(f, s, level, L);

	if (!r.block)
		return;
	if (level == MB_GIANT) {
		if (v == 0)
			mbc_remember(f, s, level, L);
	} else if (!(now == MBC_FULL && mbc_line_is_full(f, r) && mbc_merge(f, s, r))) {
		/* seq, after the CAS: fact 5 of line.h */
		if (v == 0 && !mbc_has(&r.block->held, r.bit))
			mbc_remember(f, s, level, L);
	}
	mbc_unpin(f, s);
}

/* Is a look at the line due? Our own needs none; at level 2 at[] is a hint, and the line nobody's. */
static inline bool tail_is_due(const struct mbc_slot *s, unsigned level, uint64_t L, uint64_t v, uint64_t now)
{
	return (v == 0 || now == MBC_FULL) &&
	       (level == MB_GIANT || mbc_load_relaxed(&s->at[level]) / MBC_LINE_WORDS != L);
}

void mbc_free_own_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_ref_sure(f, level, W / MBC_LINE_WORDS);
	mbc_a64 *word = &r.line->word[W % MBC_LINE_WORDS];
	uint64_t v = mbc_load_relaxed(word);

	while (!mbc_cas_seq(word, &v, v | mask))
		;
	if (tail_is_due(s, level, r.L, v, v | mask))
		tail(f, s, level, r.L, v, v | mask);
	mbc_settle_free(f, s, level, W);
}

void mbc_free_own(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	mbc_free_own_mask(f, s, level, X / MBC_WORD_BITS, mbc_bit(X));
}

/* Is a frame of a level above the base split, so that it is not one that was allocated whole? */
static inline bool child_is_split(const struct mb_frames *f, unsigned level, uint64_t X)
{
	uint64_t begun;
	bool split;

	do {
		begun = mbc_look_begin(f);
		split = mbc_is_split(mbc_ref_get(f, level - 1, X));
	} while (mbc_look_again(f, begun));
	return split;
}

/* A frame whose line is not plain, or that looks wrong: find out what it is. */
static MBC_COLD int free_odd(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t frame)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	uint64_t X;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if (level >= MB_LEVELS || frame & (mb_level_frames((enum mb_level)level) - 1))
		return -MBC_EINVAL;
	if (frame >= f->capacity)
		return -MBC_ERANGE;
	if (level < f->lowest)
		return -MBC_EPERM;
	X = frame >> (MB_LEVEL_SHIFT * level);
	rc = mbc_check_used(f, level, X);
	if (rc)
		return rc;
	if (level > 0)
		mbc_holes_clear(f, s, level, X);
	mbc_free_own(f, s, level, X);
	return 0;
}

/* What follows a free now and then; a function of its own, so that the common path needs no stack for it. */
static MBC_COLD int free_after(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t v,
			       uint64_t now)
{
	uint64_t L = W / MBC_LINE_WORDS;

	if (tail_is_due(s, level, L, v, now))
		tail(f, s, level, L, v, now);
	mbc_settle_free(f, s, level, W);
	return 0;
}

enum { AFTER = 1 }; /* freed, and free_after() is due */

/*
 * The common path: frees the frames of a mask in word W of a level, all of them or none; *was: the word before.
 * -EAGAIN: their line is not plain; -EALREADY: one of them is free.
 */
static MBC_INLINE int free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W,
				uint64_t mask, bool in_band, uint64_t *was)
{
	uint64_t L = W / MBC_LINE_WORDS, b = mbc_block_of(L), v;
	unsigned i = (unsigned)(L - b * MBC_BLOCK_LINES);
	struct mbc_block *block;
	mbc_a64 *word;

	if (in_band)
		block = mbc_block_at(f, level, b);
	else
		block = (struct mbc_block *)mbc_at(f, f->off_block[level] + b * MBC_PAGE);
	/* relaxed: the frame is the caller's, so its line is split since before the caller got it */
	if ((in_band && !block) ||
	    !((mbc_load_relaxed(&block->split) & ~mbc_load_relaxed(&block->special)) >> i & 1))
		return -MBC_EAGAIN;
	word = &block->line[i].word[W % MBC_LINE_WORDS];
	v = mbc_load_relaxed(word);
	do {
		if (v & mask)
			return -MBC_EALREADY;
		/* seq: publishes what was done in the frame, and comes before the looks at `held` and `special`
		 */
	} while (!mbc_cas_seq(word, &v, v | mask));
	*was = v;
	/* seq: either whoever drains sees our bit, or we see that it drains */
	if ((mbc_load_seq(&block->special) >> i & 1) || tail_is_due(s, level, L, v, v | mask))
		return AFTER;
	return 0;
}

/* One frame; calls come last, so that the common path needs no stack. */
static MBC_INLINE int free_one(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t X, bool in_band)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint64_t was;
	int rc;

	if (!mbc_slot_is_open(f, slot))
		return -MBC_EBADF;
	rc = free_mask(f, s, level, X / MBC_WORD_BITS, mbc_bit(X), in_band, &was);
	if (!rc)
		return 0;
	if (rc == AFTER)
		return free_after(f, s, level, X / MBC_WORD_BITS, was, was | mbc_bit(X));
	return free_odd(f, slot, level, X << (MB_LEVEL_SHIFT * level));
}

/* A base frame in band, where the block has to be looked up. */
static __attribute__((noinline)) int free_in_band(struct mb_frames *f, mb_slot slot, uint64_t X)
{
	return free_one(f, slot, MB_BASE, X, true);
}

static __attribute__((noinline)) int free_large(struct mb_frames *f, mb_slot slot, unsigned level,
						uint64_t frame)
{
	uint64_t X = frame >> (MB_LEVEL_SHIFT * level);

	if (X << (MB_LEVEL_SHIFT * level) != frame || frame >= f->capacity || child_is_split(f, level, X))
		return free_odd(f, slot, level, frame);
	return free_one(f, slot, level, X, false);
}

static MBC_INLINE int free_base(struct mb_frames *f, mb_slot slot, uint64_t X)
{
	if (X >= f->capacity || f->lowest != MB_BASE)
		return free_odd(f, slot, MB_BASE, X);
	if (f->in_band)
		return free_in_band(f, slot, X);
	return free_one(f, slot, MB_BASE, X, false);
}

int mb_frame_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	if (level == MB_BASE)
		return free_base(f, slot, frame.n);
	if ((unsigned)level >= MB_LEVELS)
		return free_odd(f, slot, level, frame.n);
	return free_large(f, slot, level, frame.n);
}

/* How many base frames follow one another upwards in the word of the first; *mask: their bits. */
static MBC_INLINE unsigned gather(const mb_frame *frames, unsigned count, uint64_t *mask)
{
	uint64_t first = frames[0].n, word = first & ~(uint64_t)(MBC_WORD_BITS - 1), m;
	unsigned room = (unsigned)(MBC_WORD_BITS - first % MBC_WORD_BITS), n = 1;

	/* mostly they are neighbours */
	room = room < count ? room : count;
	while (n < room && frames[n].n == first + n)
		n++;
	m = mbc_mask((unsigned)(first % MBC_WORD_BITS), n);
	while (n < count) {
		uint64_t x = frames[n].n - word;

		/* not in this word, or not upwards: twice the same must not become one bit */
		if (x >= MBC_WORD_BITS || m >> x)
			break;
		m |= UINT64_C(1) << x;
		n++;
	}
	*mask = m;
	return n;
}

int mb_frame_free_batch(struct mb_frames *f, mb_slot slot, enum mb_level level, const mb_frame *frames,
			unsigned count)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	bool groups = level == MB_BASE && f->lowest == MB_BASE;
	unsigned done = 0;

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || !count || count > INT32_MAX)
		return -MBC_EINVAL;
	while (done < count) {
		uint64_t mask, was, first = frames[done].n;
		unsigned n = groups ? gather(frames + done, count - done, &mask) : 0;
		int rc;

		if (n > 1 && first < f->capacity && f->capacity - first > frames[done + n - 1].n - first) {
			rc = free_mask(f, s, MB_BASE, first / MBC_WORD_BITS, mask, f->in_band, &was);
			if (rc == AFTER)
				rc = free_after(f, s, MB_BASE, first / MBC_WORD_BITS, was, was | mask);
			if (!rc) {
				done += n;
				continue;
			}
		}
		/* one by one: to find the bad one, or because their line is not plain */
		rc = mb_frame_free(f, slot, level, frames[done]);
		if (rc)
			return done ? (int)done : rc;
		done++;
	}
	return (int)done;
}
