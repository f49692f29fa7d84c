/* SPDX-License-Identifier: MIT */
/*
 * blk.h - virtio-blk (virtio 1.2, 5.2) on virtio-mmio: read, write, flush, discard, write zeroes, get id.
 *
 * Data goes between the file and the guest's memory directly, by io_uring. All functions are called from the
 * loop's thread.
 */
#ifndef VMM_DEVICES_BLK_H
#define VMM_DEVICES_BLK_H

#include "devices/device.h"
#include "devices/disk.h"

#define BLK_QUEUE_SIZE 128                  /* descriptors, and requests in flight */
#define BLK_SEGMENTS   (BLK_QUEUE_SIZE - 2) /* of a request's data: header and status take one each */

struct blk;

struct blk_config {
	unsigned index;   /* of its virtio-mmio transport */
	bool elsewhere;   /* guest memory may be missing until somebody else makes it present (overcommit) */
	struct disk disk; /* becomes the device's, which closes it; also if it cannot be made */
};

/* 0 or a negative errno. */
int blk_create(const struct device_host *host, const struct blk_config *config, struct blk **out);
/*
 * The vCPUs must be gone, or be in a reset whose end they wait for. Waits for what is in flight, so nothing may
 * wait for memory any more (mb_space_abandon()). NULL is fine.
 */
void blk_destroy(struct blk *b);

/*
 * For a VM that is stopped: waits for what is in flight, answers it, and takes no more until it goes on. So
 * that neither the guest's memory nor the disk changes meanwhile. But what waits for memory that the budget
 * lacks (mb_space_starved()) is left in flight, and answered when it is there. Both are idempotent.
 */
void blk_pause(struct blk *b);
void blk_resume(struct blk *b);

struct blk_status {
	uint64_t capacity; /* bytes */
	bool readonly;
	bool driver_ok; /* the guest runs a driver */
	bool broken;    /* the guest broke the protocol: the device needs a reset */
	/* Since start. */
	uint64_t reads, writes, flushes, discards; /* requests that worked; discards: write zeroes too */
	uint64_t read_bytes, written_bytes;
	uint64_t failed; /* requests that did not */
	unsigned in_flight;
};
void blk_get_status(struct blk *b, struct blk_status *out);

#endif
