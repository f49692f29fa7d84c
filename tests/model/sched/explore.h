/* SPDX-License-Identifier: MIT */
/* explore.h - scenarios, and the ways to go through their schedules. */
#ifndef SCHED_EXPLORE_H
#define SCHED_EXPLORE_H

#include "world.h"

struct scenario {
	const char *name;
	const char *what;
	unsigned threads;
	unsigned bound; /* preemptions: all schedules with at most so many are run */
	void (*prepare)(struct world *w);
	void (*thread)(struct world *w, unsigned t);
	unsigned dies; /* a thread that begins and is killed, at each of its steps in turn; 0: none */
};

/* Sets of them; each ends with one without name. */
extern const struct scenario scenarios_line[], scenarios_range[], scenarios_kinds[];
extern const struct scenario scenarios_dead[], scenarios_wide[];

struct tally {
	uint64_t schedules;
	uint64_t states; /* different ones in the end, each checked whole */
	uint64_t steps;  /* the longest run's */
};

/*
 * All schedules with at most `bound` preemptions, and with none or one of the core's points failing. Where a
 * thread dies: for each step of its program, those of the others after it was killed there.
 */
bool explore_all(const struct scenario *s, unsigned bound, struct tally *tally);
/* So many schedules at random, the nth from seed + n. */
bool explore_random(const struct scenario *s, uint64_t seed, uint64_t schedules, struct tally *tally);
/* One schedule, as it was printed when it failed, step by step. */
bool explore_replay(const struct scenario *s, const char *schedule);
/* What the last failure was, with its schedule; "" if there was none. */
const char *explore_failure(void);

#endif
