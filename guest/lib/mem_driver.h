/* SPDX-License-Identifier: MIT */
/*
 * mem_driver.h - the virtio-mem driver (virtio 1.2, 5.15): asks for blocks, one request at a time, and waits
 * for the answer. Which blocks, and what is in them, is the guest's affair. First CPU only.
 */
#ifndef GUEST_MEM_DRIVER_H
#define GUEST_MEM_DRIVER_H

#include "virtio.h"

#define MEM_DEVICE_ID                24
#define MEM_F_UNPLUGGED_INACCESSIBLE 1

/* Virtio 1.2, 5.15.6. */
enum mem_request { MEM_PLUG, MEM_UNPLUG, MEM_UNPLUG_ALL, MEM_STATE };
enum mem_answer { MEM_ACK, MEM_NACK, MEM_BUSY, MEM_ERROR, MEM_SILENCE /* none within seconds */ };
enum mem_state { MEM_PLUGGED, MEM_UNPLUGGED, MEM_MIXED };

struct mem_wire;

struct mem_driver {
	struct virtio dev;
	struct virtq q;
	struct mem_wire *wire; /* a request and its answer, as they lie in memory */
	uint64_t block;        /* bytes */
	uint64_t gpa, bytes;   /* of the region */
	unsigned state;        /* enum mem_state: the answer to MEM_STATE */
};

/* Finds and starts the device. NULL, or why not. features: beside VERSION_1, as bits. */
const char *mem_driver_open(struct mem_driver *m, uint64_t features);
/* What the device wants to be plugged, and what is, in bytes. */
uint64_t mem_driver_requested(const struct mem_driver *m);
uint64_t mem_driver_plugged(const struct mem_driver *m);
/* One request; type may be one that does not exist. */
enum mem_answer mem_driver_ask(struct mem_driver *m, unsigned type, uint64_t gpa, uint16_t blocks);

#endif
