/* SPDX-License-Identifier: MIT */
/*
 * drain.h - frames that leave: whoever makes something free looks afterwards whether it is to leave.
 *
 * Draining sets its marks first and sweeps what is free then; freeing, splitting and merging store first and
 * look at the marks then. Both are seq, so one of the two sees the other, and a frame that is to leave is
 * swallowed by one of them (exactly one: it is taken by clearing its bit).
 *
 * Facts (tests and models name them):
 *
 *  1. At rest nothing that is marked is free. Who drains sets the mark, then takes what is free; who makes something
 *     free (a free, a split, a merge that gives up what it had taken) looks at the mark afterwards. One of the two
 *     sees the other, and takes it by clearing its bit: one of them does.
 *  2. What has left is marked no more before it is offline. So whoever finds it offline, and adds it again, meets no
 *     late hand on its mark. A mark that a drain sets on what has just left is cleared when it is added.
 *  3. A line of level 0 is marked while it is split only. Who marks looks at `split` afterwards; who merges clears
 *     the marks, then `split`, then looks at the marks again. One of the two takes back what came too late.
 *  4. No slot keeps a line that is marked: who marks takes it away afterwards from whoever holds it, who holds looks
 *     at the mark afterwards (in band: inband.h).
 *  5. Base frames of such a line have left when it is merged, not when they are free: who read the line before it was
 *     marked may take one until its words are 0. A ragged line never merges, so its frames leave one by one.
 */
#ifndef MBC_DRAIN_H
#define MBC_DRAIN_H

#include "line.h"

/* Is there anything to settle for frame X? A cheap look, right when it says no. */
static inline bool mbc_leaves_perhaps(const struct mb_frames *f, unsigned level, uint64_t X)
{
	struct mbc_ref r = mbc_ref_sure(f, level, X / MBC_LINE_FRAMES);

	/* seq: after what was stored, see above */
	return mbc_has(&r.block->special, r.bit);
}

/* Something was freed in word W: swallow of it what is to leave. */
void mbc_settle_free(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W);
/* Frame L of level + 1 was split into line L: if it was to leave, so is all of the line. */
void mbc_settle_split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L);
/* Whether some frame of the line is to leave. The caller has all 512 bits. */
bool mbc_line_leaves(const struct mb_frames *f, struct mbc_ref r);
/* Lets go what of the line is to leave and is free. */
void mbc_settle_line(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);
/* All of the line was taken to be merged: its masks say nothing any more. The caller has `held`. */
void mbc_settle_merge(struct mb_frames *f, struct mbc_ref r);

#endif
