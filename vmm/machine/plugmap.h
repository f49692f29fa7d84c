/* SPDX-License-Identifier: MIT */
/*
 * plugmap.h - which blocks of a pluggable region of guest memory are plugged: a bit a block, in sparse memory.
 *
 * What is not plugged has no memory behind it, for the guest and for us alike: its host mapping faults. So who
 * touches guest memory in the region looks here first (guestmem.c), and holds the lock for reading while it
 * touches; who takes blocks away holds it for writing. Thread-safe.
 */
#ifndef VMM_MACHINE_PLUGMAP_H
#define VMM_MACHINE_PLUGMAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plugmap {
	uint64_t gpa, size; /* of the region, bytes; constant */
	uint64_t block;     /* bytes; a power of two that divides both; constant */
	pthread_rwlock_t lock;
	uint64_t *bits; /* under the lock */
	size_t bytes;
};

/* 0, -EINVAL or -ENOMEM. Nothing is plugged. */
int plugmap_init(struct plugmap *map, uint64_t gpa, uint64_t size, uint64_t block);
void plugmap_free(struct plugmap *map);

/* Does [gpa, gpa + len) lie in the region, all of it or some? */
bool plugmap_holds(const struct plugmap *map, uint64_t gpa, uint64_t len);
bool plugmap_touches(const struct plugmap *map, uint64_t gpa, uint64_t len);

void plugmap_read_lock(const struct plugmap *map);
void plugmap_write_lock(struct plugmap *map);
void plugmap_unlock(const struct plugmap *map);

/* ---- with the lock held; the range lies in the region -------------------------------------------------- */

/* Are all blocks that [gpa, gpa + len) touches plugged (or: not plugged)? len > 0. */
bool plugmap_all(const struct plugmap *map, uint64_t gpa, uint64_t len, bool plugged);
/* Both block-aligned; the lock is held for writing. */
void plugmap_set(struct plugmap *map, uint64_t gpa, uint64_t len, bool plugged);
/* The first run of plugged blocks in [gpa, end), as an address and a length; false: there is none. */
bool plugmap_next(const struct plugmap *map, uint64_t gpa, uint64_t end, uint64_t *start, uint64_t *len);

#endif
