/* SPDX-License-Identifier: MIT */
/*
 * balloon_pages.h - what is in a balloon: page numbers that a guest names are gathered, sorted, checked and
 * given back to the pool, or taken from it, in runs as long as there are.
 *
 * Every page is in one of three states, which two sets keep apart:
 *
 *   the guest's            in neither set
 *   given                  the guest's driver of now has put it on the inflate queue
 *   returning              a driver before the last reset had: it belongs to the guest again, and is taken
 *                          from the budget as soon as that has room
 *
 *   the guest's --inflate--> given --deflate--> the guest's
 *   given --reset--> returning --budget--> the guest's
 *   returning --inflate--> given
 *
 * Why returning: after a reset the balloon is empty (virtio 1.2, 2.4 and 5.5: a new driver starts with none
 * of its pages in it), and a guest that was reset thinks that all of its memory is its own. It does not wait
 * for us: it may write to such a page before we come to it, so what is there is kept (mb_space_restore()).
 * Nor did anybody ask the budget. What that cannot give yet stays charged to nobody, though the guest may
 * touch it; it shows in balloon_status.waits_for, and mb_space_check() names what is resident of it.
 *
 * Loop thread only (it is mb_space_*'s one thread).
 */
#ifndef VMM_DEVICES_BALLOON_PAGES_H
#define VMM_DEVICES_BALLOON_PAGES_H

#include "devices/pageset.h"
#include "machine/guestmem.h"

#define BALLOON_PAGE_SHIFT 12 /* virtio 1.2, 5.5.6: page numbers are those of 4 KiB pages, always */

struct balloon_pages {
	struct mb_space *space;
	const struct guestmem *mem;
	uint64_t limit; /* page numbers are below it */
	struct pageset given, returning;
	uint64_t now;            /* CLOCK_MONOTONIC, ns, when it was read last */
	uint64_t stride;         /* pages in one call to the pool at most: adapts to the host's speed */
	uint64_t rejected;       /* pages, since start */
	uint64_t inflated_total; /* pages, since start */
	uint64_t deflated_total; /* pages, since start */
	uint64_t reported_total; /* pages that were reported free and given back, since start */
	bool keep_reported;      /* their contents matter to the guest (page poison): leave them */
};

/* 0 or -ENOMEM, -EINVAL; limit: page numbers at or beyond it are no guest memory. */
int balloon_pages_init(struct balloon_pages *bp, const struct guestmem *mem, uint64_t limit);
void balloon_pages_free(struct balloon_pages *bp);

/*
 * Adds count page numbers (little-endian, as the guest wrote them, but copied) to set. Those that are no
 * guest memory, and those that are in it already, are rejected.
 */
void balloon_pages_gather(struct balloon_pages *bp, struct pageset *set, const uint32_t *numbers,
			  unsigned count);
/* Adds the pages that lie wholly in [gpa, gpa + len), which is guest memory. */
void balloon_pages_gather_range(struct balloon_pages *bp, struct pageset *set, uint64_t gpa, uint64_t len);
/* Removes the pages of [gpa, gpa + len) from set, as rejected. */
void balloon_pages_spare(struct balloon_pages *bp, struct pageset *set, uint64_t gpa, uint64_t len);

/*
 * Each takes pages out of set until it is empty (0), the clock passes deadline (-EAGAIN: call again), or a
 * page cannot be had back now (try again later): -EDQUOT, the budget lacks it, or another errno of
 * mb_space_deflate(). At least one call to the pool is made. deadline: CLOCK_MONOTONIC, ns.
 */
int balloon_pages_inflate(struct balloon_pages *bp, struct pageset *set, uint64_t deadline);
int balloon_pages_deflate(struct balloon_pages *bp, struct pageset *set, uint64_t deadline);
/* Of free page reporting: they stay the guest's, so what cannot be given back is simply left. */
int balloon_pages_report(struct balloon_pages *bp, struct pageset *set, uint64_t deadline);
int balloon_pages_return(struct balloon_pages *bp, uint64_t deadline);

/* The guest has reset its driver: what was given is returning. */
void balloon_pages_reset(struct balloon_pages *bp);

/* Pages that the guest does not have. */
static inline uint64_t balloon_pages_out(const struct balloon_pages *bp)
{
	return bp->given.count + bp->returning.count;
}

uint64_t balloon_now_ns(void);

#endif
