/* SPDX-License-Identifier: MIT */
/*
 * check_pool.c - does a pool's bookkeeping agree with itself, whoever its owners are?
 *
 *   allocator: free + used + holes + offline = capacity; its own invariants
 *   ledger:    a frame is in use  <=>  its entry names an owner, whose extents hold it at that address
 *   budget:    sum of what owners are charged = what is used, and resident <= used
 *   kernel:    and it holds bytes where it should (check_kernel.c)
 *
 * Under the serial lock, so that owners neither come nor go; but they inflate and deflate meanwhile. What
 * those change is looked at until it agrees, a bounded number of times.
 */
#include "check_kernel.h"
#include "error.h"
#include "owner.h"
#include "pool_open.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <sched.h>

#define PATIENCE          1000
#define PATIENCE_RESIDENT 8

static void check_allocator(struct mb_pool *pool, struct report *r)
{
	struct mb_frames_count c;
	struct mb_flaw flaw = {0};
	bool rest = true;

	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		rest = rest && !owner_lives(pool, i);
	if (mb_frames_validate(pool->frames, rest ? MB_VALIDATE_FULL : MB_VALIDATE_CHEAP, &flaw))
		report_add(r, "allocator", REPORT_NONE, flaw.frame.n, 0,
			   "the allocator's records: %s (frame %" PRIu64 ")", flaw.what ? flaw.what : "damaged",
			   flaw.frame.n);
	mb_frames_count(pool->frames, &c);
	if (c.free + c.used + c.holes + c.offline != c.capacity && rest)
		report_add(r, "allocator", REPORT_NONE, REPORT_NONE, 0,
			   "free %" PRIu64 " + used %" PRIu64 " + holes %" PRIu64 " + offline %" PRIu64
			   " frames are not the %" PRIu64 " there are",
			   c.free, c.used, c.holes, c.offline, c.capacity);
}

/* The owner whose table of extents has the frame at that address? Everything read here is shared: bounded. */
static bool extents_hold(const struct owner_entry *e, uint64_t gpa, uint64_t frame)
{
	uint32_t n = atomic_load_explicit(&e->extents, memory_order_acquire);

	for (uint32_t i = 0; i < n && i < EXTENTS_MAX; i++) {
		struct extent x = e->extent[i];

		if (frame >= x.frame && frame - x.frame < x.count)
			return gpa == x.gpa + ((frame - x.frame) << BASE_SHIFT);
	}
	return false;
}

static void check_entry(struct mb_pool *pool, uint64_t frame, struct ledger_entry e, struct report *r)
{
	const struct owner_entry *o = &pool->owners[e.owner < OWNERS_MAX ? e.owner : 0];

	if (e.owner >= OWNERS_MAX || atomic_load_explicit(&o->state, memory_order_acquire) == OWNER_FREE ||
	    atomic_load_explicit(&o->generation, memory_order_relaxed) != e.generation)
		report_add(r, "ledger", e.gpa, frame, HUGE_BYTES,
			   "frame %" PRIu64 " belongs to owner %u, which does not exist", frame,
			   owner_id(e.owner, e.generation));
	else if (!extents_hold(o, e.gpa, frame))
		report_add(r, "ledger", e.gpa, frame, HUGE_BYTES,
			   "the ledger has frame %" PRIu64 " at 0x%" PRIx64
			   " of owner %u, whose extents do not",
			   frame, e.gpa, owner_id(e.owner, e.generation));
}

struct pool_walk {
	struct mb_pool *pool;
	struct report *report;
};

