/* SPDX-License-Identifier: MIT */
/* overcommit_state.h - what overcommit.c (presence and charge) and overcommit_thread.c (faults) share. */
#ifndef HOST_OVERCOMMIT_STATE_H
#define HOST_OVERCOMMIT_STATE_H

#include "overcommit.h"

#include <fcntl.h>

/* Enough for the rings of a few devices; where the granule is larger, one granule. */
#define OVERCOMMIT_RESERVE (UINT64_C(256) << 10)

struct overcommit {
	int fd;         /* userfaultfd */
	int stop;       /* an eventfd: the thread shall end */
	int ask;        /* another: wanted or refill has been set */
	uint64_t unit;  /* bytes: the least that is made present */
	uint8_t *alias; /* the guest's memory once more, in large pages where they can be had */
	uint8_t *small; /* and once more in small ones */
	_Atomic uint64_t *bits;
	uint64_t bits_bytes;
	uint64_t minimum, reserve_full;
	pthread_mutex_t lock; /* protects all below, and changes of the bits */
	uint64_t present;     /* bytes */
	uint64_t reserve;     /* bytes, of reserve_full */
	uint64_t missing;     /* bytes that the budget lacked at the last charge that failed */
	uint64_t wanted;      /* a page that the thread shall wait for, gpa + 1; 0: none */
	bool everyone;        /* starved: all owners of the pool are */
	bool refill;          /* and that it shall wait for the reserve */
	struct mb_overcommit_status stats;
	_Atomic bool starved, abandoned;
	uint64_t starved_since_ns;
	const char *reason;
	/* The thread's own: */
	uint64_t next;  /* gpa at which a guest that goes through its memory would fault next */
	unsigned ahead; /* frames to make present beyond the one that is asked for */
	bool idle;      /* the alias maps nothing */
	pthread_t thread;
	bool running;
	mb_starved_fn *on_starved;
	void *arg;
};

/* All under the lock. Charges, or -EDQUOT. */
int overcommit_charge(struct mb_space *space, uint64_t bytes);
void overcommit_uncharge(struct mb_space *space, uint64_t bytes);
int overcommit_refill(struct mb_space *space);
/* Makes the page at gpa present, and its huge frame with it where that is possible. -EDQUOT: the budget lacks
 * it; -ENOMEM: the host. page_will_do: the page alone, where there is not enough for all of its frame. */
int overcommit_provide(struct mb_space *space, uint64_t gpa, bool page_will_do);
/* A whole huge frame of which nothing is there yet; -EEXIST: it is not such a one. */
int overcommit_provide_frame(struct mb_space *space, uint64_t gpa);

int overcommit_start_thread(struct mb_space *space);
void overcommit_stop_thread(struct overcommit *o);

#endif
