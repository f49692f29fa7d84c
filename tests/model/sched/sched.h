/* SPDX-License-Identifier: MIT */
/*
 * sched.h - a deterministic scheduler of cooperative threads, on which the real core runs.
 *
 * Only one thread runs at a time, on a stack of its own in one kernel thread. Before each atomic operation of
 * the core is a step; at a step another thread may be switched to. So a run is determined by the thread that
 * begins and by its switches, and can be done again. Memory is sequentially consistent here: what weaker orders
 * allow besides is not seen.
 *
 * A thread that waits (mbc_pause) time and again lets the next one run; that is no switch of the schedule's.
 */
#ifndef SCHED_H
#define SCHED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define SCHED_THREADS    4u
#define SCHED_MAX_STEPS  (1u << 20) /* more in one run is taken for a livelock */
#define SCHED_SWITCH_MAX 8u

/* Before the operation with this number, counted over all threads from 0, goes on with that thread. */
struct sched_switch {
	uint32_t step;
	uint32_t thread;
};

struct sched_plan {
	unsigned threads;
	unsigned first; /* the thread that begins */
	unsigned switches;
	struct sched_switch at[SCHED_SWITCH_MAX]; /* ascending */
	uint64_t seed;                            /* not 0: switches at random instead */
	unsigned gap;                             /* with a seed: steps between switches, up to this many */
	uint32_t fail_point;                      /* the nth point of the core fails, from 1; 0: none */
	uint32_t death;  /* at this step the victim is killed where it stands; 0: nobody is */
	unsigned victim; /* a thread */
	unsigned heir;   /* who goes on if the victim was running; with a seed: somebody */
	FILE *trace;     /* NULL, or where each step is written to */
};

/* A thread's program. */
typedef void sched_fn(void *arg, unsigned thread);

/*
 * Runs the threads to their ends; NULL, or what went wrong (static storage). The steps of the run, and which
 * other threads could have run at each, can be asked for until the next run.
 */
const char *sched_run(const struct sched_plan *plan, sched_fn *fn, void *arg);
uint32_t sched_steps(void);
uint32_t sched_others(uint32_t step); /* a mask of threads */
uint32_t sched_points(void);          /* points that were passed */
bool sched_point_failed(void);        /* in the run that is at work: has a point failed yet? */
bool sched_is_running(void);
/* Was this thread killed in the run that is at work, or the last one? Has it come to its end? */
bool sched_is_dead(unsigned thread);
bool sched_has_ended(unsigned thread);

/* A thread lets another one go on, if that has not ended: a switch that is part of its program. */
void sched_go(unsigned thread);

/* A step, as before an atomic operation of the core: of a test's own shared words. */
void sched_step(void);

/* Ends the run with this failure; outside of a run remembers it for sched_failure(). */
void sched_fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What went wrong since it was last asked; NULL: nothing. */
const char *sched_failure(void);

void sched_pause(void);

/* xorshift64*; the state is not 0. */
uint64_t sched_random(uint64_t *state);

#endif
