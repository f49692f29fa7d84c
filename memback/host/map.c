/* SPDX-License-Identifier: MIT */
/*
 * map.c - the window: one reservation of address space over all of guest physical memory, aligned to 1 GiB,
 * into which extents are mapped at window + gpa. What is not guest memory stays inaccessible.
 */
#include "map.h"
#include "backing_ops.h"
#include "error.h"
#include "overcommit.h"
#include "pool_open.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int space_check_config(const struct mb_pool *pool, const struct mb_space_config *config, struct mb_error *err)
{
	uint64_t unit = pool->mem.granule > HUGE_BYTES ? pool->mem.granule : HUGE_BYTES, end = 0, sum = 0,
		 in = 0;

	if (!config->name || !config->name[0] || strlen(config->name) >= OWNER_NAME_MAX)
		return host_error(err, -EINVAL, "a guest's name must have 1 to %u bytes", OWNER_NAME_MAX - 1);
	if (config->regions_out > config->region_count)
		return host_error(err, -EINVAL, "more regions begin inflated than there are");
	if (!config->region_count)
		return host_error(err, -EINVAL, "a guest needs memory: its size is 0");
	for (unsigned i = 0; i < config->region_count; i++) {
		const struct mb_region *r = &config->regions[i];

		if (!r->size || r->gpa % unit || r->size % unit)
			return host_error(err, -EINVAL,
					  "guest memory must come in multiples of %s with this backing",
					  host_size(unit).text);
		if (r->gpa < end || r->gpa > GPA_END || r->size > GPA_END - r->gpa)
			return host_error(err, -EINVAL,
					  "regions of guest memory must ascend, not overlap, and "
					  "end below 4 PiB");
		end = r->gpa + r->size;
		sum += r->size;
		if (i < config->region_count - config->regions_out)
			in = sum;
	}
	if (sum > pool->size)
		return host_error(err, -ENOMEM, "the guest's memory (%s) is larger than the pool (%s)",
				  host_size(sum).text, host_size(pool->size).text);
	return config->prealloc ? backing_check_memory(&pool->mem, in, err) : 0;
}

void space_merge_regions(struct mb_space *space, const struct mb_space_config *config)
{
	for (unsigned i = 0; i < config->region_count; i++) {
		const struct mb_region *r = &config->regions[i];
		struct mb_region *last = space->regions ? &space->region[space->regions - 1] : NULL;
		bool first_out = i == config->region_count - config->regions_out;

		if (first_out)
			space->first_out = space->regions;
		if (last && !first_out && last->gpa + last->size == r->gpa)
			last->size += r->size;
		else
			space->region[space->regions++] = *r;
		space->maximum += r->size;
		if (i >= config->region_count - config->regions_out)
			space->out += r->size;
	}
	if (!config->regions_out)
		space->first_out = space->regions;
}

/* ---- lookups ------------------------------------------------------------------------------------------ */

const struct mb_region *space_region(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < space->regions; i++) {
		const struct mb_region *r = &space->region[i];

		/* Written so that no sum can overflow. */
		if (gpa >= r->gpa && gpa - r->gpa < r->size && len <= r->size - (gpa - r->gpa))
			return r;
	}
	return NULL;
}

uint64_t space_index(const struct mb_space *space, uint64_t gpa)
{
	uint64_t base = 0;

	for (unsigned i = 0; i < space->regions; i++) {
		const struct mb_region *r = &space->region[i];

		if (gpa >= r->gpa && gpa - r->gpa < r->size)
			return base + ((gpa - r->gpa) >> HUGE_SHIFT);
		base += r->size >> HUGE_SHIFT;
	}
	return base;
}

uint64_t space_gpa(const struct mb_space *space, uint64_t index)
{
	for (unsigned i = 0; i < space->regions; i++) {
		const struct mb_region *r = &space->region[i];

		if (index < r->size >> HUGE_SHIFT)
			return r->gpa + (index << HUGE_SHIFT);
		index -= r->size >> HUGE_SHIFT;
	}
	return 0;
}

