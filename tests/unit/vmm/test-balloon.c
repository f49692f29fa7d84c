/* SPDX-License-Identifier: MIT */
/*
 * test-balloon.c - virtio-balloon: inflating and deflating in every order of page numbers, a budget that
 * lacks bytes, resets in the middle, statistics, events, and guests that lie about their pages.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon.h"
#include "virtio_rig.h"

#include "log.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX   (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define MUST_TELL   (UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST)
#define STATS       (UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

#define PAGE    UINT64_C(4096)
#define MAXIMUM (2 * FAKE_HALF)
#define QSIZE   16

struct fixture {
	struct rig r;
	struct rig_queue inflate, deflate, stats;
	struct balloon *b;
	unsigned events[3];
	uint64_t actual; /* at the last BALLOON_CHANGED */
};

static void on_event(void *arg, enum balloon_event event)
{
	struct fixture *f = arg;
	struct balloon_status s;

	f->events[event]++;
	balloon_get_status(f->b, &s); /* allowed in here */
	if (event == BALLOON_CHANGED)
		f->actual = s.actual;
}

static struct balloon_status status(struct fixture *f)
{
	struct balloon_status s;

	balloon_get_status(f->b, &s);
	return s;
}

/* A driver starts: it may have been there before. */
static void bring_up(struct fixture *f, uint64_t features)
{
	assert_true(rig_negotiate(&f->r, VERSION_1 | features) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_queue_init(&f->r, &f->inflate, 0, QSIZE);
	rig_queue_init(&f->r, &f->deflate, 1, QSIZE);
	rig_queue_init(&f->r, &f->stats, 2, QSIZE);
	assert_int_equal(rig_queue_start(&f->inflate), 1);
	assert_int_equal(rig_queue_start(&f->deflate), 1);
	if (features & STATS)
		assert_int_equal(rig_queue_start(&f->stats), 1);
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 8);
	rig_interrupts(&f->r);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct balloon_config config = {
	    .maximum = MAXIMUM, .initial_target = MAXIMUM, .deflate_on_oom = true, .on_event = on_event};

	rig_setup(&f->r);
	config.space = f->r.space;
	config.arg = f;
	*state = f;
	if (balloon_create(&f->r.host, &config, &f->b))
		return -1;
	bring_up(f, MUST_TELL | STATS | EVENT_IDX);
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

/* Puts numbers into a buffer of their own and offers it, without a notification. */
static void offer(struct rig_queue *q, uint16_t head, const uint32_t *numbers, unsigned count)
{
	uint64_t at = RIG_BUFFERS + (q->n * QSIZE + head) * UINT64_C(0x8000);
	uint32_t *to = mb_space_hva(q->r->space, at, count * 4);

	for (unsigned i = 0; i < count; i++)
		to[i] = htole32(numbers[i]);
	rig_desc(q, head, at, count * 4, 0, 0);
	rig_offer(q, head);
}

static bool is_used(void *arg)
{
	uint32_t id, len;

	return rig_used(arg, &id, &len);
}

/* Offers, notifies, waits until it is used. */
static void send(struct rig_queue *q, const uint32_t *numbers, unsigned count)
{
	offer(q, 0, numbers, count);
	rig_notify(q->r, q->n);
	assert_true(rig_until(q->r, is_used, q));
}

static void send_run(struct rig_queue *q, uint32_t first, unsigned count)
{
	uint32_t numbers[8192];

	assert_true(count <= 8192);
	for (unsigned i = 0; i < count; i++)
		numbers[i] = first + i;
	send(q, numbers, count);
}

static void assert_out(struct fixture *f, uint64_t pages)
{
	assert_int_equal(fake_space_inflated(f->r.space), pages);
	assert_int_equal(status(f).actual, MAXIMUM - pages * PAGE);
}

/* ---- a good driver --------------------------------------------------------------------------------------- */

static void test_offered(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_ID), 5);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) & 0x3f,
			 MUST_TELL | STATS | UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
			     UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON |
			     UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING);
	assert_true(status(f).driver_ok);
	assert_false(status(f).broken);
}

