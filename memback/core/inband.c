/* SPDX-License-Identifier: MIT */
/* inband.c - level-0 blocks come and go in the memory that they manage. */
#include "inband.h"

#include "drain.h"
#include "free.h"
#include "hint.h"
#include "mem.h"
#include "point.h"
#include "state.h"

int mbc_block_enter(struct mb_frames *f, struct mbc_slot *s, uint64_t L, uint64_t home)
{
	uint64_t b = mbc_block_of(L);
	uint32_t none = 0;
	struct mbc_block *block;
	struct mbc_ref r = mbc_pin(f, s, MB_BASE, L);

	if (r.block)
		return 0;
	if (mbc_point(MBC_POINT_BLOCK_MAKE) || !mbc_cas32_seq(mbc_dir(f, b), &none, MBC_DIR_BUSY))
		return -MBC_EAGAIN;
	block = (struct mbc_block *)mbc_at(f, home << f->base_shift);
	mbc_zero(block, sizeof(*block));
	r = mbc_ref_at(block, MB_BASE, L);
	mbc_store_relaxed(&block->host, r.bit);
	mbc_store_relaxed(&block->special, r.bit);
	mbc_swap32_seq(&s->guard, (uint32_t)b + 1);
	/* release: pairs with the acquire in mbc_block_at() */
	mbc_store32_release(mbc_dir(f, b), (uint32_t)home);
	return 0;
}

/* The rollback of vanishing: the first n words are given back, the block is there again. */
static void vanish_undo(struct mb_frames *f, struct mbc_ref r, unsigned n, uint32_t home)
{
	for (unsigned w = 0; w < n; w++)
		mbc_or_seq(&r.line->word[w], MBC_FULL & ~mbc_home_mask(f, r, w));
	mbc_store32_release(mbc_dir(f, mbc_block_of(r.L)), home);
}

static bool guarded(const struct mb_frames *f, const struct mbc_slot *s, uint64_t b)
{
	for (uint32_t k = 0; k <= f->slots; k++) {
		const struct mbc_slot *t = mbc_slot_at(f, k);

		if (t != s && mbc_load32_seq(&t->guard) == (uint32_t)b + 1)
			return true;
	}
	return false;
}

/* Takes all that is free in the line, which must be all but the home, with nobody looking. */
static bool vanish_take(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, uint32_t home)
{
	unsigned w;

	for (w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t all = MBC_FULL & ~mbc_home_mask(f, r, w);

		if (mbc_point(MBC_POINT_VANISH_WORD) || !mbc_cas_seq(&r.line->word[w], &all, 0))
			break;
	}
	/* guards first: who splits a line under a guard sets `split` before the guard goes */
	if (w == MBC_LINE_WORDS && !guarded(f, s, mbc_block_of(r.L)) &&
	    mbc_load_seq(&r.block->split) == r.bit && mbc_load_seq(&r.block->held) == r.bit &&
	    mbc_load_seq(&r.block->ragged) == 0 && !mbc_point(MBC_POINT_VANISH_DONE))
		return true;
	vanish_undo(f, r, w, home);
	return false;
}

bool mbc_block_vanish(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	uint64_t b = mbc_block_of(r.L);
	uint32_t home = (uint32_t)(((uintptr_t)r.block - (uintptr_t)f) >> f->base_shift), was = home;
	bool done;

	/* the home of the very first block lies among the allocator's own frames, and stays */
	if (home < f->reserved || mbc_load_seq(&r.block->split) != r.bit)
		return false;
	if (mbc_has(&r.block->held, r.bit) || (mbc_or_seq(&r.block->held, r.bit) & r.bit))
		return false;
	mbc_part_clear(f, r);
	done = mbc_cas32_seq(mbc_dir(f, b), &was, home | MBC_DIR_GOING) && vanish_take(f, s, r, home);
	if (!done) {
		/* as in a merge: what was in our hands while somebody drained */
		if (mbc_has(&r.block->ragged, r.bit))
			mbc_settle_line(f, s, r);
		mbc_and_seq(&r.block->held, ~r.bit);
		if (!mbc_line_is_empty(r))
			mbc_part_set(f, r);
		return false;
	}
	/* seq, before the memory is anybody else's: pairs with mbc_look_again() */
	mbc_add_seq(&f->vanished, 1);
	/* release: the next to make this block sees it gone */
	mbc_store32_release(mbc_dir(f, b), 0);
	mbc_part_forget(f, s, MB_BASE, b);
	mbc_free_own(f, s, MB_HUGE, r.L);
	return true;
}

void mbc_block_try_vanish(struct mb_frames *f, struct mbc_slot *s, struct mbc_block *block)
{
	uint64_t host = mbc_load_seq(&block->host);
	uint64_t home = ((uintptr_t)block - (uintptr_t)f) >> f->base_shift;
	struct mbc_ref r;

	if (!host || mbc_load_seq(&block->split) != host)
		return;
	r = mbc_ref_at(block, MB_BASE, home / MBC_LINE_FRAMES);
	if (mbc_line_is_full(f, r))
		mbc_block_vanish(f, s, r);
}

void mbc_blocks_sweep(struct mb_frames *f, struct mbc_slot *s)
{
	for (uint64_t b = 0; f->in_band && b < f->blocks[MB_BASE]; b++) {
		struct mbc_ref r = mbc_pin(f, s, MB_BASE, b * MBC_BLOCK_LINES);

		if (r.block)
			mbc_block_try_vanish(f, s, r.block);
		mbc_unpin(f, s);
	}
}
