/* SPDX-License-Identifier: MIT */
/*
 * hint.h - finding a line with something free in it, without scanning.
 *
 * part(block) has a bit for each line that has something free and is nobody's; a tree of up to five tiers of
 * 64-way words over the blocks says which blocks have part bits. This is what becomes of the reordering of the
 * list of bitmaps: an allocation meets free frames within a bounded number of words read.
 */
#ifndef MBC_HINT_H
#define MBC_HINT_H

#include "layout.h"

/*
 * Fact 1: whoever sets a bit sets those above it afterwards; whoever clears one looks below it afterwards and
 * sets it again if there is something. So at rest every part bit can be reached from the root.
 *
 * Fact 2: at rest the line of a part bit has something free. Publishing looks at the words first; whoever takes
 * the last frame clears the bit (mbc_part_tidy(), or by holding the line). So the way down the tree ends at a
 * frame, and does so after one word a tier, a header and a line, whatever has happened before: A10.
 */
void mbc_part_set(struct mb_frames *f, struct mbc_ref r);
/* True if it was set, so that one of several callers is the one who cleared it. */
bool mbc_part_clear(struct mb_frames *f, struct mbc_ref r);
/* Perhaps the last frame of the line was taken by somebody who does not hold it: fact 2. r is pinned. */
void mbc_part_tidy(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r);
/* Some block with part bits, the lowest there is; false: none. */
bool mbc_part_find(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t *block);
/* The block has no part bits (or is gone): nobody shall be led there. */
void mbc_part_forget(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t block);
/* The tree above this block says what is below. */
void mbc_part_mend(struct mb_frames *f, unsigned level, uint64_t block);

#endif
