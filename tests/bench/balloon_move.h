/* SPDX-License-Identifier: MIT */
/* balloon_move.h - bench-balloon: memory that moves from one running guest to another on one pool. */
#ifndef TESTS_BENCH_BALLOON_MOVE_H
#define TESTS_BENCH_BALLOON_MOVE_H

#include <stdint.h>

#define BALLOON_MOVE_ROUNDS 99u

struct balloon_move {
	unsigned rounds;
	int64_t moved[BALLOON_MOVE_ROUNDS]; /* ns: one gives it, the other gets it and touches it */
	int64_t bare[BALLOON_MOVE_ROUNDS];  /* ns: the kernel's part alone, on memory of the same kind */
};

/*
 * bytes: how much moves, a multiple of 32 MiB; each guest has three times as much. NULL, or why it cannot be had: the
 * pool is made on a mount of its own.
 */
const char *balloon_move(const char *vmm, const char *guest, uint64_t bytes, unsigned rounds,
			 struct balloon_move *out);

#endif