static void test_target(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(balloon_set_target(f->b, MAXIMUM - 10 * PAGE - 1), 0);
	assert_int_equal(status(f).target, MAXIMUM - 10 * PAGE); /* rounded up */
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), 10);
	assert_int_equal(rig_interrupts(&f->r), 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_INTERRUPT_STATUS), VIRTIO_MMIO_INT_CONFIG);
	/* The same again is no change. */
	assert_int_equal(balloon_set_target(f->b, MAXIMUM - 10 * PAGE), 0);
	assert_int_equal(rig_interrupts(&f->r), 0);
	assert_int_equal(balloon_set_target(f->b, MAXIMUM + 1), -EINVAL);
	assert_int_equal(balloon_set_target(f->b, 0), 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), FAKE_PAGES);
	/* actual is the driver's, num_pages is not. */
	rig_set(&f->r, VIRTIO_MMIO_CONFIG + 4, 77);
	rig_set(&f->r, VIRTIO_MMIO_CONFIG, 99);
	assert_int_equal(status(f).guest_says, 77 * PAGE);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), FAKE_PAGES);
	assert_int_equal(status(f).actual, MAXIMUM);
}

static void test_inflate_and_deflate(void **state)
{
	struct fixture *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_PAGES * PAGE, PAGE);

	send_run(&f->inflate, RIG_PAGES, 256);
	assert_out(f, 256);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	assert_int_equal(fake_space_calls(f->r.space)->longest, 256);
	send_run(&f->deflate, RIG_PAGES, 256);
	assert_out(f, 0);
	assert_int_equal(*p, 0);
	assert_int_equal(status(f).rejected, 0);
	assert_int_equal(status(f).inflated_total, 256 * PAGE);
	assert_int_equal(status(f).deflated_total, 256 * PAGE);
}

