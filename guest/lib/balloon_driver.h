/* SPDX-License-Identifier: MIT */
/*
 * balloon_driver.h - the virtio-balloon driver (virtio 1.2, 5.5): puts page numbers on the queues and says
 * when the device is through with them. What pages these are is the guest's affair.
 *
 * Nothing here waits: the device may hold back a deflation for as long as it likes. First CPU only.
 */
#ifndef GUEST_BALLOON_DRIVER_H
#define GUEST_BALLOON_DRIVER_H

#include "virtio.h"

#define BALLOON_F_MUST_TELL_HOST 0
#define BALLOON_F_STATS_VQ       1
#define BALLOON_F_DEFLATE_ON_OOM 2

#define BALLOON_DEVICE_ID 5
#define BALLOON_BUFFERS   16 /* in flight, both queues together */
#define BALLOON_STATS     10

/* Virtio 1.2, 5.5.6.3. */
enum balloon_stat {
	BALLOON_S_SWAP_IN,
	BALLOON_S_SWAP_OUT,
	BALLOON_S_MAJFLT,
	BALLOON_S_MINFLT,
	BALLOON_S_MEMFREE,
	BALLOON_S_MEMTOT,
	BALLOON_S_AVAIL,
	BALLOON_S_CACHES,
	BALLOON_S_HTLB_PGALLOC,
	BALLOON_S_HTLB_PGFAIL,
};

enum balloon_use { BALLOON_IDLE, BALLOON_INFLATING, BALLOON_DEFLATING };

/* Page numbers on their way. */
struct balloon_buffer {
	enum balloon_use use;
	uint32_t count;
	uint32_t *pfns; /* room for pfns_max */
};

struct balloon_driver {
	struct virtio dev;
	struct virtq inflate, deflate, stats;
	struct balloon_buffer buffers[BALLOON_BUFFERS];
	uint32_t pfns_max;
	bool has_stats;
	struct {
		uint16_t tag;
		uint64_t value;
	} __attribute__((packed)) stat[BALLOON_STATS];
};

/* Finds and starts the device. NULL, or why not. pfns_max: page numbers in one buffer at most. */
const char *balloon_driver_open(struct balloon_driver *b, uint32_t pfns_max);
/* Starts it again after a reset; buffers in flight are forgotten. */
const char *balloon_driver_start(struct balloon_driver *b);

/* Pages that the device wants to be in the balloon. */
uint32_t balloon_driver_target(const struct balloon_driver *b);
/* Tells the device how many are. */
void balloon_driver_set_actual(const struct balloon_driver *b, uint32_t pages);

/* A buffer to be filled, or NULL if all are in flight. */
struct balloon_buffer *balloon_driver_buffer(struct balloon_driver *b);
/* Sends it off. */
void balloon_driver_send(struct balloon_driver *b, struct balloon_buffer *buffer, enum balloon_use use);
/* A buffer that the device is through with, or NULL. To be given back by balloon_driver_done(). */
struct balloon_buffer *balloon_driver_used(struct balloon_driver *b);
void balloon_driver_done(struct balloon_buffer *buffer);

/* Does the device want statistics? Then fill stat[] in and send. */
bool balloon_driver_stats_wanted(struct balloon_driver *b);
void balloon_driver_set_stat(struct balloon_driver *b, enum balloon_stat tag, uint64_t value);
void balloon_driver_send_stats(struct balloon_driver *b);

/* Sleeps until the device has something to say, another interrupt comes, or the deadline (TSC) passes. */
void balloon_driver_sleep(struct balloon_driver *b, uint64_t deadline);

#endif
