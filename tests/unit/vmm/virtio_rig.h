/* SPDX-License-Identifier: MIT */
/*
 * virtio_rig.h - a test bench for virtio devices: fake guest memory, a bus, a loop, plain eventfds for the
 * lines, and the driver's side of registers and queues, which does as it is told, be it wrong.
 */
#ifndef TESTS_VIRTIO_RIG_H
#define TESTS_VIRTIO_RIG_H

#include "devices/device.h"
#include "devices/virtio.h"
#include "fake_space.h"

#include <linux/virtio_config.h>
#include <linux/virtio_mmio.h>
#include <linux/virtio_ring.h>

#define RIG_RINGS   UINT64_C(0x100000) /* guest physical: queue n's rings at RINGS + n * 64 KiB */
#define RIG_BUFFERS UINT64_C(0x200000) /* free for buffers, 1 MiB */
#define RIG_PAGES   UINT64_C(0x400)    /* first page number that is used for nothing else */

struct rig {
	struct mb_space *space;
	struct guestmem mem;
	struct bus *bus;
	struct loop *loop;
	struct device_host host;
	unsigned index; /* of the transport that reg_*() speak to */
	int irq, notify[VIRTIO_QUEUES_MAX];
	unsigned turns;
	struct loop_source *turn;
};

void rig_setup(struct rig *r);
/* After the device is gone. */
void rig_teardown(struct rig *r);
/* So many turns of the loop. Deferred work that goes on for longer is left where it is. */
void rig_turns(struct rig *r, unsigned turns);
/* Turns until done() says so; false: it did not within seconds. */
bool rig_until(struct rig *r, bool (*done)(void *arg), void *arg);
/* How often the line was pulled since the last call. */
uint64_t rig_interrupts(struct rig *r);
void rig_notify(struct rig *r, unsigned queue);

uint32_t rig_get(struct rig *r, uint64_t reg);
void rig_set(struct rig *r, uint64_t reg, uint32_t value);
/* Resets and goes as far as FEATURES_OK; what the status is then. */
uint32_t rig_negotiate(struct rig *r, uint64_t features);
void rig_driver_ok(struct rig *r);

/* The driver's side of a queue. */
struct rig_queue {
	struct rig *r;
	unsigned n;
	uint16_t size;
	uint64_t desc, avail, used;
	uint16_t offered, seen;
};
/* Zeroes the rings' memory and fills *q in; does not touch registers. */
void rig_queue_init(struct rig *r, struct rig_queue *q, unsigned n, uint16_t size);
/* Writes its registers, QueueReady included; what QueueReady reads then. */
uint32_t rig_queue_start(struct rig_queue *q);
void rig_desc(struct rig_queue *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
/* Puts a head on the available ring and shows it. */
void rig_offer(struct rig_queue *q, uint16_t head);
/* Takes the next used element. */
bool rig_used(struct rig_queue *q, uint32_t *id, uint32_t *len);
uint16_t rig_load16(struct rig *r, uint64_t gpa);
void rig_store16(struct rig *r, uint64_t gpa, uint16_t value);

#endif
