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

/* Is a frame of a level above the base split, or are there holes in it: is it not one that was allocated whole
 * and stayed so? */
static inline bool child_is_split(const struct mb_frames *f, unsigned level, uint64_t X)
{
	uint64_t begun;
	struct mbc_ref r;
	bool split;

	do {
		begun = mbc_look_begin(f);
		r = mbc_ref_get(f, level - 1, X);
		split = mbc_is_split(r) || (r.block && mbc_has(&r.block->gone, r.bit));
	} while (mbc_look_again(f, begun));
	return split;
}

/* A frame whose line is not plain, or that looks wrong: find out what it is. */
static MBC_COLD int free_odd(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t frame)
{
	bool retire;
	uint64_t X;
	int rc;

	if (frame & (mb_level_frames((enum mb_level)level) - 1))
		return -MBC_EINVAL;
	if (frame >= f->capacity)
		return -MBC_ERANGE;
	if (level < f->lowest)
		return -MBC_EPERM;
	X = frame >> (MB_LEVEL_SHIFT * level);
	rc = mbc_check_used(f, level, X);
	if (rc)
		return rc;
	retire = mbc_intend_free(f, s, level, X);
	if (level > 0)
		mbc_holes_clear(f, level, X);
	mbc_free_own(f, s, level, X);
	if (retire)
		mbc_intend_none(f, s);
	return 0;
}

/*
 * A frame came back into an empty word of a line that nobody holds: what full memory lives on. Puts the line in
 * front of the ring, and its word beside it, for alloc_back(). Out of band. False: it is held, or not plain.
 */
static MBC_INLINE bool remember_word(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	uint64_t L = X / MBC_LINE_FRAMES, b = mbc_block_of(L);
	struct mbc_block *block = (struct mbc_block *)mbc_at(f, f->off_block[level] + b * MBC_PAGE);
	uintptr_t word = (uintptr_t)block + 2 * sizeof(struct mbc_line) +
			 (X / MBC_WORD_BITS - b * (MBC_BLOCK_LINES * MBC_LINE_WORDS)) * sizeof(mbc_a64);
	uint32_t front = mbc_load32_relaxed(&s->front[level]);

	/* seq, both, after the CAS: drain.h, and fact 5 of line.h */
	if ((mbc_load_seq(&block->special) | mbc_load_seq(&block->held)) >> (L + 2 * b) % MBC_WORD_BITS & 1)
		return false;
	if (front == (uint32_t)L + 1) {
		mbc_store32_relaxed(&s->back[level], 0);
		return true;
	}
	if (front)
		mbc_front_to_ring(f, s, level);
	mbc_store32_relaxed(&s->front[level], (uint32_t)L + 1);
	mbc_store32_relaxed(&s->back[level], (uint32_t)((word - (uintptr_t)&f->nowhere) / sizeof(mbc_a64)));
	return true;
}

/*
 * What follows a free now and then. A function of its own, called last, so that the common path needs no stack.
 * X: a frame of the word that was freed into, v and now: the word before and after.
 */
static MBC_COLD int free_after(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X, uint64_t v,
			       uint64_t now)
{
	if (v == 0 && now != MBC_FULL && level < MB_GIANT && !f->in_band && remember_word(f, s, level, X))
		return 0;
	if (tail_is_due(s, level, X / MBC_LINE_FRAMES, v, now))
		tail(f, s, level, X / MBC_LINE_FRAMES, v, now);
	if (f->in_band || mbc_leaves_perhaps(f, level, X))
		mbc_settle_free(f, s, level, X / MBC_WORD_BITS);
	return 0;
}

/*
 * The common path: frees the frames of a mask in the word of frame X of a level, all of them or none. Where
 * the line is not plain or one of them is free: odd, or free_odd() if that is 0.
 */
static MBC_INLINE int free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X,
				uint64_t mask, struct mbc_block *block, int odd)
{
	uint64_t b = mbc_block_of(X / MBC_LINE_FRAMES), v;
	unsigned i = (unsigned)(X / MBC_LINE_FRAMES - b * MBC_BLOCK_LINES);
	mbc_a64 *word = &block->line[0].word[0] + (X / MBC_WORD_BITS - b * (MBC_BLOCK_LINES * MBC_LINE_WORDS));

	/* relaxed: the frame is the caller's, so its line is split since before the caller got it */
	if (!((mbc_load_relaxed(&block->split) & ~mbc_load_relaxed(&block->special)) >> i & 1))
		return odd ? odd : free_odd(f, s, level, X << (MB_LEVEL_SHIFT * level));
	v = mbc_load_relaxed(word);
	do {
		if (v & mask)
			return odd ? odd : free_odd(f, s, level, X << (MB_LEVEL_SHIFT * level));
		/* seq: publishes what was done in the frame, and comes before the looks at `held` and `special`
		 */
	} while (!mbc_cas_seq(word, &v, v | mask));
	/* seq: either whoever drains sees our bit, or we see that it drains */
	if ((mbc_load_seq(&block->special) >> i & 1) || tail_is_due(s, level, X / MBC_LINE_FRAMES, v, v | mask))
		return free_after(f, s, level, X, v, v | mask);
	return 0;
}

