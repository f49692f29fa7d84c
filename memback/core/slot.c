/* SPDX-License-Identifier: MIT */
/* slot.c - open and close slots. */
#include "line.h"

enum { SLOT_OPENING = 2 };

int mb_slot_open(struct mb_frames *f, mb_slot *out)
{
	for (uint32_t n = 0; n < f->slots; n++) {
		struct mbc_slot *s = mbc_slot_at(f, n);
		uint32_t closed = MBC_SLOT_CLOSED;

		if (mbc_load32_relaxed(&s->state) != MBC_SLOT_CLOSED ||
		    !mbc_cas32_seq(&s->state, &closed, SLOT_OPENING))
			continue;
		for (unsigned level = 0; level < MB_LEVELS; level++)
			mbc_store_relaxed(&s->at[level], MBC_NONE);
		/* release: whoever sees it open sees that it holds nothing yet */
		mbc_store32_release(&s->state, MBC_SLOT_OPEN);
		*out = (mb_slot){n};
		return 0;
	}
	return -MBC_EUSERS;
}

int mb_slot_close(struct mb_frames *f, mb_slot slot)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);

	if (!s)
		return -MBC_EBADF;
	for (unsigned level = 0; level < MB_LEVELS; level++) {
		if (level < MB_GIANT)
			mbc_ring_flush(f, s, level);
		mbc_slot_drop(f, s, s, level);
	}
	/* merging what was held may have left lines of level 1 in the ring */
	mbc_ring_flush(f, s, MB_HUGE);
	mbc_store32_release(&s->state, MBC_SLOT_CLOSED);
	return 0;
}
