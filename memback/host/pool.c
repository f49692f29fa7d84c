/* SPDX-License-Identifier: MIT */
/*
 * pool.c - private pools, and what all pools have in common once they are open.
 *
 * A private pool keeps the same records as a pool file, in anonymous memory that costs nothing until it is
 * touched.
 */
#include "error.h"
#include "owner.h"
#include "pool_open.h"
#include "records.h"
#include <memback/pool.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct mb_pool *pool_new(void)
{
	struct mb_pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return NULL;
	pool->mem.fd = -1;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_mutex_init(&pool->list_lock, NULL);
	return pool;
}

void pool_free(struct mb_pool *pool)
{
	if (!pool)
		return;
	if (pool->map)
		munmap(pool->map, pool->map_bytes);
	backing_close(&pool->mem);
	pthread_mutex_destroy(&pool->list_lock);
	pthread_mutex_destroy(&pool->lock);
	free(pool->mem_path);
	free(pool);
}

/* Whatever is written there: another process may have damaged it. */
static uint64_t online_frames(const struct mb_pool *pool)
{
	uint64_t online = atomic_load_explicit(&pool->vars->online, memory_order_relaxed);

	return (online && online <= pool->size && online % HUGE_BYTES == 0 ? online : pool->size) >> BASE_SHIFT;
}

int pool_start(struct mb_pool *pool, const struct records *r, uint64_t budget, struct mb_error *err)
{
	struct mb_frames_config config = records_frames(pool->size);
	int rc = mb_frames_init(pool->map + r->frames, r->frames_bytes, &config, &pool->frames);

	if (!rc)
		rc = mb_range_add(pool->frames, (mb_frame){0}, online_frames(pool));
	if (rc)
		return host_error(err, rc, "cannot set up the allocator of frames: %s", strerror(-rc));
	atomic_store_explicit(&pool->vars->budget, budget, memory_order_relaxed);
	atomic_store_explicit(&pool->vars->budget_used, 0, memory_order_relaxed);
	return 0;
}

static int map_private(struct mb_pool *pool, const struct records *r, struct mb_error *err)
{
	void *p =
	    mmap(NULL, r->total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uintptr_t at, end;

	if (p == MAP_FAILED)
		return host_error(err, -errno, "cannot map %s for the pool's records: %s; check `ulimit -v`",
				  host_size(r->total).text, strerror(errno));
	/* Sparse tables: a huge page would be filled for each word that is written. */
	madvise(p, r->total, MADV_NOHUGEPAGE);
	/* But for the ledger: the guest of a private pool takes all frames, and then every word is written. */
	at = ((uintptr_t)p + r->ledger + HUGE_BYTES - 1) & ~(uintptr_t)(HUGE_BYTES - 1);
	end = ((uintptr_t)p + r->frames) & ~(uintptr_t)(HUGE_BYTES - 1);
	if (at < end)
		madvise((void *)at, end - at, MADV_HUGEPAGE);
	madvise(p, r->total, MADV_DONTFORK);
	pool->map = p;
	pool->map_bytes = r->total;
	records_bind(pool, r);
	return 0;
}

int mb_pool_create_private(const struct mb_pool_config *config, struct mb_pool **out, struct mb_error *warning,
			   struct mb_error *err)
{
	struct mb_pool *pool;
	struct records r;
	uint64_t budget;
	int rc;

	host_clear(warning);
	host_clear(err);
	rc = records_check_config(config, &budget, err);
	if (rc)
		return rc;
	pool = pool_new();
	if (!pool)
		return host_error(err, -ENOMEM, "out of memory");
	pool->size = config->size;
	rc = records_place(config->size, &r);
	if (rc)
		rc = host_error(err, rc, "no allocator can be made for %s", host_size(config->size).text);
	if (!rc)
		rc = backing_open_private(&pool->mem, config->backing, config->memory_path, config->size,
					  warning, err);
	if (!rc)
		rc = backing_check_room(&pool->mem, budget, 0, err);
	if (!rc)
		rc = map_private(pool, &r, err);
	if (!rc)
		rc = pool_start(pool, &r, budget, err);
	if (rc) {
		pool_free(pool);
		return rc;
	}
	*out = pool;
	return 0;
}

void mb_pool_close(struct mb_pool *pool)
{
	pool_free(pool);
}

int pool_resident(struct mb_pool *pool, uint64_t *bytes)
{
	int rc = backing_resident_total(&pool->mem, bytes);

	if (rc != -ENOTSUP)
		return rc;
	/* No file: what is resident is what the windows of our own spaces hold. */
	*bytes = 0;
	rc = 0;
	for (struct mb_space *s = pool->spaces; s && !rc; s = s->next)
		rc = space_resident(s, bytes);
	return rc;
}

int mb_pool_get_status(struct mb_pool *pool, struct mb_pool_status *out, struct mb_error *err)
{
	int rc;

	host_clear(err);
	memset(out, 0, sizeof(*out));
	out->backing = pool->mem.kind;
	out->granule = pool->mem.granule;
	out->maximum = pool->size;
	out->rebuilt = pool->rebuilt;
	out->kept = pool->kept;
	out->budget = atomic_load_explicit(&pool->vars->budget, memory_order_relaxed);
	out->budget_used = atomic_load_explicit(&pool->vars->budget_used, memory_order_relaxed);
	out->file_system = backing_file_system(&pool->mem);
	out->huge_pages = pool->mem.huge_pages;
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		out->owners += owner_lives(pool, i);
	mb_frames_count(pool->frames, &out->frames);
	out->size = (out->frames.capacity - out->frames.offline) << BASE_SHIFT;
	/* What leaves lies beyond what shall be online. */
	out->draining = pool_draining(pool, online_frames(pool), pool->size >> BASE_SHIFT) << BASE_SHIFT;
	pthread_mutex_lock(&pool->list_lock);
	rc = pool_resident(pool, &out->resident);
	pthread_mutex_unlock(&pool->list_lock);
	if (rc)
		return host_error(err, rc, "cannot read what is resident: %s", strerror(-rc));
	return 0;
}

int mb_pool_frame_owner(struct mb_pool *pool, mb_frame frame, struct mb_frame_owner *out)
{
	struct ledger_entry e;

	if (frame.n >= pool->size >> BASE_SHIFT)
		return -ERANGE;
	e = ledger_unpack(atomic_load_explicit(ledger_at(pool->ledger, frame.n), memory_order_acquire));
	if (!e.valid)
		return -ENOENT;
	out->owner = owner_id(e.owner, e.generation);
	out->gpa = e.gpa + ((frame.n % HUGE_PAGES) << BASE_SHIFT);
	return 0;
}
