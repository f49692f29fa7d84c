/* SPDX-License-Identifier: MIT */
/*
 * test-balloon.c - virtio-balloon: inflating and deflating in every order of page numbers, and guests that lie about
 * their pages.
 */
#include "balloon_rig.h"

#include "log.h"

#include <endian.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- a good driver --------------------------------------------------------------------------------------- */

static void test_offered(void **state)
{
	struct balloon_rig *f = *state;

	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_ID), 5);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) & 0x3f,
			 MUST_TELL | STATS | UINT64_C(1) << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
			     UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON |
			     UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING);
	assert_true(balloon_rig_status(f).driver_ok);
	assert_false(balloon_rig_status(f).broken);
}

static void test_target(void **state)
{
	struct balloon_rig *f = *state;

	assert_int_equal(balloon_set_target(f->b, MAXIMUM - 10 * PAGE - 1), 0);
	assert_int_equal(balloon_rig_status(f).target, MAXIMUM - 10 * PAGE); /* rounded up */
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
	assert_int_equal(balloon_rig_status(f).guest_says, 77 * PAGE);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), FAKE_PAGES);
	assert_int_equal(balloon_rig_status(f).actual, MAXIMUM);
}

static void test_inflate_and_deflate(void **state)
{
	struct balloon_rig *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_PAGES * PAGE, PAGE);

	balloon_rig_send_run(&f->inflate, RIG_PAGES, 256);
	balloon_rig_assert_out(f, 256);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	assert_int_equal(fake_space_calls(f->r.space)->longest, 256);
	balloon_rig_send_run(&f->deflate, RIG_PAGES, 256);
	balloon_rig_assert_out(f, 0);
	assert_int_equal(*p, 0);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
	assert_int_equal(balloon_rig_status(f).inflated_total, 256 * PAGE);
	assert_int_equal(balloon_rig_status(f).deflated_total, 256 * PAGE);
}

