/* SPDX-License-Identifier: MIT */
/*
 * tuning.h - kernel settings for the time of a benchmark: huge pages for shared memory, and reserved ones.
 * They are put back at the end, and when a signal ends the benchmark; without the rights nothing changes.
 */
#ifndef TESTS_BENCH_TUNING_H
#define TESTS_BENCH_TUNING_H

#include <stdint.h>

struct tuning {
	char shmem[32]; /* what was there; empty: not changed */
	char hugepages[32];
};

/* Reserves so many 2 MiB pages besides those that are there. One at a time. */
void tuning_begin(struct tuning *t, uint64_t hugepages);
void tuning_end(struct tuning *t);

#endif
