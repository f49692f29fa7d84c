/* SPDX-License-Identifier: MIT */
/*
 * frames.h - what the parts of bench-frames share: the keys of its figures, and how a part is called.
 *
 * Each part writes the figures of one round. Times are the CPU time of the thread that did the work, in ns: on
 * a machine that others use too, their turns are not ours.
 */
#ifndef BENCH_FRAMES_H
#define BENCH_FRAMES_H

#include <memback/frames.h>

#include <stdbool.h>
#include <stddef.h>

#define GIB_FRAMES (UINT64_C(1) << 18)
#define TIB_FRAMES (UINT64_C(1) << 28)

enum key {
	/* frames_small.c: base frames, 4 GiB */
	FLOOR_RMW,
	FLOOR_TAKE,
	REFERENCE_PAIR,
	ALLOC,
	FREE,
	PAIR,
	CHURN,
	BATCH16,
	BATCH512_ALLOC,
	BATCH512_FREE,
	PAIR_2THREADS,
	CROSS_FREE,
	LATENCY_P50,
	LATENCY_P99,
	LATENCY_P999,
	LATENCY_P9999,
	/* frames_large.c: larger frames and larger pools */
	HUGE_FILL_16G,
	HUGE_FILL_1T,
	HUGE_FILL_16T,
	HUGE_LAST_16G,
	HUGE_LAST_1T,
	HUGE_LAST_16T,
	HUGE_EMPTY_16G,
	HUGE_EMPTY_1T,
	HUGE_EMPTY_16T,
	HUGE_RANDOM_1T,
	GIANT_FILL_16G,
	GIANT_FILL_1T,
	GIANT_FILL_16T,
	GIANT_EMPTY_16G,
	GIANT_EMPTY_1T,
	GIANT_EMPTY_16T,
	GIANT_PAIR_16T,
	BASE_RANDOM_64G,
	INIT_1T,
	INIT_16T,
	TIMED_KEYS,
	/* frames_once.c: the same in each round, so done once; the instructions come from callgrind */
	META_TOUCHED_16T = TIMED_KEYS,
	META_RESERVED_1T,
	STATS_1T,
	WHOLE_LEFT_50,
	WHOLE_LEFT_75,
	WHOLE_LEFT_90,
	INSTRUCTIONS_ALLOC,
	INSTRUCTIONS_FREE,
	INSTRUCTIONS_SPLIT,
	INSTRUCTIONS_WORST,
	KEYS
};

double now_ns(void);
/* Ends the program. */
_Noreturn void fail(const char *what);

/* What a benchmark cannot do without. Inline: a call beside each call that is timed would be timed with it. */
static inline void need(bool ok, const char *what)
{
	if (__builtin_expect(!ok, 0))
		fail(what);
}

/* Reserved memory, zero, without a page of it. */
void *reserve(size_t bytes);
/* An allocator with so many base frames, all free; its metadata's bytes in *bytes unless that is NULL. */
struct mb_frames *make(uint64_t capacity, size_t *bytes);
void unmake(struct mb_frames *f, size_t bytes);
/* The next number of a sequence that looks random; *x is not 0. */
uint64_t next_random(uint64_t *x);

#define PICKED 16u
/*
 * Entries of a table of live frames, at random, on their way into the cache. The table is the benchmark's own, of up
 * to 128 MiB, and a program that frees a frame knows which one: to wait for memory is no part of what is timed.
 */
void pick(uint64_t *x, mb_frame *table, uint64_t count, mb_frame *picked[PICKED]);

struct small;
struct large;
struct small *small_create(void);
void small_round(struct small *b, double *ns);
struct large *large_create(void);
void large_round(struct large *b, double *ns);
/* script and program: how instructions are counted; NULL: they are not. What is not known is -1. */
void once(const char *script, const char *program, double *out);

#endif
