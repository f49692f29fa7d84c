/* SPDX-License-Identifier: MIT */
/*
 * inband.h - level-0 blocks that live in the memory that they manage.
 *
 * A level-0 block exists while one of its lines is split. It lies in a frame of the line that was split first
 * (its home), which is therefore not handed out. The directory has an entry a block: 0, or the home's frame
 * number (with MBC_DIR_GOING while the block may vanish: owners still find it, who only looks waits), or
 * MBC_DIR_BUSY while it is being made; who finds it busy goes elsewhere.
 *
 * Why nobody touches a block that is gone. Whoever looks into a block has (a) a frame in it that is allocated
 * to him, or (b) a line of it in his at[], so that `held` is set, or (c) his slot's guard on it. A block
 * vanishes only when none of its lines is split but the home's, that one is not held and all free but the home
 * itself (so nobody has (a) or (b), and nobody can come to it without (c)), and then, with the directory going,
 * no guard names it. Guard and directory are a store and a load on both sides, both seq.
 * For this reason a level-0 line in band is never taken away from a slot by another one.
 */
#ifndef MBC_INBAND_H
#define MBC_INBAND_H

#include "line.h"

/*
 * Makes sure of the block of line L, whose frame above is the caller's to split; it is pinned then.
 * home: the frame of that line that a new block shall lie in. -EAGAIN: coming or going at this moment.
 */
int mbc_block_enter(struct mb_frames *f, struct mbc_slot *s, uint64_t L, uint64_t home);

/* Gives up the block, if r is the line of its home and nothing else in it is in use. r is pinned or not. */
bool mbc_block_vanish(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);

/* A line of the block was merged: perhaps its home is now all that is left. The block is pinned. */
void mbc_block_try_vanish(struct mb_frames *f, struct mbc_slot *s, struct mbc_block *block);

/*
 * Lets go all blocks that hold nothing in use. One that somebody was just looking at when its last frame was
 * freed has stayed; this is for whoever lacks a larger frame.
 */
void mbc_blocks_sweep(struct mb_frames *f, struct mbc_slot *s);

#endif
