/* SPDX-License-Identifier: MIT */
/* take.h - taking given frames, as the rest of the core uses it. */
#ifndef MBC_TAKE_H
#define MBC_TAKE_H

#include "line.h"

/*
 * Takes the frames of a mask in word W: all of them, or -EBUSY and none. home: in band, the base frame where a
 * block shall lie that has to be made for this; unused above level 0.
 */
int mbc_take(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask, uint64_t home);
/* Takes one frame, also where it is free in pieces that nobody uses. */
int mbc_take_frame(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X);

#endif