/* A run of the allocator against the ledger's words for it; each word once, where its huge frame begins. */
static int check_run(void *arg, const struct mb_run *run)
{
	struct pool_walk *w = arg;
	uint64_t f = (run->first.n + HUGE_PAGES - 1) & ~(uint64_t)(HUGE_PAGES - 1);

	for (; f < run->first.n + run->count && !w->report->stop; f += HUGE_PAGES) {
		uint64_t word = atomic_load_explicit(ledger_at(w->pool->ledger, f), memory_order_acquire);
		struct ledger_entry e = ledger_unpack(word);
		bool used = run->state == MB_USED || run->state == MB_HOLE || run->state == MB_DRAINING;

		if (used && e.valid)
			check_entry(w->pool, f, e, w->report);
		else if (used)
			report_add(w->report, "allocator", REPORT_NONE, f, HUGE_BYTES,
				   "frame %" PRIu64 " is in use in the allocator, but nobody's in the ledger",
				   f);
		else if (e.valid)
			report_add(w->report, "allocator", e.gpa, f, HUGE_BYTES,
				   "frame %" PRIu64 " is %s in the allocator, but owner %u's in the ledger", f,
				   run->state == MB_FREE ? "free" : "offline", owner_id(e.owner, e.generation));
	}
	return w->report->stop;
}

static uint64_t sum_charged(const struct mb_pool *pool)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (atomic_load_explicit(&pool->owners[i].state, memory_order_acquire) != OWNER_FREE)
			sum += atomic_load_explicit(&pool->owners[i].charged, memory_order_relaxed);
	return sum;
}

static void check_budget(struct mb_pool *pool, struct report *r)
{
	uint64_t used = 0, sum = 0;

	/* More than the budget may be used: mb_pool_set_budget() takes nothing from anybody. An owner changes the pool's sum and its own total in two steps. */
	for (int i = 0; i < PATIENCE; i++) {
		used = atomic_load_explicit(&pool->vars->budget_used, memory_order_relaxed);
		sum = sum_charged(pool);
		if (sum == used)
			break;
		sched_yield();
	}
	if (sum != used)
		report_add(r, "budget", REPORT_NONE, REPORT_NONE, used,
			   "the owners are charged %" PRIu64 " bytes, but the pool says %" PRIu64 " are used",
			   sum, used);
}

/*
 * Bytes are charged before they are taken and uncharged after they are given back, so at no moment more is
 * resident than charged. The two are read at two moments: whoever deflates before and inflates after may make
 * it look so, but not time and again.
 */
static int check_resident(struct mb_pool *pool, struct report *r)
{
	uint64_t resident = 0, used = 0;

	for (int i = 0; i < PATIENCE_RESIDENT; i++) {
		int rc = pool_resident(pool, &resident);

		if (rc)
			return rc;
		used = atomic_load_explicit(&pool->vars->budget_used, memory_order_relaxed);
		/* a file system on a disk counts blocks of its own as well */
		if (pool->mem.fd >= 0 && !pool->mem.blocks_exact)
			used += used / 64 + (UINT64_C(1) << 20);
		if (resident <= used)
			return 0;
	}
	report_add(r, "budget", REPORT_NONE, REPORT_NONE, resident - used,
		   "the kernel holds %" PRIu64 " bytes, %" PRIu64 " more than are charged", resident,
		   resident - used);
	return 0;
}

int pool_check_locked(struct mb_pool *pool, mb_discrepancy_fn *fn, void *arg)
{
	struct report r = {.fn = fn, .arg = arg};
	struct pool_walk w = {pool, &r};
	int rc;

	check_allocator(pool, &r);
	rc = mb_frames_walk(pool->frames, (mb_frame){0}, pool->size >> BASE_SHIFT, check_run, &w);
	if (rc >= 0 && !r.stop)
		check_budget(pool, &r);
	if (rc >= 0 && !r.stop)
		rc = check_resident(pool, &r);
	if (rc >= 0 && !r.stop)
		rc = check_kernel(pool, &r);
	return rc < 0 ? rc : r.found;
}

int mb_pool_check(struct mb_pool *pool, mb_discrepancy_fn *fn, void *arg)
{
	int rc = owner_serial_lock(pool);

	if (rc)
		return rc;
	rc = pool_check_locked(pool, fn, arg);
	owner_serial_unlock(pool);
	return rc;
}
