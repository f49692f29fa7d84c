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
	} else if (now == MBC_FULL && mbc_line_is_full(f, r) && mbc_merge(f, s, r)) {
		mbc_ring_forget(s, level, L);
	} else if (v == 0 && !mbc_has(&r.block->held, r.bit)) {
		/* seq, after the CAS: fact 5 of line.h */
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
 * A frame came back into an empty word, while no line is held by us: what full memory lives on. Puts the word in
 * front of the ring, for alloc_back(). Out of band; the line is plain, and nobody holds it. False: another word is
 * there already.
 */
static MBC_INLINE bool put_in_front(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t frame,
				    mbc_a64 *word)
{
	if (mbc_load32_relaxed(&s->back[level]))
		return false;
	/* fact 2 of struct mbc_slot */
	mbc_store32_relaxed(&s->where[level], 0);
	mbc_store_relaxed(&s->base[level],
			  frame & ~(MBC_WORD_BITS * mb_level_frames((enum mb_level)level) - 1));
	mbc_store32_relaxed(&s->back[level],
			    (uint32_t)(((uintptr_t)word - (uintptr_t)&f->nowhere) / sizeof(mbc_a64)));
	return true;
}

/* What follows a free now and then. v and now: the word before and after. */
static MBC_COLD int free_after(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X, uint64_t v,
			       uint64_t now)
{
	if (tail_is_due(s, level, X / MBC_LINE_FRAMES, v, now))
		tail(f, s, level, X / MBC_LINE_FRAMES, v, now);
	if (f->in_band || mbc_leaves_perhaps(f, level, X))
		mbc_settle_free(f, s, level, X / MBC_WORD_BITS);
	return 0;
}

/* Is the line the latest one in the ring, so that it is remembered? */
static MBC_INLINE bool is_latest(const struct mbc_slot *s, unsigned level, uint64_t L)
{
	const mbc_a32 *ring = level == MB_BASE ? s->ring : s->ring + MBC_RING0;
	uint32_t size = level == MB_BASE ? MBC_RING0 : MBC_RING1;

	return mbc_load32_relaxed(&ring[(mbc_load32_relaxed(&s->turn[level]) - 1) & (size - 1)]) ==
	       (uint32_t)L + 1;
}

/* Is the last word of the line full, so that perhaps all of it is? Frames are mostly freed in ascending order. */
static MBC_INLINE bool ends_full(const struct mbc_block *block, uint64_t i)
{
	/* seq: after the CAS; of those who free the last frames of a line at once, one sees all of it full */
	return mbc_load_seq(&block->line[i % MBC_WORD_BITS].word[MBC_LINE_WORDS - 1]) == MBC_FULL;
}

/* Out of band, a plain line that is not the slot's own: is it not remembered yet, or full? */
static MBC_INLINE bool more_is_due(const struct mbc_slot *s, unsigned level, uint64_t L,
				   const struct mbc_block *block, uint64_t i, uint64_t v, uint64_t now)
{
	if (now == MBC_FULL && ends_full(block, i))
		return true;
	/* seq, after the CAS: fact 5 of line.h */
	return v == 0 && (!is_latest(s, level, L) || mbc_says(mbc_load_seq(&block->held), i));
}

/*
 * The general path: frees the frames of a mask in the word of frame X of a level, all of them or none. Where
 * the line is not plain or one of them is free: odd, or free_odd() if that is 0.
 */
static MBC_INLINE int free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X,
				uint64_t mask, struct mbc_block *block, int odd)
{
	uint64_t b = mbc_block_of_frame(X), v;
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
	if ((mbc_load_seq(&block->special) >> i & 1) ||
	    (tail_is_due(s, level, X / MBC_LINE_FRAMES, v, v | mask) &&
	     (f->in_band || level == MB_GIANT ||
	      more_is_due(s, level, X / MBC_LINE_FRAMES, block, i, v, v | mask))))
		return free_after(f, s, level, X, v, v | mask);
	return 0;
}

