/* SPDX-License-Identifier: MIT */
/* test-balloon-tell.c - virtio-balloon: statistics, and the events of what changes. */
#include "balloon_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

/* ---- statistics --------------------------------------------------------------------------------------- */

static void offer_stats(struct balloon_rig *f, uint16_t head, const struct virtio_balloon_stat *stats,
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
	struct balloon_rig *f = *state;
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
	assert_true(rig_until(&f->r, balloon_rig_is_used, &f->stats));
	offer_stats(f, 3, stats, 1);
	balloon_get_stats(f->b, &got);
	assert_false(got.known[VIRTIO_BALLOON_S_MEMTOT]);
	assert_true(rig_until(&f->r, balloon_rig_is_used, &f->stats)); /* the next period */
	assert_int_equal(balloon_set_stats_interval(f->b, 0), 0);
}

static void test_statistics_of_a_liar(void **state)
{
	struct virtio_balloon_stat stats[1000];
	struct balloon_rig *f = *state;
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
	balloon_rig_bring_up(f, STATS);
	balloon_set_stats_interval(f->b, 1);
	rig_turns(&f->r, 16);
	assert_false(rig_used(&f->stats, &id, &len));
	assert_false(balloon_rig_status(f).broken);
}

/* ---- events ------------------------------------------------------------------------------------------- */

struct wanted {
	struct balloon_rig *f;
	uint64_t actual;
};

static bool told(void *arg)
{
	const struct wanted *w = arg;

	return w->f->actual == w->actual;
}

static void test_changes_are_told(void **state)
{
	struct balloon_rig *f = *state;
	struct wanted w = {.f = f};

	/* The first at once. */
	balloon_rig_send_run(&f->inflate, RIG_PAGES, 1);
	assert_int_equal(f->events[BALLOON_CHANGED], 1);
	assert_int_equal(f->actual, MAXIMUM - PAGE);
	/* Of many, few, and the last of them. */
	for (uint32_t i = 1; i < 1000; i++)
		balloon_rig_send_run(&f->inflate, (uint32_t)RIG_PAGES + i, 1);
	w.actual = MAXIMUM - 1000 * PAGE;
	assert_true(rig_until(&f->r, told, &w));
	assert_true(f->events[BALLOON_CHANGED] < 500);
	balloon_rig_send_run(&f->deflate, RIG_PAGES, 1000);
	w.actual = MAXIMUM;
	assert_true(rig_until(&f->r, told, &w));
}

static void test_a_reached_target_is_told_at_once(void **state)
{
	struct balloon_rig *f = *state;

	assert_int_equal(balloon_set_target(f->b, MAXIMUM - 20 * PAGE), 0);
	for (uint32_t i = 0; i < 20; i++)
		balloon_rig_send_run(&f->inflate, (uint32_t)RIG_PAGES + i, 1);
	assert_int_equal(f->actual, MAXIMUM - 20 * PAGE);
	/* A guest that goes to and fro is not told of each time. */
	for (uint32_t i = 0; i < 200; i++) {
		balloon_rig_send_run(&f->deflate, RIG_PAGES, 1);
		balloon_rig_send_run(&f->inflate, RIG_PAGES, 1);
	}
	assert_true(f->events[BALLOON_CHANGED] < 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_statistics, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_statistics_of_a_liar, balloon_rig_setup, balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_a_reached_target_is_told_at_once, balloon_rig_setup,
					    balloon_rig_teardown),
	    cmocka_unit_test_setup_teardown(test_changes_are_told, balloon_rig_setup, balloon_rig_teardown),
	};

	return cmocka_run_group_tests_name("balloon-tell", tests, NULL, NULL);
}
