/* SPDX-License-Identifier: MIT */
/*
 * post_queue.h - calls that other threads hand to the loop's: a bounded queue under a lock. Thread-safe.
 */
#ifndef VMM_CONTROL_POST_QUEUE_H
#define VMM_CONTROL_POST_QUEUE_H

#include "control/loop.h"

struct post {
	loop_fn *fn;
	void *arg;
};

struct post_queue;
struct post_queue *post_queue_create(void); /* NULL: out of memory */
void post_queue_destroy(struct post_queue *q);
bool post_queue_put(struct post_queue *q, loop_fn *fn, void *arg); /* false: full */
bool post_queue_take(struct post_queue *q, struct post *out);      /* false: empty */
unsigned post_queue_count(struct post_queue *q);

#endif
