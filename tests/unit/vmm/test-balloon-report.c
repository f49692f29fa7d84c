/* SPDX-License-Identifier: MIT */
/*
 * test-balloon-report.c - virtio-balloon's free page reporting and page poison: what a guest reports goes back
 * to the kernel in runs, and only that, and only where the guest does not care what it finds there.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon.h"
#include "virtio_rig.h"

#include "log.h"

#include <errno.h>
#include <linux/virtio_balloon.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define MUST_TELL   (UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define STATS       (UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ)
#define POISON      (UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON)
#define REPORTING   (UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

#define PAGE    UINT64_C(4096)
#define MAXIMUM (2 * FAKE_HALF)
#define QSIZE   64
#define AREA    UINT64_C(0x400000) /* used for nothing else */

struct fixture {
	struct rig r;
	struct rig_queue q[4];
	struct balloon *b;
	unsigned report; /* number of the reporting queue */
};

static unsigned char *at(struct fixture *f, uint64_t gpa)
{
	return mb_space_hva(f->r.space, gpa, 1);
}

static void bring_up(struct fixture *f, uint64_t features, uint32_t poison)
{
	assert_true(rig_negotiate(&f->r, VERSION_1 | features) & VIRTIO_CONFIG_S_FEATURES_OK);
	/* As drivers do: before DRIVER_OK. */
	rig_set(&f->r, VIRTIO_MMIO_CONFIG + 12, poison);
	f->report = features & STATS ? 3 : 2;
	for (unsigned n = 0; n <= f->report; n++) {
		rig_queue_init(&f->r, &f->q[n], n, QSIZE);
		assert_int_equal(rig_queue_start(&f->q[n]), 1);
	}
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 4);
	memset(fake_space_calls(f->r.space), 0, sizeof(struct fake_calls));
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct balloon_config config = {
	    .maximum = MAXIMUM, .memory_end = FAKE_HIGH + FAKE_HALF, .initial_target = MAXIMUM};

	rig_setup(&f->r);
	config.space = f->r.space;
	*state = f;
	if (balloon_create(&f->r.host, &config, &f->b))
		return -1;
	bring_up(f, MUST_TELL | STATS | REPORTING, 0);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	balloon_destroy(f->b);
	rig_teardown(&f->r);
	free(f);
	return 0;
}

static struct fake_calls *calls(struct fixture *f)
{
	return fake_space_calls(f->r.space);
}

static uint64_t reported(struct fixture *f)
{
	struct balloon_status s;

	balloon_get_status(f->b, &s);
	assert_int_equal(s.actual, MAXIMUM - fake_space_inflated(f->r.space) * PAGE);
	return s.reported_total;
}

static bool is_used(void *arg)
{
	uint32_t id, len;

	return rig_used(arg, &id, &len);
}

struct piece {
	uint64_t gpa;
	uint32_t len;
};

/* A chain of ranges, as Linux sends them. */
static void report(struct fixture *f, const struct piece *pieces, unsigned n, uint16_t flags)
{
	struct rig_queue *q = &f->q[f->report];

	for (unsigned i = 0; i < n; i++)
		rig_desc(q, i, pieces[i].gpa, pieces[i].len, flags | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			 (uint16_t)(i + 1));
	rig_offer(q, 0);
	rig_notify(&f->r, f->report);
	assert_true(rig_until(&f->r, is_used, q));
}

/* Neighbours go back in one call, however they are ordered; what is between them stays. */
static void test_runs(void **state)
{
	struct fixture *f = *state;
	const struct piece pieces[] = {{AREA + 4 * PAGE, 2 * PAGE},
				       {AREA, 2 * PAGE},
				       {AREA + 2 * PAGE, 2 * PAGE},
				       {AREA + 8 * PAGE, PAGE}};

	memset(at(f, AREA), 0x77, 10 * PAGE);
	report(f, pieces, 4, VRING_DESC_F_WRITE);
	assert_int_equal(calls(f)->discards, 2);
	assert_int_equal(calls(f)->discarded, 7);
	assert_int_equal(reported(f), 7 * PAGE);
	for (uint64_t page = 0; page < 10; page++)
		assert_int_equal(*at(f, AREA + page * PAGE), page < 6 || page == 8 ? 0 : 0x77);
	/* They are the guest's as before: no holes, and it may report them again. */
	assert_int_equal(fake_space_inflated(f->r.space), 0);
	report(f, pieces, 4, VRING_DESC_F_WRITE);
	assert_int_equal(reported(f), 14 * PAGE);
}

/* Without statistics the queue has their number: drivers count only those that are there. */
static void test_queue_number(void **state)
{
	struct fixture *f = *state;
	const struct piece piece = {AREA, 4 * PAGE};

	bring_up(f, MUST_TELL | REPORTING, 0);
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(reported(f), 4 * PAGE);
	bring_up(f, MUST_TELL | STATS | REPORTING, 0);
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(reported(f), 8 * PAGE);
}

