/* SPDX-License-Identifier: MIT */
/* walk.c - a space as people look at it: its totals, and its memory in stretches for a picture. */
#include "error.h"
#include "owner.h"
#include "pool_open.h"

#include <errno.h>
#include <string.h>

static void fill_owner(struct mb_space *space, struct mb_owner_status *out)
{
	memcpy(out->name, space->entry->name, sizeof(out->name));
	out->name[sizeof(out->name) - 1] = '\0';
	out->id = owner_id(space->owner, space->generation);
	out->pid = atomic_load_explicit(&space->entry->pid, memory_order_relaxed);
	out->live = true;
	out->maximum = space->maximum;
	out->actual = space_total(&space->charged);
	out->inflated = space_total(&space->inflated);
	out->pending = space_total(&space->pending);
}

/* A private pool's file holds this one space's bytes and nothing else: one call instead of a walk. */
static bool file_is_ours(const struct mb_space *space)
{
	return !space->pool->shared && space->mem.blocks_exact && space->pool->spaces == space && !space->next;
}

int mb_space_get_status(struct mb_space *space, struct mb_space_status *out, struct mb_error *err)
{
	int rc;

	host_clear(err);
	memset(out, 0, sizeof(*out));
	fill_owner(space, &out->owner);
	out->extents = space->extents;
	rc = file_is_ours(space) ? backing_resident_total(&space->mem, &out->resident)
				 : space_resident(space, &out->resident);
	if (rc)
		return host_error(err, rc, "cannot read what is resident: %s", strerror(-rc));
	return 0;
}

static int add_holes(void *arg, const struct mb_run *run)
{
	uint64_t *bytes = arg;

	if (run->state == MB_HOLE)
		*bytes += run->count << BASE_SHIFT;
	return 0;
}

/* Bytes of [gpa, gpa + len) in huge frames some of whose pages are holes. */
static uint64_t split_bytes(const struct mb_space *space, uint64_t gpa, uint64_t len)
{
	uint64_t bytes = 0;

	for (uint64_t pos = gpa; pos < gpa + len;) {
		uint64_t left = HUGE_BYTES - pos % HUGE_BYTES,
			 n = gpa + len - pos < left ? gpa + len - pos : left;
		uint16_t holes = space->holes[space_index(space, pos)];

		if (holes && holes < HUGE_PAGES)
			bytes += n;
		pos += n;
	}
	return bytes;
}

static int fill_stretch(struct mb_space *space, uint64_t gpa, uint64_t len, struct mb_stretch *out)
{
	struct space_run run = space_run_at(space, gpa, len);

	*out = (struct mb_stretch){.gpa = gpa, .len = len};
	out->frame = run.len == len ? run.frame : UINT64_MAX;
	out->split = split_bytes(space, gpa, len);
	for (uint64_t pos = gpa; pos < gpa + len; pos += run.len) {
		uint64_t resident = 0;
		int rc;

		run = space_run_at(space, pos, gpa + len - pos);
		rc = mb_frames_walk(space->pool->frames, (mb_frame){run.frame}, run.len >> BASE_SHIFT,
				    add_holes, &out->inflated);
		if (!rc)
			rc = backing_resident_range(&space->mem, space_at(space, pos), run.frame << BASE_SHIFT,
						    run.len, &resident);
		if (rc)
			return rc;
		out->resident += resident;
	}
	return 0;
}

int mb_space_walk(struct mb_space *space, uint64_t step, mb_stretch_fn *fn, void *arg)
{
	if (!step || step % BASE_BYTES)
		return -EINVAL;
	for (unsigned i = 0; i < space->regions; i++) {
		const struct mb_region *r = &space->region[i];
		uint64_t n;

		for (uint64_t pos = 0; pos < r->size; pos += n) {
			struct mb_stretch s;
			int rc;

			n = r->size - pos < step ? r->size - pos : step;
			rc = fill_stretch(space, r->gpa + pos, n, &s);
			if (!rc)
				rc = fn(arg, &s);
			if (rc)
				return rc;
		}
	}
	return 0;
}
