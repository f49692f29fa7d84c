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

/*
 * Where a change stands, for whoever finds its thread dead; kept in pools with owners only. Each step is such
 * that doing it again does no harm, but for the piece that it is at: what of that is in hand, the slot's
 * journal names.
 *
 *   ADD     pieces before range_at are online and were freed; all of it will be (completed)
 *   TAKE    [range_first, range_at) is taken, and will be given back (undone); range_first moves while it is
 *   FORGET  all of it is taken, pieces before range_gone are offline; all of it will be (completed)
 *   DRAIN   it is done again, from the beginning (completed)
 */
enum mbc_range_op {
	MBC_RANGE_NONE,
	MBC_RANGE_ADD,
	MBC_RANGE_TAKE,
	MBC_RANGE_FORGET,
	MBC_RANGE_DRAIN,
};

void mbc_range_begin(struct mb_frames *f, enum mbc_range_op op, uint64_t first, uint64_t end);
/* Pieces before x are done. */
static inline void mbc_range_reach(const struct mb_frames *f, mbc_a64 *mark, uint64_t x)
{
	/* release: so is what was done with them */
	if (mbc_owned_pool(f))
		mbc_store_release(mark, x);
}

struct mbc_slot *mbc_range_lock(struct mb_frames *f);
/* The slot as it is at the beginning of a change; the caller has the lock. */
struct mbc_slot *mbc_range_open(struct mb_frames *f);
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

/* The steps of the changes, which recovery does too. */
void mbc_range_add_from(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end);
/* If all of line L of level 2 is online and stays, it is plain from now on. */
void mbc_range_plain(struct mb_frames *f, uint64_t L);
void mbc_range_give_back(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end, uint64_t whole_end);
void mbc_range_forget(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end);
int mbc_drain(struct mb_frames *f, struct mbc_slot *s, uint64_t first, uint64_t end);

/* Forgets a giant frame of which nothing is online any more. */
void mbc_giant_tidy(struct mb_frames *f, uint64_t giant);
/* The last steps of that, once it is offline; again, if that was cut. */
void mbc_giant_tidied(struct mb_frames *f, uint64_t giant);
/* The same for a huge frame whose line is ragged. */
void mbc_huge_tidy(struct mb_frames *f, struct mbc_slot *s, uint64_t huge);

/* -EINVAL, -ERANGE for a range that is none; beyond: what a range beyond the capacity gives. */
int mbc_range_check(const struct mb_frames *f, mb_frame first, uint64_t count, int beyond);

#endif
