/* SPDX-License-Identifier: MIT */
/*
 * pageset.h - a set of page numbers that comes out sorted and in runs, however it went in.
 *
 * A bitmap with summaries above it: bit i of level n + 1 says that word i of level n is not 0. It lies in
 * sparse memory and costs nothing where it was never touched. Adding and removing a run is a few
 * nanoseconds a word; finding the next member, however far, is one word a level. Not thread-safe.
 */
#ifndef VMM_DEVICES_PAGESET_H
#define VMM_DEVICES_PAGESET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGESET_LEVELS 6 /* 2^36 pages at most */

struct pageset {
	uint64_t limit; /* numbers are below it */
	uint64_t count; /* members */
	uint64_t *map[PAGESET_LEVELS];
	uint64_t words[PAGESET_LEVELS];
	unsigned levels;
	size_t bytes;
};

/* 0, -EINVAL (no or too many pages) or -ENOMEM. */
int pageset_init(struct pageset *set, uint64_t limit);
/* Also for a zero-filled one. */
void pageset_free(struct pageset *set);
/* Both return how many were (not) members before; first + count <= limit. */
uint64_t pageset_add(struct pageset *set, uint64_t first, uint64_t count);
uint64_t pageset_remove(struct pageset *set, uint64_t first, uint64_t count);
/* Removes all. */
void pageset_clear(struct pageset *set);
/* The first run of members in [from, end), cut at both; false: there is none. */
bool pageset_next(const struct pageset *set, uint64_t from, uint64_t end, uint64_t *first, uint64_t *count);
/* Adds all of from (of the same limit) to set and empties it. */
void pageset_move(struct pageset *set, struct pageset *from);

#endif
