/* SPDX-License-Identifier: MIT */
/* find.h - frames for an allocation, wherever there are any. */
#ifndef MBC_FIND_H
#define MBC_FIND_H

#include "line.h"

/*
 * Gets up to n frames of a level, of one word: 0, or -ENOMEM; -EPERM: a level that is not handed out. The line that
 * they are of mostly becomes the slot's. In a pool with owners they are named by the slot's intent.
 */
int mbc_find(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got);

#endif
