/* SPDX-License-Identifier: MIT */
/* guard.c - MADV_NOHUGEPAGE on huge frames with holes, in a bounded number of stretches. */
#include "guard.h"
#include "overcommit.h"
#include "state.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static bool bit_get(const struct guard *g, uint64_t i)
{
	return g->marked[i / 64] >> (i % 64) & 1;
}

static uint64_t grains(const struct guard *g)
{
	return (g->frames + (UINT64_C(1) << g->grain_shift) - 1) >> g->grain_shift;
}

/* Flips one grain's bit and keeps the count of runs: joining two runs makes one less, and so on. */
static void bit_set(struct guard *g, uint64_t i, bool on)
{
	bool left = i > 0 && bit_get(g, i - 1), right = i + 1 < grains(g) && bit_get(g, i + 1);
	int change = 1 - left - right;

	g->marked[i / 64] ^= UINT64_C(1) << (i % 64);
	g->stretches = (unsigned)((int)g->stretches + (on ? change : -change));
}

/* A frame whose pages are all holes is nothing to khugepaged, which wants at least one present page. */
static bool ragged(const struct mb_space *space, uint64_t index)
{
	return space->holes[index] > 0 && space->holes[index] < HUGE_PAGES;
}

static bool grain_ragged(const struct mb_space *space, uint64_t grain)
{
	uint64_t i = grain << space->guard.grain_shift;
	uint64_t end = i + (UINT64_C(1) << space->guard.grain_shift);

	if (end > space->guard.frames)
		end = space->guard.frames;
	for (; i < end; i++)
		if (ragged(space, i))
			return true;
	return false;
}

/*
 * With overcommit a frame that has no holes any more still lacks what was not touched since, and stays as it is
 * until all of it goes: before Linux 6.4 khugepaged fills what is missing although it is watched.
 */
static bool grain_may_lack(const struct mb_space *space, uint64_t grain)
{
	uint64_t i = grain << space->guard.grain_shift;
	uint64_t end = i + (UINT64_C(1) << space->guard.grain_shift);

	for (; space->over && i < end && i < space->guard.frames; i++)
		if (space->holes[i] < HUGE_PAGES)
			return true;
	return false;
}

/* Advice for the huge frames [index, end): one call a region that they touch. */
static void advise(const struct mb_space *space, uint64_t index, uint64_t end, bool mark)
{
	if (end > space->guard.frames)
		end = space->guard.frames;
	while (index < end) {
		uint64_t gpa = space_gpa(space, index);
		const struct mb_region *r = space_region(space, gpa, 1);
		uint64_t len = (end - index) << HUGE_SHIFT;

		if (len > r->gpa + r->size - gpa)
			len = r->gpa + r->size - gpa;
		/* Fails only where mappings run out, and then holes merely may be filled: the check tells. */
		(void)madvise(space_at(space, gpa), len, mark ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
		if (space->over)
			overcommit_advise(space, gpa, len, mark ? MADV_NOHUGEPAGE : MADV_HUGEPAGE);
		index += len >> HUGE_SHIFT;
	}
}

/* Brings the marks of grains [first, last] up to date, runs of equal changes in one call. */
static void apply(struct mb_space *space, uint64_t first, uint64_t last)
{
	struct guard *g = &space->guard;
	uint64_t run = 0; /* grains of the pending run, which ends before i */
	bool run_mark = false;

	for (uint64_t i = first; i <= last + 1; i++) {
		bool change = false, want = false;

		if (i <= last) {
			want = grain_ragged(space, i) || (bit_get(g, i) && grain_may_lack(space, i));
			change = want != bit_get(g, i);
		}
		if (run && (!change || want != run_mark)) {
			advise(space, (i - run) << g->grain_shift, i << g->grain_shift, run_mark);
			run = 0;
		}
		if (!change)
			continue;
		bit_set(g, i, want);
		run_mark = want;
		run++;
	}
}

/* Doubles the grains until there are half as many stretches as are allowed. Only ever adds marks. */
static void coarsen(struct mb_space *space)
{
	struct guard *g = &space->guard;

	while (g->stretches > g->stretches_max / 2 && grains(g) > 1) {
		memset(g->marked, 0, (grains(g) + 63) / 64 * 8);
		g->grain_shift++;
		g->stretches = 0;
		for (uint64_t i = 0; i < grains(g); i++)
			if (grain_ragged(space, i))
				bit_set(g, i, true);
	}
	for (uint64_t i = 0; i < grains(g); i++)
		if (bit_get(g, i))
			advise(space, i << g->grain_shift, (i + 1) << g->grain_shift, true);
}

void guard_update(struct mb_space *space, uint64_t index, uint64_t count)
{
	struct guard *g = &space->guard;

	if (!g->active || !count)
		return;
	apply(space, index >> g->grain_shift, (index + count - 1) >> g->grain_shift);
	if (g->stretches > g->stretches_max)
		coarsen(space);
}

int guard_init(struct mb_space *space)
{
	struct guard *g = &space->guard;

	g->active = space->mem.collapses;
	g->frames = space->maximum >> HUGE_SHIFT;
	g->stretches_max = GUARD_STRETCHES_MAX;
	if (!g->active)
		return 0;
	g->bytes = (g->frames + 63) / 64 * 8;
	g->marked =
	    mmap(NULL, g->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (g->marked != MAP_FAILED)
		return 0;
	g->marked = NULL;
	return -errno;
}

void guard_fini(struct mb_space *space)
{
	if (space->guard.marked)
		munmap(space->guard.marked, space->guard.bytes);
	space->guard.marked = NULL;
}
