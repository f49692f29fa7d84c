/* SPDX-License-Identifier: MIT */
/*
 * post_queue.c - calls that other threads hand to the loop's.
 */
#include "control/post_queue.h"

#include <pthread.h>
#include <stdlib.h>

#define POSTS_MAX 4096 /* that may wait; a caller that finds it full tries again */

struct post_queue {
	pthread_mutex_t lock;
	unsigned first, count;
	struct post posts[POSTS_MAX];
};

struct post_queue *post_queue_create(void)
{
	struct post_queue *q = calloc(1, sizeof(*q));

	if (q)
		pthread_mutex_init(&q->lock, NULL);
	return q;
}

void post_queue_destroy(struct post_queue *q)
{
	if (!q)
		return;
	pthread_mutex_destroy(&q->lock);
	free(q);
}

bool post_queue_put(struct post_queue *q, loop_fn *fn, void *arg)
{
	bool fits;

	pthread_mutex_lock(&q->lock);
	fits = q->count < POSTS_MAX;
	if (fits)
		q->posts[(q->first + q->count++) % POSTS_MAX] = (struct post){fn, arg};
	pthread_mutex_unlock(&q->lock);
	return fits;
}

bool post_queue_take(struct post_queue *q, struct post *out)
{
	bool some;

	pthread_mutex_lock(&q->lock);
	some = q->count > 0;
	if (some) {
		*out = q->posts[q->first];
		q->first = (q->first + 1) % POSTS_MAX;
		q->count--;
	}
	pthread_mutex_unlock(&q->lock);
	return some;
}

unsigned post_queue_count(struct post_queue *q)
{
	unsigned count;

	pthread_mutex_lock(&q->lock);
	count = q->count;
	pthread_mutex_unlock(&q->lock);
	return count;
}
