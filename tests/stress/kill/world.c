/* SPDX-License-Identifier: MIT */
/* world.c - see world.h. */
#include "world.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#define SHARED_BYTES ((sizeof(struct shared) + 4095u) & ~(size_t)4095)

static bool map(struct world *w, size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return false;
	*w = (struct world){.sh = p, .f = (struct mb_frames *)((char *)p + SHARED_BYTES), .bytes = bytes};
	return true;
}

bool world_make(struct world *w, uint64_t online, uint32_t slots)
{
	struct mb_frames_config c = {
	    .capacity = GIANTS * GIANT, .base_shift = 12, .slots = slots, .flags = MB_FRAMES_OWNED};
	size_t bytes = mb_frames_meta_bytes(&c);
	struct mb_frames *f;

	if (!map(w, SHARED_BYTES + bytes) || mb_frames_init(w->f, bytes, &c, &f))
		return false;
	return mb_range_add(f, (mb_frame){0}, online) == 0;
}

bool world_room(struct world *w, const struct world *like)
{
	return map(w, like->bytes);
}

void world_copy(struct world *to, const struct world *from)
{
	memcpy(to->sh, from->sh, from->bytes);
	to->why[0] = '\0';
}

bool world_differs(const struct world *a, const struct world *b)
{
	return memcmp(a->sh, b->sh, a->bytes) != 0;
}

void world_drop(struct world *w)
{
	if (w->sh)
		munmap(w->sh, w->bytes);
	w->sh = NULL;
}

/* ---- the discipline --------------------------------------------------------------------------------- */

void record(struct world *w, enum who who, enum mb_level level, uint64_t frame)
{
	uint64_t first = frame / HUGE, count = mb_level_frames(level) / HUGE;

	/* release: pairs with recorded() */
	for (uint64_t n = first; n < first + count; n++)
		atomic_store_explicit(&w->sh->ledger[n], who, memory_order_release);
}

bool recorded(void *arg, enum mb_level level, mb_frame frame)
{
	struct world *w = arg;
	uint64_t first = frame.n / HUGE, count = mb_level_frames(level) / HUGE;

	for (uint64_t n = first; n < first + count; n++)
		if (atomic_load_explicit(&w->sh->ledger[n], memory_order_acquire))
			return true;
	return false;
}

bool get(struct world *w, mb_slot slot, enum who who, enum mb_level level, uint64_t *frame)
{
	mb_frame out;

	if (mb_frame_alloc(w->f, slot, level, &out))
		return false;
	record(w, who, level, out.n);
	mb_slot_settle(w->f, slot);
	*frame = out.n;
	return true;
}

bool get_this(struct world *w, mb_slot slot, enum who who, enum mb_level level, uint64_t frame)
{
	if (mb_frame_take(w->f, slot, level, (mb_frame){frame}))
		return false;
	record(w, who, level, frame);
	mb_slot_settle(w->f, slot);
	return true;
}

unsigned get_batch(struct world *w, mb_slot slot, enum who who, enum mb_level level, mb_frame *out,
		   unsigned count)
{
	int n = mb_frame_alloc_batch(w->f, slot, level, out, count);

	if (n < 0)
		return 0;
	for (int k = 0; k < n; k++)
		record(w, who, level, out[k].n);
	mb_slot_settle(w->f, slot);
	return (unsigned)n;
}

bool put(struct world *w, mb_slot slot, enum mb_level level, uint64_t frame)
{
	bool ok = mb_slot_intend_free(w->f, slot, level, (mb_frame){frame}) == 0;

	record(w, WHO_NOBODY, level, frame);
	return ok && mb_frame_free(w->f, slot, level, (mb_frame){frame}) == 0;
}

/* ---- the dead --------------------------------------------------------------------------------------- */

static uint64_t owned_run(const struct world *w, uint64_t first, enum who who)
{
	uint64_t n = first;

	while (n < HUGES && atomic_load(&w->sh->ledger[n]) == who)
		n++;
	return n - first;
}

static bool bury_one(struct world *w, mb_slot slot, uint64_t n)
{
	if (put(w, slot, MB_HUGE, n * HUGE))
		return true;
	snprintf(w->why, sizeof(w->why), "huge frame %llu of the dead cannot be freed", (unsigned long long)n);
	return false;
}

/* 512 huge frames that follow one another are not always a giant one; the intent covers them all the same. */
static bool bury_giant(struct world *w, mb_slot slot, uint64_t n)
{
	if (put(w, slot, MB_GIANT, n * HUGE))
		return true;
	for (uint64_t k = n; k < n + 512; k++)
		if (mb_frame_free(w->f, slot, MB_HUGE, (mb_frame){k * HUGE})) {
			snprintf(w->why, sizeof(w->why), "huge frame %llu of the dead cannot be freed",
				 (unsigned long long)k);
			return false;
		}
	return mb_slot_settle(w->f, slot) == 0;
}

bool bury(struct world *w, mb_slot slot, enum who who)
{
	bool ok = true;

	for (uint64_t n = 0; n < HUGES && ok; n++) {
		if (atomic_load(&w->sh->ledger[n]) != who)
			continue;
		if (n % 512 == 0 && owned_run(w, n, who) >= 512)
			ok = bury_giant(w, slot, n);
		else
			ok = bury_one(w, slot, n);
	}
	return ok;
}

/* ---- the oracle ------------------------------------------------------------------------------------- */

static int check_run(void *arg, const struct mb_run *run)
{
	struct world *w = arg;
	uint64_t first = run->first.n / HUGE, end = (run->first.n + run->count + HUGE - 1) / HUGE;
	bool owned = run->state == MB_USED || run->state == MB_HOLE || run->state == MB_DRAINING;

	for (uint64_t n = first; n < end; n++) {
		uint32_t who = atomic_load(&w->sh->ledger[n]);

		if (owned == (who != WHO_NOBODY))
			continue;
		snprintf(w->why, sizeof(w->why), "huge frame %llu is %s", (unsigned long long)n,
			 owned                   ? "lost: not free, and nobody's"
			 : run->state == MB_FREE ? "doubled: free, and somebody's"
						 : "offline, and somebody's");
		return 1;
	}
	return 0;
}

bool world_check(struct world *w)
{
	struct mb_flaw flaw;

	if (mb_frames_validate(w->f, MB_VALIDATE_FULL, &flaw)) {
		snprintf(w->why, sizeof(w->why), "%s, at frame %#llx", flaw.what,
			 (unsigned long long)flaw.frame.n);
		return false;
	}
	return mb_frames_walk(w->f, (mb_frame){0}, GIANTS * GIANT, check_run, w) == 0;
}

bool world_reach(struct world *w, mb_slot slot)
{
	static mb_frame got[HUGES];
	struct mb_frames_count c;
	uint64_t base = 0;
	unsigned n = 0, giants;

	mb_frames_count(w->f, &c);
	while (n < GIANTS && mb_frame_alloc(w->f, slot, MB_GIANT, &got[n]) == 0)
		n++;
	giants = n;
	while (n < HUGES && mb_frame_alloc(w->f, slot, MB_HUGE, &got[n]) == 0)
		n++;
	base = giants * GIANT + (n - giants) * HUGE;
	while (n-- > 0)
		if (mb_frame_free(w->f, slot, n < giants ? MB_GIANT : MB_HUGE, got[n]))
			base = UINT64_MAX;
	if (base == c.free)
		return true;
	snprintf(w->why, sizeof(w->why), "%llu base frames are free, %llu of them can be had",
		 (unsigned long long)c.free, (unsigned long long)base);
	return false;
}
