/* SPDX-License-Identifier: MIT */
/*
 * virtio_mmio.c - the virtio-mmio transport, version 2 (virtio 1.2, 4.2).
 *
 * Two eventfds lead to the loop's thread: each queue's notification, which KVM signals without an exit to
 * us, and `kick`, which a vCPU thread writes when a register access is followed by work. An eventfd is never
 * full and never refuses, and it tells one of a thousand kicks, which is enough: work() looks at everything.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/virtio.h"

#include "abi/platform.h"
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define MAGIC   0x74726976 /* "virt" */
#define VERSION 2
#define VENDOR  0x4b434d4d /* "MMCK" */
#define STATUS_SETTABLE                                                                                        \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_DRIVER_OK |                    \
	 VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_FAILED)
#define FEATURE(bit) (UINT64_C(1) << (bit))

struct virtio {
	const struct virtio_ops *ops;
	void *dev;
	struct loop *loop;
	const struct guestmem *mem;
	uint64_t offered;
	pthread_mutex_t gate; /* whoever waits for lock holds it */
	pthread_mutex_t lock; /* all below, unless it says otherwise */

	uint32_t status;
	uint64_t accepted; /* features */
	uint32_t device_features_sel, driver_features_sel, queue_sel;
	uint32_t config_generation;
	uint32_t interrupt_status; /* atomic, without the lock: an interrupt handler must not wait for us */
	struct virtqueue queues[VIRTIO_QUEUES_MAX];
	struct virtqueue_setup setups[VIRTIO_QUEUES_MAX]; /* as the driver writes them */

	/* Never change after creation. */
	int irq, kick, notify[VIRTIO_QUEUES_MAX];
	struct loop_source *kick_source, *notify_source[VIRTIO_QUEUES_MAX];
};

/*
 * A mutex goes to whoever is awake: the loop's thread, which works in slices, would take it back before a vCPU
 * that waits for it has woken up, slice after slice. It cannot pass a waiter at the gate.
 */
void virtio_lock(struct virtio *v)
{
	pthread_mutex_lock(&v->gate);
	pthread_mutex_lock(&v->lock);
	pthread_mutex_unlock(&v->gate);
}