/* A frame of a pool or level where something has to be looked up first. */
static MBC_COLD int free_other(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t frame)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	struct mbc_block *block;
	uint64_t X;

	if (!s)
		return -MBC_EBADF;
	if (level >= MB_LEVELS)
		return -MBC_EINVAL;
	X = frame >> (MB_LEVEL_SHIFT * level);
	if (f->lowest || X << (MB_LEVEL_SHIFT * level) != frame || frame >= f->capacity ||
	    (level > 0 && child_is_split(f, level, X)))
		return free_odd(f, s, level, frame);
	block = mbc_block_at(f, level, mbc_block_of(X / MBC_LINE_FRAMES));
	if (mbc_by_directory(f, level) && !block)
		return free_odd(f, s, level, frame);
	return free_mask(f, s, level, X, mbc_bit(X), block, 0);
}

/* What all base frames of a pool without owners and out of band have in common. */
static MBC_INLINE bool is_common(const struct mb_frames *f, mb_slot slot, uint64_t X)
{
	return X < f->base_end && mbc_slot_is_open(f, slot);
}

static inline struct mbc_block *common_block(const struct mb_frames *f, uint64_t X)
{
	return (struct mbc_block *)mbc_at(f, f->off_block[0] + mbc_block_of(X / MBC_LINE_FRAMES) * MBC_PAGE);
}

/* The compare-and-swap failed, or the look at the frame says that it is odd: the general way. */
static MBC_COLD int free_again(struct mb_frames *f, mb_slot slot, uint64_t X)
{
	return free_mask(f, mbc_slot_at(f, slot.n), MB_BASE, X, mbc_bit(X), common_block(f, X), 0);
}

/* What follows a free into a word that was empty or became full: in the slot's own line, nothing. */
static MBC_COLD int free_edge(struct mb_frames *f, mb_slot slot, uint64_t X, uint64_t v)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);

	/* one bit does not make a word full */
	if (v == 0 && remember_word(f, s, MB_BASE, X))
		return 0;
	if (mbc_load_relaxed(&s->at[MB_BASE]) / MBC_LINE_WORDS == X / MBC_LINE_FRAMES &&
	    !mbc_leaves_perhaps(f, MB_BASE, X))
		return 0;
	return free_after(f, s, MB_BASE, X, v, v | mbc_bit(X));
}

/* free_mask() for one base frame, as short as it can be. */
static MBC_INLINE int free_common(struct mb_frames *f, mb_slot slot, uint64_t X)
{
	uint64_t L = X / MBC_LINE_FRAMES, b = mbc_block_of(L), v, now;
	uintptr_t base = (uintptr_t)f + f->off_block[0];
	struct mbc_block *block = (struct mbc_block *)(base + b * MBC_PAGE);
	/* each block has 62 lines and room for 64: so many bytes of lines, and two more for each header */
	mbc_a64 *word =
	    (mbc_a64 *)(base + (b + 1) * 2 * sizeof(struct mbc_line) + X / MBC_WORD_BITS * sizeof(mbc_a64));
	/* the line in its block: 62 is -2, modulo 64 */
	unsigned i = (unsigned)(L + 2 * b) % MBC_WORD_BITS;

	/* relaxed: the frame is the caller's, so its line is split since before the caller got it */
	if (MBC_SELDOM(!((mbc_load_relaxed(&block->split) & ~mbc_load_relaxed(&block->special)) >> i & 1)))
		return free_again(f, slot, X);
	v = mbc_load_relaxed(word);
	now = v | mbc_bit(X);
	/* seq: publishes what was done in the frame, and comes before the looks at `held` and `special` */
	if (MBC_SELDOM(v >> (X % MBC_WORD_BITS) & 1) || MBC_SELDOM(!mbc_cas_seq(word, &v, now)))
		return free_again(f, slot, X);
	/* seq: either whoever drains sees our bit, or we see that it drains */
	if (MBC_SELDOM(mbc_load_seq(&block->special) >> i & 1) || MBC_SELDOM(v == 0) ||
	    MBC_SELDOM(now == MBC_FULL))
		return free_edge(f, slot, X, v);
	return 0;
}

int mb_frame_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	if (MBC_SELDOM(level != MB_BASE) || MBC_SELDOM(!is_common(f, slot, frame.n)))
		return free_other(f, slot, level, frame.n);
	return free_common(f, slot, frame.n);
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

/* The frames of a batch that lie in one word; how many were freed, 0: try them one by one. */
static MBC_INLINE unsigned free_group(struct mb_frames *f, mb_slot slot, const mb_frame *frames, unsigned count)
{
	uint64_t mask;
	unsigned n = gather(frames, count, &mask);

	/* they ascend: the last one is the highest */
	if (n < 2 || !is_common(f, slot, frames[n - 1].n) ||
	    free_mask(f, mbc_slot_at(f, slot.n), MB_BASE, frames[0].n, mask, common_block(f, frames[0].n), -1))
		return 0;
	return n;
}

int mb_frame_free_batch(struct mb_frames *f, mb_slot slot, enum mb_level level, const mb_frame *frames,
			unsigned count)
{
	unsigned done = 0;

	if (!mbc_slot_is_open(f, slot))
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || !count || count > INT32_MAX)
		return -MBC_EINVAL;
	while (done < count) {
		unsigned n = level == MB_BASE ? free_group(f, slot, frames + done, count - done) : 0;

		if (!n) {
			/* to find the bad one, or because their line is not plain */
			int rc = mb_frame_free(f, slot, level, frames[done]);

			if (rc)
				return done ? (int)done : rc;
			n = 1;
		}
		done += n;
	}
	return (int)done;
}