static void test_any_order_makes_one_run(void **state)
{
	struct fixture *f = *state;
	uint32_t n[1000];
	uint64_t x = 1;

	for (unsigned i = 0; i < 1000; i++)
		n[i] = (uint32_t)RIG_PAGES + 999 - i; /* descending */
	send(&f->inflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	for (unsigned i = 999; i > 0; i--) { /* shuffled */
		unsigned j = (unsigned)((x = x * 6364136223846793005u + 1) >> 33) % (i + 1);
		uint32_t t = n[i];

		n[i] = n[j];
		n[j] = t;
	}
	send(&f->deflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->deflates, 1);
	for (unsigned i = 0; i < 500; i++) { /* two interleaved */
		n[2 * i] = (uint32_t)RIG_PAGES + i;
		n[2 * i + 1] = (uint32_t)RIG_PAGES + 5000 - i;
	}
	send(&f->inflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 3);
	assert_out(f, 1000);
	assert_int_equal(status(f).rejected, 0);
}

static void test_runs_go_across_buffers(void **state)
{
	struct fixture *f = *state;
	uint32_t n[QSIZE][256], id, len;

	/* Every second page in one buffer, the rest in the next: together they are one run. */
	for (unsigned k = 0; k < QSIZE; k++) {
		for (unsigned i = 0; i < 256; i++)
			n[k][i] = (uint32_t)RIG_PAGES + (k / 2) * 512 + 2 * i + k % 2;
		offer(&f->inflate, (uint16_t)k, n[k], 256);
	}
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	assert_out(f, QSIZE * 256);
	for (unsigned k = 0; k < QSIZE; k++) {
		assert_true(rig_used(&f->inflate, &id, &len));
		assert_int_equal(id, k);
		assert_int_equal(len, 0);
	}
	assert_false(rig_used(&f->inflate, &id, &len));
}

static void test_chain_of_several_buffers(void **state)
{
	struct fixture *f = *state;
	uint32_t *p = mb_space_hva(f->r.space, RIG_BUFFERS, 64), id, len;

	for (uint32_t i = 0; i < 10; i++)
		p[i] = htole32((uint32_t)RIG_PAGES + i);
	/* A number is cut in the middle, and after the last one are three bytes that are none. */
	rig_desc(&f->inflate, 0, RIG_BUFFERS, 18, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->inflate, 1, RIG_BUFFERS + 18, 25, VRING_DESC_F_NEXT, 2);
	rig_desc(&f->inflate, 2, RIG_BUFFERS + 0x1000, 64, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->inflate, 0);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_true(rig_used(&f->inflate, &id, &len));
	assert_out(f, 10);
	/* And a chain of nothing comes back as well. */
	rig_desc(&f->inflate, 3, RIG_BUFFERS, 0, 0, 0);
	rig_offer(&f->inflate, 3);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_true(rig_used(&f->inflate, &id, &len));
	assert_out(f, 10);
}

static void test_both_halves_of_memory(void **state)
{
	struct fixture *f = *state;
	const uint32_t high = FAKE_HIGH >> 12;
	uint32_t n[] = {high, high + 1, (FAKE_HALF >> 12) - 1, high + (FAKE_HALF >> 12) - 1};

	send(&f->inflate, n, 4);
	assert_out(f, 4);
	send(&f->deflate, n, 4);
	assert_out(f, 0);
	assert_int_equal(status(f).rejected, 0);
}

/* ---- pages that are refused
 * ---------------------------------------------------------------------------------- */

static void test_foreign_pages(void **state)
{
	struct fixture *f = *state;
	const uint32_t end = FAKE_HALF >> 12, high = FAKE_HIGH >> 12;
	/* The hole's edges, far beyond, and a run that begins in memory and ends outside. */
	uint32_t n[] = {end,     high - 1, UINT32_MAX, UINT32_MAX - 1, high + end, 0x80000000,
			end - 2, end - 1,  end,        end + 1,        RIG_PAGES};

	send(&f->inflate, n, 11);
	assert_out(f, 3);
	assert_int_equal(status(f).rejected, 8);
	assert_true(fake_space_is_inflated(f->r.space, end - 1));
	assert_true(fake_space_is_inflated(f->r.space, RIG_PAGES));
	assert_true(log_guest_count() > 0);
	send(&f->deflate, n, 11);
	assert_out(f, 0);
	assert_false(status(f).broken);
}

static void test_pages_twice(void **state)
{
	struct fixture *f = *state;
	uint32_t n[] = {RIG_PAGES, RIG_PAGES + 1, RIG_PAGES, RIG_PAGES + 2, RIG_PAGES + 1};

	send(&f->inflate, n, 5); /* in one buffer */
	assert_out(f, 3);
	assert_int_equal(status(f).rejected, 2);
	send_run(&f->inflate, RIG_PAGES - 2, 7); /* and in another: what is new in it counts */
	assert_out(f, 7);
	assert_int_equal(status(f).rejected, 5);
	send(&f->deflate, n, 5);
	assert_out(f, 4);
	assert_int_equal(status(f).rejected, 7);
	send_run(&f->deflate, RIG_PAGES - 2, 7);
	assert_out(f, 0);
	assert_int_equal(status(f).rejected, 10);
	send_run(&f->deflate, RIG_PAGES, 4); /* nothing of it is in the balloon */
	assert_out(f, 0);
	assert_int_equal(status(f).rejected, 14);
}

static void test_own_rings_are_spared(void **state)
{
	struct fixture *f = *state;
	uint32_t first = (uint32_t)(RIG_RINGS >> 12);

	/* Three queues at 64 KiB from each other: their rings touch pages 0, 8 and 10 of each. */
	send_run(&f->inflate, first, 48);
	assert_out(f, 48 - 9);
	assert_int_equal(status(f).rejected, 9);
	assert_false(fake_space_is_inflated(f->r.space, first));
	assert_true(fake_space_is_inflated(f->r.space, first + 1));
	send_run(&f->inflate, RIG_PAGES, 1);
	assert_out(f, 48 - 9 + 1);
}

static void test_pool_refuses_one_of_many(void **state)
{
	struct fixture *f = *state;

	fake_space_steal(f->r.space, RIG_PAGES + 100); /* -EALREADY there */
	send_run(&f->inflate, RIG_PAGES, 256);
	assert_int_equal(fake_space_inflated(f->r.space), 256);
	assert_int_equal(status(f).actual, MAXIMUM - 255 * PAGE);
	assert_int_equal(status(f).rejected, 1);
	assert_true(fake_space_calls(f->r.space)->refused < 40);
	/* Not in the ledger, though it was given: not in the balloon either. */
	fake_space_fail_at(f->r.space, RIG_PAGES + 50, -EALREADY);
	send_run(&f->deflate, RIG_PAGES, 256);
	assert_int_equal(status(f).actual, MAXIMUM);
	assert_int_equal(status(f).rejected, 3);
}

/* ---- the budget
 * ----------------------------------------------------------------------------------------------- */

static bool not_waiting(void *arg)
{
	return status(arg).waits_for == 0;
}

static void test_deflation_is_held_back(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[400], id, len;

	send_run(&f->inflate, RIG_PAGES, 400);
	fake_space_set_budget(f->r.space, 150 * PAGE);
	for (unsigned i = 0; i < 400; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	offer(&f->deflate, 1, numbers, 400);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	/* As far as it went, and it says what it lacks. */
	assert_out(f, 250);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	assert_int_equal(f->events[BALLOON_GOES_ON], 0);
	assert_int_equal(status(f).waits_for, 250 * PAGE);
	assert_false(rig_used(&f->deflate, &id, &len));
	/* It stands in the queue, behind whoever came before. */
	assert_true(fake_space_calls(f->r.space)->queued);
	assert_int_equal(fake_space_calls(f->r.space)->queued_bytes, 250 * PAGE);
	/* Inflating goes on, and helps. */
	send_run(&f->inflate, RIG_PAGES + 1000, 100);
	rig_turns(&f->r, 16);
	assert_out(f, 250);
	assert_int_equal(status(f).waits_for, 150 * PAGE);
	assert_false(rig_used(&f->deflate, &id, &len));
	/* Somebody else makes room: found by itself. */
	fake_space_set_budget(f->r.space, 150 * PAGE);
	assert_true(rig_until(&f->r, not_waiting, f));
	assert_out(f, 100);
	assert_true(rig_used(&f->deflate, &id, &len));
	assert_int_equal(id, 1);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	assert_int_equal(f->events[BALLOON_GOES_ON], 1);
	assert_int_equal(status(f).rejected, 0);
}

static void test_memory_cannot_be_had(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[3] = {RIG_PAGES, RIG_PAGES + 1, RIG_PAGES + 2}, id, len;

	send(&f->inflate, numbers, 3);
	fake_space_fail_at(f->r.space, RIG_PAGES + 1, -ENOMEM);
	offer(&f->deflate, 1, numbers, 3);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->deflate, &id, &len)); /* the guest must not touch it */
	assert_true(status(f).waits_for > 0);
	fake_space_fail_at(f->r.space, UINT64_MAX, 0);
	assert_true(rig_until(&f->r, is_used, &f->deflate));
	assert_out(f, 0);
	assert_int_equal(status(f).rejected, 0);
}