void virtio_unlock(struct virtio *v)
{
	pthread_mutex_unlock(&v->lock);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	/* EAGAIN, the only error there is: it is signalled already. */
	if (write(fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- what the device asks ---------------------------------------------------------------------------- */

bool virtio_is_live(const struct virtio *v)
{
	return (v->status & (VIRTIO_CONFIG_S_DRIVER_OK | VIRTIO_CONFIG_S_NEEDS_RESET)) ==
	       VIRTIO_CONFIG_S_DRIVER_OK;
}

bool virtio_is_broken(const struct virtio *v)
{
	return v->status & VIRTIO_CONFIG_S_NEEDS_RESET;
}

bool virtio_has(const struct virtio *v, unsigned feature)
{
	return v->status & VIRTIO_CONFIG_S_FEATURES_OK && v->accepted & FEATURE(feature);
}

struct virtqueue *virtio_queue(struct virtio *v, unsigned n)
{
	return &v->queues[n];
}

static void interrupt(struct virtio *v, uint32_t why)
{
	/* Release: whoever reads this bit sees what it tells of. */
	__atomic_fetch_or(&v->interrupt_status, why, __ATOMIC_ACQ_REL);
	signal_fd(v->irq);
}

void virtio_publish(struct virtio *v, struct virtqueue *vq)
{
	if (vq->ready && virtqueue_publish(vq))
		interrupt(v, VIRTIO_MMIO_INT_VRING);
}

void virtio_config_changed(struct virtio *v)
{
	v->config_generation++;
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(v, VIRTIO_MMIO_INT_CONFIG);
}

void virtio_break(struct virtio *v, const char *why)
{
	if (virtio_is_broken(v))
		return;
	log_guest("%s: %s; the device needs a reset", v->ops->name, why);
	v->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	if (v->status & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(v, VIRTIO_MMIO_INT_CONFIG);
}

/* ---- what the driver writes -------------------------------------------------------------------------- */

static void reset(struct virtio *v)
{
	for (unsigned i = 0; i < v->ops->queues; i++)
		virtqueue_stop(&v->queues[i]);
	memset(v->setups, 0, sizeof(v->setups));
	v->status = 0;
	v->accepted = 0;
	v->device_features_sel = v->driver_features_sel = v->queue_sel = 0;
	__atomic_store_n(&v->interrupt_status, 0, __ATOMIC_RELEASE);
	v->ops->reset(v->dev);
	signal_fd(v->kick);
}

/* 2.2 and 6: we accept what we offered, and nobody who does not speak version 1. */
static bool features_fit(const struct virtio *v)
{
	return !(v->accepted & ~v->offered) && v->accepted & FEATURE(VIRTIO_F_VERSION_1);
}

static void write_status(struct virtio *v, uint32_t value)
{
	uint32_t fresh = value & STATUS_SETTABLE & ~v->status;

	if (!value) {
		reset(v);
		return;
	}
	/* 2.1.1: a driver clears bits by a reset only. */
	if (fresh & VIRTIO_CONFIG_S_FEATURES_OK && !features_fit(v)) {
		log_guest("%s: the driver wants features %#llx of %#llx", v->ops->name,
			  (unsigned long long)v->accepted, (unsigned long long)v->offered);
		fresh &= ~(uint32_t)VIRTIO_CONFIG_S_FEATURES_OK;
	}
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK && !((v->status | fresh) & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_break(v, "DRIVER_OK before FEATURES_OK");
		return;
	}
	v->status |= fresh;
	if (fresh & VIRTIO_CONFIG_S_DRIVER_OK)
		signal_fd(v->kick); /* what lies in the queues already is taken now, and not before (3.1.1) */
}

static void write_features(struct virtio *v, uint32_t value)
{
	unsigned shift = v->driver_features_sel * 32;

	if (v->driver_features_sel > 1 || v->status & VIRTIO_CONFIG_S_FEATURES_OK)
		return;
	v->accepted = (v->accepted & ~(UINT64_C(0xffffffff) << shift)) | (uint64_t)value << shift;
}

static void write_queue_ready(struct virtio *v, unsigned n, uint32_t value)
{
	struct virtqueue *vq = &v->queues[n];
	struct virtqueue_setup setup = v->setups[n];

	if (!value) {
		if (!vq->ready)
			return;
		virtqueue_stop(vq);
		if (v->ops->queue_stop)
			v->ops->queue_stop(v->dev, n);
		return;
	}
	if (vq->ready)
		return;
	setup.indirect = virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC);
	setup.event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX);
	if (virtqueue_start(vq, v->mem, &setup, v->ops->queue_size)) {
		virtio_break(v, vq->flaw);
		return;
	}
	signal_fd(v->kick);
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	if (high)
		*address = (*address & UINT64_C(0xffffffff)) | (uint64_t)value << 32;
	else
		*address = (*address & ~UINT64_C(0xffffffff)) | value;
}

/* Registers of the selected queue. */
static void write_queue(struct virtio *v, uint64_t offset, uint32_t value)
{
	struct virtqueue_setup *setup;

	if (v->queue_sel >= v->ops->queues)
		return;
	setup = &v->setups[v->queue_sel];
	if (offset == VIRTIO_MMIO_QUEUE_READY) {
		write_queue_ready(v, v->queue_sel, value);
		return;
	}
	if (v->queues[v->queue_sel].ready) {
		log_guest("%s: the driver moves a queue that is in use; ignored", v->ops->name);
		return;
	}
	switch (offset) {
	case VIRTIO_MMIO_QUEUE_NUM:
		/* What does not fit 16 bits becomes 0, which is no valid size either. */
		setup->size = value > UINT16_MAX ? 0 : (uint16_t)value;
		break;
	case VIRTIO_MMIO_QUEUE_DESC_LOW:
	case VIRTIO_MMIO_QUEUE_DESC_HIGH:
		set_half(&setup->desc, offset == VIRTIO_MMIO_QUEUE_DESC_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_AVAIL_LOW:
	case VIRTIO_MMIO_QUEUE_AVAIL_HIGH:
		set_half(&setup->avail, offset == VIRTIO_MMIO_QUEUE_AVAIL_HIGH, value);
		break;
	case VIRTIO_MMIO_QUEUE_USED_LOW:
	case VIRTIO_MMIO_QUEUE_USED_HIGH:
		set_half(&setup->used, offset == VIRTIO_MMIO_QUEUE_USED_HIGH, value);
		break;
	}
}

/* The rare way: KVM takes the notifications of queues that exist if they are 32 bits wide. */
static void write_notify(struct virtio *v, uint32_t value)
{
	if (value < v->ops->queues)
		signal_fd(v->notify[value]);
	else
		log_guest("%s: the driver notifies queue %u, which does not exist", v->ops->name, value);
}

static void write_register(struct virtio *v, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_MMIO_DEVICE_FEATURES_SEL:
		v->device_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES_SEL:
		v->driver_features_sel = value;
		break;
	case VIRTIO_MMIO_DRIVER_FEATURES:
		write_features(v, value);
		break;
	case VIRTIO_MMIO_QUEUE_SEL:
		v->queue_sel = value;
		break;
	case VIRTIO_MMIO_QUEUE_NOTIFY:
		write_notify(v, value);
		break;
	case VIRTIO_MMIO_STATUS:
		write_status(v, value);
		break;
	default:
		write_queue(v, offset, value);
	}
}

/* ---- what it reads ----------------------------------------------------------------------------------- */

static uint32_t read_register(const struct virtio *v, uint64_t offset)
{
	bool queue = v->queue_sel < v->ops->queues;

	switch (offset) {
	case VIRTIO_MMIO_MAGIC_VALUE:
		return MAGIC;
	case VIRTIO_MMIO_VERSION:
		return VERSION;
	case VIRTIO_MMIO_DEVICE_ID:
		return v->ops->device_id;
	case VIRTIO_MMIO_VENDOR_ID:
		return VENDOR;
	case VIRTIO_MMIO_DEVICE_FEATURES:
		return v->device_features_sel > 1 ? 0 : (uint32_t)(v->offered >> v->device_features_sel * 32);
	case VIRTIO_MMIO_QUEUE_NUM_MAX:
		return queue ? v->ops->queue_size : 0;
	case VIRTIO_MMIO_QUEUE_READY:
		return queue && v->queues[v->queue_sel].ready;
	case VIRTIO_MMIO_STATUS:
		return v->status;
	case VIRTIO_MMIO_SHM_LEN_LOW:
	case VIRTIO_MMIO_SHM_LEN_HIGH:
	case VIRTIO_MMIO_SHM_BASE_LOW:
	case VIRTIO_MMIO_SHM_BASE_HIGH:
		return UINT32_MAX; /* 4.2.2: there is no such region */
	case VIRTIO_MMIO_CONFIG_GENERATION:
		return v->config_generation;
	default:
		return 0;
	}
}

/* ---- the bus ------------------------------------------------------------------------------------------ */

/* 4.2.2.2: registers are 32 bits wide and accessed so, the configuration space by the width of its fields. */
static bool is_register(uint64_t offset, unsigned len)
{
	return len == 4 && offset % 4 == 0;
}

static void on_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	struct virtio *v = dev;
	uint64_t config = offset - VIRTIO_MMIO_CONFIG;
	uint32_t value = 0;

	memset(data, 0, len);
	if (offset == VIRTIO_MMIO_INTERRUPT_STATUS && len == 4) {
		value = htole32(__atomic_load_n(&v->interrupt_status, __ATOMIC_ACQUIRE));
		memcpy(data, &value, sizeof(value));
		return;
	}
	virtio_lock(v);
	if (offset < VIRTIO_MMIO_CONFIG) {
		if (is_register(offset, len)) {
			value = htole32(read_register(v, offset));
			memcpy(data, &value, sizeof(value));
		}
	} else if (config + len <= v->ops->config_size) {
		v->ops->config_read(v->dev, (uint32_t)config, data, len);
	}
	virtio_unlock(v);
	if (offset < VIRTIO_MMIO_CONFIG && !is_register(offset, len))
		log_guest("%s: %u bytes read at register %#llx", v->ops->name, len, (unsigned long long)offset);
}

static void on_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct virtio *v = dev;
	uint64_t config = offset - VIRTIO_MMIO_CONFIG;
	uint32_t value = 0;

	if (offset < VIRTIO_MMIO_CONFIG && !is_register(offset, len)) {
		log_guest("%s: %u bytes written at register %#llx", v->ops->name, len,
			  (unsigned long long)offset);
		return;
	}
	if (offset < VIRTIO_MMIO_CONFIG) {
		memcpy(&value, data, sizeof(value));
		value = le32toh(value);
	}
	if (offset == VIRTIO_MMIO_INTERRUPT_ACK) {
		__atomic_fetch_and(&v->interrupt_status, ~value, __ATOMIC_ACQ_REL);
		return;
	}
	virtio_lock(v);
	if (offset < VIRTIO_MMIO_CONFIG)
		write_register(v, offset, value);
	else if (config + len <= v->ops->config_size)
		v->ops->config_write(v->dev, (uint32_t)config, data, len);
	virtio_unlock(v);
}

