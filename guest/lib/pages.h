/* SPDX-License-Identifier: MIT */
/*
 * pages.h - the guest's free pages, by page number (guest physical address / 4 KiB).
 *
 * First CPU only.
 */
#ifndef GUEST_PAGES_H
#define GUEST_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#define PAGES_NONE UINT64_MAX
#define PAGES_HUGE 512 /* pages in 2 MiB */

struct pages_run {
	uint64_t first, count;
};

/* Takes over all of boot.free: nothing can be reserved from then on. Ends the VM if that does not work. */
void pages_init(void);

/* Pages that are free, and pages that there are. */
uint64_t pages_free(void);
uint64_t pages_total(void);

/* One page, or one aligned 2 MiB of them: the number of the first, or PAGES_NONE. */
uint64_t pages_take(bool huge);
/* This very page; false: it is not free. */
bool pages_take_at(uint64_t page);
/* Gives [first, first + count) back; any part of what was taken. */
void pages_give(uint64_t first, uint64_t count);

/* The first run of free pages at or after from, cut to PAGES_HUGE pages; false: there is none. */
bool pages_next_free(uint64_t from, struct pages_run *out);

/* Is the allocator's state sound? If not, says what is wrong with it. Slow. */
bool pages_check(const char **flaw);

#endif
