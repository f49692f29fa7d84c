/* SPDX-License-Identifier: MIT */
/* alloc.h - allocating, as the rest of the core uses it. */
#ifndef MBC_ALLOC_H
#define MBC_ALLOC_H

#include "line.h"

/* Up to n frames of a level, of one word. -ENOMEM: there is none. */
int mbc_alloc(struct mb_frames *f, struct mbc_slot *s, unsigned level, unsigned n, struct mbc_got *got);

#endif
