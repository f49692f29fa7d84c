/* SPDX-License-Identifier: MIT */
/*
 * blk_driver.c - virtio-blk, from the driver's side. Slot n has descriptors 3 n to 3 n + 2.
 */
#include "blk_driver.h"

#include "boot.h"
#include "cpu.h"
#include "irq.h"
#include "text.h"
#include <stddef.h>

#define CONFIG_CAPACITY 0
#define CONFIG_BLK_SIZE 20

#define SPIN_US   20 /* looking costs less than an interrupt for so long */
#define ANSWER_MS 20000

static bool has(const struct blk_driver *b, unsigned feature)
{
	return b->dev.features >> feature & 1;
}

const char *blk_driver_start(struct blk_driver *b)
{
	uint64_t wanted = virtio_bit(BLK_F_RO) | virtio_bit(BLK_F_BLK_SIZE) | virtio_bit(BLK_F_FLUSH) |
			  virtio_bit(BLK_F_DISCARD) | virtio_bit(BLK_F_WRITE_ZEROES);

	memset(b->busy, 0, sizeof(b->busy));
	if (!virtio_negotiate(&b->dev, wanted))
		return "the disk refuses to negotiate";
	if (!virtq_start(&b->q, &b->dev, 0))
		return "the disk has no queue";
	if (b->q.size < 3 * BLK_SLOTS)
		return "the disk's queue is too short";
	b->readonly = has(b, BLK_F_RO);
	b->can_discard = has(b, BLK_F_DISCARD);
	b->can_zero = has(b, BLK_F_WRITE_ZEROES);
	b->sectors = virtio_read(&b->dev, VIRTIO_REG_CONFIG + CONFIG_CAPACITY) |
		     (uint64_t)virtio_read(&b->dev, VIRTIO_REG_CONFIG + CONFIG_CAPACITY + 4) << 32;
	b->block_size =
	    has(b, BLK_F_BLK_SIZE) ? virtio_read(&b->dev, VIRTIO_REG_CONFIG + CONFIG_BLK_SIZE) : BLK_SECTOR;
	virtio_driver_ok(&b->dev);
	return NULL;
}

const char *blk_driver_open(struct blk_driver *b, unsigned n)
{
	if (!virtio_find_nth(BLK_DEVICE_ID, n, &b->dev))
		return "no such disk (virtio-mmio version 2)";
	b->frames = boot_reserve(BLK_SLOTS * sizeof(*b->frames), PAGE_SIZE);
	irq_enable(b->dev.gsi);
	return blk_driver_start(b);
}

unsigned blk_driver_slot(const struct blk_driver *b)
{
	unsigned slot = 0;

	while (slot < BLK_SLOTS && b->busy[slot])
		slot++;
	return slot;
}

static void link(struct blk_driver *b, unsigned d, const volatile void *data, uint32_t len, unsigned flags)
{
	b->q.desc[d] = (struct virtq_desc){(uint64_t)(uintptr_t)data, len, (uint16_t)flags, (uint16_t)(d + 1)};
}

void blk_driver_send(struct blk_driver *b, unsigned slot, uint32_t type, uint64_t sector,
		     const volatile void *data, uint32_t len, bool in)
{
	struct blk_frame *frame = &b->frames[slot];
	unsigned d = 3 * slot;

	*frame = (struct blk_frame){.type = type, .sector = sector, .status = BLK_S_NOTHING};
	b->busy[slot] = true;
	link(b, d, frame, 16, VIRTQ_DESC_NEXT);
	if (len)
		link(b, ++d, data, len, VIRTQ_DESC_NEXT | (in ? VIRTQ_DESC_WRITE : 0));
	link(b, d + 1, &frame->status, 1, VIRTQ_DESC_WRITE);
	virtq_post_chain(&b->q, (uint16_t)(3 * slot));
	virtq_kick(&b->q);
}

unsigned blk_driver_used(struct blk_driver *b, uint8_t *status)
{
	uint32_t id, len;

	if (!virtq_take_used(&b->q, &id, &len) || id % 3 || id / 3 >= BLK_SLOTS || !b->busy[id / 3])
		return BLK_SLOTS;
	b->busy[id / 3] = false;
	*status = b->frames[id / 3].status;
	return id / 3;
}

void blk_driver_sleep(struct blk_driver *b, uint64_t deadline)
{
	uint64_t spin_end = cpu_tsc() + irq_tsc_hz() / 1000000 * SPIN_US;

	do {
		if (virtq_has_used(&b->q))
			return;
		cpu_pause();
	} while (cpu_tsc() < spin_end);
	virtio_take_causes(&b->dev);
	virtq_want_interrupt(&b->q, true);
	if (!virtq_has_used(&b->q))
		irq_wait(deadline);
	virtq_want_interrupt(&b->q, false);
}

uint8_t blk_driver_do(struct blk_driver *b, uint32_t type, uint64_t sector, const volatile void *data,
		      uint32_t len, bool in)
{
	uint64_t deadline = irq_deadline_ms(ANSWER_MS);
	uint8_t status = BLK_S_NOTHING;

	blk_driver_send(b, 0, type, sector, data, len, in);
	while (blk_driver_used(b, &status) == BLK_SLOTS && cpu_tsc() < deadline && !virtio_needs_reset(&b->dev))
		blk_driver_sleep(b, deadline);
	return status;
}