static void test_any_order_makes_one_run(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t n[1000];
	uint64_t x = 1;

	for (unsigned i = 0; i < 1000; i++)
		n[i] = (uint32_t)RIG_PAGES + 999 - i; /* descending */
	balloon_rig_send(&f->inflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	for (unsigned i = 999; i > 0; i--) { /* shuffled */
		unsigned j = (unsigned)((x = x * 6364136223846793005u + 1) >> 33) % (i + 1);
		uint32_t t = n[i];

		n[i] = n[j];
		n[j] = t;
	}
	balloon_rig_send(&f->deflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->deflates, 1);
	for (unsigned i = 0; i < 500; i++) { /* two interleaved */
		n[2 * i] = (uint32_t)RIG_PAGES + i;
		n[2 * i + 1] = (uint32_t)RIG_PAGES + 5000 - i;
	}
	balloon_rig_send(&f->inflate, n, 1000);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 3);
	balloon_rig_assert_out(f, 1000);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_runs_go_across_buffers(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t n[QSIZE][256], id, len;

	/* Every second page in one buffer, the rest in the next: together they are one run. */
	for (unsigned k = 0; k < QSIZE; k++) {
		for (unsigned i = 0; i < 256; i++)
			n[k][i] = (uint32_t)RIG_PAGES + (k / 2) * 512 + 2 * i + k % 2;
		balloon_rig_offer(&f->inflate, (uint16_t)k, n[k], 256);
	}
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_int_equal(fake_space_calls(f->r.space)->inflates, 1);
	balloon_rig_assert_out(f, QSIZE * 256);
	for (unsigned k = 0; k < QSIZE; k++) {
		assert_true(rig_used(&f->inflate, &id, &len));
		assert_int_equal(id, k);
		assert_int_equal(len, 0);
	}
	assert_false(rig_used(&f->inflate, &id, &len));
}

static void test_chain_of_several_buffers(void **state)
{
	struct balloon_rig *f = *state;
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
	balloon_rig_assert_out(f, 10);
	/* And a chain of nothing comes back as well. */
	rig_desc(&f->inflate, 3, RIG_BUFFERS, 0, 0, 0);
	rig_offer(&f->inflate, 3);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_true(rig_used(&f->inflate, &id, &len));
	balloon_rig_assert_out(f, 10);
}

static void test_both_halves_of_memory(void **state)
{
	struct balloon_rig *f = *state;
	const uint32_t high = FAKE_HIGH >> 12;
	uint32_t n[] = {high, high + 1, (FAKE_HALF >> 12) - 1, high + (FAKE_HALF >> 12) - 1};

	balloon_rig_send(&f->inflate, n, 4);
	balloon_rig_assert_out(f, 4);
	balloon_rig_send(&f->deflate, n, 4);
	balloon_rig_assert_out(f, 0);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

/* ---- pages that are refused --------------------------------------------------------------------------- */

static void test_foreign_pages(void **state)
{
	struct balloon_rig *f = *state;
	const uint32_t end = FAKE_HALF >> 12, high = FAKE_HIGH >> 12;
	/* The hole's edges, far beyond, and a run that begins in memory and ends outside. */
	uint32_t n[] = {end,     high - 1, UINT32_MAX, UINT32_MAX - 1, high + end, 0x80000000,
			end - 2, end - 1,  end,        end + 1,        RIG_PAGES};

	balloon_rig_send(&f->inflate, n, 11);
	balloon_rig_assert_out(f, 3);
	assert_int_equal(balloon_rig_status(f).rejected, 8);
	assert_true(fake_space_is_inflated(f->r.space, end - 1));
	assert_true(fake_space_is_inflated(f->r.space, RIG_PAGES));
	assert_true(log_guest_count() > 0);
	balloon_rig_send(&f->deflate, n, 11);
	balloon_rig_assert_out(f, 0);
	assert_false(balloon_rig_status(f).broken);
}

static void test_pages_twice(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t n[] = {RIG_PAGES, RIG_PAGES + 1, RIG_PAGES, RIG_PAGES + 2, RIG_PAGES + 1};

	balloon_rig_send(&f->inflate, n, 5); /* in one buffer */
	balloon_rig_assert_out(f, 3);
	assert_int_equal(balloon_rig_status(f).rejected, 2);
	balloon_rig_send_run(&f->inflate, RIG_PAGES - 2, 7); /* and in another: what is new in it counts */
	balloon_rig_assert_out(f, 7);
	assert_int_equal(balloon_rig_status(f).rejected, 5);
	balloon_rig_send(&f->deflate, n, 5);
	balloon_rig_assert_out(f, 4);
	assert_int_equal(balloon_rig_status(f).rejected, 7);
	balloon_rig_send_run(&f->deflate, RIG_PAGES - 2, 7);
	balloon_rig_assert_out(f, 0);
	assert_int_equal(balloon_rig_status(f).rejected, 10);
	balloon_rig_send_run(&f->deflate, RIG_PAGES, 4); /* nothing of it is in the balloon */
	balloon_rig_assert_out(f, 0);
	assert_int_equal(balloon_rig_status(f).rejected, 14);
}

static void test_own_rings_are_spared(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t first = (uint32_t)(RIG_RINGS >> 12);

	/* Three queues at 64 KiB from each other: their rings touch pages 0, 8 and 10 of each. */
	balloon_rig_send_run(&f->inflate, first, 48);
	balloon_rig_assert_out(f, 48 - 9);
	assert_int_equal(balloon_rig_status(f).rejected, 9);
	assert_false(fake_space_is_inflated(f->r.space, first));
	assert_true(fake_space_is_inflated(f->r.space, first + 1));
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 1);
	balloon_rig_assert_out(f, 48 - 9 + 1);
}

static void test_pool_refuses_one_of_many(void **state)
{
	struct balloon_rig *f = *state;

	fake_space_steal(f->r.space, RIG_PAGES + 100); /* -EALREADY there */
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 256);
	assert_int_equal(fake_space_inflated(f->r.space), 256);
	assert_int_equal(balloon_rig_status(f).actual, MAXIMUM - 255 * PAGE);
	assert_int_equal(balloon_rig_status(f).rejected, 1);
	assert_true(fake_space_calls(f->r.space)->refused < 40);
	/* Not in the ledger, though it was given: not in the balloon either. */
	fake_space_fail_at(f->r.space, RIG_PAGES + 50, -EALREADY);
	balloon_rig_send_run(&f->deflate, RIG_PAGES, 256);
	assert_int_equal(balloon_rig_status(f).actual, MAXIMUM);
	assert_int_equal(balloon_rig_status(f).rejected, 3);
}

/* A guest whose memory was enlarged gives more than it was started with: no number wraps around. */
static void test_more_than_the_maximum(void **state)
{
	struct balloon_rig *f = *state;
	struct balloon_config config = {.maximum = 16 * PAGE,
					.memory_end = FAKE_HIGH + FAKE_HALF,
					.initial_target = 16 * PAGE,
					.on_event = balloon_rig_on_event,
					.arg = f};

	balloon_destroy(f->b);
	rig_teardown(&f->r);
	rig_setup(&f->r);
	config.space = f->r.space;
	assert_int_equal(balloon_create(&f->r.host, &config, &f->b), 0);
	balloon_rig_bring_up(f, MUST_TELL | STATS | EVENT_IDX);
	assert_int_equal(balloon_set_target(f->b, 0), 0);
	balloon_rig_send_run(&f->inflate, (uint32_t)(FAKE_HIGH >> 12), 20);
	assert_int_equal(fake_space_inflated(f->r.space), 20);
	assert_int_equal(balloon_rig_status(f).actual, 0);
	assert_int_equal(f->actual, 0);
	assert_true(f->events[BALLOON_CHANGED] > 0);
	balloon_rig_send_run(&f->deflate, (uint32_t)(FAKE_HIGH >> 12), 10);
	assert_int_equal(balloon_rig_status(f).actual, 6 * PAGE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_offered, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_target, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_inflate_and_deflate, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_any_order_makes_one_run, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_runs_go_across_buffers, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_chain_of_several_buffers, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_both_halves_of_memory, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_more_than_the_maximum, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_foreign_pages, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_pages_twice, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_own_rings_are_spared, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_pool_refuses_one_of_many, balloon_rig_setup,
					    balloon_rig_teardown),
	};

	return cmocka_run_group_tests_name("balloon", tests, NULL, NULL);
}
