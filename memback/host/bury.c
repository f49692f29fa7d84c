/* SPDX-License-Identifier: MIT */
/*
 * bury.c - giving an owner's frames back to the allocator, and burying owners that died.
 *
 * Order, for each run of frames: its bytes go back to the kernel, its ledger entries are cleared, its
 * frames are freed, and then the budget falls. So whoever gets a frame next finds it empty and nobody's.
 */
#include "budget.h"
#include "owner.h"

#include <errno.h>
#include <string.h>

/* Two extents may meet in the middle of a giant frame: then it was never taken whole. */
static int free_giant(struct mb_pool *pool, mb_slot slot, uint64_t frame)
{
	int rc = mb_frame_free(pool->frames, slot, MB_GIANT, (mb_frame){frame});

	if (rc != -ENOENT)
		return rc;
	for (uint64_t f = frame; f < frame + mb_level_frames(MB_GIANT); f += HUGE_PAGES) {
		rc = mb_frame_free(pool->frames, slot, MB_HUGE, (mb_frame){f});
		if (rc)
			return rc;
	}
	return 0;
}

int owner_free_frames(struct mb_pool *pool, mb_slot slot, uint64_t first, uint64_t count)
{
	uint64_t giant = mb_level_frames(MB_GIANT), end = first + count;
	int rc = 0;

	for (uint64_t f = first; !rc && f < end;) {
		if (f % giant == 0 && end - f >= giant) {
			rc = free_giant(pool, slot, f);
			f += giant;
		} else {
			rc = mb_frame_free(pool->frames, slot, MB_HUGE, (mb_frame){f});
			f += HUGE_PAGES;
		}
	}
	return rc;
}

/* Words of the ledger from first on that name this owner. */
static uint64_t ledger_run(const struct mb_pool *pool, uint64_t first, uint64_t words, uint32_t owner,
			   uint32_t generation)
{
	uint64_t i = first;

	for (; i < words; i++) {
		struct ledger_entry e =
		    ledger_unpack(atomic_load_explicit(&pool->ledger[i], memory_order_acquire));

		if (!e.valid || e.owner != owner || e.generation != generation)
			break;
	}
	return i - first;
}

/* Takes back one run of a dead owner's frames. */
static int bury_run(struct mb_pool *pool, mb_slot slot, uint64_t word, uint64_t words)
{
	int rc = pool->mem.ops->forget(&pool->mem, word << HUGE_SHIFT, words << HUGE_SHIFT);

	if (rc)
		return rc;
	for (uint64_t i = word; i < word + words; i++)
		atomic_store_explicit(&pool->ledger[i], 0, memory_order_release);
	return owner_free_frames(pool, slot, word * HUGE_PAGES, words * HUGE_PAGES);
}

static int bury(struct mb_pool *pool, uint32_t index)
{
	struct owner_entry *e = &pool->owners[index];
	uint32_t generation = atomic_load_explicit(&e->generation, memory_order_relaxed);
	uint32_t slot = atomic_load_explicit(&e->slot, memory_order_relaxed);
	uint64_t words = pool->size >> HUGE_SHIFT, n;
	int rc = 0;

	for (uint64_t i = 0; slot && !rc && i < words; i += n ? n : 1) {
		n = ledger_run(pool, i, words, index, generation);
		if (n)
			rc = bury_run(pool, (mb_slot){slot - 1}, i, n);
	}
	if (rc)
		return rc;
	budget_uncharge(pool->vars, atomic_exchange_explicit(&e->charged, 0, memory_order_relaxed));
	if (slot)
		(void)mb_slot_close(pool->frames, (mb_slot){slot - 1});
	atomic_store_explicit(&e->slot, 0, memory_order_relaxed);
	atomic_store_explicit(&e->state, OWNER_FREE, memory_order_release);
	return 0;
}

int owner_bury_dead(struct mb_pool *pool)
{
	int first = 0;

	for (uint32_t i = 0; pool->shared && i < OWNERS_MAX; i++) {
		int rc = 0;

		if (atomic_load_explicit(&pool->owners[i].state, memory_order_acquire) != OWNER_FREE &&
		    !owner_lives(pool, i))
			rc = bury(pool, i);
		if (rc && !first)
			first = rc;
	}
	return first;
}
