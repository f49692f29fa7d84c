/* SPDX-License-Identifier: MIT */
/*
 * resize.c - a pool's size and budget change while it is in use.
 *
 * What is online is what the allocator says: a pool has room for maximum bytes of frame numbers, some of them
 * offline. Growing brings online what is offline below the new size, shrinking drains what lies above it; both
 * may be killed and done again.
 */
#include "backing.h"
#include "charge.h"
#include "error.h"
#include "owner.h"
#include "pool_open.h"

#include <errno.h>
#include <string.h>

struct resize {
	struct mb_pool *pool;
	uint64_t
	    left; /* base frames in use that shall leave, or that would have to come and are still leaving */
	uint64_t first, count; /* the run that is gathered, base frames */
	int (*fn)(struct resize *r);
};

static int bring_online(struct resize *r)
{
	return mb_range_add(r->pool->frames, (mb_frame){r->first}, r->count);
}

static int take_offline(struct resize *r)
{
	uint64_t left = 0;
	int rc = mb_range_drain(r->pool->frames, (mb_frame){r->first}, r->count, &left);

	r->left += left;
	return rc;
}

static int flush_run(struct resize *r)
{
	int rc = r->count ? r->fn(r) : 0;

	r->count = 0;
	return rc;
}

struct run_list {
	struct resize *r;
	bool offline; /* wanted: runs that are offline, or those that are not */
};

/* The allocator must not be changed from within its walk: a run is done when the next one is asked for. */
static int find_run(void *arg, const struct mb_run *run)
{
	struct run_list *l = arg;
	struct resize *r = l->r;

	if ((run->state == MB_OFFLINE) != l->offline)
		return r->count ? 1 : 0;
	if (!r->count)
		r->first = run->first.n;
	r->count += run->count;
	return 0;
}

/* Calls r->fn for each maximal run in [first, end) that is offline, or is not; under the serial lock. */
static int each_run(struct resize *r, uint64_t first, uint64_t end, bool offline)
{
	struct run_list l = {r, offline};
	int rc = 0;

	while (!rc && first < end) {
		rc = mb_frames_walk(r->pool->frames, (mb_frame){first}, end - first, find_run, &l);
		first = r->count ? r->first + r->count : end;
		rc = rc < 0 ? rc : flush_run(r);
	}
	return rc;
}

static int count_draining(void *arg, const struct mb_run *run)
{
	uint64_t *frames = arg;

	*frames += run->state == MB_DRAINING ? run->count : 0;
	return 0;
}

uint64_t pool_draining(struct mb_pool *pool, uint64_t first, uint64_t end)
{
	uint64_t frames = 0;

	if (first < end)
		(void)mb_frames_walk(pool->frames, (mb_frame){first}, end - first, count_draining, &frames);
	return frames;
}

static int change_size(struct mb_pool *pool, uint64_t size, struct resize *r, struct mb_error *err)
{
	uint64_t at = size >> BASE_SHIFT, end = pool->size >> BASE_SHIFT;
	int rc;

	/* Frames only leave meanwhile: we have the serial lock. So if there are none, bringing all online succeeds. */
	r->left = pool_draining(pool, 0, at);
	if (r->left)
		return host_error(
		    err, -EBUSY,
		    "%s of what was taken from the pool below %s is still in use, and comes back only "
		    "when it has left; nothing has changed: end the VMs that `pool shrink` names, or "
		    "grow to less",
		    host_size(r->left << BASE_SHIFT).text, host_size(size).text);
	atomic_store_explicit(&pool->vars->online, size, memory_order_relaxed);
	r->fn = bring_online;
	rc = each_run(r, 0, at, true);
	r->fn = take_offline;
	if (!rc)
		rc = each_run(r, at, end, false);
	if (rc)
		return host_error(err, rc, "cannot change the pool's size: %s; check the pool", strerror(-rc));
	return 0;
}

int mb_pool_resize(struct mb_pool *pool, uint64_t size, uint64_t *left, struct mb_error *err)
{
	struct resize r = {.pool = pool};
	int rc;

	host_clear(err);
	if (!size || size % HUGE_BYTES || size % pool->mem.granule || size > pool->size)
		return host_error(
		    err, -EINVAL,
		    "the size must be a multiple of %s and at most %s, which the pool was made for "
		    "(--max-size of pool create), not %s",
		    host_size(pool->mem.granule > HUGE_BYTES ? pool->mem.granule : HUGE_BYTES).text,
		    host_size(pool->size).text, host_size(size).text);
	rc = owner_serial_lock(pool);
	if (rc)
		return host_error(err, rc, "cannot lock the pool: %s", strerror(-rc));
	(void)owner_bury_dead(pool, NULL);
	/* what was left half done and cannot be completed now would be waited for */
	if (mb_ranges_are_changing(pool->frames))
		rc = host_error(err, -EAGAIN,
				"a change of size that was cut off cannot be completed yet, since others stand in "
				"the way: try again");
	else
		rc = change_size(pool, size, &r, err);
	owner_serial_unlock(pool);
	if (left)
		*left = r.left << BASE_SHIFT;
	return rc;
}

int mb_pool_set_budget(struct mb_pool *pool, uint64_t budget, struct mb_error *warning, struct mb_error *err)
{
	uint64_t used = atomic_load(&pool->vars->budget_used);
	int rc;

	host_clear(warning);
	host_clear(err);
	if (!budget || budget % BASE_BYTES || budget > pool->size)
		return host_error(
		    err, -EINVAL,
		    "the budget must be a multiple of 4 KiB and at most what the pool was made for "
		    "(%s), not %s",
		    host_size(pool->size).text, host_size(budget).text);
	rc = backing_check_room(&pool->mem, budget, used, err);
	if (rc && budget > atomic_load(&pool->vars->budget))
		return rc;
	/* Lowering one that cannot be kept makes it no worse. */
	host_clear(err);
	backing_warn_memory(&pool->mem, budget, used, warning);
	atomic_store(&pool->vars->budget, budget);
	budget_wake(pool->vars);
	return 0;
}
