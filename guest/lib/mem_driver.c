/* SPDX-License-Identifier: MIT */
/*
 * mem_driver.c - virtio-mem, from the driver's side.
 */
#include "mem_driver.h"

#include "boot.h"
#include "cpu.h"
#include "irq.h"
#include <stddef.h>

#define CONFIG_BLOCK     0
#define CONFIG_ADDR      16
#define CONFIG_SIZE      24
#define CONFIG_PLUGGED   40
#define CONFIG_REQUESTED 48

#define ANSWER_MS 20000

struct mem_wire {
	struct {
		uint16_t type, padding[3];
		uint64_t addr;
		uint16_t blocks, padding2[3];
	} request;
	volatile struct {
		uint16_t type, padding[3];
		uint16_t state;
	} answer;
};

/* The device may change a value between its halves: then the generation has changed too (4.2.2.2). */
static uint64_t config_read(const struct mem_driver *m, uint32_t offset)
{
	uint32_t generation;
	uint64_t value;

	do {
		generation = virtio_read(&m->dev, VIRTIO_REG_GENERATION);
		value = virtio_read(&m->dev, VIRTIO_REG_CONFIG + offset);
		value |= (uint64_t)virtio_read(&m->dev, VIRTIO_REG_CONFIG + offset + 4) << 32;
	} while (virtio_read(&m->dev, VIRTIO_REG_GENERATION) != generation);
	return value;
}

const char *mem_driver_open(struct mem_driver *m, uint64_t features)
{
	if (!virtio_find(MEM_DEVICE_ID, &m->dev))
		return "no virtio-mem device";
	if (!virtio_negotiate(&m->dev, features))
		return "the virtio-mem device refuses to negotiate";
	if (!virtq_start(&m->q, &m->dev, 0))
		return "the virtio-mem device has no queue";
	if (!m->wire)
		m->wire = boot_reserve(sizeof(*m->wire), PAGE_SIZE);
	virtio_driver_ok(&m->dev);
	irq_enable(m->dev.gsi);
	m->block = config_read(m, CONFIG_BLOCK);
	m->gpa = config_read(m, CONFIG_ADDR);
	m->bytes = config_read(m, CONFIG_SIZE);
	return m->block && m->bytes ? NULL : "the virtio-mem device has no region";
}

uint64_t mem_driver_requested(const struct mem_driver *m)
{
	return config_read(m, CONFIG_REQUESTED);
}

uint64_t mem_driver_plugged(const struct mem_driver *m)
{
	return config_read(m, CONFIG_PLUGGED);
}

enum mem_answer mem_driver_ask(struct mem_driver *m, unsigned type, uint64_t gpa, uint16_t blocks)
{
	struct mem_wire *wire = m->wire;
	uint64_t deadline = irq_deadline_ms(ANSWER_MS);
	uint32_t id, len;

	wire->request.type = (uint16_t)type;
	wire->request.addr = gpa;
	wire->request.blocks = blocks;
	wire->answer.type = MEM_SILENCE;
	m->q.desc[0] =
	    (struct virtq_desc){(uint64_t)(uintptr_t)&wire->request, sizeof(wire->request), VIRTQ_DESC_NEXT, 1};
	m->q.desc[1] =
	    (struct virtq_desc){(uint64_t)(uintptr_t)&wire->answer, sizeof(wire->answer), VIRTQ_DESC_WRITE, 0};
	virtq_post_chain(&m->q, 0);
	virtq_kick(&m->q);
	while (!virtq_take_used(&m->q, &id, &len)) {
		if (cpu_tsc() > deadline || virtio_needs_reset(&m->dev))
			return MEM_SILENCE;
		cpu_pause();
	}
	m->state = wire->answer.state;
	return wire->answer.type <= MEM_ERROR ? (enum mem_answer)wire->answer.type : MEM_SILENCE;
}
