/* SPDX-License-Identifier: MIT */
/*
 * rng.c - virtio-rng (virtio 1.2, 5.4): fills what the guest offers from getrandom(2).
 *
 * A guest that asks for ever costs a bounded share of the loop: what a period's allowance does not cover
 * stays in the queue until the next one. A buffer may be filled in part (5.4.6.2), and is, at its end.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/rng.h"

#include "devices/virtio.h"

#include <errno.h>
#include <linux/virtio_ids.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define QUEUE_SIZE 64
#define PIECE      256 /* getrandom() gives so much at once, without interruption */
#define CHAIN_COST 16  /* bytes of the allowance: every chain costs something, be it short */
#define MS         UINT64_C(1000000)

struct rng {
	struct virtio *v;
	struct loop_source *period;
	/* Under the device's lock. */
	uint32_t allowance;           /* bytes left of this period's */
	bool counting;                /* the period's timer runs */
	struct virtqueue_chain chain; /* scratch */
};

/* Fills a chain as far as the allowance goes: bytes, or a negative errno. */
static int64_t fill(struct rng *r, const struct virtqueue *vq)
{
	unsigned char random[PIECE];
	struct virtqueue_cursor cursor;
	int64_t total = 0, n;

	virtqueue_to_write(&r->chain, &cursor);
	while (cursor.left && r->allowance) {
		size_t want = r->allowance < PIECE ? r->allowance : PIECE;

		if (getrandom(random, want, 0) != (ssize_t)want)
			return -EIO;
		n = virtqueue_write(vq, &cursor, random, want);
		if (n < 0)
			return n;
		r->allowance -= (uint32_t)n;
		total += n;
	}
	explicit_bzero(random, sizeof(random)); /* they are the guest's secrets now */
	return total;
}

/* What fill() will write to: 0, -EAGAIN where the host lacks memory for it now, or -EFAULT. */
static int ready(const struct rng *r, const struct virtqueue *vq)
{
	struct virtqueue_segment piece;
	struct virtqueue_cursor cursor;
	uint64_t left = r->allowance;
	int rc = 0;

	virtqueue_to_write(&r->chain, &cursor);
	while (!rc && virtqueue_next(&cursor, left, &piece)) {
		rc = guestmem_ready(vq->mem, piece.gpa, piece.len);
		left -= piece.len;
	}
	return rc;
}

/* One chain, if there is one and the allowance is not used up: whether to go on. */
static bool serve_one(struct rng *r, struct virtqueue *vq)
{
	int64_t n;
	int rc;

	if (r->allowance <= CHAIN_COST)
		return false;
	rc = virtqueue_pop(vq, &r->chain);
	if (!rc)
		return !virtqueue_sleep(vq);
	if (rc < 0) {
		virtio_break(r->v, vq->flaw);
		return false;
	}
	r->allowance -= CHAIN_COST;
	if (ready(r, vq) == -EAGAIN) {
		virtqueue_put_back(vq);
		return false; /* a period's end brings us here again */
	}
	n = r->chain.writable ? fill(r, vq) : -EPROTO;
	if (n < 0) {
		virtio_break(r->v,
			     r->chain.writable ? "buffer cannot be filled" : "a buffer that cannot be written");
		return false;
	}
	virtqueue_push(vq, r->chain.head, (uint32_t)n);
	return true;
}

static void work(void *dev)
{
	struct rng *r = dev;
	struct virtqueue *vq;

	virtio_lock(r->v);
	vq = virtio_queue(r->v, 0);
	if (virtio_is_live(r->v) && vq->ready) {
		virtqueue_look(vq);
		while (serve_one(r, vq))
			;
		virtio_publish(r->v, vq);
	}
	if (r->allowance < RNG_PERIOD_BYTES && !r->counting) {
		r->counting = true;
		loop_arm_timer(r->period, RNG_PERIOD_MS * MS);
	}
	virtio_unlock(r->v);
}

static void on_period(void *arg)
{
	struct rng *r = arg;

	virtio_lock(r->v);
	r->counting = false;
	r->allowance = RNG_PERIOD_BYTES;
	virtio_unlock(r->v);
	work(r);
}

/* There is no configuration space, and nothing to forget. */
static void on_reset(void *dev)
{
	(void)dev;
}

static const struct virtio_ops ops = {
    .name = "rng",
    .device_id = VIRTIO_ID_RNG,
    .queues = 1,
    .queue_size = QUEUE_SIZE,
    .config_size = 0,
    .reset = on_reset,
    .work = work,
};

int rng_create(const struct device_host *host, unsigned index, struct rng **out)
{
	struct rng *r = calloc(1, sizeof(*r));
	int rc;

	if (!r)
		return -ENOMEM;
	r->allowance = RNG_PERIOD_BYTES;
	rc = loop_add_timer(host->loop, on_period, r, &r->period);
	if (!rc)
		rc = virtio_mmio_create(host, index, &ops, r, 0, &r->v);
	if (rc) {
		rng_destroy(r);
		return rc;
	}
	*out = r;
	return 0;
}

void rng_destroy(struct rng *r)
{
	if (!r)
		return;
	virtio_destroy(r->v);
	if (r->period)
		loop_remove(r->period);
	free(r);
}
