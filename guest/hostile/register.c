/* SPDX-License-Identifier: MIT */
/*
 * register.c - hostile cases: the transport's registers, the queues' set-up, the device's configuration.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

/* Tries to start queue 0 with this size and these places; says whether the device took it, and kicks. */
static void try_queue(struct hostile *h, uint32_t size, uint64_t desc, uint64_t avail, uint64_t used)
{
	const struct virtio *dev = &h->b.dev;

	virtio_write(dev, VIRTIO_REG_QUEUE_SELECT, 0);
	virtio_write(dev, VIRTIO_REG_QUEUE_READY, 0);
	virtio_write(dev, VIRTIO_REG_QUEUE_SIZE, size);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_DESC, desc);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_AVAIL, avail);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_USED, used);
	virtio_write(dev, VIRTIO_REG_QUEUE_READY, 1);
	print("hostile: size=%u desc=0x%lx avail=0x%lx used=0x%lx: ready=%u\n", size, desc, avail, used,
	      virtio_read(dev, VIRTIO_REG_QUEUE_READY));
	hostile_fill_numbers(h, 16);
	hostile_post_numbers(h, &h->b.inflate, 16);
	hostile_answer(h, &h->b.inflate);
	hostile_restart(h);
}

static void queue_size(struct hostile *h)
{
	static const uint32_t sizes[] = {0, 1, 3, 100, 1025, 32768, 65535, 65536, 0xffffffff};
	struct virtq *q = &h->b.inflate;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		try_queue(h, sizes[i], (uintptr_t)q->desc, (uintptr_t)q->avail, (uintptr_t)q->used);
}

static void queue_place(struct hostile *h)
{
	uint64_t desc = (uintptr_t)h->b.inflate.desc, avail = (uintptr_t)h->b.inflate.avail;
	uint64_t used = (uintptr_t)h->b.inflate.used;

	try_queue(h, 16, desc + 1, avail + 1, used + 1);
	try_queue(h, 16, boot_ram_end(), avail, used);
	try_queue(h, 16, desc, ~(uint64_t)0 - 1, used);
	try_queue(h, 16, desc, avail, boot_ram_end() - 8);
	try_queue(h, 16, PLATFORM_HOLE_START, PLATFORM_HOLE_START, PLATFORM_HOLE_START);
	try_queue(h, 16, h->b.dev.base, h->b.dev.base, h->b.dev.base);
	try_queue(h, 16, 0, 0, 0);
}

static void queue_moved(struct hostile *h)
{
	const struct virtio *dev = &h->b.dev;

	/* Without taking it out of service first. */
	virtio_write(dev, VIRTIO_REG_QUEUE_SELECT, 0);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_DESC, boot_ram_end() + PAGE_SIZE);
	virtio_write_pair(dev, VIRTIO_REG_QUEUE_USED, PLATFORM_HOLE_START);
	virtio_write(dev, VIRTIO_REG_QUEUE_SIZE, 8);
	hostile_fill_numbers(h, 16);
	hostile_post_numbers(h, &h->b.inflate, 16);
	hostile_answer(h, &h->b.inflate);
	/* And taken out with work in it. */
	hostile_post_numbers(h, &h->b.inflate, 16);
	virtio_write(dev, VIRTIO_REG_QUEUE_READY, 0);
	hostile_answer(h, &h->b.inflate);
}

