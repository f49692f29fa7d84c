/* SPDX-License-Identifier: MIT */
/*
 * test-virtio-mmio.c - the virtio-mmio transport: registers, negotiation, queue set-up, notifications and
 * interrupts, resets, and drivers that do all of it wrongly. The device behind it echoes: what a chain's
 * first half says is written to its second.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "virtio_rig.h"

#include "abi/platform.h"
#include "log.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION_1 (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT  (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define OWN       (UINT64_C(1) << 5) /* a feature of the device */

#define ACKNOWLEDGE VIRTIO_CONFIG_S_ACKNOWLEDGE
#define DRIVER      VIRTIO_CONFIG_S_DRIVER
#define DRIVER_OK   VIRTIO_CONFIG_S_DRIVER_OK
#define FEATURES_OK VIRTIO_CONFIG_S_FEATURES_OK
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

struct fixture {
	struct rig r;
	struct rig_queue q;
	struct virtio *v;
	unsigned char config[12];
	unsigned works, echoed;
	atomic_uint resets; /* on whichever thread writes the register */
	struct virtqueue_chain chain;
};

static void echo(struct fixture *f, struct virtqueue *vq)
{
	struct virtqueue_cursor in, out;
	unsigned char buf[256];
	int64_t n;

	virtqueue_to_read(&f->chain, &in);
	virtqueue_to_write(&f->chain, &out);
	n = virtqueue_read(vq, &in, buf, sizeof(buf));
	n = virtqueue_write(vq, &out, buf, (size_t)n);
	virtqueue_push(vq, f->chain.head, (uint32_t)n);
	f->echoed++;
}

static void work(void *dev)
{
	struct fixture *f = dev;
	int rc = 0;

	f->works++;
	virtio_lock(f->v);
	for (unsigned n = 0; n < 2; n++) {
		struct virtqueue *vq = virtio_queue(f->v, n);

		while (virtio_is_live(f->v) && vq->ready) {
			rc = virtqueue_pop(vq, &f->chain);
			if (rc < 0)
				virtio_break(f->v, vq->flaw);
			if (rc > 0)
				echo(f, vq);
			if (!rc && virtqueue_sleep(vq))
				break;
		}
		virtio_publish(f->v, vq);
	}
	virtio_unlock(f->v);
}

static void config_read(void *dev, uint32_t offset, void *to, unsigned len)
{
	struct fixture *f = dev;

	assert_true(offset + len <= sizeof(f->config));
	memcpy(to, f->config + offset, len);
}

static void config_write(void *dev, uint32_t offset, const void *from, unsigned len)
{
	struct fixture *f = dev;

	assert_true(offset + len <= sizeof(f->config));
	memcpy(f->config + offset, from, len);
}

static void on_reset(void *dev)
{
	struct fixture *f = dev;

	atomic_fetch_add(&f->resets, 1);
}

static const struct virtio_ops ops = {
    .name = "echo",
    .device_id = 42,
    .queues = 2,
    .queue_size = 64,
    .config_size = 12,
    .config_read = config_read,
    .config_write = config_write,
    .reset = on_reset,
    .work = work,
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	rig_setup(&f->r);
	f->r.index = 3;
	*state = f;
	return virtio_mmio_create(&f->r.host, 3, &ops, f, OWN, &f->v);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	virtio_destroy(f->v);
	rig_teardown(&f->r);
	free(f);
	return 0;
}

static uint32_t status(struct fixture *f)
{
	return rig_get(&f->r, VIRTIO_MMIO_STATUS);
}

/* A driver that does all right. */
static void bring_up(struct fixture *f, uint64_t features)
{
	assert_int_equal(rig_negotiate(&f->r, VERSION_1 | features), ACKNOWLEDGE | DRIVER | FEATURES_OK);
	rig_queue_init(&f->r, &f->q, 1, 16);
	assert_int_equal(rig_queue_start(&f->q), 1);
	rig_driver_ok(&f->r);
	assert_int_equal(status(f), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	rig_turns(&f->r, 8);
	rig_interrupts(&f->r);
}

static void assert_echo(struct fixture *f, const char *text)
{
	uint32_t n = (uint32_t)strlen(text), id, len;

	memcpy(mb_space_hva(f->r.space, RIG_BUFFERS, n), text, n);
	rig_desc(&f->q, 4, RIG_BUFFERS, n, VRING_DESC_F_NEXT, 5);
	rig_desc(&f->q, 5, RIG_BUFFERS + 0x1000, 100, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 4);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 8);
	assert_true(rig_used(&f->q, &id, &len));
	assert_int_equal(id, 4);
	assert_int_equal(len, n);
	assert_memory_equal(mb_space_hva(f->r.space, RIG_BUFFERS + 0x1000, n), text, n);
}

