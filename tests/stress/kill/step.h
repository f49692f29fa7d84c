/* SPDX-License-Identifier: MIT */
/* step.h - a child that works on a world in shared memory is traced, instruction by instruction. */
#ifndef KILL_STEP_H
#define KILL_STEP_H

#include "world.h"

/* What is done with the world as it is after an instruction; false ends the trace. */
typedef bool step_fn(void *arg, uint64_t step);

struct step_run {
	struct world *w;
	void (*run)(void *arg); /* in the child */
	void *arg;
	step_fn *each; /* in the parent, for each state that differs from the one before */
	void *each_arg;
	uint64_t kill_at; /* not 0: the child is killed after that many instructions; each is not called */
	uint64_t steps;   /* out: instructions */
	uint64_t states;  /* out: states that differ */
};

/* 0; 1: `each` said no; a negative errno: cannot be traced. */
int step_through(struct step_run *r);

#endif