static void test_a_chain_does_not_wait_for_the_next(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[20], id, len;

	for (unsigned i = 0; i < 20; i++)
		numbers[i] = (uint32_t)RIG_PAGES + 2 * i;
	send(&f->inflate, numbers, 20);
	fake_space_set_budget(f->r.space, 10 * PAGE);
	offer(&f->deflate, 0, numbers, 10);
	offer(&f->deflate, 1, numbers + 10, 10);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_true(rig_used(&f->deflate, &id, &len) && id == 0);
	assert_false(rig_used(&f->deflate, &id, &len));
	assert_int_equal(status(f).waits_for, 10 * PAGE);
}

/* ---- resets
 * ------------------------------------------------------------------------------------------------------ */

static bool all_home(void *arg)
{
	struct fixture *f = arg;

	return fake_space_inflated(f->r.space) == 0;
}

static void test_reset_empties_the_balloon(void **state)
{
	struct fixture *f = *state;

	send_run(&f->inflate, RIG_PAGES, 300);
	rig_set(&f->r, VIRTIO_MMIO_CONFIG + 4, 300);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(status(f).guest_says, 0);
	assert_false(status(f).driver_ok);
	assert_true(rig_until(&f->r, all_home, f));
	assert_out(f, 0);
	bring_up(f, MUST_TELL);
	send_run(&f->inflate, RIG_PAGES, 300);
	assert_out(f, 300);
	assert_int_equal(status(f).rejected, 0);
}

