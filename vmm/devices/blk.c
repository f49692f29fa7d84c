/* SPDX-License-Identifier: MIT */
/*
 * blk.c - virtio-blk (virtio 1.2, 5.2): the queue, the configuration space, and when it has to be still.
 *
 * A chain becomes a request (blk_request.c), that becomes operations of io_uring (blk_io.c), whose results
 * come back here. Requests are answered as they are done, in any order.
 *
 * The kernel writes to guest memory while a read is in flight. A guest that has reset the device, or stopped
 * its queue, takes that memory for its own; so both wait until none of its requests is in flight any more, on
 * the vCPU's thread, which is the one that has to wait. It waits without the lock: with overcommit the memory of
 * a request may be missing until somebody lowers another guest, by a command that the loop has to serve.
 *
 *   vCPU, reset                     kernel                        loop
 *   stops the queue
 *   cancels, unlocks, waits         read() touches what is not
 *                                   there, and waits              goes on: stop, quit, other devices
 *                                   done                          raises the budget
 *   locks, reaps: dropped
 *
 * The vCPU reaps by itself, since the loop may be waiting for this very vCPU to pause.
 *
 * Lock: the device's, for everything here but what never changes.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/blk.h"

#include "devices/blk_request.h"
#include "devices/virtio.h"
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define ZEROS_BYTES (UINT64_C(1) << 20)
#define RETRY_NS    UINT64_C(5000000) /* after the kernel took no more operations, or lacked memory */
#define STALE_MS    5                 /* between two looks, should the loop have reaped what we wait for */
#define PAUSE_MS    100               /* without any completion: it may be memory that is waited for */
#define CONFIG_SIZE offsetof(struct virtio_blk_config, max_secure_erase_sectors)

struct blk {
	struct virtio *v;
	const struct mb_space *memory; /* the guest's */
	struct blk_config config;
	struct blk_rules rules;
	struct virtio_blk_config space; /* little-endian, as the guest sees it */
	void *zeros;
	struct loop_source *again, *retry;

	struct blk_io *io;
	bool paused;
	unsigned waiters; /* vCPUs in wait_for_stale() */
	struct blk_status status;
	struct virtqueue_chain chain; /* scratch */
	unsigned free_count;
	uint8_t free_slots[BLK_QUEUE_SIZE];
	struct blk_request requests[BLK_QUEUE_SIZE]; /* slot */
};

/* ---- requests ------------------------------------------------------------------------------------------ */

static void note(struct blk *b, const struct blk_request *r)
{
	struct blk_status *s = &b->status;

	if (r->status != VIRTIO_BLK_S_OK) {
		s->failed++;
		return;
	}
	switch (r->type) {
	case VIRTIO_BLK_T_IN:
		s->reads++;
		s->read_bytes += r->bytes;
		break;
	case VIRTIO_BLK_T_OUT:
		s->writes++;
		s->written_bytes += r->bytes;
		break;
	case VIRTIO_BLK_T_FLUSH:
		s->flushes++;
		break;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		s->discards++;
		break;
	}
}

/* Nobody waits for its answer: the driver has stopped the queue since. */
static bool is_stale(const struct blk *b, const struct blk_request *r)
{
	const struct virtqueue *vq = virtio_queue(b->v, 0);

	return r->generation != vq->generation || !vq->ready;
}

/* The driver gets its answer, if it still waits for one. */
static void finish(struct blk *b, unsigned slot)
{
	struct blk_request *r = &b->requests[slot];
	struct virtqueue *vq = virtio_queue(b->v, 0);

	b->free_slots[b->free_count++] = (uint8_t)slot;
	note(b, r);
	if (is_stale(b, r))
		return;
	/* -EFAULT: the gate has become stricter since the chain was taken; the guest sees no status. */
	(void)guestmem_write(vq->mem, r->status_gpa, &r->status, sizeof(r->status));
	virtqueue_push(vq, r->head, r->written + 1);
}

static void on_done(void *arg, unsigned slot, int result)
{
	struct blk *b = arg;
	struct blk_request *r = &b->requests[slot];

	if (is_stale(b, r)) {
		r->status = VIRTIO_BLK_S_IOERR; /* how far it came is nobody's concern */
		finish(b, slot);
		return;
	}
	if (blk_request_advance(r, &b->rules, result)) {
		blk_io_start(b->io, slot, &r->op);
		return;
	}
	if (result < 0 && result != -ECANCELED && result != -EOPNOTSUPP)
		log_guest("disk %u: a request of type %u at %llu failed: %s", b->config.index, r->type,
			  (unsigned long long)r->op.offset, strerror(-result));
	finish(b, slot);
}

/* One chain, which is this slot's if it needs one. 0, -EPROTO, or -EAGAIN: it was put back. */
static int take_request(struct blk *b, struct virtqueue *vq)
{
	unsigned slot = b->free_slots[--b->free_count];
	struct blk_request *r = &b->requests[slot];
	int rc = blk_request_begin(r, &b->rules, vq, &b->chain);

	if (rc > 0)
		blk_io_start(b->io, slot, &r->op);
	else if (!rc)
		finish(b, slot);
	else
		b->free_count++;
	if (rc == -EAGAIN)
		virtqueue_put_back(vq);
	return rc < 0 ? rc : 0;
}

