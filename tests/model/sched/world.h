/* SPDX-License-Identifier: MIT */
/*
 * world.h - what threads run on under the scheduler: a pool, a shadow map of who owns what, and the oracle.
 *
 * The shadow is a list of extents. A frame enters it when its allocation has returned, and leaves it when its
 * free is called: in between nobody else may get it. Operations that a thread does through this interface fail
 * the run when their result is none that the state allows.
 */
#ifndef SCHED_WORLD_H
#define SCHED_WORLD_H

#include "sched.h"

#include <memback/frames.h>

#define GIANT (UINT64_C(1) << 18) /* base frames */
#define HUGE  (UINT64_C(1) << 9)

#define NOBODY       SCHED_THREADS /* who owns what no thread of the scenario works with; has a slot, too */
#define WORLD_OWNERS (SCHED_THREADS + 1)
#define WORLD_HELD   1200u
#define WORLD_HOLES  32u
#define WORLD_PIECES 600u
#define WORLD_HUGES  1024u /* huge frames of a pool whose owners keep records */
#define WORLD_HOMES  2u    /* in band, blocks come to lie in the first frames of a huge one */

enum change { CHANGE_NONE, CHANGE_ADD, CHANGE_REMOVE, CHANGE_DRAIN };

/* Frames of one owner: one frame of a level, or a part of one (whole is false). */
struct extent {
	uint64_t first;
	uint64_t count;
	uint8_t owner;
	uint8_t level;
	bool whole;
};

/* What a run changes besides the pool itself. */
struct shadow {
	unsigned held;
	unsigned holes;
	uint64_t offline;                  /* base frames; how many must be offline at the end */
	bool moved;                        /* ranges came or went */
	uint64_t drain_first, drain_count; /* what drains: besides, as much of it as nobody owns is offline */
	bool gone;                         /* somebody was told that all of that is offline */
	struct extent held_at[WORLD_HELD];
	struct extent hole_at[WORLD_HOLES];
	mb_slot slot[WORLD_OWNERS];
	uint32_t dead;                /* a mask of threads that were dead before the run */
	uint16_t record[WORLD_HUGES]; /* of a huge frame: its owner + 1, and its level << 8 */
	struct {
		unsigned what; /* enum change */
		uint64_t first, count;
	} change;                        /* of ranges, which is begun and not done */
	uint64_t note[SCHED_THREADS][4]; /* a scenario's own */
};

/* A piece of memory that holds metadata. */
struct piece {
	unsigned char *at;
	unsigned char *copy;
	bool dirty;
};

struct world {
	struct mb_frames *f;
	unsigned char *mem;
	size_t bytes;
	uint64_t capacity;
	uint32_t flags;
	bool in_band;
	bool records;    /* owners keep records, so that recovery can ask them */
	bool stands;     /* who is killed only stands still, and is not recovered: the run ends not at rest */
	bool lingers;    /* who frees lets thread 0 go on before and after the core does it */
	bool may_lack;   /* -ENOMEM is an answer that is right here */
	unsigned plenty; /* but not at the levels below this one: more is free than all can have in hand */
	struct mb_frames_count pristine;
	struct shadow now, then;
	unsigned pieces;
	struct piece piece[WORLD_PIECES];
	uint64_t random[SCHED_THREADS]; /* of programs that act at random */
	unsigned ops;
};

/* ---- life: outside of runs ---------------------------------------------------------------------------- */

/* A pool of whole giant frames, out of band, all online and free, with a slot open for each owner. */
void world_make(struct world *w, uint64_t giants, uint32_t flags);
/* In band, of that many base frames. */
void world_make_in_band(struct world *w, uint64_t frames);
/* What is now is where each run begins. */
void world_keep(struct world *w);
void world_reset(struct world *w);
void world_destroy(struct world *w);
/* Names the state that the run ended in; two runs with the same name need be checked once only. */
uint64_t world_hash(struct world *w);
/* The whole oracle; sched_failure() says what is wrong. */
void world_check(struct world *w);

/* ---- operations: by scenarios, in preparation and in runs ---------------------------------------------- */

/* False: -ENOMEM, where that is right. */
bool do_alloc(struct world *w, unsigned t, enum mb_level level);
/* Up to 512. Returns how many. */
unsigned do_alloc_batch(struct world *w, unsigned t, enum mb_level level, unsigned count);
/* False: busy. */
bool do_take(struct world *w, unsigned t, enum mb_level level, uint64_t first);
/* Frees the frame or extent of this thread that begins at first. */
void do_free(struct world *w, unsigned t, uint64_t first);
/* The one it got last; false: it has none. */
bool do_free_last(struct world *w, unsigned t);
/* A batch: the n extents of the thread from first on, all of one level and next to one another. */
void do_free_batch(struct world *w, unsigned t, enum mb_level level, uint64_t first, unsigned count);
/* A part of an extent. */
void do_free_part(struct world *w, unsigned t, uint64_t first, uint64_t count);
void do_holes_add(struct world *w, unsigned t, uint64_t first, uint64_t count);
void do_holes_remove(struct world *w, unsigned t, uint64_t first, uint64_t count);
void do_slot_close(struct world *w, unsigned t);
void do_slot_open(struct world *w, unsigned t);
/* True: removed. */
bool do_remove(struct world *w, uint64_t first, uint64_t count);
/* Returns what is left. */
uint64_t do_drain(struct world *w, uint64_t first, uint64_t count);
void do_add(struct world *w, uint64_t first, uint64_t count);
/* The same of what was drained, and is gone. */
void do_add_drained(struct world *w);

/*
 * A thread that was killed is recovered by thread t, as often as somebody stands in the way; from then on the
 * shadow has of it what its records say. Nobody alive changes ranges meanwhile.
 */
void do_recover(struct world *w, unsigned t, unsigned dead);

/* What the operations tell the records, if there are any, step by step. An extent of one level, whole. */
void records_set(struct world *w, unsigned t, enum mb_level level, uint64_t first);
void records_clear(struct world *w, uint64_t first, uint64_t count);
/* The frames of the calls before are recorded, or intended to be freed. */
void records_settle(struct world *w, unsigned t);
void records_intend_free(struct world *w, unsigned t, enum mb_level level, uint64_t first);
/* The shadow: what the records say of a thread is what it has. */
void shadow_forget(struct world *w, unsigned t);
void shadow_enter(struct world *w, struct extent e);

/* Preparation only: passes what `from` has in [first, first + count) to another owner, cut out if need be. */
void do_give(struct world *w, unsigned from, unsigned to, uint64_t first, uint64_t count);
/* The owner's extent that it got last. */
struct extent *world_last(struct world *w, unsigned t);

#endif