/* A guest that poisons its free pages finds them as they were; one that fills them with zero does not care. */
static void test_poison(void **state)
{
	struct fixture *f = *state;
	const struct piece piece = {AREA, 4 * PAGE};

	bring_up(f, MUST_TELL | STATS | REPORTING | POISON, 0xaaaaaaaa);
	memset(at(f, AREA), 0xaa, 4 * PAGE);
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(calls(f)->discards, 0);
	assert_int_equal(*at(f, AREA), 0xaa);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG + 12), 0xaaaaaaaa);
	/* The value is forgotten with the driver that had it. */
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG + 12), 0);
	bring_up(f, MUST_TELL | STATS | REPORTING | POISON, 0);
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(calls(f)->discards, 1);
	assert_int_equal(*at(f, AREA), 0);
}

/* Only whole pages, only what is writable, and never the device's own rings. */
static void test_edges(void **state)
{
	struct fixture *f = *state;
	const struct piece odd = {AREA + 1, 3 * PAGE}, small = {AREA + 100, 200}, ro = {AREA, 2 * PAGE},
			   rings = {RIG_RINGS, 0x40000};

	memset(at(f, AREA), 0x77, 8 * PAGE);
	report(f, &odd, 1, VRING_DESC_F_WRITE);
	assert_int_equal(reported(f), 2 * PAGE);
	assert_int_equal(*at(f, AREA), 0x77);
	assert_int_equal(*at(f, AREA + 3 * PAGE), 0x77);
	report(f, &small, 1, VRING_DESC_F_WRITE);
	report(f, &ro, 1, 0);
	assert_int_equal(reported(f), 2 * PAGE);
	report(f, &rings, 1, VRING_DESC_F_WRITE);
	assert_true(reported(f) > 2 * PAGE);
	report(f, &odd, 1, VRING_DESC_F_WRITE); /* the rings still work */
}

static void test_no_memory(void **state)
{
	struct fixture *f = *state;
	struct rig_queue *q = &f->q[f->report];

	rig_desc(q, 0, FAKE_HALF - PAGE, 2 * PAGE, VRING_DESC_F_WRITE, 0);
	rig_offer(q, 0);
	rig_notify(&f->r, f->report);
	rig_turns(&f->r, 8);
	assert_true(rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
	assert_int_equal(reported(f), 0);
}

/* Pages that are in the balloon may be reported by a confused guest: nothing changes but their bytes. */
static void test_inflated(void **state)
{
	struct fixture *f = *state;
	const struct piece piece = {AREA, 4 * PAGE};
	uint32_t *numbers = (uint32_t *)(void *)at(f, RIG_BUFFERS);

	numbers[0] = (uint32_t)(AREA >> 12);
	numbers[1] = numbers[0] + 1;
	rig_desc(&f->q[0], 0, RIG_BUFFERS, 8, 0, 0);
	rig_offer(&f->q[0], 0);
	rig_notify(&f->r, 0);
	assert_true(rig_until(&f->r, is_used, &f->q[0]));
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(fake_space_inflated(f->r.space), 2);
	assert_int_equal(reported(f), 4 * PAGE);
}

/* What the host cannot give back stays, and the guest gets its answer. */
static void test_failure(void **state)
{
	struct fixture *f = *state;
	const struct piece piece = {AREA, 4 * PAGE};

	fake_space_fail_at(f->r.space, AREA >> 12, -ENOMEM);
	report(f, &piece, 1, VRING_DESC_F_WRITE);
	assert_int_equal(reported(f), 0);
}

/* A reset in the middle: what was gathered is forgotten, whatever number the queue has next. */
static void test_reset(void **state)
{
	struct fixture *f = *state;
	const struct piece piece = {AREA + 64 * PAGE, PAGE};

	for (unsigned i = 0; i < 8; i++) {
		for (unsigned n = 0; n < 8; n++) {
			rig_desc(&f->q[f->report], n, AREA + n * PAGE, PAGE, VRING_DESC_F_WRITE, 0);
			rig_offer(&f->q[f->report], (uint16_t)n);
		}
		rig_notify(&f->r, f->report);
		rig_turns(&f->r, 1 + i % 2);
		bring_up(f, i & 1 ? MUST_TELL | STATS | REPORTING : MUST_TELL | REPORTING, 0);
		rig_turns(&f->r, 4);
		assert_int_equal(calls(f)->discards, 0);
		report(f, &piece, 1, VRING_DESC_F_WRITE);
		assert_int_equal(calls(f)->discarded, 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_runs, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_queue_number, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_poison, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_edges, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_inflated, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_failure, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset, setup, teardown),
	};

	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("balloon-report", tests, NULL, NULL);
}