/* Takes what the driver has made available, as far as there are slots. false: up to the bound, so go on. */
static bool take_requests(struct blk *b, struct virtqueue *vq)
{
	/* Some are over at once, and a guest may put in as fast as we take out. */
	for (unsigned i = 0; i < 2 * BLK_QUEUE_SIZE; i++) {
		int rc = b->free_count ? virtqueue_pop(vq, &b->chain) : 0;

		/* Without a slot something is in flight, and its end brings us here again. */
		if (!b->free_count || (!rc && virtqueue_sleep(vq)))
			return true;
		if (rc > 0)
			rc = take_request(b, vq);
		/* Overcommitted memory: it and all behind it wait until the host has some. */
		if (rc == -EAGAIN) {
			loop_arm_timer(b->retry, RETRY_NS);
			return true;
		}
		if (rc < 0) {
			virtio_break(b->v, vq->flaw ? vq->flaw : "a request without room for its status");
			return true;
		}
	}
	return false;
}

/* With the lock: all that there is to do now. */
static void serve(struct blk *b)
{
	struct virtqueue *vq = virtio_queue(b->v, 0);

	blk_io_reap(b->io);
	if (!b->paused && virtio_is_live(b->v) && vq->ready) {
		virtqueue_look(vq);
		if (!take_requests(b, vq))
			loop_defer(b->again);
	}
	if (blk_io_submit(b->io))
		loop_arm_timer(b->retry, RETRY_NS);
	/* What the page cache had is done already. */
	blk_io_reap(b->io);
	virtio_publish(b->v, vq);
}

static void work(void *dev)
{
	struct blk *b = dev;

	virtio_lock(b->v);
	serve(b);
	virtio_unlock(b->v);
}

/* ---- the transport's calls ------------------------------------------------------------------------------ */

static void config_read(void *dev, uint32_t offset, void *to, unsigned len)
{
	struct blk *b = dev;

	memcpy(to, (const unsigned char *)&b->space + offset, len);
}

/* Nothing in it is the driver's to write: the one field that may be belongs to a feature that we lack. */
static void config_write(void *dev, uint32_t offset, const void *from, unsigned len)
{
	(void)dev;
	(void)offset;
	(void)from;
	(void)len;
}

static bool has_stale(const struct blk *b)
{
	for (unsigned i = 0; i < BLK_QUEUE_SIZE; i++)
		if (blk_io_is_busy(b->io, i) && is_stale(b, &b->requests[i]))
			return true;
	return false;
}

/* Where memory is missing this would only have the kernel's thread look for it again and again. */
static void cancel_stale(struct blk *b)
{
	if (mb_space_starved(b->memory))
		return;
	for (unsigned i = 0; i < BLK_QUEUE_SIZE; i++)
		if (blk_io_is_busy(b->io, i) && is_stale(b, &b->requests[i]))
			blk_io_cancel(b->io, i);
}

/* With the lock, but not all the time. Another vCPU may bring up the next driver meanwhile: not ours to wait for. */
static void wait_for_stale(struct blk *b)
{
	cancel_stale(b);
	b->waiters++;
	for (;;) {
		/* Refused now, it is tried again in a moment. */
		(void)!blk_io_submit(b->io);
		blk_io_reap(b->io);
		if (!has_stale(b))
			break;
		virtio_unlock(b->v);
		blk_io_wait(b->io, STALE_MS);
		virtio_lock(b->v);
	}
	b->waiters--;
}

/* When this returns the guest may use its memory as it likes. */
static void on_reset(void *dev)
{
	wait_for_stale(dev);
}

static void on_queue_stop(void *dev, unsigned n)
{
	(void)n;
	on_reset(dev);
}

static const struct virtio_ops ops = {
    .name = "disk",
    .device_id = VIRTIO_ID_BLOCK,
    .queues = 1,
    .queue_size = BLK_QUEUE_SIZE,
    .config_size = CONFIG_SIZE,
    .config_read = config_read,
    .config_write = config_write,
    .reset = on_reset,
    .queue_stop = on_queue_stop,
    .work = work,
};

/* ---- what control asks ---------------------------------------------------------------------------------- */

void blk_pause(struct blk *b)
{
	bool moves = true;

	virtio_lock(b->v);
	b->paused = true;
	for (;;) {
		(void)!blk_io_submit(b->io);
		blk_io_reap(b->io);
		/* What waits for memory is not waited for: whoever could give it may need this thread. */
		if (!blk_io_in_flight(b->io) || (!moves && mb_space_starved(b->memory)))
			break;
		virtio_unlock(b->v);
		moves = blk_io_wait(b->io, PAUSE_MS);
		virtio_lock(b->v);
	}
	virtio_publish(b->v, virtio_queue(b->v, 0));
	virtio_unlock(b->v);
}