/* ---- a good driver -----------------------------------------------------------------------------------------
 */

static void test_identity(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_MAGIC_VALUE), 0x74726976);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_VERSION), 2);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_ID), 42);
	assert_int_equal(status(f), 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES), OWN | EVENT_IDX | INDIRECT);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES), VERSION_1 >> 32);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 2);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES), 0);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_QUEUE_NUM_MAX), 64);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 2);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_QUEUE_NUM_MAX), 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_SHM_LEN_LOW), UINT32_MAX);
}

static void test_echo(void **state)
{
	struct fixture *f = *state;

	bring_up(f, 0);
	for (unsigned i = 0; i < 100; i++)
		assert_echo(f, "hello");
	assert_int_equal(rig_interrupts(&f->r), 100);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_set(&f->r, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_CONFIG);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_VRING);
	rig_set(&f->r, VIRTIO_MMIO_INTERRUPT_ACK, VIRTIO_MMIO_INT_VRING);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
}

static void test_echo_with_event_index(void **state)
{
	struct fixture *f = *state;

	bring_up(f, EVENT_IDX | INDIRECT);
	/* It waits for the third one. */
	rig_store16(&f->r, f->q.avail + 4 + 2 * 16, 2);
	assert_echo(f, "one");
	assert_echo(f, "two");
	assert_int_equal(rig_interrupts(&f->r), 0);
	assert_echo(f, "three");
	assert_int_equal(rig_interrupts(&f->r), 1);
}

static void test_nothing_is_taken_before_driver_ok(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	rig_negotiate(&f->r, VERSION_1);
	rig_queue_init(&f->r, &f->q, 0, 16);
	assert_int_equal(rig_queue_start(&f->q), 1);
	rig_desc(&f->q, 0, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&f->q, 0);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	assert_false(rig_used(&f->q, &id, &len));
	/* And then it is, though nobody notifies us again. */
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 8);
	assert_true(rig_used(&f->q, &id, &len));
}

static void test_notification_that_exits(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	bring_up(f, 0);
	before = f->works;
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_NOTIFY, 1);
	rig_turns(&f->r, 8);
	assert_true(f->works > before);
	before = f->works;
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_NOTIFY, 2);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_NOTIFY, UINT32_MAX);
	rig_turns(&f->r, 8);
	assert_int_equal(f->works, before);
}

static void test_config_space(void **state)
{
	struct fixture *f = *state;
	uint64_t at = PLATFORM_VIRTIO_BASE + 3 * PLATFORM_VIRTIO_STRIDE + VIRTIO_MMIO_CONFIG;
	unsigned char buf[8] = {1, 2, 3, 4, 5, 6, 7, 8};
	uint32_t generation = rig_get(&f->r, VIRTIO_MMIO_CONFIG_GENERATION);

	bus_write(f->r.bus, BUS_MMIO, at + 4, buf, 8);
	assert_memory_equal(f->config + 4, buf, 8);
	bus_write(f->r.bus, BUS_MMIO, at + 5, buf, 8); /* reaches past the end */
	bus_write(f->r.bus, BUS_MMIO, at + 12, buf, 1);
	bus_write(f->r.bus, BUS_MMIO, at + 0xff, buf, 8);
	assert_memory_equal(f->config + 4, buf, 8);
	bus_read(f->r.bus, BUS_MMIO, at + 4, buf, 2);
	assert_memory_equal(buf, "\1\2", 2);
	bus_read(f->r.bus, BUS_MMIO, at + 10, buf, 4);
	assert_memory_equal(buf, "\0\0\0\0", 4);
	/* No interrupt without a driver, one with. */
	virtio_lock(f->v);
	virtio_config_changed(f->v);
	virtio_unlock(f->v);
	assert_int_not_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG_GENERATION), generation);
	assert_int_equal(rig_interrupts(&f->r), 0);
	bring_up(f, 0);
	virtio_lock(f->v);
	virtio_config_changed(f->v);
	virtio_unlock(f->v);
	assert_int_equal(rig_interrupts(&f->r), 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
}