static void test_reset_keeps_what_is_written(void **state)
{
	struct fixture *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_PAGES * PAGE, 2 * PAGE);

	send_run(&f->inflate, RIG_PAGES, 2);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	p[5] = 77; /* the guest does not wait for us */
	assert_true(rig_until(&f->r, all_home, f));
	assert_int_equal(p[5], 77);
	/* Given again before it came back: then what is in it goes. */
	bring_up(f, MUST_TELL);
	send_run(&f->inflate, RIG_PAGES, 2);
	fake_space_set_budget(f->r.space, 0);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	p[5] = 78;
	p[PAGE + 5] = 79;
	bring_up(f, MUST_TELL);
	send_run(&f->inflate, RIG_PAGES, 1);
	assert_int_equal(p[5], 0xdd);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	send_run(&f->deflate, RIG_PAGES, 1);
	assert_int_equal(p[5], 0);
	assert_true(rig_until(&f->r, all_home, f));
	assert_int_equal(p[PAGE + 5], 79);
	assert_int_equal(status(f).rejected, 0);
}

static void test_reset_without_budget(void **state)
{
	struct fixture *f = *state;

	send_run(&f->inflate, RIG_PAGES, 300);
	fake_space_set_budget(f->r.space, 100 * PAGE);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	rig_turns(&f->r, 16);
	assert_out(f, 200);
	assert_int_equal(status(f).waits_for, 200 * PAGE);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	/* The new driver may give again what never came back, and a reset again adds up. */
	bring_up(f, MUST_TELL);
	send_run(&f->inflate, RIG_PAGES + 250, 50);
	assert_out(f, 200);
	assert_int_equal(status(f).rejected, 0);
	assert_int_equal(status(f).waits_for, 150 * PAGE);
	send_run(&f->inflate, RIG_PAGES + 250, 50); /* but not twice */
	assert_int_equal(status(f).rejected, 50);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	rig_turns(&f->r, 16);
	assert_int_equal(status(f).waits_for, 200 * PAGE);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, all_home, f));
	assert_true(rig_until(&f->r, not_waiting, f));
	assert_int_equal(f->events[BALLOON_GOES_ON], 1);
}

static void test_reset_while_held_back(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[100], id, len;

	for (unsigned i = 0; i < 100; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	send(&f->inflate, numbers, 100);
	fake_space_set_budget(f->r.space, 0);
	offer(&f->deflate, 5, numbers, 100);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_int_equal(status(f).waits_for, 100 * PAGE);
	bring_up(f, MUST_TELL);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, all_home, f));
	rig_turns(&f->r, 16);
	/* The old driver's chain is nobody's, and nobody stands in the queue for it. */
	assert_false(rig_used(&f->deflate, &id, &len));
	assert_false(fake_space_calls(f->r.space)->queued);
	assert_int_equal(status(f).rejected, 0);
	send(&f->inflate, numbers, 100);
	send(&f->deflate, numbers, 100);
	assert_out(f, 0);
}

static void test_reset_in_the_middle_of_inflating(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[4096];

	/* Every second page: as many calls as pages. Reset it after ever more turns, so somewhere within. */
	for (unsigned i = 0; i < 4096; i++)
		numbers[i] = (uint32_t)(i < 2048 ? RIG_PAGES : FAKE_HIGH >> 12) + 2 * i;
	for (unsigned turns = 1; turns < 12; turns++) {
		for (unsigned k = 0; k < 4; k++)
			offer(&f->inflate, (uint16_t)k, numbers + 1024 * k, 1024);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, turns);
		rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
		if (turns % 2)
			bring_up(f, MUST_TELL | EVENT_IDX);
		assert_true(rig_until(&f->r, all_home, f));
		rig_turns(&f->r, 8);
		assert_out(f, 0);
		bring_up(f, MUST_TELL | EVENT_IDX);
	}
	send_run(&f->inflate, RIG_PAGES, 256);
	assert_out(f, 256);
	assert_int_equal(status(f).rejected, 0);
}

static void test_queue_stopped_while_held_back(void **state)
{
	struct fixture *f = *state;
	uint32_t numbers[10], id, len;

	for (unsigned i = 0; i < 10; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	send(&f->inflate, numbers, 10);
	fake_space_set_budget(f->r.space, 0);
	offer(&f->deflate, 5, numbers, 10);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, not_waiting, f));
	/* The request is void, the pages are where they were. */
	assert_out(f, 10);
	rig_queue_init(&f->r, &f->deflate, 1, QSIZE);
	assert_int_equal(rig_queue_start(&f->deflate), 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->deflate, &id, &len));
	send(&f->deflate, numbers, 10);
	assert_out(f, 0);
}

