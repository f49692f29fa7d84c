/* SPDX-License-Identifier: MIT */
/*
 * balloon_queue.h - one of a balloon's queues that name pages: chains in, pages settled, chains back.
 *
 * The inflate and deflate queues' buffers hold page numbers; the reporting queue's buffers are the pages.
 *
 * A chain goes back only when all its pages are dealt with: the inflate queue thereby says that the pages
 * are gone, the deflate queue that they are the guest's to use (virtio 1.2, 5.5.6).
 *
 * With the device's lock held, on the loop's thread.
 */
#ifndef VMM_DEVICES_BALLOON_QUEUE_H
#define VMM_DEVICES_BALLOON_QUEUE_H

#include "devices/balloon_pages.h"
#include "devices/virtio.h"

/* balloon_pages_inflate(), balloon_pages_deflate() or balloon_pages_report(). */
typedef int balloon_settle_fn(struct balloon_pages *bp, struct pageset *set, uint64_t deadline);

#define BALLOON_QUEUES        4    /* of the device: these, and that of statistics */
#define BALLOON_QUEUE_SIZE    256  /* descriptors */
#define BALLOON_QUEUE_NUMBERS 4096 /* page numbers copied at a time */

struct balloon_queue {
	unsigned number; /* of the virtqueue */
	bool ranges;     /* buffers are the pages themselves */
	bool takes;      /* pages leave the guest: never those of the device's own rings */
	balloon_settle_fn *settle;
	unsigned chains_max;                /* chains whose pages are gathered together */
	uint32_t generation;                /* of the virtqueue, when the following was taken from it */
	struct pageset pages;               /* named, and not settled yet */
	uint16_t heads[BALLOON_QUEUE_SIZE]; /* chains wholly gathered */
	unsigned head_count;
	bool reading; /* chain is gathered up to cursor */
	struct virtqueue_cursor cursor;
	struct virtqueue_chain chain;
	uint32_t numbers[BALLOON_QUEUE_NUMBERS];
};

/* 0 or a negative errno, as pageset_init(). chains_max is at most BALLOON_QUEUE_SIZE. */
int balloon_queue_init(struct balloon_queue *q, unsigned number, balloon_settle_fn *settle, unsigned chains_max,
		       uint64_t limit);
/* What was taken from it so far is void. */
void balloon_queue_forget(struct balloon_queue *q);
void balloon_queue_free(struct balloon_queue *q);
/*
 * Serves the queue until it is empty or dead (0), the clock passes deadline (-EAGAIN: call again), or a
 * page cannot be had back now (-EDQUOT or another errno: call again later).
 */
int balloon_queue_serve(struct balloon_queue *q, struct virtio *v, struct balloon_pages *bp, uint64_t deadline);

#endif
