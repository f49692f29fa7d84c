/* SPDX-License-Identifier: MIT */
/*
 * virtio_rig.c - a test bench for virtio devices, see virtio_rig.h.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "virtio_rig.h"

#include "abi/platform.h"

#include <endian.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LIMIT_S 20

/* A broken bench is no test's failure. */
static void must(bool ok)
{
	if (!ok)
		abort();
}

static int line(int *ours, int *theirs)
{
	*theirs = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	must(*theirs >= 0);
	*ours = dup(*theirs);
	must(*ours >= 0);
	return 0;
}

static int rig_irqfd(void *machine, unsigned gsi, int *fd)
{
	struct rig *r = machine;

	must(gsi == PLATFORM_VIRTIO_GSI + r->index);
	return line(&r->irq, fd);
}

static int rig_ioeventfd(void *machine, uint64_t gpa, unsigned len, uint32_t value, int *fd)
{
	struct rig *r = machine;

	must(gpa == PLATFORM_VIRTIO_BASE + r->index * PLATFORM_VIRTIO_STRIDE + VIRTIO_MMIO_QUEUE_NOTIFY);
	must(len == 4 && value < VIRTIO_QUEUES_MAX);
	return line(&r->notify[value], fd);
}

static void on_turn(void *arg)
{
	struct rig *r = arg;

	if (--r->turns)
		loop_defer(r->turn);
	else
		loop_stop(r->loop);
}

void rig_setup(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	r->irq = -1;
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		r->notify[i] = -1;
	r->space = fake_space_create();
	r->mem.space = r->space;
	r->bus = bus_create();
	must(r->bus != NULL);
	must(!loop_create(&r->loop));
	must(!loop_add_deferred(r->loop, on_turn, r, &r->turn));
	r->host = (struct device_host){.bus = r->bus,
				       .mem = &r->mem,
				       .loop = r->loop,
				       .irqfd = rig_irqfd,
				       .ioeventfd = rig_ioeventfd,
				       .machine = r};
}

void rig_teardown(struct rig *r)
{
	loop_destroy(r->loop);
	bus_destroy(r->bus);
	if (r->irq >= 0)
		close(r->irq);
	for (unsigned i = 0; i < VIRTIO_QUEUES_MAX; i++)
		if (r->notify[i] >= 0)
			close(r->notify[i]);
	fake_space_destroy(r->space);
}

void rig_turns(struct rig *r, unsigned turns)
{
	r->turns = turns;
	loop_defer(r->turn);
	must(!loop_run(r->loop));
}

bool rig_until(struct rig *r, bool (*done)(void *arg), void *arg)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		rig_turns(r, 4);
		if (done(arg))
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec - start.tv_sec < LIMIT_S);
	return false;
}

