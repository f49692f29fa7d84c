/* SPDX-License-Identifier: MIT */
/*
 * range.h - ranges come and go.
 *
 * Changes of ranges exclude one another (not the allocating threads). Each works through the slot number
 * f->slots, which nobody else can open. A range is worked off in pieces:
 *
 *   giant  whole giant frames, as many as lie in one word of the top level
 *   huge   whole huge frames of one word, where the giant frame is or will be online in part only
 *   base   base frames of one word, at the ragged edge of a range: such a line has an edge with its masks
 */
#ifndef MBC_RANGE_H
#define MBC_RANGE_H

#include "line.h"
#include "state.h"

struct mbc_slot *mbc_range_lock(struct mb_frames *f);
void mbc_range_unlock(struct mb_frames *f, struct mbc_slot *s);

struct mbc_piece {
	unsigned level;
	uint64_t W;
	uint64_t mask;
	uint64_t next; /* base frame after the piece */
};

/*
 * The piece of [x, end) at x, in whole frames of the highest level possible. by_state: and where a frame is
 * online in part only, or is ragged, one level further down.
 */
struct mbc_piece mbc_piece_at(const struct mb_frames *f, uint64_t x, uint64_t end, bool by_state);

/* Gives line L of level 1, whose giant frame is online, masks: all is online, nothing leaves. Idempotent. */
void mbc_masks_open(struct mb_frames *f, uint64_t L);
/* The same for a level-0 line that is split. -ENOSPC: no edge left. */
int mbc_edge_open(struct mb_frames *f, struct mbc_ref r, uint64_t online);
/* Edges left. */
unsigned mbc_edges_left(const struct mb_frames *f);

/* Forgets a giant frame of which nothing is online any more. */
void mbc_giant_tidy(struct mb_frames *f, uint64_t giant);
/* The same for a huge frame whose line is ragged. */
void mbc_huge_tidy(struct mb_frames *f, struct mbc_slot *s, uint64_t huge);

/* -EINVAL, -ERANGE for a range that is none; beyond: what a range beyond the capacity gives. */
int mbc_range_check(const struct mb_frames *f, mb_frame first, uint64_t count, int beyond);

#endif