static void queue_number(struct hostile *h)
{
	static const uint32_t numbers[] = {2, 3, 4, 5, 99, 0x7fff, 0x10000, 0x80000000, 0xffffffff};
	const struct virtio *dev = &h->b.dev;

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		virtio_write(dev, VIRTIO_REG_QUEUE_SELECT, numbers[i]);
		print("hostile: queue %u: max=%u ready=%u\n", numbers[i],
		      virtio_read(dev, VIRTIO_REG_QUEUE_MAX), virtio_read(dev, VIRTIO_REG_QUEUE_READY));
		virtio_write(dev, VIRTIO_REG_QUEUE_SIZE, 16);
		virtio_write_pair(dev, VIRTIO_REG_QUEUE_DESC, h->area);
		virtio_write_pair(dev, VIRTIO_REG_QUEUE_AVAIL, h->area);
		virtio_write_pair(dev, VIRTIO_REG_QUEUE_USED, h->area);
		virtio_write(dev, VIRTIO_REG_QUEUE_READY, 1);
		virtio_write(dev, VIRTIO_REG_NOTIFY, numbers[i]);
	}
}

static void status_order(struct hostile *h)
{
	static const uint32_t steps[] = {0, 4, 8, 15, 0, 2, 1, 0, 0xff, 0x40, 0x80, 0, 3, 7, 0xffffffff, 0};
	const struct virtio *dev = &h->b.dev;

	for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		virtio_write(dev, VIRTIO_REG_STATUS, steps[i]);
		print("hostile: status 0x%x written, 0x%x read\n", steps[i],
		      virtio_read(dev, VIRTIO_REG_STATUS));
		virtio_write(dev, VIRTIO_REG_NOTIFY, 0);
		virtio_write(dev, VIRTIO_REG_NOTIFY, 2);
	}
}

static void features(struct hostile *h)
{
	const struct virtio *dev = &h->b.dev;

	/* In mid-flight. */
	virtio_write(dev, VIRTIO_REG_DRV_SELECT, 0);
	virtio_write(dev, VIRTIO_REG_DRV_FEATURES, 0xffffffff);
	virtio_write(dev, VIRTIO_REG_DRV_SELECT, 7);
	virtio_write(dev, VIRTIO_REG_DRV_FEATURES, 0xffffffff);
	virtio_write(dev, VIRTIO_REG_DEV_SELECT, 0xffffffff);
	print("hostile: features word 2^32-1: 0x%x\n", virtio_read(dev, VIRTIO_REG_DEV_FEATURES));
	/* All that there are, offered or not; then none, not even version 1. */
	for (unsigned all = 0; all < 2; all++) {
		virtio_write(dev, VIRTIO_REG_STATUS, 0);
		virtio_write(dev, VIRTIO_REG_STATUS, 3);
		for (uint32_t word = 0; word < 2; word++) {
			virtio_write(dev, VIRTIO_REG_DRV_SELECT, word);
			virtio_write(dev, VIRTIO_REG_DRV_FEATURES, all ? 0 : 0xffffffff);
		}
		virtio_write(dev, VIRTIO_REG_STATUS, 11);
		print("hostile: %s features: status 0x%x\n", all ? "no" : "all",
		      virtio_read(dev, VIRTIO_REG_STATUS));
		virtio_write(dev, VIRTIO_REG_STATUS, 15);
		virtio_write(dev, VIRTIO_REG_NOTIFY, 0);
	}
}

static void config_writes(struct hostile *h)
{
	uint64_t config = h->b.dev.base + VIRTIO_REG_CONFIG;

	print("hostile: num_pages is %u\n", balloon_driver_target(&h->b));
	mmio_write32(config, 0xffffffff);
	for (uint64_t at = config; at < h->b.dev.base + PLATFORM_VIRTIO_STRIDE; at += 3) {
		mmio_write8(at, 0xa5);
		mmio_write16(at, 0xa5a5);
		mmio_write32(at, 0xa5a5a5a5);
		mmio_write64(at, 0xa5a5a5a5a5a5a5a5);
		mmio_read8(at);
		mmio_read32(at);
	}
	print("hostile: num_pages is %u\n", balloon_driver_target(&h->b));
}