static void test_broken_then_reset(void **state)
{
	struct fixture *f = *state;
	struct rig_queue *queues[] = {&f->inflate, &f->deflate, &f->stats};

	for (unsigned i = 0; i < 3; i++) {
		send_run(&f->inflate, RIG_PAGES, 10);
		rig_offer(queues[i], 0xffff);
		rig_notify(&f->r, i);
		rig_turns(&f->r, 16);
		assert_true(status(f).broken);
		assert_false(status(f).driver_ok);
		assert_out(f, 10);
		bring_up(f, MUST_TELL | STATS);
		assert_true(rig_until(&f->r, all_home, f));
		assert_false(status(f).broken);
	}
}

/* ---- statistics
 * --------------------------------------------------------------------------------------------------- */

static void offer_stats(struct fixture *f, uint16_t head, const struct virtio_balloon_stat *stats,
			unsigned count)
{
	uint64_t at = RIG_BUFFERS + (QSIZE * 2 + head) * UINT64_C(0x8000);

	memcpy(mb_space_hva(f->r.space, at, count * sizeof(*stats)), stats, count * sizeof(*stats));
	rig_desc(&f->stats, head, at, count * (uint32_t)sizeof(*stats), 0, 0);
	rig_offer(&f->stats, head);
	rig_notify(&f->r, 2);
	rig_turns(&f->r, 8);
}

static void test_statistics(void **state)
{
	const struct virtio_balloon_stat stats[] = {
	    {VIRTIO_BALLOON_S_MEMFREE, 12345},
	    {VIRTIO_BALLOON_S_MEMTOT, MAXIMUM},
	    {VIRTIO_BALLOON_S_AVAIL, UINT64_MAX},
	    {16, 1},
	    {0xffff, 2},
	};
	struct fixture *f = *state;
	struct balloon_stats got;
	uint32_t id, len;

	balloon_get_stats(f->b, &got);
	assert_int_equal(got.last_update_s, 0);
	offer_stats(f, 3, stats, 5);
	balloon_get_stats(f->b, &got);
	assert_true(got.last_update_s > 0);
	for (unsigned i = 0; i < BALLOON_STATS; i++)
		assert_int_equal(got.known[i], i == VIRTIO_BALLOON_S_MEMFREE || i == VIRTIO_BALLOON_S_MEMTOT);
	assert_int_equal(got.value[VIRTIO_BALLOON_S_MEMFREE], 12345);
	/* We keep the buffer until we want to know more. */
	assert_false(rig_used(&f->stats, &id, &len));
	assert_int_equal(balloon_set_stats_interval(f->b, 1), 0);
	assert_int_equal(balloon_get_stats_interval(f->b), 1);
	assert_true(rig_until(&f->r, is_used, &f->stats));
	offer_stats(f, 3, stats, 1);
	balloon_get_stats(f->b, &got);
	assert_false(got.known[VIRTIO_BALLOON_S_MEMTOT]);
	assert_true(rig_until(&f->r, is_used, &f->stats)); /* the next period */
	assert_int_equal(balloon_set_stats_interval(f->b, 0), 0);
}

static void test_statistics_of_a_liar(void **state)
{
	struct virtio_balloon_stat stats[1000];
	struct fixture *f = *state;
	struct balloon_stats got;
	uint32_t id, len;

	for (unsigned i = 0; i < 1000; i++)
		stats[i] = (struct virtio_balloon_stat){(uint16_t)(i % 20), i};
	offer_stats(f, 1, stats, 1000);
	offer_stats(f, 2, stats, 1);
	offer_stats(f, 4, stats, 2);
	/* One buffer is kept, the last. */
	assert_true(rig_used(&f->stats, &id, &len) && id == 1);
	assert_true(rig_used(&f->stats, &id, &len) && id == 2);
	assert_false(rig_used(&f->stats, &id, &len));
	balloon_get_stats(f->b, &got);
	assert_true(got.known[0] && got.known[1] && !got.known[2]);
	/* It is void when its queue is stopped, and after a reset. */
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 2);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
	rig_queue_init(&f->r, &f->stats, 2, QSIZE);
	assert_int_equal(rig_queue_start(&f->stats), 1);
	balloon_set_stats_interval(f->b, 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->stats, &id, &len));
	bring_up(f, STATS);
	balloon_set_stats_interval(f->b, 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->stats, &id, &len));
	assert_false(status(f).broken);
}

