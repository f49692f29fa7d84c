/* SPDX-License-Identifier: MIT */
/*
 * line.h - the life of a line: it comes to be when the frame above is split (decompressed), is held by a slot,
 * left, and vanishes when the frame above is made whole again (compressed).
 *
 * Facts, on which the rest relies (tests name them):
 *
 *  1. Whoever clears a set bit with an atomic operation has that frame. Whoever set it had it. So a frame has
 *     one holder at most, whatever hints say.
 *  2. A line that is not split has no set bit. Splitting sets `split` before it stores ones; merging takes all
 *     the ones before it clears `split`. So a bit that can be taken can also be freed.
 *  3. To split or merge a line one must own the whole frame above: by clearing its bit, or by taking all 512
 *     bits below. Fact 1: one thread at a time.
 *  4. `held` has one holder: the slot whose at[] names the line, or a thread that is about to give it to a
 *     slot, merge it or leave it.
 *  5. At rest a line with something free at levels 0 and 1 is held, in a ring (or in front of one), or has its
 *     part bit. Leaving clears `held`, then reads the words; freeing into an empty word sets the bit, then
 *     reads `held`. Both are seq: one of the two sees the other, and the line is remembered.
 *  6. A merge that fails has changed nothing: words that it took were ~0 and are 0 until it gives them back,
 *     since whoever could set a bit there would have to own that frame. Who freed the last bit meanwhile did
 *     not see a full line, so the merger looks again after it let go.
 *  7. Claiming clears the part bit after `held` is set, and looks at the words after that: who published the
 *     line before is heard, and who publishes it later sees `held`. Whoever clears `held` does what leaving
 *     does: fact 5.
 *  8. A batch is a row of single operations: each word's frames are taken or given by one CAS, all or none, so
 *     that facts 1 to 5 hold of each word. It ends at the first word that fails, and says how far it came.
 */
#ifndef MBC_LINE_H
#define MBC_LINE_H

#include "intent.h"

/*
 * A line to look into, for slot s. In band a level-0 block that is looked into without owning anything in it
 * is guarded, so that it cannot vanish: at most one at a time, until mbc_unpin(). block is NULL where there is
 * none.
 */
struct mbc_ref mbc_pin_in_band(struct mb_frames *f, struct mbc_slot *s, uint64_t L);

static inline struct mbc_ref mbc_pin(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	if (mbc_by_directory(f, level))
		return mbc_pin_in_band(f, s, L);
	return mbc_ref_sure(f, level, L);
}

static inline void mbc_unpin(struct mb_frames *f, struct mbc_slot *s)
{
	/* release: what we did in the block is done */
	if (f->in_band)
		mbc_store32_release(&s->guard, 0);
}

/* The place of a word, as in where[]. In band, blocks of level 0 may lie too far for 32 bits: unknown, 0. */
static inline uint32_t mbc_place_of(const struct mb_frames *f, const mbc_a64 *word)
{
	uint64_t place = ((uintptr_t)word - (uintptr_t)&f->nowhere) / sizeof(mbc_a64);

	return place <= UINT32_MAX ? (uint32_t)place : 0;
}

/*
 * at[] will be the number of this word: keeps its place beside it, so that the common path need not divide. Before
 * at[] is set: fact 1 of struct mbc_slot.
 */
static inline void mbc_slot_aim(const struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W,
				const mbc_a64 *word)
{
	if (level < MB_GIANT)
		mbc_store_relaxed(&s->base[level], W * MBC_WORD_BITS << (MB_LEVEL_SHIFT * level));
	mbc_store32_relaxed(&s->where[level], mbc_place_of(f, word));
}

/* The line that at[] named was taken away, or is given up: after at[] was set to MBC_NONE. */
static inline void mbc_slot_aim_nowhere(struct mbc_slot *s, unsigned level)
{
	/* release: whoever takes a line away goes on by operations that are seq */
	mbc_store32_release(&s->where[level], 0);
}

/* Frames that were got: bits of one word. */
struct mbc_got {
	uint64_t W;
	uint64_t mask;
};

