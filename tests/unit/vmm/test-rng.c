/* SPDX-License-Identifier: MIT */
/*
 * test-rng.c - virtio-rng: bytes come, at a bounded rate, and a hostile driver gets nothing else.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/rng.h"
#include "virtio_rig.h"

#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET
#define QSIZE       64

struct fixture {
	struct rig r;
	struct rig_queue q;
	struct rng *rng;
};

static void bring_up(struct fixture *f)
{
	assert_true(rig_negotiate(&f->r, VERSION_1) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_queue_init(&f->r, &f->q, 0, QSIZE);
	assert_int_equal(rig_queue_start(&f->q), 1);
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 4);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	rig_setup(&f->r);
	*state = f;
	if (rng_create(&f->r.host, 0, &f->rng))
		return -1;
	bring_up(f);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	rng_destroy(f->rng);
	rig_teardown(&f->r);
	free(f);
	return 0;
}

struct used {
	struct fixture *f;
	uint32_t id, len;
};

static bool is_used(void *arg)
{
	struct used *u = arg;

	return rig_used(&u->f->q, &u->id, &u->len);
}

static void put(struct fixture *f, uint16_t d, uint64_t gpa, uint32_t len, uint16_t flags)
{
	rig_desc(&f->q, d, gpa, len, flags, 0);
	rig_offer(&f->q, d);
}

static void test_bytes(void **state)
{
	struct fixture *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_BUFFERS, 2048);
	struct used u = {.f = f};
	unsigned zeros = 0;

	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_ID), 4);
	put(f, 0, RIG_BUFFERS, 1000, VRING_DESC_F_WRITE);
	put(f, 1, RIG_BUFFERS + 1024, 1000, VRING_DESC_F_WRITE);
	rig_notify(&f->r, 0);
	for (unsigned i = 0; i < 2; i++) {
		assert_true(rig_until(&f->r, is_used, &u));
		assert_int_equal(u.len, 1000);
	}
	for (unsigned i = 0; i < 1000; i++)
		zeros += !p[i];
	assert_true(zeros < 50);
	assert_memory_not_equal(p, p + 1024, 1000);
	/* Nothing beyond what was offered. */
	for (unsigned i = 1000; i < 1024; i++)
		assert_int_equal(p[i], 0);
}

/* A period's worth at once, and no more until the next one; then it goes on by itself. */
static void test_rate(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	uint64_t total = 0;
	unsigned n = 0;

	for (uint16_t d = 0; d < QSIZE; d++)
		put(f, d, RIG_BUFFERS, 4096, VRING_DESC_F_WRITE);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 2);
	while (is_used(&u)) {
		assert_true(u.len >= 1 && u.len <= 4096);
		total += u.len;
		n++;
	}
	/* A slow machine may have begun another period by now, but not the fourth. */
	assert_true(n >= 1 && n < QSIZE);
	assert_true(total <= 3 * RNG_PERIOD_BYTES);
	for (; n < QSIZE; n++)
		assert_true(rig_until(&f->r, is_used, &u));
}

/* Chains that cost nothing are counted too: a flood of them ends. */
static void test_flood(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	unsigned n = 0;

	for (unsigned round = 0; round < 200; round++) {
		for (uint16_t d = 0; d < QSIZE; d++)
			put(f, d, RIG_BUFFERS, 1, VRING_DESC_F_WRITE);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 1);
		while (is_used(&u)) {
			assert_int_equal(u.len, 1);
			n++;
		}
		if (rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET)
			break; /* we have overrun our own ring, as the device says */
	}
	assert_true(n > 0);
	bring_up(f);
	put(f, 0, RIG_BUFFERS, 16, VRING_DESC_F_WRITE);
	rig_notify(&f->r, 0);
	assert_true(rig_until(&f->r, is_used, &u));
}

static void assert_refused(struct fixture *f, uint64_t gpa, uint32_t len, uint16_t flags)
{
	put(f, 0, gpa, len, flags);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	assert_true(rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
	bring_up(f);
}

static void test_bad_buffers(void **state)
{
	struct fixture *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_BUFFERS, 64);

	memset(p, 0x55, 64);
	assert_refused(f, RIG_BUFFERS, 64, 0);
	assert_refused(f, RIG_BUFFERS, 0, VRING_DESC_F_WRITE);
	assert_refused(f, FAKE_HALF - 16, 64, VRING_DESC_F_WRITE);
	assert_refused(f, UINT64_MAX - 16, 64, VRING_DESC_F_WRITE);
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(p[i], 0x55);
}

/* Overcommitted memory that the host has not now: the buffer waits, and nothing is broken. */
static void test_waits_for_memory(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};

	fake_space_set_absent(f->r.space, RIG_BUFFERS >> 12);
	put(f, 0, RIG_BUFFERS, 16, VRING_DESC_F_WRITE);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 20);
	assert_false(is_used(&u));
	assert_false(rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
	fake_space_set_absent(f->r.space, UINT64_MAX);
	assert_true(rig_until(&f->r, is_used, &u));
	assert_true(u.len >= 1 && u.len <= 16);
}

static void test_reset(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};

	for (unsigned i = 0; i < 10; i++) {
		for (uint16_t d = 0; d < QSIZE; d++)
			put(f, d, RIG_BUFFERS, 4096, VRING_DESC_F_WRITE);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 1 + i % 2);
		bring_up(f);
	}
	put(f, 0, RIG_BUFFERS, 16, VRING_DESC_F_WRITE);
	rig_notify(&f->r, 0);
	assert_true(rig_until(&f->r, is_used, &u));
	assert_true(u.len >= 1 && u.len <= 16);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_bytes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_flood, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_waits_for_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
	};

	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("rng", tests, NULL, NULL);
}
