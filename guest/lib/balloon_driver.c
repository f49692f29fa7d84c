/* SPDX-License-Identifier: MIT */
/*
 * balloon_driver.c - virtio-balloon, from the driver's side. Descriptor n of a queue is always buffer n.
 */
#include "balloon_driver.h"

#include "boot.h"
#include "cpu.h"
#include "irq.h"
#include <stddef.h>

#define CONFIG_NUM_PAGES 0
#define CONFIG_ACTUAL    4

#define SPIN_US 20 /* looking costs less than an interrupt for so long */

const char *balloon_driver_start(struct balloon_driver *b)
{
	uint64_t wanted = virtio_bit(BALLOON_F_MUST_TELL_HOST) | virtio_bit(BALLOON_F_STATS_VQ) |
			  virtio_bit(BALLOON_F_DEFLATE_ON_OOM);

	for (unsigned i = 0; i < BALLOON_BUFFERS; i++)
		b->buffers[i].use = BALLOON_IDLE;
	if (!virtio_negotiate(&b->dev, wanted))
		return "the balloon device refuses to negotiate";
	if (!virtq_start(&b->inflate, &b->dev, 0) || !virtq_start(&b->deflate, &b->dev, 1))
		return "the balloon device has no queues";
	if (b->inflate.size < BALLOON_BUFFERS || b->deflate.size < BALLOON_BUFFERS)
		return "the balloon device's queues are too short";
	b->has_stats = b->dev.features >> BALLOON_F_STATS_VQ & 1 && virtq_start(&b->stats, &b->dev, 2);
	virtio_driver_ok(&b->dev);
	if (b->has_stats) {
		virtq_want_interrupt(&b->stats, true);
		balloon_driver_send_stats(b);
	}
	return NULL;
}

const char *balloon_driver_open(struct balloon_driver *b, uint32_t pfns_max)
{
	if (!virtio_find(BALLOON_DEVICE_ID, &b->dev))
		return "no balloon device (virtio-mmio version 2)";
	b->pfns_max = pfns_max;
	for (unsigned i = 0; i < BALLOON_BUFFERS; i++)
		b->buffers[i].pfns = boot_reserve((uint64_t)pfns_max * sizeof(uint32_t), PAGE_SIZE);
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		b->stat[i].tag = (uint16_t)i;
	irq_enable(b->dev.gsi);
	return balloon_driver_start(b);
}

uint32_t balloon_driver_target(const struct balloon_driver *b)
{
	return virtio_read(&b->dev, VIRTIO_REG_CONFIG + CONFIG_NUM_PAGES);
}

void balloon_driver_set_actual(const struct balloon_driver *b, uint32_t pages)
{
	virtio_write(&b->dev, VIRTIO_REG_CONFIG + CONFIG_ACTUAL, pages);
}

struct balloon_buffer *balloon_driver_buffer(struct balloon_driver *b)
{
	for (unsigned i = 0; i < BALLOON_BUFFERS; i++)
		if (b->buffers[i].use == BALLOON_IDLE) {
			b->buffers[i].count = 0;
			return &b->buffers[i];
		}
	return NULL;
}

void balloon_driver_send(struct balloon_driver *b, struct balloon_buffer *buffer, enum balloon_use use)
{
	struct virtq *q = use == BALLOON_INFLATING ? &b->inflate : &b->deflate;

	buffer->use = use;
	virtq_post(q, (uint16_t)(buffer - b->buffers), buffer->pfns, buffer->count * (uint32_t)sizeof(uint32_t),
		   0);
	virtq_kick(q);
}

struct balloon_buffer *balloon_driver_used(struct balloon_driver *b)
{
	uint32_t id, len;

	if (!virtq_take_used(&b->inflate, &id, &len) && !virtq_take_used(&b->deflate, &id, &len))
		return NULL;
	return id < BALLOON_BUFFERS && b->buffers[id].use != BALLOON_IDLE ? &b->buffers[id] : NULL;
}

void balloon_driver_done(struct balloon_buffer *buffer)
{
	buffer->use = BALLOON_IDLE;
}

bool balloon_driver_stats_wanted(struct balloon_driver *b)
{
	uint32_t id, len;

	return b->has_stats && virtq_take_used(&b->stats, &id, &len);
}

void balloon_driver_set_stat(struct balloon_driver *b, enum balloon_stat tag, uint64_t value)
{
	b->stat[tag].value = value;
}

void balloon_driver_send_stats(struct balloon_driver *b)
{
	virtq_post(&b->stats, 0, b->stat, sizeof(b->stat), 0);
	virtq_kick(&b->stats);
}

static bool has_news(const struct balloon_driver *b)
{
	return virtq_has_used(&b->inflate) || virtq_has_used(&b->deflate) ||
	       (b->has_stats && virtq_has_used(&b->stats));
}

void balloon_driver_sleep(struct balloon_driver *b, uint64_t deadline)
{
	uint64_t spin_end = cpu_tsc() + irq_tsc_hz() / 1000000 * SPIN_US;

	do {
		if (has_news(b))
			return;
		cpu_pause();
	} while (cpu_tsc() < spin_end);
	virtq_want_interrupt(&b->inflate, true);
	virtq_want_interrupt(&b->deflate, true);
	if (!has_news(b))
		irq_wait(deadline);
	virtq_want_interrupt(&b->inflate, false);
	virtq_want_interrupt(&b->deflate, false);
}
