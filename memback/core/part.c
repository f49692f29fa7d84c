/* SPDX-License-Identifier: MIT */
/*
 * part.c - free a part of frames that were allocated whole.
 *
 * A frame that is allocated whole has a line below whose words are 0 (layout.h); so to free a part of it is to
 * set `split`, then the bits. Two threads that free different parts at once do no harm. Nothing of this can
 * fail after the check, so there is nothing to roll back.
 *
 * Facts, beside those of line.h:
 *
 *  1. The caller's frames stay as they are until he frees them: nobody splits, merges or takes what is allocated. So
 *     what was checked holds while the pieces are freed.
 *  2. `split` is set before the first bit (fact 2 of line.h), and setting it twice does no harm; the words were 0, and
 *     are not stored to. So two threads that free parts of one frame need not know of each other.
 *  3. What is not freed yet has its bit clear in a line that is split: allocated at the level below, from the moment
 *     that `split` is set. Its line cannot merge before it is freed as well.
 */
#include "drain.h"
#include "free.h"
#include "inband.h"
#include "range.h"

static int check_run(void *arg, const struct mb_run *run)
{
	(void)arg;
	if (run->state == MB_FREE)
		return -MBC_EALREADY;
	return run->state == MB_OFFLINE ? -MBC_ENXIO : 0;
}

/* In band, the frames that hold blocks look used and are nobody's. */
static int check_homes(const struct mb_frames *f, uint64_t first, uint64_t end)
{
	if (!f->in_band)
		return 0;
	for (uint64_t b = first / (MBC_LINE_FRAMES * MBC_BLOCK_LINES); b < f->blocks[MB_BASE]; b++) {
		uint32_t entry = mbc_load32_acquire(mbc_dir(f, b)), home = entry & ~MBC_DIR_GOING;

		if (b * MBC_LINE_FRAMES * MBC_BLOCK_LINES >= end)
			break;
		if (entry && entry != MBC_DIR_BUSY && home >= first && home < end)
			return -MBC_ENXIO;
	}
	return 0;
}

/* Splits frame L of level + 1, which is allocated whole. home: in band, where the block may lie. */
static void split_used(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, uint64_t home)
{
	struct mbc_ref r;

	if (f->in_band && level == MB_BASE)
		while (mbc_block_enter(f, s, L, home))
			mbc_pause();
	r = mbc_ref_get(f, level, L);
	mbc_split_set(f, r);
	mbc_unpin(f, s);
	mbc_settle_split(f, s, level, L);
}

/* Frees the piece at x, at the level at which it is allocated; returns where the next one begins. */
static uint64_t free_piece(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end)
{
	uint64_t giant = x >> (2 * MB_LEVEL_SHIFT), huge = x >> MB_LEVEL_SHIFT;
	struct mbc_piece p = mbc_piece_at(f, x, end, false);
	uint64_t mask = p.mask & (~p.mask + 1);

	if (!mbc_is_split(mbc_ref_get(f, MB_HUGE, giant))) {
		if (p.level == MB_GIANT) {
			mbc_free_own_mask(f, s, MB_GIANT, p.W, mask);
			return x + mb_level_frames(MB_GIANT);
		}
		split_used(f, s, MB_HUGE, giant, 0);
	}
	if (!mbc_is_split(mbc_ref_get(f, MB_BASE, huge))) {
		if (p.level >= MB_HUGE) {
			mbc_free_own(f, s, MB_HUGE, huge);
			return x + MBC_LINE_FRAMES;
		}
		split_used(f, s, MB_BASE, huge, x);
	}
	p = mbc_piece_at(f, x, mbc_min(end, (x | (MBC_WORD_BITS - 1)) + 1), false);
	mask = p.mask & ~mbc_home_mask(f, mbc_ref_get(f, MB_BASE, huge), p.W % MBC_LINE_WORDS);
	if (mask)
		mbc_free_own_mask(f, s, MB_BASE, p.W, mask);
	return p.next;
}

int mb_frame_free_part(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	uint64_t end = first.n + count;
	int rc;

	if (!s)
		return -MBC_EBADF;
	if (mbc_owned_pool(f))
		return -MBC_EPERM;
	rc = mbc_range_check(f, first, count, -MBC_ERANGE);
	if (!rc)
		rc = check_homes(f, first.n, end);
	if (!rc)
		rc = mb_frames_walk(f, first, count, check_run, NULL);
	if (rc)
		return rc;
	for (uint64_t x = first.n; x < end;)
		x = free_piece(f, s, x, end);
	return 0;
}