/* ---- drivers that do it wrongly
 * ------------------------------------------------------------------------------ */

static void test_features(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rig_negotiate(&f->r, 0), ACKNOWLEDGE | DRIVER);             /* legacy */
	assert_int_equal(rig_negotiate(&f->r, VERSION_1 | 1), ACKNOWLEDGE | DRIVER); /* not offered */
	assert_int_equal(rig_negotiate(&f->r, UINT64_MAX), ACKNOWLEDGE | DRIVER);
	assert_int_equal(rig_negotiate(&f->r, VERSION_1 | OWN), ACKNOWLEDGE | DRIVER | FEATURES_OK);
	assert_true(virtio_has(f->v, 5));
	assert_false(virtio_has(f->v, VIRTIO_RING_F_EVENT_IDX));
	/* Too late. */
	rig_set(&f->r, VIRTIO_MMIO_DRIVER_FEATURES_SEL, 0);
	rig_set(&f->r, VIRTIO_MMIO_DRIVER_FEATURES, 0);
	assert_true(virtio_has(f->v, 5));
}

static void test_status_rules(void **state)
{
	struct fixture *f = *state;

	/* The guest cannot set what is ours to set, nor clear anything but by a reset. */
	rig_set(&f->r, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | NEEDS_RESET | 0xffffff00);
	assert_int_equal(status(f), ACKNOWLEDGE | DRIVER);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, DRIVER);
	assert_int_equal(status(f), ACKNOWLEDGE | DRIVER);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	assert_int_equal(status(f), ACKNOWLEDGE | DRIVER | NEEDS_RESET);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(status(f), 0);
	bring_up(f, 0);
	assert_echo(f, "works again");
}

static void test_queue_setup_refused(void **state)
{
	static const uint32_t sizes[] = {0, 5, 128, 0x10000, 0x10010, UINT32_MAX};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		rig_negotiate(&f->r, VERSION_1);
		rig_queue_init(&f->r, &f->q, 0, 16);
		rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 0);
		assert_int_equal(rig_queue_start(&f->q), 1);
		rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
		assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_QUEUE_READY), 0);
		rig_set(&f->r, VIRTIO_MMIO_QUEUE_NUM, sizes[i]);
		rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 1);
		assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_true(status(f) & NEEDS_RESET);
	}
	rig_negotiate(&f->r, VERSION_1);
	rig_queue_init(&f->r, &f->q, 0, 16);
	f->q.used = FAKE_HALF - 4;
	assert_int_equal(rig_queue_start(&f->q), 0);
	assert_true(status(f) & NEEDS_RESET);
	rig_negotiate(&f->r, VERSION_1);
	f->q.n = 2; /* no such queue */
	assert_int_equal(rig_queue_start(&f->q), 0);
	assert_false(status(f) & NEEDS_RESET);
	bring_up(f, 0);
	assert_echo(f, "works again");
}

static void test_live_queue_does_not_move(void **state)
{
	struct fixture *f = *state;

	bring_up(f, 0);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_USED_LOW, 0xdeadbee0);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_NUM, 2);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 1);
	assert_echo(f, "still there");
}

static void test_queue_stops_and_starts(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	bring_up(f, 0);
	assert_echo(f, "one");
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
	rig_offer(&f->q, 4);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 8);
	assert_false(rig_used(&f->q, &id, &len));
	rig_queue_init(&f->r, &f->q, 1, 16);
	assert_int_equal(rig_queue_start(&f->q), 1);
	assert_echo(f, "two");
}

