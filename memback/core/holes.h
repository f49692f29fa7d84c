/* SPDX-License-Identifier: MIT */
/* holes.h - pools with owners: base frames that are given back and stay their owner's. */
#ifndef MBC_HOLES_H
#define MBC_HOLES_H

#include "line.h"

/* Forgets all holes of a huge or giant frame that its owner frees. */
void mbc_holes_clear(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X);

#endif
