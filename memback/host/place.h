/* SPDX-License-Identifier: MIT */
/*
 * place.h - chooses frames for a guest address space: few, long, well-aligned runs of what is free.
 */
#ifndef HOST_PLACE_H
#define HOST_PLACE_H

#include "state.h"

/*
 * Fills space->extent and space->extents from the free frames of the pool, taking none. Addresses and
 * frames agree modulo 1 GiB where there is such a run (so that giant pages can map giant frames), else
 * modulo 2 MiB. -ENOMEM with text: not enough frames, or in too many pieces.
 */
int place_space(struct mb_space *space, struct mb_error *err);

#endif
