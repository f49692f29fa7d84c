/* SPDX-License-Identifier: MIT */
/* rebuild.h - hints, made anew from the truth. */
#ifndef MBC_REBUILD_H
#define MBC_REBUILD_H

#include "line.h"

/* Sets the part bit of every line that has something free and is nobody's. May run while others allocate. */
void mbc_rebuild(struct mb_frames *f, struct mbc_slot *s);

#endif
