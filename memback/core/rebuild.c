/* SPDX-License-Identifier: MIT */
/* rebuild.c - hints, made anew from the truth. */
#include "rebuild.h"

#include "hint.h"

static void rebuild_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	struct mbc_ref r = mbc_pin(f, s, level, L);

	if (!r.block)
		return;
	if (mbc_is_split(r) && !mbc_has(&r.block->held, r.bit) && !mbc_has(&r.block->drain, r.bit) &&
	    !mbc_has(&r.block->owned, r.bit) && !mbc_line_is_empty(r))
		mbc_part_set(f, r);
	mbc_unpin(f, s);
}

void mbc_rebuild(struct mb_frames *f, struct mbc_slot *s)
{
	mbc_store_relaxed(&f->stale, 0);
	for (uint64_t L = 0; L < f->lines[MB_GIANT]; L++)
		rebuild_line(f, s, MB_GIANT, L);
	for (uint64_t L = 0; L < f->lines[MB_HUGE]; L++) {
		if (!mbc_is_split(mbc_ref_get(f, MB_HUGE, L)))
			continue;
		rebuild_line(f, s, MB_HUGE, L);
		if (f->lowest > MB_BASE)
			continue;
		for (uint64_t n = 0; n < MBC_LINE_FRAMES && L * MBC_LINE_FRAMES + n < f->lines[MB_BASE]; n++)
			rebuild_line(f, s, MB_BASE, L * MBC_LINE_FRAMES + n);
	}
}