/* ---- the loop ------------------------------------------------------------------------------------------ */

static void on_kick(void *arg, int fd, uint32_t events)
{
	struct virtio *v = arg;
	uint64_t count;

	(void)events;
	/* Before the work: a kick that comes during it is another one. */
	if (read(fd, &count, sizeof(count)) < 0)
		return;
	v->ops->work(v->dev);
}

/* ---- life ---------------------------------------------------------------------------------------------- */

static const struct bus_ops bus_ops = {
    .read = on_read,
    .write = on_write,
};

static int open_lines(struct virtio *v, const struct device_host *host, unsigned index)
{
	uint64_t base = PLATFORM_VIRTIO_BASE + (uint64_t)index * PLATFORM_VIRTIO_STRIDE;
	int rc;

	v->kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->kick < 0)
		return -errno;
	rc = host->irqfd(host->machine, PLATFORM_VIRTIO_GSI + index, &v->irq);
	for (unsigned i = 0; i < v->ops->queues && !rc; i++)
		rc = host->ioeventfd(host->machine, base + VIRTIO_MMIO_QUEUE_NOTIFY, 4, i, &v->notify[i]);
	if (!rc)
		rc = loop_add_fd(v->loop, v->kick, POLLIN, on_kick, v, &v->kick_source);
	for (unsigned i = 0; i < v->ops->queues && !rc; i++)
		rc = loop_add_fd(v->loop, v->notify[i], POLLIN, on_kick, v, &v->notify_source[i]);
	if (!rc)
		rc = bus_add(host->bus, BUS_MMIO, base, PLATFORM_VIRTIO_STRIDE, &bus_ops, v, v->ops->name);
	return rc;
}

