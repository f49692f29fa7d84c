/* SPDX-License-Identifier: MIT */
/*
 * bury.c - giving an owner's frames back to the allocator, and burying owners that died at any instruction.
 *
 * Order, for each run of frames: its bytes go back to the kernel; then frame by frame an intent to free it is
 * written, its ledger entries are cleared, it is freed; and at last the budget falls. So whoever gets a frame
 * next finds it empty and nobody's, and whoever is killed on the way leaves each frame either in the ledger or
 * in an intent.
 *
 * The dead are buried under the serial lock, so by one at a time, in steps that may be done again:
 *
 *   1. a change of ranges, and the slots of the dead, those of the recovering dead among them: what they had in
 *      hand is completed or undone (memback/frames.h);
 *   2. what the ledger says is theirs is given back: its bytes in steps, each of which is uncharged at once, so
 *      that who waits for memory goes on long before all of it is back (the kernel frees 4 KiB pages at 5 to 15
 *      GiB/s); then the frames;
 *   3. the entry is free, the sum of the budget is what the others are charged, and those who wait are woken.
 *
 * An owner's slot has his number. Whoever buries takes one of those beyond.
 */
#include "budget.h"
#include "charge.h"
#include "error.h"
#include "owner.h"

#include <errno.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PATIENCE 10000                /* rounds in which somebody alive stood in the way */
#define STEP     (UINT64_C(32) << 20) /* bytes; 2 to 7 ms of 4 KiB pages */

/* ---- giving frames back -------------------------------------------------------------------------------- */

/* Two extents may meet in the middle of a giant frame: then it was never taken whole. */
static int free_giant(struct mb_pool *pool, mb_slot slot, uint64_t frame)
{
	int rc = mb_frame_free(pool->frames, slot, MB_GIANT, (mb_frame){frame});

	if (rc != -ENOENT)
		return rc;
	rc = 0;
	for (uint64_t f = frame; !rc && f < frame + mb_level_frames(MB_GIANT); f += HUGE_PAGES)
		rc = mb_frame_free(pool->frames, slot, MB_HUGE, (mb_frame){f});
	return rc;
}

static int free_one(struct mb_pool *pool, mb_slot slot, enum mb_level level, uint64_t frame)
{
	int rc = mb_slot_intend_free(pool->frames, slot, level, (mb_frame){frame});

	if (rc)
		return rc;
	for (uint64_t f = frame; f < frame + mb_level_frames(level); f += HUGE_PAGES)
		atomic_store_explicit(ledger_at(pool->ledger, f), 0, memory_order_release);
	if (level == MB_GIANT)
		rc = free_giant(pool, slot, frame);
	else
		rc = mb_frame_free(pool->frames, slot, level, (mb_frame){frame});
	(void)mb_slot_settle(pool->frames, slot);
	return rc;
}

int owner_free_frames(struct mb_pool *pool, mb_slot slot, uint64_t first, uint64_t count)
{
	uint64_t giant = mb_level_frames(MB_GIANT), end = first + count;
	int rc = 0;

	for (uint64_t f = first; !rc && f < end;) {
		bool whole = f % giant == 0 && end - f >= giant;

		rc = free_one(pool, slot, whole ? MB_GIANT : MB_HUGE, f);
		f += whole ? giant : HUGE_PAGES;
	}
	return rc;
}

/* ---- the slots of the dead ----------------------------------------------------------------------------- */

static bool recorded(void *arg, enum mb_level level, mb_frame frame)
{
	struct mb_pool *pool = arg;

	(void)level;
	if (frame.n >= pool->size >> BASE_SHIFT)
		return false;
	return ledger_unpack(atomic_load_explicit(ledger_at(pool->ledger, frame.n), memory_order_acquire))
	    .valid;
}

static bool slot_is_dead(const struct mb_pool *pool, uint32_t slot, mb_slot mine)
{
	return slot != mine.n && mb_slot_in_use(pool->frames, (mb_slot){slot}) &&
	       (slot >= OWNERS_MAX || !owner_lives(pool, slot));
}

/* Those beyond the owners' first; one of a free entry will do where all of these were left by the dead. */
static int open_keeper(struct mb_pool *pool, mb_slot *mine)
{
	struct mb_frames_config config;
	int rc = -ENOSPC;

	mb_frames_get_config(pool->frames, &config);
	for (uint32_t n = 0; rc && n < config.slots; n++) {
		uint32_t i = (OWNERS_MAX + n) % config.slots;

		if (i < OWNERS_MAX && atomic_load_explicit(&pool->owners[i].state, memory_order_acquire))
			continue;
		*mine = (mb_slot){i};
		rc = mb_slot_open_at(pool->frames, *mine);
	}
	return rc;
}