/* Takes up to n free bits of the line, from word `from` on; false: none was free. */
bool mbc_line_take(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned from, unsigned n,
		   struct mbc_got *got);

/* Is nothing free in a line's words? One by one: a loop costs three times as much. */
static inline bool mbc_words_are_empty(const mbc_a64 *w)
{
	_Static_assert(MBC_LINE_WORDS == 8, "one by one");
	return !(mbc_load_seq(&w[0]) | mbc_load_seq(&w[1]) | mbc_load_seq(&w[2]) | mbc_load_seq(&w[3]) |
		 mbc_load_seq(&w[4]) | mbc_load_seq(&w[5]) | mbc_load_seq(&w[6]) | mbc_load_seq(&w[7]));
}

/* Nothing is free / all is free in it; a mixture of moments. */
static inline bool mbc_line_is_empty(struct mbc_ref r)
{
	return mbc_words_are_empty(r.line->word);
}
bool mbc_line_is_full(const struct mb_frames *f, struct mbc_ref r);

/* Of use to an allocation: valid, of the pool's own, not leaving. */
static inline bool mbc_line_usable(struct mbc_ref r)
{
	return mbc_is_split(r) && !mbc_has(&r.block->drain, r.bit) && !mbc_has(&r.block->owned, r.bit);
}

/* Makes the line the slot's, and leaves the one it had. False: somebody's, or of no use. r is pinned. */
bool mbc_line_hold(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);
/* Gives up a line that is in no at[] any more but whose `held` bit is the caller's. r may be pinned. */
void mbc_line_leave(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);
/* Exchanges at[level] of any slot for nothing and leaves that line. */
void mbc_slot_drop(struct mb_frames *f, struct mbc_slot *s, struct mbc_slot *whose, unsigned level);
/* Takes a line away from whichever slots hold it; in band, at level 0, from none but s. */
void mbc_slots_drop_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L);

/*
 * Splits frame L of level + 1, which is the caller's, into line L of this level. n: how many of its
 * first frames stay the caller's, at most 64; they are returned in *got. home: in band, the frame of it where
 * the block shall lie, if there is none yet. The line becomes the slot's if it can. -EAGAIN: in band, the block
 * is coming or going at this moment; nothing has changed.
 */
int mbc_split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, unsigned n, uint64_t home,
	      struct mbc_got *got);

/* Makes the line a whole frame again, if all of it is free and nobody holds it. r may be pinned. */
bool mbc_merge(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);

/* Remembers that the line has something free: in the slot's ring, and what falls out of that, as part. */
void mbc_remember(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L);
/*
 * The line of the word in front of the ring goes into the ring. In front is the word that a frame came back into
 * which was empty, while no line was held: full memory lives on such frames. Out of band, in pools without owners.
 */
void mbc_front_move(struct mb_frames *f, struct mbc_slot *s, unsigned level);

static inline void mbc_front_to_ring(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	if (level < MB_GIANT && mbc_load32_relaxed(&s->back[level]))
		mbc_front_move(f, s, level);
}

/* The line in front of a slot's ring, as in a ring (L + 1): 0: none. Of another slot, a hint. */
static inline uint32_t mbc_front_line(const struct mbc_slot *s, unsigned level)
{
	if (!mbc_load32_relaxed(&s->back[level]))
		return 0;
	return (uint32_t)(mbc_load_relaxed(&s->base[level]) >> (MB_LEVEL_SHIFT * (level + 1))) + 1;
}

/* Forgets an entry of the ring; nobody need remember its line. */
void mbc_ring_drop(struct mbc_slot *s, unsigned level, uint32_t entry);
/* The line is no more, and mostly it is the latest in the ring: forgets that, or an allocation would come by. */
void mbc_ring_forget(struct mbc_slot *s, unsigned level, uint64_t L);
/* Empties the ring of a slot. */
void mbc_ring_flush(struct mb_frames *f, struct mbc_slot *s, unsigned level);

#endif