void blk_resume(struct blk *b)
{
	virtio_lock(b->v);
	b->paused = false;
	virtio_unlock(b->v);
	loop_defer(b->again);
}

void blk_get_status(struct blk *b, struct blk_status *out)
{
	virtio_lock(b->v);
	*out = b->status;
	out->driver_ok = virtio_is_live(b->v);
	out->broken = virtio_is_broken(b->v);
	out->in_flight = blk_io_in_flight(b->io);
	virtio_unlock(b->v);
	out->capacity = b->config.disk.bytes;
	out->readonly = b->config.disk.readonly;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static uint8_t exponent(uint32_t ratio)
{
	return (uint8_t)__builtin_ctz(ratio);
}

static void fill_space(struct blk *b)
{
	const struct disk *d = &b->config.disk;
	uint32_t ratio = d->physical_size / d->block_size;

	b->space = (struct virtio_blk_config){
	    .capacity = htole64(d->bytes / DISK_SECTOR),
	    .seg_max = htole32(BLK_SEGMENTS),
	    .blk_size = htole32(d->block_size),
	    .physical_block_exp = exponent(ratio),
	    .min_io_size = htole16((uint16_t)ratio),
	    .num_queues = htole16(1),
	    .max_discard_sectors = htole32(BLK_DISCARD_SECTORS),
	    .max_discard_seg = htole32(BLK_RANGES_MAX),
	    .discard_sector_alignment = htole32(d->physical_size / DISK_SECTOR),
	    .max_write_zeroes_sectors = htole32(BLK_ZEROES_SECTORS),
	    .max_write_zeroes_seg = htole32(BLK_RANGES_MAX),
	    .write_zeroes_may_unmap = 1,
	};
}

static uint64_t features(const struct disk *d)
{
	uint64_t all = UINT64_C(1) << VIRTIO_BLK_F_SEG_MAX | UINT64_C(1) << VIRTIO_BLK_F_BLK_SIZE |
		       UINT64_C(1) << VIRTIO_BLK_F_TOPOLOGY | UINT64_C(1) << VIRTIO_BLK_F_FLUSH;

	if (d->readonly)
		return all | UINT64_C(1) << VIRTIO_BLK_F_RO;
	return all | UINT64_C(1) << VIRTIO_BLK_F_DISCARD | UINT64_C(1) << VIRTIO_BLK_F_WRITE_ZEROES;
}

static int create_parts(struct blk *b, const struct device_host *host)
{
	struct blk_io_config io = {
	    .loop = host->loop,
	    .fd = b->config.disk.fd,
	    .slots = BLK_QUEUE_SIZE,
	    .elsewhere = b->config.elsewhere,
	    .on_ready = work,
	    .on_done = on_done,
	    .arg = b,
	};
	int rc;

	b->zeros = mmap(NULL, ZEROS_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (b->zeros == MAP_FAILED) {
		b->zeros = NULL;
		return -errno;
	}
	b->rules = (struct blk_rules){.disk = &b->config.disk, .zeros = b->zeros, .zeros_size = ZEROS_BYTES};
	for (unsigned i = 0; i < BLK_QUEUE_SIZE; i++)
		b->free_slots[b->free_count++] = (uint8_t)i;
	fill_space(b);
	rc = loop_add_deferred(host->loop, work, b, &b->again);
	if (!rc)
		rc = loop_add_timer(host->loop, work, b, &b->retry);
	if (!rc)
		rc = blk_io_create(&io, &b->io);
	if (!rc)
		rc = virtio_mmio_create(host, b->config.index, &ops, b, features(&b->config.disk), &b->v);
	return rc;
}

int blk_create(const struct device_host *host, const struct blk_config *config, struct blk **out)
{
	struct blk *b = calloc(1, sizeof(*b));
	int rc;

	if (!b) {
		struct disk disk = config->disk;

		disk_close(&disk);
		return -ENOMEM;
	}
	b->config = *config;
	b->memory = host->mem->space;
	rc = create_parts(b, host);
	if (rc) {
		blk_destroy(b);
		return rc;
	}
	*out = b;
	return 0;
}

/* Nothing is in flight after it, and no vCPU that was found in a reset is still in here. */
static void let_go(struct blk *b)
{
	virtio_lock(b->v);
	blk_io_drain(b->io);
	while (b->waiters) {
		virtio_unlock(b->v);
		usleep(1000);
		virtio_lock(b->v);
	}
	virtio_unlock(b->v);
}

void blk_destroy(struct blk *b)
{
	if (!b)
		return;
	if (b->v)
		let_go(b);
	virtio_destroy(b->v);
	blk_io_destroy(b->io);
	if (b->again)
		loop_remove(b->again);
	if (b->retry)
		loop_remove(b->retry);
	for (unsigned i = 0; i < BLK_QUEUE_SIZE; i++)
		blk_request_free(&b->requests[i]);
	if (b->zeros)
		munmap(b->zeros, ZEROS_BYTES);
	disk_close(&b->config.disk);
	free(b);
}