const struct extent *space_extent(const struct mb_space *space, uint64_t gpa)
{
	unsigned low = 0, high = space->extents;

	while (low < high) {
		unsigned mid = low + (high - low) / 2;
		const struct extent *x = &space->extent[mid];

		if (gpa < x->gpa)
			high = mid;
		else if (gpa - x->gpa < x->count << BASE_SHIFT)
			return x;
		else
			low = mid + 1;
	}
	return NULL;
}

struct space_run space_run_at(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	const struct extent *x = space_extent(space, gpa);
	uint64_t skip = gpa - x->gpa, left = (x->count << BASE_SHIFT) - skip;

	return (struct space_run){gpa, x->frame + (skip >> BASE_SHIFT), len < left ? len : left};
}

int mb_space_frame(const struct mb_space *space, uint64_t gpa, mb_frame *out)
{
	const struct extent *x = space_extent(space, gpa);

	if (!x)
		return -ERANGE;
	out->n = x->frame + ((gpa - x->gpa) >> BASE_SHIFT);
	return 0;
}

void *mb_space_window(const struct mb_space *space)
{
	return space->window;
}

void *mb_space_hva(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	return len && space_region(space, gpa, len) ? space_at(space, gpa) : NULL;
}

int mb_space_populate(struct mb_space *space, uint64_t gpa, uint64_t len)
{
	uint64_t first = gpa & ~(BASE_BYTES - 1);

	if (!len || !space_region(space, gpa, len))
		return -ERANGE;
	if (space->over)
		return 0;
	/* whatever the kernel calls it, it has none */
	return backing_populate(space_at(space, first), gpa + len - first) ? -ENOMEM : 0;
}

/* ---- tables of holes ---------------------------------------------------------------------------------- */