static int recover_round(struct mb_pool *pool, mb_slot mine, uint32_t slots, struct mb_recovery *did)
{
	int first = mb_ranges_recover(pool->frames, mine, recorded, pool, did);

	for (uint32_t i = 0; i < slots; i++) {
		int rc = 0;

		if (slot_is_dead(pool, i, mine))
			rc = mb_slot_recover(pool->frames, mine, (mb_slot){i}, recorded, pool, did);
		if (rc && (!first || first == -EAGAIN))
			first = rc;
	}
	return first;
}

static int recover_slots(struct mb_pool *pool, mb_slot mine, struct mb_recovery *did)
{
	struct mb_frames_config config;
	int rc = -EAGAIN;

	mb_frames_get_config(pool->frames, &config);
	for (unsigned i = 0; rc == -EAGAIN && i < PATIENCE; i++) {
		rc = recover_round(pool, mine, config.slots, did);
		if (rc == -EAGAIN)
			sched_yield();
	}
	return rc;
}

/* ---- the dead ------------------------------------------------------------------------------------------ */

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

/* What the kernel holds of a stretch; 0 where it does not say: its charge goes with the owner, then. */
static uint64_t held(const struct mb_pool *pool, uint64_t offset, uint64_t len)
{
	uint64_t bytes = 0;
	void *at = mmap(NULL, len, PROT_READ, MAP_SHARED | MAP_NORESERVE, pool->mem.fd, (off_t)offset);
	int rc = at == MAP_FAILED ? -errno : backing_resident_range(&pool->mem, at, offset, len, &bytes);

	if (at != MAP_FAILED)
		munmap(at, len);
	return rc ? 0 : bytes;
}

/* Bytes of a dead owner's charge are anybody's. In the order of space_uncharge(), for whoever kills us here. */
static void uncharge_dead(struct mb_pool *pool, struct owner_entry *e, uint64_t bytes)
{
	uint64_t charged = atomic_load(&e->charged);

	bytes = bytes < charged ? bytes : charged;
	if (!bytes)
		return;
	atomic_fetch_add(&e->charging, 1);
	budget_uncharge(pool->vars, bytes);
	atomic_store(&e->charged, charged - bytes);
	atomic_fetch_add(&e->charging, 1);
	budget_wake(pool->vars);
}

/*
 * Whoever died in the middle of a change of its charge left the count of changes odd, which would keep the sum
 * from being mended. Nobody else changes these words: the owner is dead, and we hold the serial lock. False: the
 * sum may lack what the owner's word still has, so that nothing may be taken from it bit by bit; or the pages are
 * huge, and gone at once.
 */
