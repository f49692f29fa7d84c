/* SPDX-License-Identifier: MIT */
/*
 * alloc.c - allocate one frame or a batch.
 *
 * The common path takes a bit out of the word that the slot's where[] names. When that is empty: the other words of
 * the line; the word in front of the ring, if no line is held; then find.c.
 *
 * Why a slot has no private store of frames, which plain stores could serve faster than a locked operation:
 * nobody else could take them back without its owner's help, so that free memory would be out of reach, ranges
 * could not be removed, and freeing twice what lies in a store would look right.
 */
#include "find.h"
#include "hint.h"

static MBC_COLD int alloc_one_slow(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	struct mbc_got got;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if (level >= MB_LEVELS)
		return -MBC_EINVAL;
	rc = mbc_find(f, s, level, 1, &got);
	if (!rc)
		out->n = (got.W * MBC_WORD_BITS + mbc_lowest(got.mask)) << (MB_LEVEL_SHIFT * level);
	return rc;
}

/* The word of a place, as in where[]; of place 0 one without frames, as for a slot that was never opened. */
static MBC_INLINE mbc_a64 *word_of(const struct mb_frames *f, uint32_t place)
{
	return (mbc_a64 *)((uintptr_t)&f->nowhere + (uint64_t)place * sizeof(mbc_a64));
}

/* Takes the lowest frame of a word; 0: there is none. */
static MBC_INLINE uint64_t take_lowest(mbc_a64 *word)
{
	uint64_t v = mbc_load_relaxed(word);

	/* pairs with the free that set the bit; seq: after where[], see aim_on() */
	while (v && !mbc_cas_seq(word, &v, v & (v - 1)))
		;
	return v & (~v + 1);
}

/*
 * The slot goes on to the next words of its line: where[] and base[] name another word of it than at[] from now on,
 * which needs to name the line only. Before the word is taken from by an operation that is seq, and followed by
 * still_ours(): whoever takes the line away exchanges at[], then stores 0 to where[]. So either his 0 comes last,
 * or we see at[] gone.
 */
static MBC_INLINE void aim_on(struct mbc_slot *s, unsigned level, uint32_t where, uint64_t base)
{
	mbc_store_relaxed(&s->base[level], base);
	mbc_store32_relaxed(&s->where[level], where);
}

static MBC_INLINE void still_ours(struct mbc_slot *s, unsigned level)
{
	/* seq: see above */
	if (MBC_SELDOM(mbc_load_seq(&s->at[level]) == MBC_NONE))
		mbc_slot_aim_nowhere(s, level);
}

/* How many words of its line follow a word. */
static MBC_INLINE unsigned words_behind(const mbc_a64 *word)
{
	return MBC_LINE_WORDS - 1 - (unsigned)((uintptr_t)word / sizeof(*word) % MBC_LINE_WORDS);
}

/*
 * The word that where[] names is empty, or somebody was faster: goes on to the next one of the line that has
 * something. Levels 0 and 1, and mostly the same as from_held(); of its own because it is due every 64 frames.
 */
static MBC_COLD int alloc_next(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint32_t where = mbc_load32_relaxed(&s->where[level]);
	uint64_t base = mbc_own64(&s->base[level]), bit;
	mbc_a64 *word = word_of(f, where);
	unsigned more = where ? words_behind(word) : 0;

	while (more && !mbc_load_relaxed(word)) {
		word++;
		where++;
		base += MBC_WORD_BITS * mb_level_frames((enum mb_level)level);
		more--;
	}
	/* a slot that is not open has no place */
	if (!where || !mbc_load_relaxed(word))
		return alloc_one_slow(f, slot, level, out);
	aim_on(s, level, where, base);
	bit = take_lowest(word);
	still_ours(s, level);
	if (!bit)
		return alloc_one_slow(f, slot, level, out);
	out->n = base + (mbc_lowest64(bit) << (MB_LEVEL_SHIFT * level));
	return 0;
}

/* The word in front was published while its last frame was taken, which may have been the line's. */
static MBC_COLD int alloc_tidy(struct mb_frames *f, mb_slot slot, unsigned level, const mb_frame *out)
{
	mbc_part_tidy(f, mbc_slot_at(f, slot.n),
		      mbc_ref_sure(f, level, out->n >> (MB_LEVEL_SHIFT * (level + 1))));
	return 0;
}

