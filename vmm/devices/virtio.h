/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - what a virtio device and its transport (virtio-mmio version 2; virtio 1.2, 4.2) want from each
 * other.
 *
 * Two kinds of threads meet here: register accesses come on vCPU threads, queues are served on the loop's
 * thread. One lock per device protects its registers, its queues and its own state; the loop's thread holds
 * it for a few milliseconds at a time, since a vCPU may be waiting for it.
 */
#ifndef VMM_DEVICES_VIRTIO_H
#define VMM_DEVICES_VIRTIO_H

#include "devices/device.h"
#include "devices/virtqueue.h"

#define VIRTIO_QUEUES_MAX 8

struct virtio;

struct virtio_ops {
	const char *name;     /* for the log */
	uint32_t device_id;   /* virtio 1.2, 5 */
	unsigned queues;      /* at most VIRTIO_QUEUES_MAX */
	uint16_t queue_size;  /* the most descriptors of each: a power of two */
	uint32_t config_size; /* bytes of configuration space */

	/* On a vCPU thread, with the lock held; offset + len <= config_size. Values are little-endian. */
	void (*config_read)(void *dev, uint32_t offset, void *to, unsigned len);
	void (*config_write)(void *dev, uint32_t offset, const void *from, unsigned len);
	/* The driver has reset the device: its queues are stopped. Same thread and lock; must be short. */
	void (*reset)(void *dev);
	/* The driver has stopped this queue, by QueueReady; may be NULL. Same thread and lock. After it (and
	 * after a reset) the device touches no memory that chains of the queue name. Both may let go of the
	 * lock to wait for that. */
	void (*queue_stop)(void *dev, unsigned n);
	/*
	 * On the loop's thread, without the lock: the driver has notified us of a queue, or the device has
	 * been reset, or the driver is ready now. There may be nothing to do.
	 */
	void (*work)(void *dev);
};

/* Offers these features besides the transport's own; index is that of the transport's place and line. */
MB_MUST_CHECK int virtio_mmio_create(const struct device_host *host, unsigned index,
				     const struct virtio_ops *ops, void *dev, uint64_t features,
				     struct virtio **out);
/* The vCPUs must be gone. NULL is fine. */
void virtio_destroy(struct virtio *v);

void virtio_lock(struct virtio *v);
void virtio_unlock(struct virtio *v);

/* ---- all of these with the lock held ------------------------------------------------------------------ */

/* The driver is ready (DRIVER_OK) and the device not broken: queues may be served. */
bool virtio_is_live(const struct virtio *v);
bool virtio_is_broken(const struct virtio *v);
/* Whether this feature (bit number) was negotiated. */
bool virtio_has(const struct virtio *v, unsigned feature);
struct virtqueue *virtio_queue(struct virtio *v, unsigned n);
/* Publishes what was pushed to a queue and interrupts the driver if it wants that. */
void virtio_publish(struct virtio *v, struct virtqueue *vq);
/* The configuration space changed: new generation, and an interrupt if there is a driver. */
void virtio_config_changed(struct virtio *v);
/* The driver broke the protocol: DEVICE_NEEDS_RESET (2.1.2). Until it resets us nothing is served. */
void virtio_break(struct virtio *v, const char *why);

#endif
