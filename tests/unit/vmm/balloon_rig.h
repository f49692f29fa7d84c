/* SPDX-License-Identifier: MIT */
/* balloon_rig.h - a virtio-balloon in the bench of virtio_rig.h, and a driver that gives pages and takes them back. */
#ifndef TESTS_BALLOON_RIG_H
#define TESTS_BALLOON_RIG_H

#include "devices/balloon.h"
#include "virtio_rig.h"

#include <linux/virtio_balloon.h>

#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX   (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define MUST_TELL   (UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define STATS       (UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

#define PAGE    UINT64_C(4096)
#define MAXIMUM (2 * FAKE_HALF)
#define QSIZE   16

struct balloon_rig {
	struct rig r;
	struct rig_queue inflate, deflate, stats;
	struct balloon *b;
	unsigned events[3];
	uint64_t actual; /* at the last BALLOON_CHANGED */
};

void balloon_rig_on_event(void *arg, enum balloon_event event);
struct balloon_status balloon_rig_status(struct balloon_rig *f);
/* A driver starts: it may have been there before. */
void balloon_rig_bring_up(struct balloon_rig *f, uint64_t features);
int balloon_rig_setup(void **state);
int balloon_rig_teardown(void **state);
/* Puts numbers into a buffer of their own and offers it, without a notification. */
void balloon_rig_offer(struct rig_queue *q, uint16_t head, const uint32_t *numbers, unsigned count);
bool balloon_rig_is_used(void *arg);
/* Offers, notifies, waits until it is used. */
void balloon_rig_send(struct rig_queue *q, const uint32_t *numbers, unsigned count);
void balloon_rig_send_run(struct rig_queue *q, uint32_t first, unsigned count);
void balloon_rig_assert_out(struct balloon_rig *f, uint64_t pages);

#endif
