/* SPDX-License-Identifier: MIT */
/*
 * virtio.c - virtio-mmio transport and split virtqueues.
 */
#include "virtio.h"

#include "boot.h"
#include "cpu.h"
#include "irq.h"
#include "text.h"
#include <platform.h>
#include <stddef.h>

#define AVAIL_NO_INTERRUPT 1
#define USED_NO_NOTIFY     1

uint32_t virtio_read(const struct virtio *dev, uint32_t reg)
{
	return mmio_read32(dev->base + reg);
}

void virtio_write(const struct virtio *dev, uint32_t reg, uint32_t value)
{
	mmio_write32(dev->base + reg, value);
}

void virtio_write_pair(const struct virtio *dev, uint32_t reg, uint64_t value)
{
	virtio_write(dev, reg, (uint32_t)value);
	virtio_write(dev, reg + 4, (uint32_t)(value >> 32));
}

static bool is_device(const struct virtio *dev, uint32_t device_id)
{
	return virtio_read(dev, VIRTIO_REG_MAGIC) == VIRTIO_MAGIC &&
	       virtio_read(dev, VIRTIO_REG_VERSION) == 2 && virtio_read(dev, VIRTIO_REG_DEVICE_ID) == device_id;
}

/* SIZE@BASE:LINE, as Linux has it. */
static bool parse_place(const char *text, struct virtio *dev)
{
	uint64_t size, base, gsi;

	if (!text_parse_size(text, &size, &text) || *text != '@' || !text_parse_size(text + 1, &base, &text) ||
	    *text != ':' || !text_parse_size(text + 1, &gsi, &text))
		return false;
	*dev = (struct virtio){.base = base, .gsi = (unsigned)gsi};
	return base >= PLATFORM_HOLE_START && base < PLATFORM_HOLE_END;
}

bool virtio_find_nth(uint32_t device_id, unsigned n, struct virtio *dev)
{
	const char *place;
	unsigned left = n;

	for (unsigned i = 0; (place = boot_option_nth("virtio_mmio.device", i)); i++)
		if (parse_place(place, dev) && is_device(dev, device_id) && !left--)
			return true;
	/* Named or not: only if the command line has none of this kind. */
	for (unsigned i = 0; left == n && i < PLATFORM_VIRTIO_COUNT; i++) {
		*dev = (struct virtio){.base = PLATFORM_VIRTIO_BASE + (uint64_t)i * PLATFORM_VIRTIO_STRIDE,
				       .gsi = PLATFORM_VIRTIO_GSI + i};
		if (is_device(dev, device_id) && !n--)
			return true;
		left = n;
	}
	return false;
}

bool virtio_find(uint32_t device_id, struct virtio *dev)
{
	return virtio_find_nth(device_id, 0, dev);
}

bool virtio_reset(const struct virtio *dev)
{
	uint64_t deadline = irq_deadline_ms(1000);

	virtio_write(dev, VIRTIO_REG_STATUS, 0);
	while (virtio_read(dev, VIRTIO_REG_STATUS))
		if (cpu_tsc() > deadline)
			return false;
	return true;
}

bool virtio_negotiate(struct virtio *dev, uint64_t wanted)
{
	uint32_t status = VIRTIO_STATUS_ACKNOWLEDGE | VIRTIO_STATUS_DRIVER;

	if (!virtio_reset(dev))
		return false;
	virtio_write(dev, VIRTIO_REG_STATUS, VIRTIO_STATUS_ACKNOWLEDGE);
	virtio_write(dev, VIRTIO_REG_STATUS, status);
	wanted |= virtio_bit(VIRTIO_F_VERSION_1);
	dev->features = 0;
	for (uint32_t word = 0; word < 2; word++) {
		uint32_t offered;

		virtio_write(dev, VIRTIO_REG_DEV_SELECT, word);
		offered = virtio_read(dev, VIRTIO_REG_DEV_FEATURES) & (uint32_t)(wanted >> 32 * word);
		virtio_write(dev, VIRTIO_REG_DRV_SELECT, word);
		virtio_write(dev, VIRTIO_REG_DRV_FEATURES, offered);
		dev->features |= (uint64_t)offered << 32 * word;
	}
	status |= VIRTIO_STATUS_FEATURES_OK;
	virtio_write(dev, VIRTIO_REG_STATUS, status);
	return virtio_read(dev, VIRTIO_REG_STATUS) == status && dev->features >> VIRTIO_F_VERSION_1 & 1;
}

