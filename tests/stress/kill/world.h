/* SPDX-License-Identifier: MIT */
/*
 * world.h - an allocator with owners and a ledger in shared memory, for tests that kill those who work on it.
 *
 * The ledger has a word a huge frame: 0, or who owns it. The discipline is that of frames.h: take, record,
 * settle; intend, clear the record, free.
 */
#ifndef KILL_WORLD_H
#define KILL_WORLD_H

#include <memback/frames.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GIANT     (UINT64_C(1) << 18) /* base frames */
#define HUGE      (UINT64_C(1) << 9)
#define GIANTS    3u
#define HUGES     (GIANTS * 512u)
#define SLOTS_MAX 16u

enum who { WHO_NOBODY, WHO_VICTIM, WHO_LIVING, WHO_THIRD };

struct shared {
	_Atomic uint32_t ledger[HUGES];
	mb_slot victim, living, third, doctor;
	uint64_t note[8];
	_Atomic uint64_t ops; /* of the storm */
};

struct world {
	struct shared *sh;
	struct mb_frames *f;
	size_t bytes;  /* of all of it */
	char why[200]; /* what is wrong */
};

/* A new world, everything online but the frames from `online` on; NULL: no memory. */
bool world_make(struct world *w, uint64_t online, uint32_t slots);
/* The same, of the same size, somewhere else. */
bool world_room(struct world *w, const struct world *like);
void world_copy(struct world *to, const struct world *from);
bool world_differs(const struct world *a, const struct world *b);
void world_drop(struct world *w);

/* Each says whether it could be had. */
bool get(struct world *w, mb_slot slot, enum who who, enum mb_level level, uint64_t *frame);
bool get_this(struct world *w, mb_slot slot, enum who who, enum mb_level level, uint64_t frame);
unsigned get_batch(struct world *w, mb_slot slot, enum who who, enum mb_level level, mb_frame *out,
		   unsigned count);
void record(struct world *w, enum who who, enum mb_level level, uint64_t frame);
bool put(struct world *w, mb_slot slot, enum mb_level level, uint64_t frame);
bool recorded(void *arg, enum mb_level level, mb_frame frame);

/* Gives back all that is recorded as who's, by this slot. */
bool bury(struct world *w, mb_slot slot, enum who who);
/* No frame lost, none doubled; all invariants hold. False: why says what is wrong. */
bool world_check(struct world *w);
/* All that is free can be had, and is free again afterwards. */
bool world_reach(struct world *w, mb_slot slot);

#endif
