/* SPDX-License-Identifier: MIT */
/*
 * balloon_queue.c - one of a balloon's queues that name pages, see balloon_queue.h.
 */
#include "devices/balloon_queue.h"

#include <errno.h>
#include <string.h>

/*
 * Page numbers gathered before they are settled: 256 MiB of pages, about 0.1 ms. It bounds how long the first
 * chain waits for those gathered with it; a chain of more numbers than these is settled in pieces.
 */
#define GATHER_MAX 65536

int balloon_queue_init(struct balloon_queue *q, unsigned number, balloon_settle_fn *settle, unsigned chains_max,
		       uint64_t limit)
{
	q->number = number;
	q->settle = settle;
	q->chains_max = chains_max;
	q->ranges = settle == balloon_pages_report;
	q->takes = settle != balloon_pages_deflate;
	return pageset_init(&q->pages, limit);
}

void balloon_queue_free(struct balloon_queue *q)
{
	pageset_free(&q->pages);
}

void balloon_queue_forget(struct balloon_queue *q)
{
	pageset_clear(&q->pages);
	q->head_count = 0;
	q->reading = false;
}

/* What was taken from a queue that has been stopped since is void: nobody waits for it. */
static void forget_stopped(struct balloon_queue *q, const struct virtqueue *vq)
{
	if (q->generation == vq->generation)
		return;
	q->generation = vq->generation;
	balloon_queue_forget(q);
}

static void give_back(struct balloon_queue *q, struct virtio *v, struct virtqueue *vq)
{
	for (unsigned i = 0; i < q->head_count; i++)
		virtqueue_push(vq, q->heads[i], 0);
	q->head_count = 0;
	virtio_publish(v, vq);
}

/* No frame of this device's own rings leaves: the guest could pull them from under us. */
static void spare_rings(struct balloon_queue *q, struct virtio *v, struct balloon_pages *bp)
{
	uint64_t gpa, len;

	for (unsigned n = 0; n < BALLOON_QUEUES; n++) {
		struct virtqueue *vq = virtio_queue(v, n);

		for (unsigned i = 0; i < 3 && vq->ready; i++) {
			virtqueue_area(vq, i, &gpa, &len);
			balloon_pages_spare(bp, &q->pages, gpa, len);
		}
	}
}

/* All of a chain whose writable buffers are the pages: how many numbers that is worth. */
static int gather_ranges(struct balloon_queue *q, struct balloon_pages *bp)
{
	for (unsigned i = q->chain.readable_count; i < q->chain.count; i++)
		balloon_pages_gather_range(bp, &q->pages, q->chain.segments[i].gpa, q->chain.segments[i].len);
	q->reading = false;
	q->heads[q->head_count++] = q->chain.head;
	return (int)q->chain.count;
}

/* A piece of the chain that is being read: how many numbers, or -EFAULT. */
static int gather_piece(struct balloon_queue *q, struct virtqueue *vq, struct balloon_pages *bp)
{
	int64_t n = virtqueue_read(vq, &q->cursor, q->numbers, sizeof(q->numbers));

	if (n < 0)
		return (int)n;
	n /= (int64_t)sizeof(q->numbers[0]); /* a last, partial number is none */
	balloon_pages_gather(bp, &q->pages, q->numbers, (unsigned)n);
	if (!q->cursor.left) {
		q->reading = false;
		q->heads[q->head_count++] = q->chain.head;
	}
	return (int)n;
}

/* Gathers the pages of what lies in the queue, up to the bounds: 1, 0 if there is nothing, or -EPROTO. */
static int gather(struct balloon_queue *q, struct virtio *v, struct virtqueue *vq, struct balloon_pages *bp)
{
	bool any = false;
	int rc;

	for (int numbers = 0; numbers < GATHER_MAX; numbers += rc) {
		if (!q->reading) {
			if (q->head_count == q->chains_max)
				break;
			rc = virtqueue_pop(vq, &q->chain);
			if (rc < 0) {
				virtio_break(v, vq->flaw);
				return rc;
			}
			if (!rc)
				break;
			q->reading = true;
			virtqueue_to_read(&q->chain, &q->cursor);
		}
		rc = q->ranges ? gather_ranges(q, bp) : gather_piece(q, vq, bp);
		if (rc < 0) {
			virtio_break(v, "buffer cannot be read");
			return -EPROTO;
		}
		any = true;
	}
	return any;
}

int balloon_queue_serve(struct balloon_queue *q, struct virtio *v, struct balloon_pages *bp, uint64_t deadline)
{
	struct virtqueue *vq = virtio_queue(v, q->number);
	int rc;

	forget_stopped(q, vq);
	if (!virtio_is_live(v) || !vq->ready)
		return 0;
	virtqueue_look(vq);
	for (;;) {
		rc = q->settle(bp, &q->pages, deadline);
		if (rc)
			return rc;
		give_back(q, v, vq);
		rc = gather(q, v, vq, bp);
		if (rc < 0)
			return 0;
		if (!rc && virtqueue_sleep(vq))
			return 0;
		if (q->takes)
			spare_rings(q, v, bp);
		if (balloon_now_ns() >= deadline)
			return -EAGAIN;
	}
}
