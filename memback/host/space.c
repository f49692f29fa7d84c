/* SPDX-License-Identifier: MIT */
/*
 * space.c - making and unmaking a guest address space.
 *
 * It is made in steps: claim an owner's entry, charge the budget, choose and take frames, write the ledger,
 * map, populate. Whatever fails, space_undo() takes back exactly the steps that were done; destroying a
 * space is the same undoing from the last step.
 */
#include "charge.h"
#include "error.h"
#include "map.h"
#include "overcommit.h"
#include "owner.h"
#include "place.h"
#include "pool_open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void space_publish(struct mb_space *space)
{
	struct owner_entry *e = space->entry;

	atomic_store_explicit(&e->charged, space_total(&space->charged), memory_order_relaxed);
	atomic_store_explicit(&e->inflated, space_total(&space->inflated), memory_order_relaxed);
	atomic_store_explicit(&e->pending, space_total(&space->pending), memory_order_relaxed);
}

/* ---- the steps ---------------------------------------------------------------------------------------- */

/* Frames in pieces as large as they are: giant where aligned and long enough, else huge. */
static enum mb_level level_at(uint64_t frame, uint64_t left)
{
	uint64_t giant = mb_level_frames(MB_GIANT);

	return frame % giant == 0 && left >= giant ? MB_GIANT : MB_HUGE;
}

/* A frame that was taken is named by the slot's intent until it is in the ledger: killed, nothing is lost. */
static int take_frame(struct mb_space *space, const struct extent *x, uint64_t at, enum mb_level level)
{
	struct mb_pool *pool = space->pool;
	int rc = mb_frame_take(pool->frames, space->slot, level, (mb_frame){x->frame + at});

	if (rc)
		return rc;
	for (uint64_t p = at; p < at + mb_level_frames(level); p += HUGE_PAGES)
		atomic_store_explicit(ledger_at(pool->ledger, x->frame + p),
				      ledger_pack(space->owner, space->generation, x->gpa + (p << BASE_SHIFT)),
				      memory_order_release);
	return mb_slot_settle(pool->frames, space->slot);
}

/* And write the ledger; the extents in the owner's entry first, so that it names nothing that they do not. */
static int take_frames(struct mb_space *space, struct mb_error *err)
{
	struct owner_entry *e = space->entry;

	space->has_ledger = true;
	memcpy(e->extent, space->extent, space->extents * sizeof(e->extent[0]));
	atomic_store_explicit(&e->extents, space->extents, memory_order_release);
	for (unsigned i = 0; i < space->extents; i++) {
		const struct extent *x = &space->extent[i];

		for (uint64_t done = 0; done < x->count;) {
			enum mb_level level = level_at(x->frame + done, x->count - done);
			int rc = pool_fault(space->pool);

			if (!rc)
				rc = take_frame(space, x, done, level);
			if (rc)
				return host_error(err, rc, "cannot take frame %llu: %s; check the pool",
						  (unsigned long long)(x->frame + done), strerror(-rc));
			done += mb_level_frames(level);
			space->taken += mb_level_frames(level);
		}
	}
	return 0;
}

static int charge(struct mb_space *space, struct mb_error *err)
{
	struct pool_vars *vars = space->pool->vars;
	uint64_t missing = 0,
		 bytes = space->over ? overcommit_first_charge(space) : space->maximum - space->out;
	int rc = pool_fault(space->pool);

	if (!rc)
		rc = space_charge(space, bytes, &missing);
	if (rc == -EDQUOT && missing == bytes && bytes <= mb_space_budget_left(space))
		return host_error(
		    err, rc,
		    "others wait for what the pool's budget has left: inflate or end another guest, or "
		    "make the budget larger");
	if (rc == -EDQUOT)
		return host_error(
		    err, rc,
		    "the pool's budget lacks %s (%llu bytes): %s wanted, %s of %s used; inflate or "
		    "end another guest, or make the budget larger",
		    host_size(missing).text, (unsigned long long)missing, host_size(bytes).text,
		    host_size(space_total(&vars->budget_used)).text,
		    host_size(space_total(&vars->budget)).text);
	if (rc)
		return host_error(err, rc, "cannot charge the budget: %s", strerror(-rc));
	space->has_charge = true;
	return 0;
}