/* A frame of a pool or level where something has to be looked up first, or that somebody disturbed. */
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

/* The same for one frame out of band, levels 0 and 1. */
static MBC_INLINE int free_after_one(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t v,
				     uint64_t frame, mbc_a64 *word)
{
	const struct mbc_block *block = mbc_block_around(word);
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint64_t X = frame >> (MB_LEVEL_SHIFT * level);

	/* the one in front makes room; seq, both: as in free_edge() */
	if (v == 0 && mbc_load_relaxed(&s->at[level]) == MBC_NONE &&
	    !mbc_says(mbc_load_seq(&block->special) | mbc_load_seq(&block->held), mbc_line_around(word))) {
		mbc_front_to_ring(f, s, level);
		if (put_in_front(f, s, level, frame, word))
			return 0;
	}
	return free_after(f, s, level, X, v, v | mbc_bit(X));
}

static MBC_COLD int free_base_after(struct mb_frames *f, mb_slot slot, uint64_t v, uint64_t frame,
				    mbc_a64 *word)
{
	return free_after_one(f, slot, MB_BASE, v, frame, word);
}

static MBC_COLD int free_huge_after(struct mb_frames *f, mb_slot slot, uint64_t v, uint64_t frame,
				    mbc_a64 *word)
{
	return free_after_one(f, slot, MB_HUGE, v, frame, word);
}

/*
 * What follows a free into a word that was empty or became full. Like the common path it calls nothing but at its
 * end. A plain line needs nothing more if it is the slot's own; if the word that was empty is put in front, or the
 * line is remembered already; if a word became full, and the line did not.
 */
static MBC_INLINE int free_edge(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t v, uint64_t frame,
				mbc_a64 *word)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	const struct mbc_block *block = mbc_block_around(word);
	uint64_t at = mbc_load_relaxed(&s->at[level]), i = mbc_line_around(word);
	uint64_t L = frame >> (MB_LEVEL_SHIFT * (level + 1));

	/* seq, both, after the CAS: drain.h, and fact 5 of line.h. One bit does not make a word full */
	if (MBC_OFTEN(v == 0) && at == MBC_NONE) {
		if (MBC_OFTEN(!mbc_says(mbc_load_seq(&block->special) | mbc_load_seq(&block->held), i)) &&
		    MBC_OFTEN(put_in_front(f, s, level, frame, word)))
			return 0;
	} else if (!mbc_says(mbc_load_seq(&block->special), i)) {
		if (at / MBC_LINE_WORDS == L)
			return 0;
		if (!more_is_due(s, level, L, block, i, v, v | mbc_bit(frame >> (MB_LEVEL_SHIFT * level))))
			return 0;
	}
	return (level == MB_BASE ? free_base_after : free_huge_after)(f, slot, v, frame, word);
}

static MBC_COLD int free_base_edge(struct mb_frames *f, mb_slot slot, uint64_t v, uint64_t frame, mbc_a64 *word)
{
	return free_edge(f, slot, MB_BASE, v, frame, word);
}

static MBC_COLD int free_huge_edge(struct mb_frames *f, mb_slot slot, uint64_t v, uint64_t frame, mbc_a64 *word)
{
	return free_edge(f, slot, MB_HUGE, v, frame, word);
}

/*
 * One frame of a pool without owners and out of band, as short as it can be; the cold calls take the same
 * arguments, so that nothing need be moved. Levels 0 and 1.
 */
