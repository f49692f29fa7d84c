/* SPDX-License-Identifier: MIT */
/* hint.c - part bits and the trees over them. */
#include "hint.h"

#include "line.h"

static mbc_a64 *tier_word(const struct mb_frames *f, unsigned level, unsigned tier, uint64_t n)
{
	return (mbc_a64 *)mbc_at(f, f->off_tree[level][tier] + n * sizeof(mbc_a64));
}

static void tree_set(struct mb_frames *f, unsigned level, uint64_t n)
{
	for (unsigned t = 0; t < f->tiers[level]; t++) {
		mbc_a64 *word = tier_word(f, level, t, n / MBC_WORD_BITS);

		/* seq: pairs with the second look in tree_clear(): one of the two sees the other */
		if (!mbc_has(word, mbc_bit(n)))
			mbc_or_seq(word, mbc_bit(n));
		n /= MBC_WORD_BITS;
	}
}

/* Is there anything below bit n of this tier? */
static bool below(const struct mb_frames *f, unsigned level, unsigned tier, uint64_t n)
{
	const struct mbc_block *block;

	if (tier > 0)
		return mbc_load_seq(tier_word(f, level, tier - 1, n)) != 0;
	block = mbc_block_at(f, level, n);
	return block && mbc_load_seq(&block->part) != 0;
}

static void tree_clear(struct mb_frames *f, unsigned level, uint64_t n)
{
	for (unsigned t = 0; t < f->tiers[level]; t++) {
		mbc_a64 *word = tier_word(f, level, t, n / MBC_WORD_BITS);
		uint64_t left = mbc_and_seq(word, ~mbc_bit(n)) & ~mbc_bit(n);

		/* the second look: a part bit that was set meanwhile found our bit still there, and relies on
		 * it */
		if (below(f, level, t, n)) {
			mbc_or_seq(word, mbc_bit(n));
			return;
		}
		if (left)
			return;
		n /= MBC_WORD_BITS;
	}
}

void mbc_part_set(struct mb_frames *f, struct mbc_ref r)
{
	if (!mbc_has(&r.block->part, r.bit))
		mbc_or_seq(&r.block->part, r.bit);
	tree_set(f, r.level, mbc_block_of(r.L));
}

bool mbc_part_clear(struct mb_frames *f, struct mbc_ref r)
{
	uint64_t old;

	if (!mbc_has(&r.block->part, r.bit))
		return false;
	old = mbc_and_seq(&r.block->part, ~r.bit);
	if ((old & ~r.bit) == 0)
		tree_clear(f, r.level, mbc_block_of(r.L));
	return (old & r.bit) != 0;
}

MBC_COLD void mbc_part_tidy(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned hand;

	if (!mbc_has(&r.block->part, r.bit) || !mbc_line_is_empty(r))
		return;
	hand = mbc_hand(f, s, r.level, r.L);
	mbc_part_clear(f, r);
	/* seq: pairs with the free into an empty word, which may have relied on the bit */
	if (!mbc_line_is_empty(r))
		mbc_part_set(f, r);
	mbc_unhand(f, s, hand);
}

void mbc_part_forget(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t block)
{
	unsigned hand = mbc_hand(f, s, level, block * MBC_BLOCK_LINES);

	tree_clear(f, level, block);
	mbc_unhand(f, s, hand);
}

void mbc_part_mend(struct mb_frames *f, unsigned level, uint64_t block)
{
	for (unsigned t = 0; t < f->tiers[level]; t++, block /= MBC_WORD_BITS)
		if (below(f, level, t, block))
			mbc_or_seq(tier_word(f, level, t, block / MBC_WORD_BITS), mbc_bit(block));
}

/* Word n of tier t - 1 is empty, so that bit n of tier t leads nowhere. */
static MBC_COLD void dead_end(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned t, uint64_t n)
{
	/* the first block below it names the place */
	unsigned hand = mbc_hand(f, s, level, (n << (6 * t)) * MBC_BLOCK_LINES);

	if (!mbc_load_seq(tier_word(f, level, t - 1, n)))
		mbc_and_seq(tier_word(f, level, t, n / MBC_WORD_BITS), ~mbc_bit(n));
	if (mbc_load_seq(tier_word(f, level, t - 1, n)))
		mbc_or_seq(tier_word(f, level, t, n / MBC_WORD_BITS), mbc_bit(n));
	mbc_unhand(f, s, hand);
}

static MBC_COLD bool find(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t *block)
{
	unsigned top = f->tiers[level];

	/* a dead end is a bit that somebody is about to clear, or that was left behind: clear it, begin again
	 */
	for (unsigned tries = 0; tries < 64; tries++) {
		uint64_t n = 0;
		unsigned t = top;

		while (t > 0) {
			uint64_t v = mbc_load_seq(tier_word(f, level, t - 1, n));

			if (!v)
				break;
			n = n * MBC_WORD_BITS + mbc_lowest(v);
			t--;
		}
		if (t == 0) {
			*block = n;
			return true;
		}
		if (t == top)
			return false;
		dead_end(f, s, level, t, n);
	}
	return false;
}

bool mbc_part_find(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t *block)
{
	return mbc_load_seq(tier_word(f, level, f->tiers[level] - 1, 0)) && find(f, s, level, block);
}