/*
 * No line is held. The one that full memory lives on: a frame came back into a word that was empty, and is taken
 * again where it is. Like the common path it calls nothing but at its end.
 *
 * Fact 1: the word in front was empty when it was put there. Whoever frees into it while it is not empty relies
 * on us, and his bit is seen here, or else his CAS finds the word empty after ours and he remembers it himself.
 * The line's other words are remembered by others, as they were before.
 */
static MBC_INLINE int alloc_back(struct mb_frames *f, mb_slot slot, unsigned level, uint64_t found,
				 mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	uint32_t back = mbc_load32_relaxed(&s->back[level]);
	mbc_a64 *word = word_of(f, back);
	const struct mbc_block *block = mbc_block_around(word);
	uint64_t v, now, part;

	/* a slot that is not open has nothing in front */
	if (found || !back)
		return alloc_next(f, slot, level, out);
	part = mbc_load_relaxed(&block->part);
	/*
	 * A hint, so look whether the line is one of ours still. If it is marked, or somebody holds it, or it is
	 * published, the long way sees to that: fact 2 of hint.h.
	 */
	if (MBC_SELDOM(mbc_says(mbc_load_seq(&block->special) | mbc_load_relaxed(&block->held) | part,
				mbc_line_around(word))))
		return alloc_one_slow(f, slot, level, out);
	v = mbc_load_relaxed(word);
	now = v & (v - 1);
	/* acquire: pairs with the free that set the bit */
	if (MBC_SELDOM(!v) || MBC_SELDOM(!mbc_cas_acquire(word, &v, now)))
		return alloc_one_slow(f, slot, level, out);
	out->n = mbc_own64(&s->base[level]) + (mbc_lowest64(v) << (MB_LEVEL_SHIFT * level));
	if (MBC_SELDOM(now))
		return 0;
	mbc_store32_relaxed(&s->back[level], 0);
	if (MBC_SELDOM(mbc_load_seq(&block->part) != part))
		return alloc_tidy(f, slot, level, out);
	return 0;
}

/* found: what the word had that where[] names; not 0: somebody was faster. */
static MBC_COLD int alloc_base_back(struct mb_frames *f, mb_slot slot, uint64_t found, mb_frame *out)
{
	return alloc_back(f, slot, MB_BASE, found, out);
}

static MBC_COLD int alloc_huge_back(struct mb_frames *f, mb_slot slot, uint64_t found, mb_frame *out)
{
	return alloc_back(f, slot, MB_HUGE, found, out);
}

/* The common path: a bit of the word that where[] names. A slot that is closed names none. Levels 0 and 1. */
static MBC_INLINE int alloc_one(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_at(f, slot.n);
	mbc_a64 *word;
	uint64_t v;

	if (MBC_SELDOM(slot.n >= f->slots))
		return alloc_one_slow(f, slot, level, out);
	word = word_of(f, mbc_load32_relaxed(&s->where[level]));
	v = mbc_load_relaxed(word);
	/* acquire: pairs with the free that set the bit */
	if (MBC_SELDOM(!v) || MBC_SELDOM(!mbc_cas_acquire(word, &v, v & (v - 1))))
		return (level == MB_BASE ? alloc_base_back : alloc_huge_back)(f, slot, v, out);
	out->n = mbc_own64(&s->base[level]) + (mbc_lowest64(v) << (MB_LEVEL_SHIFT * level));
	return 0;
}

/* Level 2: at[] is a hint, and nobody takes it away. */
static MBC_COLD int alloc_giant(struct mb_frames *f, mb_slot slot, mb_frame *out)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	uint64_t bit;

	if (s) {
		bit = take_lowest(word_of(f, mbc_load32_relaxed(&s->where[MB_GIANT])));
		if (bit) {
			out->n = (mbc_load_relaxed(&s->at[MB_GIANT]) * MBC_WORD_BITS + mbc_lowest(bit))
				 << (MB_LEVEL_SHIFT * MB_GIANT);
			return 0;
		}
	}
	return alloc_one_slow(f, slot, MB_GIANT, out);
}

static MBC_COLD int alloc_huge(struct mb_frames *f, mb_slot slot, mb_frame *out)
{
	return alloc_one(f, slot, MB_HUGE, out);
}

static MBC_COLD int alloc_larger(struct mb_frames *f, mb_slot slot, unsigned level, mb_frame *out)
{
	/* with owners an intent comes first */
	if (mbc_owned_pool(f) || level >= MB_LEVELS)
		return alloc_one_slow(f, slot, level, out);
	return level == MB_HUGE ? alloc_huge(f, slot, out) : alloc_giant(f, slot, out);
}