static void *sparse_table(uint64_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static uint64_t holes_bytes(const struct mb_space *space)
{
	return (space->maximum >> HUGE_SHIFT) * sizeof(space->holes[0]);
}

static uint64_t granule_bytes(const struct mb_space *space)
{
	return space->maximum / space->mem.granule * sizeof(space->granule_holes[0]);
}

int space_make_counts(struct mb_space *space, struct mb_error *err)
{
	int rc = 0;

	space->holes = sparse_table(holes_bytes(space));
	if (space->mem.granule > BASE_BYTES)
		space->granule_holes = sparse_table(granule_bytes(space));
	if (!space->holes || (space->mem.granule > BASE_BYTES && !space->granule_holes))
		rc = -ENOMEM;
	if (!rc)
		rc = guard_init(space);
	return rc ? host_error(err, rc, "cannot map the tables of a guest of %s: %s",
			       host_size(space->maximum).text, strerror(-rc))
		  : 0;
}

void space_free_counts(struct mb_space *space)
{
	if (space->holes)
		munmap(space->holes, holes_bytes(space));
	if (space->granule_holes)
		munmap(space->granule_holes, granule_bytes(space));
}

/* ---- the window --------------------------------------------------------------------------------------- */

static int reserve_window(struct mb_space *space, struct mb_error *err)
{
	const struct mb_region *last = &space->region[space->regions - 1];
	uint64_t bytes = (last->gpa + last->size + GIANT_BYTES - 1) & ~(GIANT_BYTES - 1);
	uint8_t *p =
	    mmap(NULL, bytes + GIANT_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t skip;
	int rc = errno;

	if (p == MAP_FAILED)
		return host_error(err, -rc, "cannot reserve %s of address space: %s; check `ulimit -v`",
				  host_size(bytes).text, strerror(rc));
	/* Aligned, so that giant pages can map giant frames; the ragged ends go back. */
	skip = -(uint64_t)(uintptr_t)p & (GIANT_BYTES - 1);
	if (skip)
		munmap(p, skip);
	if (skip < GIANT_BYTES)
		munmap(p + skip + bytes, GIANT_BYTES - skip);
	space->window = p + skip;
	space->window_bytes = bytes;
	return 0;
}

static int reserve_run(struct mb_space *space, const struct space_run *run, uint64_t left, struct mb_error *err)
{
	int rc = pool_fault(space->pool);

	if (!rc)
		rc = space->mem.ops->reserve(&space->mem, run->frame << BASE_SHIFT, run->len);
	if (rc == -ENOMEM)
		return backing_hugetlb_lacks(&space->mem, left, err);
	return rc ? host_error(err, rc, "cannot reserve %s of memory: %s", host_size(run->len).text,
			       strerror(-rc))
		  : 0;
}

/* Whatever keeps a touch from failing later, for all that does not begin inflated, before any is mapped. */
static int reserve_memory(struct mb_space *space, struct mb_error *err)
{
	uint64_t left = space->maximum - space->out;

	for (unsigned i = 0; space->mem.ops->reserve && !space->over && i < space->first_out; i++) {
		const struct mb_region *r = &space->region[i];
		struct space_run run;

		for (uint64_t pos = 0; pos < r->size; pos += run.len) {
			int rc;

			run = space_run_at(space, r->gpa + pos, r->size - pos);
			rc = reserve_run(space, &run, left, err);
			if (rc)
				return rc;
			left -= run.len;
		}
	}
	return 0;
}

static int map_extents(struct mb_space *space, struct mb_error *err)
{
	for (unsigned i = 0; i < space->extents; i++) {
		const struct extent *x = &space->extent[i];
		int rc = pool_fault(space->pool);

		if (rc)
			return host_error(err, rc, "cannot map guest memory: %s", strerror(-rc));
		rc = space->mem.ops->map(&space->mem, space_at(space, x->gpa), x->frame << BASE_SHIFT,
					 x->count << BASE_SHIFT, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int populate(struct mb_space *space, struct mb_error *err)
{
	for (unsigned i = 0; space->prealloc && i < space->first_out; i++) {
		int rc = pool_fault(space->pool);

		if (!rc)
			rc = backing_populate(space_at(space, space->region[i].gpa), space->region[i].size);
		if (rc)
			return host_error(
			    err, rc,
			    "cannot make %s of guest memory resident: %s; the host has too little "
			    "memory, or the file system too little room",
			    host_size(space->region[i].size).text, strerror(-rc));
	}
	return 0;
}

int space_map(struct mb_space *space, struct mb_error *err)
{
	int rc = pool_fault(space->pool);

	if (rc)
		return host_error(err, rc, "cannot reserve address space: %s", strerror(-rc));
	rc = reserve_window(space, err);
	if (!rc)
		rc = reserve_memory(space, err);
	if (!rc)
		rc = map_extents(space, err);
	if (rc)
		return rc;
	/* A fork must not keep guest memory alive nor copy it, and a core dump must not hold it. */
	if (madvise(space->window, space->window_bytes, MADV_DONTFORK) ||
	    madvise(space->window, space->window_bytes, MADV_DONTDUMP))
		return host_error(err, -errno, "cannot keep guest memory out of forks and core dumps: %s",
				  strerror(errno));
	return space->over ? overcommit_start(space, err) : populate(space, err);
}

void space_unmap(struct mb_space *space)
{
	if (space->window)
		munmap(space->window, space->window_bytes);
	space->window = NULL;
}

int space_resident(struct mb_space *space, uint64_t *bytes)
{
	for (unsigned i = 0; i < space->extents; i++) {
		const struct extent *x = &space->extent[i];
		uint64_t n = 0;
		int rc = backing_resident_range(&space->mem, space_at(space, x->gpa), x->frame << BASE_SHIFT,
						x->count << BASE_SHIFT, &n);

		if (rc)
			return rc;
		*bytes += n;
	}
	return 0;
}
