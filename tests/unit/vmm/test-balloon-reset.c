/* SPDX-License-Identifier: MIT */
/* test-balloon-reset.c - virtio-balloon: a budget that lacks bytes, and resets in the middle. */
#include "balloon_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* ---- the budget --------------------------------------------------------------------------------------- */

static bool not_waiting(void *arg)
{
	return balloon_rig_status(arg).waits_for == 0;
}

static void test_deflation_is_held_back(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[400], id, len;

	balloon_rig_send_run(&f->inflate, RIG_PAGES, 400);
	fake_space_set_budget(f->r.space, 150 * PAGE);
	for (unsigned i = 0; i < 400; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	balloon_rig_offer(&f->deflate, 1, numbers, 400);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	/* As far as it went, and it says what it lacks. */
	balloon_rig_assert_out(f, 250);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	assert_int_equal(f->events[BALLOON_GOES_ON], 0);
	assert_int_equal(balloon_rig_status(f).waits_for, 250 * PAGE);
	assert_false(rig_used(&f->deflate, &id, &len));
	/* It stands in the queue, behind whoever came before. */
	assert_true(fake_space_calls(f->r.space)->queued);
	assert_int_equal(fake_space_calls(f->r.space)->queued_bytes, 250 * PAGE);
	/* Inflating goes on, and helps. */
	balloon_rig_send_run(&f->inflate, RIG_PAGES + 1000, 100);
	rig_turns(&f->r, 16);
	balloon_rig_assert_out(f, 250);
	assert_int_equal(balloon_rig_status(f).waits_for, 150 * PAGE);
	assert_false(rig_used(&f->deflate, &id, &len));
	/* Somebody else makes room: found by itself. */
	fake_space_set_budget(f->r.space, 150 * PAGE);
	assert_true(rig_until(&f->r, not_waiting, f));
	balloon_rig_assert_out(f, 100);
	assert_true(rig_used(&f->deflate, &id, &len));
	assert_int_equal(id, 1);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	assert_int_equal(f->events[BALLOON_GOES_ON], 1);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_memory_cannot_be_had(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[3] = {RIG_PAGES, RIG_PAGES + 1, RIG_PAGES + 2}, id, len;

	balloon_rig_send(&f->inflate, numbers, 3);
	fake_space_fail_at(f->r.space, RIG_PAGES + 1, -ENOMEM);
	balloon_rig_offer(&f->deflate, 1, numbers, 3);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->deflate, &id, &len)); /* the guest must not touch it */
	assert_true(balloon_rig_status(f).waits_for > 0);
	fake_space_fail_at(f->r.space, UINT64_MAX, 0);
	assert_true(rig_until(&f->r, balloon_rig_is_used, &f->deflate));
	balloon_rig_assert_out(f, 0);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_a_chain_does_not_wait_for_the_next(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[20], id, len;

	for (unsigned i = 0; i < 20; i++)
		numbers[i] = (uint32_t)RIG_PAGES + 2 * i;
	balloon_rig_send(&f->inflate, numbers, 20);
	fake_space_set_budget(f->r.space, 10 * PAGE);
	balloon_rig_offer(&f->deflate, 0, numbers, 10);
	balloon_rig_offer(&f->deflate, 1, numbers + 10, 10);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_true(rig_used(&f->deflate, &id, &len) && id == 0);
	assert_false(rig_used(&f->deflate, &id, &len));
	assert_int_equal(balloon_rig_status(f).waits_for, 10 * PAGE);
}

/* ---- resets ------------------------------------------------------------------------------------------- */

static bool all_home(void *arg)
{
	struct balloon_rig *f = arg;

	return fake_space_inflated(f->r.space) == 0;
}

static void test_reset_empties_the_balloon(void **state)
{
	struct balloon_rig *f = *state;

	balloon_rig_send_run(&f->inflate, RIG_PAGES, 300);
	rig_set(&f->r, VIRTIO_MMIO_CONFIG + 4, 300);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	assert_int_equal(balloon_rig_status(f).guest_says, 0);
	assert_false(balloon_rig_status(f).driver_ok);
	assert_true(rig_until(&f->r, all_home, f));
	balloon_rig_assert_out(f, 0);
	balloon_rig_bring_up(f, MUST_TELL);
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 300);
	balloon_rig_assert_out(f, 300);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_reset_keeps_what_is_written(void **state)
{
	struct balloon_rig *f = *state;
	unsigned char *p = mb_space_hva(f->r.space, RIG_PAGES * PAGE, 2 * PAGE);

	balloon_rig_send_run(&f->inflate, RIG_PAGES, 2);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	p[5] = 77; /* the guest does not wait for us */
	assert_true(rig_until(&f->r, all_home, f));
	assert_int_equal(p[5], 77);
	/* Given again before it came back: then what is in it goes. */
	balloon_rig_bring_up(f, MUST_TELL);
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 2);
	fake_space_set_budget(f->r.space, 0);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	p[5] = 78;
	p[PAGE + 5] = 79;
	balloon_rig_bring_up(f, MUST_TELL);
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 1);
	assert_int_equal(p[5], 0xdd);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	balloon_rig_send_run(&f->deflate, RIG_PAGES, 1);
	assert_int_equal(p[5], 0);
	assert_true(rig_until(&f->r, all_home, f));
	assert_int_equal(p[PAGE + 5], 79);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_reset_without_budget(void **state)
{
	struct balloon_rig *f = *state;

	balloon_rig_send_run(&f->inflate, RIG_PAGES, 300);
	fake_space_set_budget(f->r.space, 100 * PAGE);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	rig_turns(&f->r, 16);
	balloon_rig_assert_out(f, 200);
	assert_int_equal(balloon_rig_status(f).waits_for, 200 * PAGE);
	assert_int_equal(f->events[BALLOON_WAITS], 1);
	/* The new driver may give again what never came back, and a reset again adds up. */
	balloon_rig_bring_up(f, MUST_TELL);
	balloon_rig_send_run(&f->inflate, RIG_PAGES + 250, 50);
	balloon_rig_assert_out(f, 200);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
	assert_int_equal(balloon_rig_status(f).waits_for, 150 * PAGE);
	balloon_rig_send_run(&f->inflate, RIG_PAGES + 250, 50); /* but not twice */
	assert_int_equal(balloon_rig_status(f).rejected, 50);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	rig_turns(&f->r, 16);
	assert_int_equal(balloon_rig_status(f).waits_for, 200 * PAGE);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, all_home, f));
	assert_true(rig_until(&f->r, not_waiting, f));
	assert_int_equal(f->events[BALLOON_GOES_ON], 1);
}