static bool settle_charge(struct mb_pool *pool, struct owner_entry *e)
{
	if (atomic_load(&e->charging) & 1)
		atomic_fetch_add(&e->charging, 1);
	return pool->mem.blocks_exact && pool->mem.granule == BASE_BYTES && !budget_repair(pool);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/*
 * Gives a run's bytes back to the kernel. What was resident is charged no more as soon as it is gone. -EAGAIN: the
 * time is over; whoever goes on skips what is gone already.
 */
static int empty_run(struct mb_pool *pool, struct owner_entry *e, bool steps, uint64_t offset, uint64_t len)
{
	const struct backing *b = &pool->mem;
	uint64_t end = offset + len, n;
	int rc = 0;

	for (uint64_t pos = offset; steps && !rc && pos < end; pos += n) {
		uint64_t bytes;

		pos += backing_skip(b, NULL, pos, end - pos) & ~(b->granule - 1);
		n = end - pos < STEP ? end - pos : STEP;
		bytes = n ? held(pool, pos, n) : 0;
		if (!bytes)
			continue;
		rc = pool_fault(pool);
		if (!rc)
			rc = b->ops->forget(b, pos, n);
		if (!rc)
			uncharge_dead(pool, e, bytes);
		if (!rc && pool->bury_until && now_ns() >= pool->bury_until)
			rc = -EAGAIN;
	}
	return rc ? rc : b->ops->forget(b, offset, len);
}

/* Takes back one run of a dead owner's frames. */
static int bury_run(struct mb_pool *pool, mb_slot mine, struct owner_entry *e, bool steps, uint64_t word,
		    uint64_t words)
{
	int rc = empty_run(pool, e, steps, word << HUGE_SHIFT, words << HUGE_SHIFT);

	return rc ? rc : owner_free_frames(pool, mine, word * HUGE_PAGES, words * HUGE_PAGES);
}

static int bury(struct mb_pool *pool, mb_slot mine, uint32_t index, struct mb_recovered *did)
{
	struct owner_entry *e = &pool->owners[index];
	uint32_t generation = atomic_load_explicit(&e->generation, memory_order_relaxed);
	uint64_t words = pool->size >> HUGE_SHIFT, charged = atomic_load(&e->charged), n, bytes = 0;
	bool steps = settle_charge(pool, e);
	int rc = 0;

	for (uint64_t i = 0; !rc && i < words; i += n ? n : 1) {
		n = ledger_run(pool, i, words, index, generation);
		if (n)
			rc = bury_run(pool, mine, e, steps, i, n);
		bytes += n << HUGE_SHIFT;
	}
	if (rc)
		return rc;
	did->owners++;
	did->frames += bytes;
	did->charged += charged;
	atomic_store(&pool->vars->wait[index].ticket, 0);
	atomic_store_explicit(&e->slot, 0, memory_order_relaxed);
	atomic_store_explicit(&e->state, OWNER_FREE, memory_order_release);
	return 0;
}

bool owner_some_dead(const struct mb_pool *pool)
{
	for (uint32_t i = 0; pool->shared && i < OWNERS_MAX; i++)
		if (atomic_load_explicit(&pool->owners[i].state, memory_order_acquire) != OWNER_FREE &&
		    !owner_lives(pool, i))
			return true;
	return false;
}

/*
 * Somebody died who was no owner yet or any more, or who was burying; or who was changing the pool's size, which is
 * done under the serial lock, as this is: so whoever left ranges in the middle of a change is dead.
 */
static bool some_slot_left(const struct mb_pool *pool)
{
	struct mb_frames_config config;

	if (mb_ranges_are_changing(pool->frames))
		return true;
	mb_frames_get_config(pool->frames, &config);
	for (uint32_t i = 0; i < config.slots; i++)
		if (slot_is_dead(pool, i, (mb_slot){UINT32_MAX}))
			return true;
	return false;
}

static int bury_all(struct mb_pool *pool, mb_slot mine, struct mb_recovered *did)
{
	struct mb_recovery core = {0};
	int first = recover_slots(pool, mine, &core);

	did->freed = core.freed << BASE_SHIFT;
	did->completed = core.completed;
	did->undone = core.undone;
	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		int rc = 0;

		if (atomic_load_explicit(&pool->owners[i].state, memory_order_acquire) == OWNER_FREE ||
		    owner_lives(pool, i))
			continue;
		/* What it had in hand comes first; where that is not done yet, the next one does all of it. */
		if (mb_slot_in_use(pool->frames, (mb_slot){i}))
			rc = -EAGAIN;
		else
			rc = bury(pool, mine, i, did);
		if (rc && !first)
			first = rc;
	}
	return first;
}

int owner_bury_dead(struct mb_pool *pool, struct mb_recovered *did)
{
	struct mb_recovered ignored;
	mb_slot mine;
	int rc, sum;

	did = did ? did : &ignored;
	memset(did, 0, sizeof(*did));
	if (!pool->shared)
		return 0;
	if (!owner_some_dead(pool) && !some_slot_left(pool))
		/* All are alive, or their undertaker died between the last entry and the sum. */
		return budget_repair(pool);
	rc = open_keeper(pool, &mine);
	if (rc)
		return rc;
	rc = bury_all(pool, mine, did);
	sum = budget_repair(pool);
	(void)mb_slot_close(pool->frames, mine);
	budget_wake(pool->vars);
	return rc ? rc : sum;
}

bool owner_bury_some(struct mb_pool *pool, unsigned ms)
{
	int rc;

	if (!owner_some_dead(pool) || owner_serial_trylock(pool))
		return false;
	pool->bury_until = now_ns() + (uint64_t)ms * 1000000;
	rc = owner_bury_dead(pool, NULL);
	pool->bury_until = 0;
	owner_serial_unlock(pool);
	return rc == -EAGAIN;
}

int mb_pool_recover(struct mb_pool *pool, struct mb_recovered *out, struct mb_error *err)
{
	int rc = owner_serial_lock(pool);

	host_clear(err);
	if (rc)
		return host_error(err, rc, "cannot lock the pool: %s", strerror(-rc));
	rc = owner_bury_dead(pool, out);
	owner_serial_unlock(pool);
	if (rc)
		return host_error(err, rc, "not all that dead owners had could be taken back: %s; try again",
				  strerror(-rc));
	return 0;
}
