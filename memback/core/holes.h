/* SPDX-License-Identifier: MIT */
/* holes.h - pools with owners: base frames that are given back and stay their owner's. */
#ifndef MBC_HOLES_H
#define MBC_HOLES_H

#include "line.h"

/* Forgets all holes of a huge or giant frame that its owner frees. */
void mbc_holes_clear(struct mb_frames *f, unsigned level, uint64_t X);

/*
 * Undoes a change of the holes of [first, first + count) that was cut anywhere: none of it was a hole before an
 * addition, all of it before a removal. Again does no harm.
 */
void mbc_holes_undo(struct mb_frames *f, uint64_t first, uint64_t count, bool add);
/* Completes mb_frame_holes_merge() of the giant frame that begins here, if it was begun. Again does no harm. */
void mbc_holes_merged(struct mb_frames *f, uint64_t giant);

#endif