static MBC_INLINE int free_common(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t frame)
{
	uint64_t X = frame >> (MB_LEVEL_SHIFT * level), v, now;
	/* each block has 62 lines and room for 64: so many bytes of lines, and two more for each block before */
	mbc_a64 *word =
	    (mbc_a64 *)(X / MBC_WORD_BITS * sizeof(mbc_a64) +
			mbc_block_of_frame(X) * (MBC_PAGE - MBC_BLOCK_LINES * sizeof(struct mbc_line)) +
			(uintptr_t)f + f->off_block[level]);
	struct mbc_block *block = mbc_block_around(word);
	uint64_t i = mbc_line_around(word);
	uint64_t plain = mbc_load_relaxed(&block->plain);

	/* relaxed: the frame is the caller's, so its line is split since before the caller got it; and if the frame
	 * was ever split since then, he did that */
	if (MBC_SELDOM(!mbc_says(plain, i)))
		return free_other(f, slot, level, frame);
	v = mbc_load_relaxed(word);
	now = v | mbc_bit(X);
	/* seq: publishes what was done in the frame, and comes before the looks at `held` and `special` */
	if (MBC_SELDOM(v >> (X % MBC_WORD_BITS) & 1) || MBC_SELDOM(!mbc_cas_seq(word, &v, now)))
		return free_other(f, slot, level, frame);
	/* seq: either whoever drains sees our bit, or we see that it drains, since the word is not what it was */
	if (MBC_SELDOM(mbc_load_seq(&block->plain) != plain) || MBC_SELDOM(v == 0) ||
	    MBC_SELDOM(now == MBC_FULL))
		return (level == MB_BASE ? free_base_edge : free_huge_edge)(f, slot, v, frame, word);
	return 0;
}

/* What all frames of a pool without owners and out of band have in common. */
static MBC_INLINE bool is_common(const struct mb_frames *f, mb_slot slot, uint64_t frame)
{
	return frame < f->base_end && mbc_slot_is_open(f, slot);
}

static MBC_COLD int free_larger(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t frame)
{
	if (level == MB_HUGE && frame % MBC_LINE_FRAMES == 0 && is_common(f, slot, frame))
		return free_common(f, slot, MB_HUGE, frame);
	return free_other(f, slot, level, frame);
}

int mb_frame_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	if (MBC_SELDOM(level != MB_BASE))
		return free_larger(f, slot, (unsigned)level, frame.n);
	if (MBC_SELDOM(!is_common(f, slot, frame.n)))
		return free_other(f, slot, MB_BASE, frame.n);
	return free_common(f, slot, MB_BASE, frame.n);
}

static inline struct mbc_block *common_block(const struct mb_frames *f, uint64_t X)
{
	return (struct mbc_block *)mbc_at(f, f->off_block[0] + mbc_block_of_frame(X) * MBC_PAGE);
}

/* Are these 16 frames x and those that follow it? Two at a time, and one look at what differs. */
static MBC_INLINE bool are_run(const mb_frame *frames, uint64_t x)
{
	mbc_two at = {x, x + 1}, other = MBC_TWO_OF(&frames[0]) ^ at;

	other |= MBC_TWO_OF(&frames[2]) ^ (at + 2);
	other |= MBC_TWO_OF(&frames[4]) ^ (at + 4);
	other |= MBC_TWO_OF(&frames[6]) ^ (at + 6);
	other |= MBC_TWO_OF(&frames[8]) ^ (at + 8);
	other |= MBC_TWO_OF(&frames[10]) ^ (at + 10);
	other |= MBC_TWO_OF(&frames[12]) ^ (at + 12);
	other |= MBC_TWO_OF(&frames[14]) ^ (at + 14);
	return !(other[0] | other[1]);
}

/* How many base frames follow one another upwards in the word of the first; *mask: their bits. */
static MBC_INLINE unsigned gather(const mb_frame *frames, unsigned count, uint64_t *mask)
{
	uint64_t first = frames[0].n, word = first & ~(uint64_t)(MBC_WORD_BITS - 1), m;
	unsigned room = (unsigned)(MBC_WORD_BITS - first % MBC_WORD_BITS), n = 0;

	/* mostly they are neighbours */
	room = room < count ? room : count;
	while (room - n >= 16 && are_run(&frames[n], first + n))
		n += 16;
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
