/* SPDX-License-Identifier: MIT */
/*
 * balloon.h - virtio-balloon (virtio 1.2, 5.5) on virtio-mmio.
 *
 * Sizes follow QEMU's words: target and actual are the VM's sizes in bytes, not the balloon's. All
 * functions are called from the loop's thread.
 */
#ifndef VMM_DEVICES_BALLOON_H
#define VMM_DEVICES_BALLOON_H

#include "devices/device.h"
#include <stdbool.h>

struct balloon;

enum balloon_event {
	/* actual has changed: one in 100 ms, and the last one is never lost. In between only when the target is
	 * reached, once for each target that is set. */
	BALLOON_CHANGED,
	BALLOON_WAITS,   /* a deflation is held back: the budget lacks bytes */
	BALLOON_GOES_ON, /* it got them */
};

struct balloon_config {
	unsigned index;          /* of its virtio-mmio transport */
	struct mb_space *space;  /* not owned */
	uint64_t maximum;        /* bytes: the VM's size without a balloon */
	uint64_t memory_end;     /* no guest memory at this address or above; 0: 4 GiB + maximum */
	uint64_t initial_target; /* bytes: the VM's size at first */
	bool deflate_on_oom;
	void (*on_event)(void *arg, enum balloon_event event);
	void *arg;
};

int balloon_create(const struct device_host *host, const struct balloon_config *config, struct balloon **out);
void balloon_destroy(struct balloon *b);

/* The VM shall have this many bytes: at most maximum; rounded up to 4 KiB. Takes effect as the guest
 * cooperates; BALLOON_CHANGED follows. */
int balloon_set_target(struct balloon *b, uint64_t bytes);

struct balloon_status {
	bool driver_ok;          /* the guest runs a driver */
	bool broken;             /* the guest broke the protocol: the device needs a reset */
	uint64_t maximum;        /* bytes */
	uint64_t target;         /* bytes */
	uint64_t actual;         /* bytes: maximum less what the guest has put in, or 0 if that is more */
	uint64_t guest_says;     /* bytes in the balloon, as the driver reported it (5.5.6) */
	uint64_t waits_for;      /* bytes that a held-back deflation lacks; 0: none is held back */
	uint64_t rejected;       /* frames that the guest named and that were refused, since start */
	uint64_t inflated_total; /* bytes, since start */
	uint64_t deflated_total; /* bytes, since start */
	uint64_t reported_total; /* bytes of free page reporting, since start */
};
void balloon_get_status(struct balloon *b, struct balloon_status *out);

/* Guest statistics (5.5.6.3), each known or not. */
#define BALLOON_STATS 16
struct balloon_stats {
	uint64_t last_update_s; /* CLOCK_REALTIME seconds; 0: never */
	bool known[BALLOON_STATS];
	uint64_t value[BALLOON_STATS]; /* index: VIRTIO_BALLOON_S_* */
};
/* Asks the guest for statistics every so many seconds; 0: not at all. */
int balloon_set_stats_interval(struct balloon *b, unsigned seconds);
unsigned balloon_get_stats_interval(struct balloon *b);
void balloon_get_stats(struct balloon *b, struct balloon_stats *out);

#endif
