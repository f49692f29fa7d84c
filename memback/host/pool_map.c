/* SPDX-License-Identifier: MIT */
/*
 * pool_map.c - a pool as people look at it: who has which stretch of its frames, and where there are bytes.
 *
 * Whose a frame is comes from the ledger; whether it is there from the kernel (SEEK_DATA, which is exact on a
 * tmpfs alone: elsewhere nothing is said).
 */
#include "owner.h"

#include <errno.h>
#include <unistd.h>

/* Bytes of data in [offset, offset + len). */
static uint64_t data_in(int fd, uint64_t offset, uint64_t len)
{
	uint64_t end = offset + len, bytes = 0;

	while (offset < end) {
		off_t data = lseek(fd, (off_t)offset, SEEK_DATA), hole;

		if (data < 0 || (uint64_t)data >= end)
			break;
		hole = lseek(fd, data, SEEK_HOLE);
		if (hole <= data)
			break;
		offset = (uint64_t)hole < end ? (uint64_t)hole : end;
		bytes += offset - (uint64_t)data;
	}
	return bytes;
}

/* The owner with the most frames: frames are mostly in long runs, so the one that stays after pairing off. */
static void count_frame(struct mb_pool_stretch *s, uint64_t word, uint64_t *votes)
{
	struct ledger_entry e = ledger_unpack(word);
	uint32_t id = owner_id(e.owner, e.generation);

	if (!e.valid)
		return;
	s->owned += HUGE_BYTES;
	if (*votes && s->owner == id) {
		++*votes;
	} else if (*votes) {
		--*votes;
	} else {
		s->owner = id;
		*votes = 1;
	}
}

static int count_offline(void *arg, const struct mb_run *run)
{
	struct mb_pool_stretch *s = arg;

	s->offline += run->state == MB_OFFLINE ? run->count << BASE_SHIFT : 0;
	return 0;
}

int mb_pool_walk(struct mb_pool *pool, uint64_t step, mb_pool_stretch_fn *fn, void *arg)
{
	bool exact = pool->mem.fd >= 0 && pool->mem.blocks_exact && pool->mem.granule == BASE_BYTES;
	uint64_t n;

	if (!step || step % HUGE_BYTES)
		return -EINVAL;
	for (uint64_t pos = 0; pos < pool->size; pos += n) {
		struct mb_pool_stretch s = {.offset = pos, .resident = UINT64_MAX};
		uint64_t votes = 0;
		int rc;

		n = s.len = pool->size - pos < step ? pool->size - pos : step;
		for (uint64_t i = pos >> HUGE_SHIFT; i < (pos + n) >> HUGE_SHIFT; i++)
			count_frame(&s, atomic_load_explicit(&pool->ledger[i], memory_order_acquire), &votes);
		if (exact)
			s.resident = data_in(pool->mem.fd, pos, n);
		rc = mb_frames_walk(pool->frames, (mb_frame){pos >> BASE_SHIFT}, n >> BASE_SHIFT, count_offline,
				    &s);
		if (!rc)
			rc = fn(arg, &s);
		if (rc)
			return rc;
	}
	return 0;
}
