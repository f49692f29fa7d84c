/* SPDX-License-Identifier: MIT */
/* prepare.h - what several scenarios begin with. */
#ifndef SCHED_PREPARE_H
#define SCHED_PREPARE_H

#include "world.h"

/* A place that the preparation has chosen, for the threads to find. */
static inline uint64_t *note(struct world *w)
{
	return w->now.note[0];
}

/* Lets the owner's slot go of all that it holds and remembers. */
void release(struct world *w, unsigned t);
/* One giant frame, split, with a huge frame that stays somebody's; nobody holds anything. */
void prepare_split(struct world *w);
/* Besides, thread t holds a line of which it owns n frames, the first of them noted. */
void prepare_line(struct world *w, unsigned t, unsigned n);
/* Thread 1 owns one frame of the line that it holds. */
void prepare_one(struct world *w);
/* A line that nobody holds, of which frames a and b are owned: by thread 0 and by thread 1. */
void prepare_two(struct world *w, uint64_t a, uint64_t b);
/* A line that nobody holds, and of which thread 1 owns one frame: note()[2]. */
void prepare_last_one(struct world *w);
/* A line that is full but for what thread 0 may free: two frames of it are thread 1's. */
void prepare_full_line(struct world *w);
/* Memory is full, but for the line that thread 1 holds and owns one frame of. */
void prepare_collect(struct world *w);

#endif
