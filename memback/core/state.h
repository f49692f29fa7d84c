/* SPDX-License-Identifier: MIT */
/* state.h - what became of a frame: its masks, and why it is not what a caller says it is. */
#ifndef MBC_STATE_H
#define MBC_STATE_H

#include "layout.h"

/* The edge of a ragged level-0 line; NULL: it has none. */
struct mbc_edge *mbc_edge_find(const struct mb_frames *f, uint64_t L);

/* The words of the online and drain masks for word W of a level, as far as there are any. */
struct mbc_masks {
	mbc_a64 *online;
	mbc_a64 *drain;
};
/* False: the line is plain at that level, all of it is online and nothing drains. */
bool mbc_masks_get(const struct mb_frames *f, unsigned level, uint64_t W, struct mbc_masks *out);

/* Is (something of) frame X online, given that the frame above is? */
bool mbc_is_online(const struct mb_frames *f, unsigned level, uint64_t X);
/* Does frame X leave, by its own mask or its line's? */
bool mbc_is_draining(const struct mb_frames *f, unsigned level, uint64_t X);

/* The level-0 frame that holds the block of this line, as a mask for word w of it; in band only. */
uint64_t mbc_home_mask(const struct mb_frames *f, struct mbc_ref r, unsigned w);

/*
 * 0 if frame X is allocated at exactly this level, in a pool with owners with holes or without; else the
 * errno that freeing it gives: -ENXIO, -EALREADY, -ENOENT.
 */
int mbc_check_used(const struct mb_frames *f, unsigned level, uint64_t X);

#endif
