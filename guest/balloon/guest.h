/* SPDX-License-Identifier: MIT */
/*
 * guest.h - the balloon guest's state, and what its parts do for each other. First CPU only.
 */
#ifndef GUEST_BALLOON_GUEST_H
#define GUEST_BALLOON_GUEST_H

#include "lib/balloon_driver.h"
#include "lib/irq.h"

enum fill { FILL_PATTERN, FILL_TOUCH, FILL_NONE };

/* One direction, from the first buffer sent until all is quiet. */
struct stretch {
	uint64_t pages, begin, last, refill; /* all but pages in TSC ticks; refill: our own work in between */
};

struct guest {
	struct balloon_driver driver;
	bool huge, scatter, verify, filling;
	enum fill fill;
	uint64_t pace, rounds_wanted; /* pace: ms; 0 rounds: for ever */
	uint64_t begin, end;          /* TSC; end 0: never */

	uint64_t *inside; /* one bit a page: it is in the balloon, or on its way in */
	uint64_t inside_words;
	uint64_t take_at; /* where the search for a page to be deflated goes on */
	uint64_t scatter_at;
	uint64_t total;   /* pages in the balloon; those on their way in are, those on their way out too */
	uint64_t leaving; /* pages of total that are on their way out */
	uint64_t oom;     /* pages that were taken in spite of the target */
	uint64_t target, reported;
	struct stretch in, out;
	bool told_short, told_waiting, quit;
	uint64_t refill_pages, refill_ticks;

	uint64_t fill_at;
	uint64_t verify_at, verify_pages, rounds, next_round; /* next_round: TSC */
	bool round_open;
};

static inline uint64_t guest_us(uint64_t ticks)
{
	return ticks / (irq_tsc_hz() / 1000000);
}

/* ---- contents.c: what is in the pages ------------------------------------------------------------------ */

/* Fills free memory bit by bit; true: all of it is filled. */
bool contents_fill_some(struct guest *g);
/* Makes pages that the device gave back the guest's own: checks that they are zero, fills them. */
void contents_take_back(const struct guest *g, uint64_t first, uint64_t count);
/* A round of verification. Ends the VM with EXIT_FAIL where a page is not as it should be. */
void contents_begin_round(struct guest *g);
/* Verifies some pages; true: the round is through. */
bool contents_verify_some(struct guest *g);
void contents_end_round(struct guest *g);
/* All at once, and the allocator's own check. */
void contents_verify_now(struct guest *g);
/* Writes to so many pages that are in the balloon. */
void contents_poke(const struct guest *g, uint64_t pages);
/* Damages one of the guest's own pages. */
void contents_spoil(void);

/* ---- transfer.c: pages into the balloon and out of it -------------------------------------------------- */

/* Does all that the device wants as far as it goes without waiting. */
void transfer_serve(struct guest *g);
/* Takes so many pages out of the balloon in spite of the target, until that changes. */
void transfer_oom(struct guest *g, uint64_t pages);
/* When transfer_serve() has something to do without being asked; TSC, 0: never. */
uint64_t transfer_deadline(const struct guest *g);

#endif
