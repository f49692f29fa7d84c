/* SPDX-License-Identifier: MIT */
/*
 * guard.h - keeps the kernel from filling holes: khugepaged turns a huge frame of which a single page is
 * left into a whole huge page again, beyond the budget, unless the frame is marked MADV_NOHUGEPAGE.
 *
 * Such marks cut the mapping into stretches, and the kernel bounds their number (vm.max_map_count). So marks
 * are kept in grains: at first a grain is one huge frame; when there are too many stretches grains double,
 * at the price that a frame without holes may share its grain with one that has some.
 */
#ifndef HOST_GUARD_H
#define HOST_GUARD_H

#include <stdbool.h>
#include <stdint.h>

/* Stretches: each costs at most two mappings, out of 65,530 by default. */
#define GUARD_STRETCHES_MAX 8192u

struct mb_space;

struct guard {
	uint64_t *marked;       /* a bit a grain */
	uint64_t bytes;         /* of the bitmap */
	uint64_t frames;        /* huge frames covered */
	unsigned grain_shift;   /* log2 of the huge frames in a grain */
	unsigned stretches;     /* runs of marked grains */
	unsigned stretches_max; /* GUARD_STRETCHES_MAX; tests lower it */
	bool active;
};

/* After space->holes is there. A backing that khugepaged leaves alone needs no guard. */
int guard_init(struct mb_space *space);
void guard_fini(struct mb_space *space);
/* Marks and unmarks as space->holes says for the huge frames [index, index + count). */
void guard_update(struct mb_space *space, uint64_t index, uint64_t count);

#endif
