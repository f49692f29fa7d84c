/* SPDX-License-Identifier: MIT */
/* ring.c - the lines that a slot freed into and remembers: only what falls out of its ring is published. */
#include "hint.h"
#include "line.h"

/* A line has fallen out of a ring. */
static void publish(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	struct mbc_ref r = mbc_pin(f, s, level, L);

	if (!r.block)
		return;
	/* a line that is held is its holder's to publish: fact 5 */
	if (mbc_line_usable(r) && !mbc_has(&r.block->held, r.bit) && !mbc_line_is_empty(r))
		mbc_part_set(f, r);
	mbc_unpin(f, s);
}

static mbc_a32 *ring_of(struct mbc_slot *s, unsigned level, uint32_t *size)
{
	*size = level == MB_BASE ? MBC_RING0 : MBC_RING1;
	return level == MB_BASE ? s->ring : s->ring + MBC_RING0;
}

/* relaxed throughout: others read rings as hints only */
static uint32_t ring_swap(struct mbc_slot *s, unsigned level, mbc_a32 *entry, uint32_t v)
{
	uint32_t out = mbc_load32_relaxed(entry), turn = mbc_load32_relaxed(&s->turn[level]);

	mbc_store32_relaxed(entry, v);
	mbc_store32_relaxed(&s->turn[level], turn + ((uint32_t)(v != 0) << 16) - ((uint32_t)(out != 0) << 16));
	return out;
}

void mbc_ring_drop(struct mbc_slot *s, unsigned level, uint32_t entry)
{
	uint32_t size;

	/* it is in use; relaxed, as all of a ring: only its owner writes it, others read it as a hint */
	mbc_store32_relaxed(&ring_of(s, level, &size)[entry], 0);
	mbc_store32_relaxed(&s->turn[level], mbc_load32_relaxed(&s->turn[level]) - (1u << 16));
}

void mbc_ring_forget(struct mbc_slot *s, unsigned level, uint64_t L)
{
	uint32_t size, turn = mbc_load32_relaxed(&s->turn[level]), last;
	mbc_a32 *ring = ring_of(s, level, &size);

	last = (turn - 1) & (size - 1);
	if (mbc_load32_relaxed(&ring[last]) != (uint32_t)L + 1)
		return;
	/* what comes next takes its place, so that nothing else falls out for it; relaxed, as above */
	mbc_store32_relaxed(&ring[last], 0);
	mbc_store32_relaxed(&s->turn[level], ((turn >> 16) - 1) << 16 | last);
}

/* A line takes the place of another one in the ring, which is in hand until it is published. */
static MBC_COLD void ring_evict(struct mb_frames *f, struct mbc_slot *s, unsigned level, mbc_a32 *entry,
				uint64_t L)
{
	uint32_t out = mbc_load32_relaxed(entry);
	unsigned hand = mbc_hand(f, s, level, out - 1);

	ring_swap(s, level, entry, (uint32_t)L + 1);
	publish(f, s, level, out - 1);
	mbc_unhand(f, s, hand);
}

void mbc_remember(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	uint32_t size, turn, next;
	mbc_a32 *ring;

	if (level == MB_GIANT) {
		mbc_part_set(f, mbc_ref_sure(f, level, L));
		return;
	}
	ring = ring_of(s, level, &size);
	turn = mbc_load32_relaxed(&s->turn[level]);
	if (mbc_load32_relaxed(&ring[(turn - 1) & (size - 1)]) == (uint32_t)L + 1)
		return;
	for (uint32_t k = 0; k < size && turn >> 16; k++)
		if (mbc_load32_relaxed(&ring[k]) == (uint32_t)L + 1)
			return;
	next = turn & (size - 1);
	mbc_store32_relaxed(&s->turn[level], (turn & 0xffff0000u) | ((turn + 1) & (size - 1)));
	if (mbc_load32_relaxed(&ring[next]))
		ring_evict(f, s, level, &ring[next], L);
	else
		ring_swap(s, level, &ring[next], (uint32_t)L + 1);
}

MBC_COLD void mbc_front_move(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	mbc_remember(f, s, level, mbc_front_line(s, level) - 1);
	mbc_store32_relaxed(&s->back[level], 0);
}

void mbc_ring_flush(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	uint32_t size;
	mbc_a32 *ring = ring_of(s, level, &size);

	mbc_front_to_ring(f, s, level);
	for (uint32_t k = 0; k < size; k++) {
		uint32_t out = mbc_load32_relaxed(&ring[k]);
		unsigned hand;

		if (!out)
			continue;
		hand = mbc_hand(f, s, level, out - 1);
		ring_swap(s, level, &ring[k], 0);
		publish(f, s, level, out - 1);
		mbc_unhand(f, s, hand);
	}
}