int mb_frame_alloc(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame *out)
{
	if (MBC_SELDOM(level != MB_BASE))
		return alloc_larger(f, slot, (unsigned)level, out);
	return alloc_one(f, slot, MB_BASE, out);
}

/* Writes out n frames that follow one another. */
static MBC_INLINE void write_run(uint64_t x, unsigned shift, mb_frame *out, unsigned n)
{
	mbc_two at = {x, x + (UINT64_C(1) << shift)}, step = {UINT64_C(2) << shift, UINT64_C(2) << shift};

	for (; n >= 8; n -= 8, out += 8) {
		MBC_TWO_AT(&out[0]) = at;
		at += step;
		MBC_TWO_AT(&out[2]) = at;
		at += step;
		MBC_TWO_AT(&out[4]) = at;
		at += step;
		MBC_TWO_AT(&out[6]) = at;
		at += step;
	}
	for (unsigned k = 0; k < n; k++)
		out[k].n = at[0] + ((uint64_t)k << shift);
}

/*
 * As many as there are in a word, whose first frame is base, but count at most. They are written before they are
 * got, and once more if somebody was faster.
 */
static MBC_INLINE unsigned batch_word(mbc_a64 *word, uint64_t base, unsigned shift, mb_frame *out,
				      unsigned count)
{
	uint64_t v = mbc_load_relaxed(word), rest;
	unsigned n;

	do {
		unsigned first = v ? mbc_lowest(v) : 0;
		unsigned most = count < MBC_WORD_BITS - first ? count : MBC_WORD_BITS - first;

		if (!v)
			return 0;
		/* mostly they are neighbours */
		if ((v >> first & mbc_mask(0, most)) == mbc_mask(0, most)) {
			n = most;
			write_run(base + ((uint64_t)first << shift), shift, out, n);
			rest = v & ~(mbc_mask(0, most) << first);
			continue;
		}
		for (n = 0, rest = v; n < most && rest; n++, rest &= rest - 1)
			out[n].n = base + (mbc_lowest64(rest) << shift);
		/* pairs with the frees that set the bits; seq: after where[] */
	} while (!mbc_cas_seq(word, &v, rest));
	return n;
}

/* Writes out the frames of a mask. */
static unsigned write_mask(struct mbc_got got, unsigned shift, mb_frame *out)
{
	uint64_t base = got.W * MBC_WORD_BITS << shift, m = got.mask;
	unsigned first = mbc_lowest(m), n = mbc_popcount(m);

	if (m >> first == mbc_mask(0, n)) {
		write_run(base + ((uint64_t)first << shift), shift, out, n);
		return n;
	}
	for (unsigned k = 0; m; m &= m - 1)
		out[k++].n = base + (mbc_lowest64(m) << shift);
	return n;
}

/* As many as there are from the word that where[] names to the end of its line. Levels 0 and 1. */
static unsigned batch_held(struct mb_frames *f, struct mbc_slot *s, unsigned level, mb_frame *out,
			   unsigned count)
{
	uint32_t where = mbc_load32_relaxed(&s->where[level]);
	unsigned shift = MB_LEVEL_SHIFT * level, done = 0, n;
	uint64_t base = mbc_own64(&s->base[level]);
	mbc_a64 *word = word_of(f, where);

	if (!where)
		return 0;
	for (unsigned more = words_behind(word) + 1; more && done < count;
	     more--, word++, where++, base += UINT64_C(64) << shift) {
		if (!mbc_load_relaxed(word))
			continue;
		aim_on(s, level, where, base);
		n = batch_word(word, base, shift, out + done, count - done);
		done += n;
		/* nothing was exchanged: what still_ours() is to see may come later */
		if (!n)
			mbc_slot_aim_nowhere(s, level);
	}
	still_ours(s, level);
	return done;
}

/* In a pool with owners: as many as one word gives. */
static MBC_COLD int batch_intended(struct mb_frames *f, struct mbc_slot *s, unsigned level, mb_frame *out,
				   unsigned count)
{
	struct mbc_got got;
	int rc = mbc_find(f, s, level, count, &got);

	if (rc)
		return rc;
	return (int)write_mask(got, MB_LEVEL_SHIFT * level, out);
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
		unsigned n = level < MB_GIANT ? batch_held(f, s, level, out + done, count - done) : 0;
		struct mbc_got got;
		int rc;

		done += n;
		if (n)
			continue;
		rc = mbc_find(f, s, level, count - done, &got);
		if (rc)
			return done ? (int)done : rc;
		done += write_mask(got, shift, out + done);
	}
	return (int)done;
}
