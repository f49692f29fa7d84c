/* SPDX-License-Identifier: MIT */
/*
 * virtio_guest.h - what the fuzz targets of virtio devices share: an input is a program of register writes,
 * ring writes, descriptors, notifications and turns of the loop, with a device's own steps among them.
 */
#ifndef TESTS_FUZZ_VIRTIO_GUEST_H
#define TESTS_FUZZ_VIRTIO_GUEST_H

#include "virtio_rig.h"

#define GUEST_QSIZE     16
#define GUEST_QUEUES    4
#define GUEST_VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)

struct guest {
	struct rig r;
	struct rig_queue q[GUEST_QUEUES];
	unsigned queues;
	uint64_t features; /* that a driver which does all right would take */
	void (*own_step)(struct guest *g, unsigned kind);
	void *device; /* own_step()'s */
	const uint8_t *data;
	size_t left;
};

/* Sets the bench and the rings up; the device is the caller's to make, and to destroy before guest_end(). */
void guest_begin(struct guest *g, const uint8_t *data, size_t size, unsigned queues, uint64_t features);
/* Runs the program. Most start with a driver that is up, where the interesting things are. */
void guest_run(struct guest *g);
void guest_end(struct guest *g);

/* The next bytes of the program; zeros after its end. */
uint32_t guest_take(struct guest *g, unsigned bytes);
/* An address that is interesting: mostly a buffer, at times a ring, an edge, or anything. */
uint64_t guest_address(struct guest *g);
/* Resets, negotiates g->features as far as they are offered and more in any case, starts all queues. */
void guest_bring_up(struct guest *g, uint64_t more);
/* Waits for the next used element of queue 0, which must come. */
uint32_t guest_answer(struct guest *g);
/* Aborts with the text unless ok. */
void guest_must(bool ok, const char *what);

#endif
