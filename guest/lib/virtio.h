/* SPDX-License-Identifier: MIT */
/*
 * virtio.h - virtio-mmio transport (version 2) and split virtqueues, from the driver's side (virtio 1.2, 2.7
 * and 4.2). Everything is in plain sight: a guest that wants to break the rules can.
 */
#ifndef GUEST_VIRTIO_H
#define GUEST_VIRTIO_H

#include <stdbool.h>
#include <stdint.h>

/* Registers (virtio 1.2, 4.2.2). */
#define VIRTIO_REG_MAGIC        0x000
#define VIRTIO_REG_VERSION      0x004
#define VIRTIO_REG_DEVICE_ID    0x008
#define VIRTIO_REG_VENDOR_ID    0x00c
#define VIRTIO_REG_DEV_FEATURES 0x010
#define VIRTIO_REG_DEV_SELECT   0x014
#define VIRTIO_REG_DRV_FEATURES 0x020
#define VIRTIO_REG_DRV_SELECT   0x024
#define VIRTIO_REG_QUEUE_SELECT 0x030
#define VIRTIO_REG_QUEUE_MAX    0x034
#define VIRTIO_REG_QUEUE_SIZE   0x038
#define VIRTIO_REG_QUEUE_READY  0x044
#define VIRTIO_REG_NOTIFY       0x050
#define VIRTIO_REG_ISR          0x060
#define VIRTIO_REG_ACK          0x064
#define VIRTIO_REG_STATUS       0x070
#define VIRTIO_REG_QUEUE_DESC   0x080 /* low word; the high word follows, here and below */
#define VIRTIO_REG_QUEUE_AVAIL  0x090
#define VIRTIO_REG_QUEUE_USED   0x0a0
#define VIRTIO_REG_GENERATION   0x0fc
#define VIRTIO_REG_CONFIG       0x100

#define VIRTIO_MAGIC 0x74726976

#define VIRTIO_STATUS_ACKNOWLEDGE 1
#define VIRTIO_STATUS_DRIVER      2
#define VIRTIO_STATUS_DRIVER_OK   4
#define VIRTIO_STATUS_FEATURES_OK 8
#define VIRTIO_STATUS_NEEDS_RESET 64
#define VIRTIO_STATUS_FAILED      128

#define VIRTIO_F_INDIRECT_DESC 28
#define VIRTIO_F_EVENT_IDX     29
#define VIRTIO_F_VERSION_1     32

#define VIRTIO_ISR_USED   1
#define VIRTIO_ISR_CONFIG 2

#define VIRTQ_DESC_NEXT     1
#define VIRTQ_DESC_WRITE    2
#define VIRTQ_DESC_INDIRECT 4

#define VIRTQ_SIZE_MAX 256

struct virtq_desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

struct virtq_avail {
	uint16_t flags, idx, ring[VIRTQ_SIZE_MAX];
};

struct virtq_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, len;
	} ring[VIRTQ_SIZE_MAX];
};

struct virtio {
	uint64_t base; /* guest physical address of the registers */
	unsigned gsi;
	uint64_t features; /* negotiated */
};

struct virtq {
	const struct virtio *dev;
	unsigned index, size;
	struct virtq_desc *desc;
	struct virtq_avail *avail;
	volatile struct virtq_used *used;
	uint16_t next_avail, next_used;
};

/* Finds the first device of this kind, by the command line, or else where devices are. */
bool virtio_find(uint32_t device_id, struct virtio *dev);
/* The same for number n of them, from 0. */
bool virtio_find_nth(uint32_t device_id, unsigned n, struct virtio *dev);

static inline uint64_t virtio_bit(unsigned feature)
{
	return (uint64_t)1 << feature;
}

uint32_t virtio_read(const struct virtio *dev, uint32_t reg);
void virtio_write(const struct virtio *dev, uint32_t reg, uint32_t value);
/* A 64-bit value in two registers. */
void virtio_write_pair(const struct virtio *dev, uint32_t reg, uint64_t value);

/* Resets and waits until the device says so; false: it does not, within a second. */
bool virtio_reset(const struct virtio *dev);
/* Reset, ACKNOWLEDGE, DRIVER, the features both want, FEATURES_OK. false: the device refuses. */
bool virtio_negotiate(struct virtio *dev, uint64_t wanted);
void virtio_driver_ok(const struct virtio *dev);
bool virtio_needs_reset(const struct virtio *dev);

/* Reads and acknowledges interrupt causes until there is none; VIRTIO_ISR_*. */
uint32_t virtio_take_causes(const struct virtio *dev);

/*
 * Makes queue number index ready, with at most VIRTQ_SIZE_MAX entries. Memory is taken at the first call and
 * used again after a reset. false: the device has no such queue. Interrupts for used buffers are off.
 */
bool virtq_start(struct virtq *q, const struct virtio *dev, unsigned index);

/* Makes one descriptor, by its number, available to the device, as a chain of its own. */
void virtq_post(struct virtq *q, uint16_t slot, const volatile void *data, uint32_t len, uint16_t flags);
/* Makes the chain that starts at this descriptor available. */
void virtq_post_chain(struct virtq *q, uint16_t head);
/* Tells the device. */
void virtq_kick(const struct virtq *q);
/* The next used chain, if any. */
bool virtq_take_used(struct virtq *q, uint32_t *id, uint32_t *len);
bool virtq_has_used(const struct virtq *q);
/* Asks for an interrupt at the next used buffer, or for none. After asking, look once more before sleeping. */
void virtq_want_interrupt(struct virtq *q, bool wanted);

#endif