static void test_odd_accesses(void **state)
{
	struct fixture *f = *state;
	uint64_t base = PLATFORM_VIRTIO_BASE + 3 * PLATFORM_VIRTIO_STRIDE;
	uint64_t guests = log_guest_count();
	unsigned char buf[8];

	bring_up(f, 0);
	for (uint64_t at = 0; at < 0x200; at++)
		for (unsigned len = 1; len <= 8; len *= 2) {
			memset(buf, 0xff, sizeof(buf));
			assert_true(bus_read(f->r.bus, BUS_MMIO, base + at, buf, len));
			/* All that can be written, but for registers proper: those are the other tests'. */
			if (len != 4 || at % 4 || at >= VIRTIO_MMIO_CONFIG)
				assert_true(bus_write(f->r.bus, BUS_MMIO, base + at, buf, len));
		}
	assert_true(log_guest_count() > guests);
	assert_echo(f, "unimpressed");
}

static void test_broken_until_reset(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	bring_up(f, 0);
	rig_desc(&f->q, 0, UINT64_MAX, 4, 0, 0);
	rig_offer(&f->q, 0);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 8);
	assert_true(status(f) & NEEDS_RESET);
	/* 2.1.2: with a configuration interrupt. */
	assert_int_equal(rig_interrupts(&f->r), 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	rig_desc(&f->q, 1, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&f->q, 1);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 8);
	assert_false(rig_used(&f->q, &id, &len));
	bring_up(f, 0);
	assert_int_equal(atomic_load(&f->resets), 2);
	assert_echo(f, "works again");
}

static void test_reset_at_any_time(void **state)
{
	struct fixture *f = *state;

	for (unsigned step = 0; step < 4; step++) {
		rig_set(&f->r, VIRTIO_MMIO_STATUS, ACKNOWLEDGE);
		if (step > 0)
			rig_negotiate(&f->r, VERSION_1 | OWN);
		if (step > 1) {
			rig_queue_init(&f->r, &f->q, 1, 16);
			rig_queue_start(&f->q);
		}
		if (step > 2)
			rig_driver_ok(&f->r);
		rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
		assert_int_equal(status(f), 0);
		assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), 0);
		rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
		assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_QUEUE_READY), 0);
		assert_false(virtio_has(f->v, 5));
		rig_turns(&f->r, 4);
	}
	bring_up(f, 0);
	assert_echo(f, "works");
}

/* ---- several threads
 * ------------------------------------------------------------------------------------------ */

struct storm {
	struct fixture *f;
	atomic_bool end;
};

static void *storm_thread(void *arg)
{
	struct storm *s = arg;
	struct rig_queue q;
	uint64_t x = 88172645463325252u;

	/* A vCPU that sets up, notifies, breaks and resets at random, while the loop serves. */
	while (!atomic_load(&s->end)) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		switch (x % 4) {
		case 0:
			rig_negotiate(&s->f->r, VERSION_1 | (x & EVENT_IDX));
			break;
		case 1:
			rig_set(&s->f->r, VIRTIO_MMIO_STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
			break;
		case 2:
			q = s->f->q;
			rig_queue_start(&q);
			break;
		default:
			rig_set(&s->f->r, VIRTIO_MMIO_QUEUE_NOTIFY, x >> 8 & 1);
			rig_get(&s->f->r, VIRTIO_MMIO_INTERRUPT_STATUS);
			rig_set(&s->f->r, VIRTIO_MMIO_INTERRUPT_ACK, 3);
		}
	}
	return NULL;
}

static void test_registers_and_queues_at_once(void **state)
{
	struct fixture *f = *state;
	struct storm s = {.f = f};
	pthread_t t;

	rig_queue_init(&f->r, &f->q, 1, 16);
	rig_desc(&f->q, 0, RIG_BUFFERS, 4, 0, 0);
	atomic_init(&s.end, false);
	assert_int_equal(pthread_create(&t, NULL, storm_thread, &s), 0);
	while (f->works < 1000 || atomic_load(&f->resets) < 300)
		rig_turns(&f->r, 4);
	atomic_store(&s.end, true);
	pthread_join(t, NULL);
	bring_up(f, 0);
	assert_echo(f, "works");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_identity, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_echo, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_echo_with_event_index, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_nothing_is_taken_before_driver_ok, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_notification_that_exits, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_config_space, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_features, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_status_rules, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_queue_setup_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_live_queue_does_not_move, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_queue_stops_and_starts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_odd_accesses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_until_reset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_at_any_time, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_registers_and_queues_at_once, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtio-mmio", tests, NULL, NULL);
}