void virtio_driver_ok(const struct virtio *dev)
{
	virtio_write(dev, VIRTIO_REG_STATUS, virtio_read(dev, VIRTIO_REG_STATUS) | VIRTIO_STATUS_DRIVER_OK);
}

bool virtio_needs_reset(const struct virtio *dev)
{
	return virtio_read(dev, VIRTIO_REG_STATUS) & VIRTIO_STATUS_NEEDS_RESET;
}

/* Until there is none: a line that stays high gives no second edge. */
uint32_t virtio_take_causes(const struct virtio *dev)
{
	uint32_t all = 0, causes;

	while ((causes = virtio_read(dev, VIRTIO_REG_ISR))) {
		virtio_write(dev, VIRTIO_REG_ACK, causes);
		all |= causes;
	}
	return all;
}

bool virtq_start(struct virtq *q, const struct virtio *dev, unsigned index)
{
	uint32_t max;

	virtio_write(dev, VIRTIO_REG_QUEUE_SELECT, index);
	max = virtio_read(dev, VIRTIO_REG_QUEUE_MAX);
	if (!max)
		return false;
	if (!q->desc) {
		q->desc = boot_reserve(VIRTQ_SIZE_MAX * sizeof(*q->desc), PAGE_SIZE);
		q->avail = boot_reserve(sizeof(*q->avail), PAGE_SIZE);
		q->used = boot_reserve(sizeof(*q->used), PAGE_SIZE);
	}
	memset(q->desc, 0, VIRTQ_SIZE_MAX * sizeof(*q->desc));
	memset(q->avail, 0, sizeof(*q->avail));
	memset((void *)(uintptr_t)q->used, 0, sizeof(*q->used));
	q->dev = dev;
	q->index = index;
	q->size = max < VIRTQ_SIZE_MAX ? max : VIRTQ_SIZE_MAX;
	q->next_avail = q->next_used = 0;
	q->avail->flags = AVAIL_NO_INTERRUPT;
	virtio_write(dev, VIRTIO_REG_QUEUE_SIZE, q->size);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_DESC, (uint64_t)(uintptr_t)q->desc);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_AVAIL, (uint64_t)(uintptr_t)q->avail);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_USED, (uint64_t)(uintptr_t)q->used);
	virtio_write(dev, VIRTIO_REG_QUEUE_READY, 1);
	return virtio_read(dev, VIRTIO_REG_QUEUE_READY) == 1;
}

void virtq_post(struct virtq *q, uint16_t slot, const volatile void *data, uint32_t len, uint16_t flags)
{
	q->desc[slot] = (struct virtq_desc){(uint64_t)(uintptr_t)data, len, flags, 0};
	virtq_post_chain(q, slot);
}

void virtq_post_chain(struct virtq *q, uint16_t head)
{
	q->avail->ring[q->next_avail++ % q->size] = head;
	/* release: the device that sees the index sees the ring entry, the descriptor and what it points to */
	__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
}

void virtq_kick(const struct virtq *q)
{
	/* store-load: our index before its flag; else both sides may think that the other one looks */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!(q->used->flags & USED_NO_NOTIFY))
		virtio_write(q->dev, VIRTIO_REG_NOTIFY, q->index);
}

bool virtq_has_used(const struct virtq *q)
{
	/* acquire: pairs with the device's publication of its index */
	return __atomic_load_n(&q->used->idx, __ATOMIC_ACQUIRE) != q->next_used;
}

bool virtq_take_used(struct virtq *q, uint32_t *id, uint32_t *len)
{
	unsigned at = q->next_used % q->size;

	if (!virtq_has_used(q))
		return false;
	*id = q->used->ring[at].id;
	*len = q->used->ring[at].len;
	q->next_used++;
	return true;
}

void virtq_want_interrupt(struct virtq *q, bool wanted)
{
	/* seq_cst: the wish is visible before the used index is looked at again */
	__atomic_store_n(&q->avail->flags, wanted ? 0 : AVAIL_NO_INTERRUPT, __ATOMIC_SEQ_CST);
}