/* Each space of a pool file has an open file description of its own: its lock is the owner's life. */
static int open_memory(struct mb_space *space, struct mb_error *err)
{
	struct mb_pool *pool = space->pool;
	struct stat st;

	space->mem = pool->mem;
	space->mem.noreserve = space->over != NULL;
	if (!pool->shared)
		return 0;
	space->mem.fd = open(pool->mem_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (space->mem.fd < 0)
		return host_error(err, -errno, "cannot open the memory file %s: %s", pool->mem_path,
				  strerror(errno));
	if (fstat(space->mem.fd, &st) || st.st_dev != pool->mem_dev || st.st_ino != pool->mem_ino)
		return host_error(err, -ESTALE, "%s is not the pool's memory file any more: attach again",
				  pool->mem_path);
	return 0;
}

static int open_slot(struct mb_space *space, struct mb_error *err)
{
	int rc = pool_fault(space->pool);

	if (!rc)
		rc = mb_slot_open_at(space->pool->frames, (mb_slot){space->owner});
	if (rc)
		return host_error(
		    err, rc,
		    "the allocator's slot of the new owner is not free (%s): run `membackctl pool "
		    "recover`",
		    strerror(-rc));
	space->slot = (mb_slot){space->owner};
	space->has_slot = true;
	atomic_store_explicit(&space->entry->slot, space->slot.n + 1, memory_order_relaxed);
	return 0;
}

static int refuse_destroyed(struct mb_pool *pool, struct mb_error *err)
{
	if (atomic_load_explicit(&pool->vars->destroyed, memory_order_relaxed))
		return host_error(err, -ENOENT, "the pool was destroyed: make a new one and attach to it");
	return 0;
}

/* Everything that must not happen twice at once; under the serial lock. */
static int acquire(struct mb_space *space, const char *name, struct mb_error *err)
{
	int rc = refuse_destroyed(space->pool, err);

	if (!rc)
		/* What cannot be taken back is left for another time; it costs nothing but its bytes. */
		(void)owner_bury_dead(space->pool, NULL);
	if (!rc)
		rc = owner_claim(space, name, err);
	if (!rc)
		rc = open_slot(space, err);
	if (!rc)
		rc = charge(space, err);
	if (!rc)
		rc = place_space(space, err);
	if (!rc)
		rc = take_frames(space, err);
	if (!rc && (rc = pool_fault(space->pool)))
		host_error(err, rc, "cannot write the ledger: %s", strerror(-rc));
	if (!rc && (rc = space_begin_out(space)))
		host_error(err, rc, "cannot take memory out of the guest: %s", strerror(-rc));
	return rc;
}

/* ---- the undoing -------------------------------------------------------------------------------------- */

/* fn for what was taken, extent by extent; stops at the first error. */
typedef int taken_fn(struct mb_space *space, uint64_t first, uint64_t count);

static int each_taken(struct mb_space *space, taken_fn *fn)
{
	uint64_t left = space->taken;
	int rc = 0;

	for (unsigned i = 0; i < space->extents && left && !rc; i++) {
		const struct extent *x = &space->extent[i];
		uint64_t n = x->count < left ? x->count : left;

		rc = fn(space, x->frame, n);
		left -= n;
	}
	return rc;
}

static int give_back_frames(struct mb_space *space, uint64_t first, uint64_t count)
{
	/* Nothing is reserved with overcommit, so that what is there is all there is. */
	if (space->mem.noreserve)
		return space->mem.ops->purge(&space->mem, NULL, first << BASE_SHIFT, count << BASE_SHIFT);
	return space->mem.ops->forget(&space->mem, first << BASE_SHIFT, count << BASE_SHIFT);
}

static int forget_frames(struct mb_space *space, uint64_t first, uint64_t count)
{
	return owner_free_frames(space->pool, space->slot, first, count);
}

/* Bytes first; without a file they went with the window. If they cannot be given back, nothing else goes. */
static int release(struct mb_space *space)
{
	struct mb_pool *pool = space->pool;
	int rc = 0;

	if (space->has_ledger && space->mem.ops->forget)
		rc = each_taken(space, give_back_frames);
	if (rc)
		return rc;
	rc = owner_serial_lock(pool);
	if (rc)
		return rc;
	rc = each_taken(space, forget_frames);
	if (!rc) {
		if (space->has_charge)
			space_uncharge(space, space_total(&space->charged));
		if (space->has_slot)
			(void)mb_slot_close(pool->frames, space->slot);
		if (space->has_entry)
			owner_release(space);
	}
	owner_serial_unlock(pool);
	return rc;
}

/*
 * Takes back what was done, last step first. A space that cannot give its bytes back keeps its entry and
 * frames, so that nobody is handed a stranger's memory: its lock goes, and whoever attaches next tries again.
 */
static void space_undo(struct mb_space *space)
{
	overcommit_free(space);
	space_unmap(space);
	(void)release(space);
	if (space->pool->shared && space->mem.fd >= 0)
		close(space->mem.fd);
	guard_fini(space);
	space_free_counts(space);
	free(space->region);
	free(space->extent);
	free(space);
}

static void link_space(struct mb_space *space)
{
	pthread_mutex_lock(&space->pool->list_lock);
	space->next = space->pool->spaces;
	space->pool->spaces = space;
	space->linked = true;
	pthread_mutex_unlock(&space->pool->list_lock);
}

static void unlink_space(struct mb_space *space)
{
	struct mb_space **p = &space->pool->spaces;

	pthread_mutex_lock(&space->pool->list_lock);
	while (*p && *p != space)
		p = &(*p)->next;
	if (*p)
		*p = space->next;
	space->linked = false;
	pthread_mutex_unlock(&space->pool->list_lock);
}

/* ---- the whole ---------------------------------------------------------------------------------------- */

static struct mb_space *space_new(struct mb_pool *pool, const struct mb_space_config *config)
{
	struct mb_space *space = calloc(1, sizeof(*space));

	if (!space)
		return NULL;
	space->pool = pool;
	space->mem.fd = -1;
	space->prealloc = config->prealloc;
	space->region = calloc(config->region_count, sizeof(*space->region));
	space->extent = calloc(EXTENTS_MAX, sizeof(*space->extent));
	return space;
}

static int space_make(struct mb_space *space, const struct mb_space_config *config, struct mb_error *err)
{
	int rc = config->overcommit ? overcommit_prepare(space, config, err) : 0;

	if (!rc)
		rc = open_memory(space, err);
	if (!rc)
		rc = space_make_counts(space, err);
	if (rc)
		return rc;
	rc = owner_serial_lock(space->pool);
	if (rc)
		return host_error(err, rc, "cannot lock the pool: %s", strerror(-rc));
	rc = acquire(space, config->name, err);
	owner_serial_unlock(space->pool);
	if (!rc)
		rc = space_map(space, err);
	if (!rc)
		atomic_store_explicit(&space->entry->state, OWNER_LIVE, memory_order_release);
	return rc;
}

int mb_space_create(struct mb_pool *pool, const struct mb_space_config *config, struct mb_space **out,
		    struct mb_error *err)
{
	struct mb_space *space;
	int rc;

	host_clear(err);
	rc = space_check_config(pool, config, err);
	if (rc)
		return rc;
	space = space_new(pool, config);
	if (!space || !space->region || !space->extent)
		rc = host_error(err, -ENOMEM, "out of memory");
	if (!rc) {
		space_merge_regions(space, config);
		rc = space_make(space, config, err);
	}
	if (rc) {
		if (space)
			space_undo(space);
		return rc;
	}
	link_space(space);
	*out = space;
	return 0;
}

void mb_space_destroy(struct mb_space *space)
{
	if (!space)
		return;
	unlink_space(space);
	space_undo(space);
}
