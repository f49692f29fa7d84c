/* SPDX-License-Identifier: MIT */
/* slot.c - open and close slots, and what the caller says of their intents. */
#include "line.h"

static bool try_open(struct mb_frames *f, uint32_t n)
{
	struct mbc_slot *s = mbc_slot_at(f, n);
	uint32_t closed = MBC_SLOT_CLOSED;

	if (mbc_load32_relaxed(&s->state) != MBC_SLOT_CLOSED ||
	    !mbc_cas32_seq(&s->state, &closed, MBC_SLOT_OPENING))
		return false;
	for (unsigned level = 0; level < MB_LEVELS; level++) {
		mbc_store_relaxed(&s->at[level], MBC_NONE);
		mbc_slot_aim_nowhere(s, level);
	}
	/* release: whoever sees it open sees that it holds nothing yet */
	mbc_store32_release(&s->state, MBC_SLOT_OPEN);
	return true;
}

int mb_slot_open(struct mb_frames *f, mb_slot *out)
{
	for (uint32_t n = 0; n < f->slots; n++)
		if (try_open(f, n)) {
			*out = (mb_slot){n};
			return 0;
		}
	return -MBC_EUSERS;
}

int mb_slot_open_at(struct mb_frames *f, mb_slot slot)
{
	if (slot.n >= f->slots)
		return -MBC_EINVAL;
	return try_open(f, slot.n) ? 0 : -MBC_EBUSY;
}

bool mb_slot_in_use(const struct mb_frames *f, mb_slot slot)
{
	/* acquire: what was done before it was closed is done */
	return slot.n < f->slots && mbc_load32_acquire(&mbc_slot_at(f, slot.n)->state) != MBC_SLOT_CLOSED;
}

int mb_slot_close(struct mb_frames *f, mb_slot slot)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);

	if (!s)
		return -MBC_EBADF;
	mbc_intend_none(f, s);
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

int mb_slot_settle(struct mb_frames *f, mb_slot slot)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);

	if (!s)
		return -MBC_EBADF;
	mbc_intend_none(f, s);
	return 0;
}

int mb_slot_intend_free(struct mb_frames *f, mb_slot slot, enum mb_level level, mb_frame frame)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	uint64_t X = frame.n >> (MB_LEVEL_SHIFT * (unsigned)level);

	if (!s)
		return -MBC_EBADF;
	if ((unsigned)level >= MB_LEVELS || frame.n & (mb_level_frames(level) - 1))
		return -MBC_EINVAL;
	if (frame.n >= f->capacity)
		return -MBC_ERANGE;
	if (!mbc_owned_pool(f) || (unsigned)level < f->lowest)
		return -MBC_EPERM;
	mbc_intend_free_mask(f, s, (unsigned)level, X / MBC_WORD_BITS, mbc_bit(X));
	return 0;
}