static void odd_registers(struct hostile *h)
{
	uint64_t base = h->b.dev.base;

	for (uint64_t at = base; at < base + VIRTIO_REG_CONFIG; at += 1) {
		mmio_read8(at);
		mmio_read32(at); /* also the last one, across the edge */
	}
	for (uint64_t at = base; at < base + VIRTIO_REG_CONFIG; at += 4) {
		mmio_write8(at, 0xff);
		mmio_write16(at + 1, 0xffff);
		mmio_write64(at, ~(uint64_t)0);
	}
}

static void other_transports(struct hostile *h)
{
	unsigned devices = 0;

	for (unsigned i = 0; i < PLATFORM_VIRTIO_COUNT + 1; i++) {
		struct virtio dev = {.base = PLATFORM_VIRTIO_BASE + (uint64_t)i * PLATFORM_VIRTIO_STRIDE};

		if (dev.base == h->b.dev.base)
			continue;
		devices += virtio_read(&dev, VIRTIO_REG_DEVICE_ID) - 1 < 0xffff;
		for (uint32_t reg = 0; reg < PLATFORM_VIRTIO_STRIDE; reg += 4) {
			virtio_read(&dev, reg);
			if (reg != VIRTIO_REG_STATUS)
				virtio_write(&dev, reg, 0xffffffff);
		}
	}
	print("hostile: %u other devices\n", devices);
}

static void kick_storm(struct hostile *h)
{
	for (unsigned i = 0; i < 5000; i++)
		virtio_write(&h->b.dev, VIRTIO_REG_NOTIFY, i % 3);
}

static void ack_storm(struct hostile *h)
{
	hostile_fill_numbers(h, 64);
	for (unsigned i = 0; i < 200; i++) {
		virtio_write(&h->b.dev, VIRTIO_REG_ACK, 0xffffffff);
		hostile_post_numbers(h, i & 1 ? &h->b.deflate : &h->b.inflate, 64);
	}
	hostile_answer(h, &h->b.inflate);
}

static void bad_statistics(struct hostile *h)
{
	uint8_t *bytes = (uint8_t *)h->numbers;

	if (!h->b.has_stats) {
		print("hostile: the device takes no statistics\n");
		return;
	}
	for (unsigned i = 0; i < PAGE_SIZE; i++)
		bytes[i] = (uint8_t)hostile_random(h);
	virtq_post(&h->b.stats, 1, bytes, PAGE_SIZE, 0);
	virtq_post(&h->b.stats, 2, bytes, 7, 0);
	virtq_post(&h->b.stats, 3, bytes, 0xfffffff0, 0);
	virtq_post(&h->b.stats, 4, bytes, 20, VIRTQ_DESC_WRITE);
	virtq_post(&h->b.stats, 4, bytes, 20, 0);
	virtq_kick(&h->b.stats);
	hostile_answer(h, &h->b.stats);
}

const struct hostile_case hostile_register_cases[] = {
    {"queue-size", "queue sizes that are 0, too large, or no power of two", queue_size, CASE_SURVIVES},
    {"queue-place", "rings that are misaligned or no memory", queue_place, CASE_SURVIVES},
    {"queue-moved", "queues that are moved, and switched off, with work in them", queue_moved, CASE_SURVIVES},
    {"queue-number", "queues that do not exist", queue_number, CASE_SURVIVES},
    {"status-order", "the device status in any order", status_order, CASE_SURVIVES},
    {"features", "features that were not offered, and at the wrong time", features, CASE_SURVIVES},
    {"config-writes", "writes all over the configuration, of all widths", config_writes, CASE_SURVIVES},
    {"odd-registers", "registers read and written the wrong way round, in odd widths and places", odd_registers,
     CASE_SURVIVES},
    {"other-transports", "registers of devices that are not there", other_transports, CASE_SURVIVES},
    {"kick-storm", "thousands of notifications for nothing", kick_storm, CASE_SURVIVES},
    {"ack-storm", "interrupts acknowledged that never came", ack_storm, CASE_SURVIVES},
    {"bad-statistics", "statistics that are noise, too long, too many", bad_statistics, CASE_SURVIVES},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