static void test_reset_while_held_back(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[100], id, len;

	for (unsigned i = 0; i < 100; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	balloon_rig_send(&f->inflate, numbers, 100);
	fake_space_set_budget(f->r.space, 0);
	balloon_rig_offer(&f->deflate, 5, numbers, 100);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	assert_int_equal(balloon_rig_status(f).waits_for, 100 * PAGE);
	balloon_rig_bring_up(f, MUST_TELL);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, all_home, f));
	rig_turns(&f->r, 16);
	/* The old driver's chain is nobody's, and nobody stands in the queue for it. */
	assert_false(rig_used(&f->deflate, &id, &len));
	assert_false(fake_space_calls(f->r.space)->queued);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
	balloon_rig_send(&f->inflate, numbers, 100);
	balloon_rig_send(&f->deflate, numbers, 100);
	balloon_rig_assert_out(f, 0);
}

static void test_reset_in_the_middle_of_inflating(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[4096];

	/* Every second page: as many calls as pages. Reset it after ever more turns, so somewhere within. */
	for (unsigned i = 0; i < 4096; i++)
		numbers[i] = (uint32_t)(i < 2048 ? RIG_PAGES : FAKE_HIGH >> 12) + 2 * i;
	for (unsigned turns = 1; turns < 12; turns++) {
		for (unsigned k = 0; k < 4; k++)
			balloon_rig_offer(&f->inflate, (uint16_t)k, numbers + 1024 * k, 1024);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, turns);
		rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
		if (turns % 2)
			balloon_rig_bring_up(f, MUST_TELL | EVENT_IDX);
		assert_true(rig_until(&f->r, all_home, f));
		rig_turns(&f->r, 8);
		balloon_rig_assert_out(f, 0);
		balloon_rig_bring_up(f, MUST_TELL | EVENT_IDX);
	}
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 256);
	balloon_rig_assert_out(f, 256);
	assert_int_equal(balloon_rig_status(f).rejected, 0);
}

static void test_queue_stopped_while_held_back(void **state)
{
	struct balloon_rig *f = *state;
	uint32_t numbers[10], id, len;

	for (unsigned i = 0; i < 10; i++)
		numbers[i] = (uint32_t)RIG_PAGES + i;
	balloon_rig_send(&f->inflate, numbers, 10);
	fake_space_set_budget(f->r.space, 0);
	balloon_rig_offer(&f->deflate, 5, numbers, 10);
	rig_notify(&f->r, 1);
	rig_turns(&f->r, 16);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 1);
	rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
	fake_space_set_budget(f->r.space, 1000 * PAGE);
	assert_true(rig_until(&f->r, not_waiting, f));
	/* The request is void, the pages are where they were. */
	balloon_rig_assert_out(f, 10);
	rig_queue_init(&f->r, &f->deflate, 1, QSIZE);
	assert_int_equal(rig_queue_start(&f->deflate), 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->deflate, &id, &len));
	balloon_rig_send(&f->deflate, numbers, 10);
	balloon_rig_assert_out(f, 0);
}

static void test_broken_then_reset(void **state)
{
	struct balloon_rig *f = *state;
	struct rig_queue *queues[] = {&f->inflate, &f->deflate, &f->stats};

	for (unsigned i = 0; i < 3; i++) {
		balloon_rig_send_run(&f->inflate, RIG_PAGES, 10);
		rig_offer(queues[i], 0xffff);
		rig_notify(&f->r, i);
		rig_turns(&f->r, 16);
		assert_true(balloon_rig_status(f).broken);
		assert_false(balloon_rig_status(f).driver_ok);
		balloon_rig_assert_out(f, 10);
		balloon_rig_bring_up(f, MUST_TELL | STATS);
		assert_true(rig_until(&f->r, all_home, f));
		assert_false(balloon_rig_status(f).broken);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_deflation_is_held_back, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_memory_cannot_be_had, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_a_chain_does_not_wait_for_the_next, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_empties_the_balloon, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_keeps_what_is_written, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_without_budget, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_while_held_back, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_in_the_middle_of_inflating, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_queue_stopped_while_held_back, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_broken_then_reset, balloon_rig_setup, balloon_rig_teardown),
	};

	return cmocka_run_group_tests_name("balloon-reset", tests, NULL, NULL);
}