int virtio_mmio_create(const struct device_host *host, unsigned index, const struct virtio_ops *ops, void *dev,
		       uint64_t features, struct virtio **out)
{
	struct virtio *v;
	int rc;

	if (index >= PLATFORM_VIRTIO_COUNT || ops->queues > VIRTIO_QUEUES_MAX)
		return -EINVAL;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	v->ops = ops;
	v->dev = dev;
	v->loop = host->loop;
	v->mem = host->mem;
	v->offered = features | FEATURE(VIRTIO_F_VERSION_1) | FEATURE(VIRTIO_RING_F_EVENT_IDX) |
		     FEATURE(VIRTIO_RING_F_INDIRECT_DESC);
	v->irq = v->kick = -1;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		v->notify[i] = -1;
	pthread_mutex_init(&v->gate, NULL);
	pthread_mutex_init(&v->lock, NULL);
	rc = open_lines(v, host, index);
	if (rc) {
		virtio_destroy(v);
		return rc;
	}
	*out = v;
	return 0;
}

static void close_line(struct loop_source *source, int fd)
{
	if (source)
		loop_remove(source);
	if (fd >= 0)
		close(fd);
}

void virtio_destroy(struct virtio *v)
{
	if (!v)
		return;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		close_line(v->notify_source[i], v->notify[i]);
	close_line(v->kick_source, v->kick);
	close_line(NULL, v->irq);
	pthread_mutex_destroy(&v->lock);
	pthread_mutex_destroy(&v->gate);
	free(v);
}
