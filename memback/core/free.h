/* SPDX-License-Identifier: MIT */
/* free.h - freeing, as the rest of the core uses it. */
#ifndef MBC_FREE_H
#define MBC_FREE_H

#include "line.h"

/* Frees frame X of a level, which is the caller's beyond doubt. */
void mbc_free_own(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X);
/* Frees the frames of a mask in one word, which are the caller's beyond doubt. */
void mbc_free_own_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask);

#endif