uint64_t rig_interrupts(struct rig *r)
{
	uint64_t n = 0;

	return read(r->irq, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

void rig_notify(struct rig *r, unsigned queue)
{
	uint64_t one = 1;

	must(write(r->notify[queue], &one, sizeof(one)) == sizeof(one));
}

static uint64_t reg_at(const struct rig *r, uint64_t reg)
{
	return PLATFORM_VIRTIO_BASE + r->index * PLATFORM_VIRTIO_STRIDE + reg;
}

uint32_t rig_get(struct rig *r, uint64_t reg)
{
	uint32_t value;

	must(bus_read(r->bus, BUS_MMIO, reg_at(r, reg), &value, sizeof(value)));
	return le32toh(value);
}

void rig_set(struct rig *r, uint64_t reg, uint32_t value)
{
	value = htole32(value);
	must(bus_write(r->bus, BUS_MMIO, reg_at(r, reg), &value, sizeof(value)));
}

uint32_t rig_negotiate(struct rig *r, uint64_t features)
{
	rig_set(r, VIRTIO_MMIO_STATUS, 0);
	rig_set(r, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	rig_set(r, VIRTIO_MMIO_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	for (uint32_t half = 0; half < 2; half++) {
		rig_set(r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, half);
		rig_set(r, VIRTIO_MMIO_DRIVER_FEATURES, (uint32_t)(features >> 32 * half));
	}
	rig_set(r, VIRTIO_MMIO_STATUS, rig_get(r, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_FEATURES_OK);
	return rig_get(r, VIRTIO_MMIO_STATUS);
}

void rig_driver_ok(struct rig *r)
{
	rig_set(r, VIRTIO_MMIO_STATUS, rig_get(r, VIRTIO_MMIO_STATUS) | VIRTIO_CONFIG_S_DRIVER_OK);
}

/* ---- queues --------------------------------------------------------------------------------------------- */

static void *at(struct rig *r, uint64_t gpa, uint64_t len)
{
	void *p = mb_space_hva(r->space, gpa, len);

	must(p != NULL);
	return p;
}

uint16_t rig_load16(struct rig *r, uint64_t gpa)
{
	const uint16_t *p = at(r, gpa, sizeof(*p));

	return le16toh(__atomic_load_n(p, __ATOMIC_SEQ_CST));
}

void rig_store16(struct rig *r, uint64_t gpa, uint16_t value)
{
	uint16_t *p = at(r, gpa, sizeof(*p));

	__atomic_store_n(p, htole16(value), __ATOMIC_SEQ_CST);
}

void rig_queue_init(struct rig *r, struct rig_queue *q, unsigned n, uint16_t size)
{
	uint64_t base = RIG_RINGS + n * UINT64_C(0x10000);

	*q = (struct rig_queue){
	    .r = r, .n = n, .size = size, .desc = base, .avail = base + 0x8000, .used = base + 0xa000};
	memset(at(r, base, 0x10000), 0, 0x10000);
}

uint32_t rig_queue_start(struct rig_queue *q)
{
	struct rig *r = q->r;

	rig_set(r, VIRTIO_MMIO_QUEUE_SEL, q->n);
	rig_set(r, VIRTIO_MMIO_QUEUE_NUM, q->size);
	rig_set(r, VIRTIO_MMIO_QUEUE_DESC_LOW, (uint32_t)q->desc);
	rig_set(r, VIRTIO_MMIO_QUEUE_DESC_HIGH, (uint32_t)(q->desc >> 32));
	rig_set(r, VIRTIO_MMIO_QUEUE_AVAIL_LOW, (uint32_t)q->avail);
	rig_set(r, VIRTIO_MMIO_QUEUE_AVAIL_HIGH, (uint32_t)(q->avail >> 32));
	rig_set(r, VIRTIO_MMIO_QUEUE_USED_LOW, (uint32_t)q->used);
	rig_set(r, VIRTIO_MMIO_QUEUE_USED_HIGH, (uint32_t)(q->used >> 32));
	rig_set(r, VIRTIO_MMIO_QUEUE_READY, 1);
	return rig_get(r, VIRTIO_MMIO_QUEUE_READY);
}

void rig_desc(struct rig_queue *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	struct vring_desc d = {
	    .addr = htole64(addr), .len = htole32(len), .flags = htole16(flags), .next = htole16(next)};

	memcpy(at(q->r, q->desc + i * sizeof(d), sizeof(d)), &d, sizeof(d));
}

void rig_offer(struct rig_queue *q, uint16_t head)
{
	rig_store16(q->r, q->avail + 4 + 2 * (q->offered % q->size), head);
	rig_store16(q->r, q->avail + 2, ++q->offered);
}

bool rig_used(struct rig_queue *q, uint32_t *id, uint32_t *len)
{
	struct vring_used_elem elem;

	if (rig_load16(q->r, q->used + 2) == q->seen)
		return false;
	memcpy(&elem, at(q->r, q->used + 4 + 8 * (q->seen % q->size), sizeof(elem)), sizeof(elem));
	*id = le32toh(elem.id);
	*len = le32toh(elem.len);
	q->seen++;
	return true;
}