/* ---- events
 * ------------------------------------------------------------------------------------------------------- */

struct wanted {
	struct fixture *f;
	uint64_t actual;
};

static bool told(void *arg)
{
	const struct wanted *w = arg;

	return w->f->actual == w->actual;
}

static void test_changes_are_told(void **state)
{
	struct fixture *f = *state;
	struct wanted w = {.f = f};

	/* The first at once. */
	send_run(&f->inflate, RIG_PAGES, 1);
	assert_int_equal(f->events[BALLOON_CHANGED], 1);
	assert_int_equal(f->actual, MAXIMUM - PAGE);
	/* Of many, few, and the last of them. */
	for (uint32_t i = 1; i < 1000; i++)
		send_run(&f->inflate, (uint32_t)RIG_PAGES + i, 1);
	w.actual = MAXIMUM - 1000 * PAGE;
	assert_true(rig_until(&f->r, told, &w));
	assert_true(f->events[BALLOON_CHANGED] < 500);
	send_run(&f->deflate, RIG_PAGES, 1000);
	w.actual = MAXIMUM;
	assert_true(rig_until(&f->r, told, &w));
}

static void test_a_reached_target_is_told_at_once(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(balloon_set_target(f->b, MAXIMUM - 20 * PAGE), 0);
	for (uint32_t i = 0; i < 20; i++)
		send_run(&f->inflate, (uint32_t)RIG_PAGES + i, 1);
	assert_int_equal(f->actual, MAXIMUM - 20 * PAGE);
	/* A guest that goes to and fro is not told of each time. */
	for (uint32_t i = 0; i < 200; i++) {
		send_run(&f->deflate, RIG_PAGES, 1);
		send_run(&f->inflate, RIG_PAGES, 1);
	}
	assert_true(f->events[BALLOON_CHANGED] < 100);
}

/* A guest whose memory was enlarged gives more than it was started with: no number wraps around. */
static void test_more_than_the_maximum(void **state)
{
	struct fixture *f = *state;
	struct balloon_config config = {.maximum = 16 * PAGE,
					.memory_end = FAKE_HIGH + FAKE_HALF,
					.initial_target = 16 * PAGE,
					.on_event = on_event,
					.arg = f};

	balloon_destroy(f->b);
	rig_teardown(&f->r);
	rig_setup(&f->r);
	config.space = f->r.space;
	assert_int_equal(balloon_create(&f->r.host, &config, &f->b), 0);
	bring_up(f, MUST_TELL | STATS | EVENT_IDX);
	assert_int_equal(balloon_set_target(f->b, 0), 0);
	send_run(&f->inflate, (uint32_t)(FAKE_HIGH >> 12), 20);
	assert_int_equal(fake_space_inflated(f->r.space), 20);
	assert_int_equal(status(f).actual, 0);
	assert_int_equal(f->actual, 0);
	assert_true(f->events[BALLOON_CHANGED] > 0);
	send_run(&f->deflate, (uint32_t)(FAKE_HIGH >> 12), 10);
	assert_int_equal(status(f).actual, 6 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_offered, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_target, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_inflate_and_deflate, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_any_order_makes_one_run, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_runs_go_across_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_chain_of_several_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_both_halves_of_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_more_than_the_maximum, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_foreign_pages, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pages_twice, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_own_rings_are_spared, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pool_refuses_one_of_many, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_deflation_is_held_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_memory_cannot_be_had, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_chain_does_not_wait_for_the_next, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_empties_the_balloon, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_keeps_what_is_written, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_without_budget, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_while_held_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_in_the_middle_of_inflating, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_queue_stopped_while_held_back, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_broken_then_reset, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_statistics, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_statistics_of_a_liar, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_a_reached_target_is_told_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_changes_are_told, setup, teardown),
	};

	return cmocka_run_group_tests_name("balloon", tests, NULL, NULL);
}
