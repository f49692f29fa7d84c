/* SPDX-License-Identifier: MIT */
/*
 * test-core-points.c - the core built with its points: a failure is forced at every step of every multi-step
 * operation, and nothing has changed afterwards; a decompression is held open in the middle while another
 * thread goes on allocating (A11).
 */
#include "layout.h"
#include "point.h"
#include "pool.h"

#include <pthread.h>
#include <stdatomic.h>

/* Which point fails (the countdown-th time that it is met), how often it was met, and who waits at it. */
static atomic_int fail_point = -1, countdown, met;
static atomic_int hold_point = -1, holding;
static _Thread_local bool may_hold;

int mbc_test_point(enum mbc_point point)
{
	if (may_hold && (int)point == atomic_load(&hold_point)) {
		atomic_store(&holding, 1);
		while (atomic_load(&hold_point) == (int)point)
			;
		atomic_store(&holding, 0);
	}
	if ((int)point != atomic_load(&fail_point))
		return 0;
	atomic_fetch_add(&met, 1);
	return atomic_fetch_sub(&countdown, 1) == 1;
}

static void arm(enum mbc_point point, int nth)
{
	atomic_store(&met, 0);
	atomic_store(&countdown, nth);
	atomic_store(&fail_point, (int)point);
}

static bool disarm(void)
{
	atomic_store(&fail_point, -1);
	return atomic_load(&countdown) <= 0;
}

static void test_merge_rolls_back(void **state)
{
	(void)state;
	for (int nth = 1; nth <= 8; nth++) {
		struct test_pool p = test_pool_make(GIANT, 2, 0);
		mb_slot a = test_slot(&p), b = test_slot(&p);
		mb_frame frames[HUGE];
		unsigned n = 0;

		/* a line of a's, left by it; then b frees the last of it, and its merge fails at word nth */
		while (n < HUGE)
			n += (unsigned)mb_frame_alloc_batch(p.f, a, MB_BASE, frames + n, (unsigned)HUGE - n);
		assert_int_equal(mb_slot_close(p.f, a), 0);
		for (n = 0; n < HUGE - 1; n++)
			assert_int_equal(mb_frame_free(p.f, b, MB_BASE, frames[n]), 0);
		arm(MBC_POINT_MERGE_WORD, nth);
		assert_int_equal(mb_frame_free(p.f, b, MB_BASE, frames[n]), 0);
		assert_true(disarm());
		assert_int_equal(test_count(&p).used, 0);
		/* all of it can still be had */
		for (n = 0; n < GIANT; n++)
			assert_int_equal(mb_frame_alloc(p.f, b, MB_BASE, &frames[0]), 0);
		assert_int_equal(mb_frame_alloc(p.f, b, MB_BASE, &frames[0]), -ENOMEM);
		munmap(p.area, p.bytes);
	}
}

static void test_split_gives_the_frame_back(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	uint64_t before = test_snapshot(&p);
	mb_frame frame;

	(void)state;
	for (int nth = 1; nth <= 2; nth++) {
		/* it is tried again, so that it takes a failure each time to see the frame go back */
		arm(MBC_POINT_SPLIT_OPEN, nth);
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
		assert_true(disarm());
		assert_int_equal(test_count(&p).used, 1);
		assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frame), 0);
		assert_int_equal(test_snapshot(&p), before);
		test_pool_validate(&p);
		assert_int_equal(mb_slot_close(p.f, slot), 0);
		assert_int_equal(test_count(&p).lines, 0);
		slot = test_slot(&p);
	}
	test_pool_drop(&p);
}

static void test_take_gives_the_frame_back(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, 0);
	mb_slot slot = test_slot(&p);

	(void)state;
	for (int nth = 1; nth <= 2; nth++) {
		uint64_t before = test_snapshot(&p);

		arm(MBC_POINT_TAKE_SPLIT, nth);
		assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){12345}), -EBUSY);
		assert_true(disarm());
		assert_int_equal(test_snapshot(&p), before);
		test_pool_validate(&p);
	}
	test_pool_drop(&p);
}

/* A range with ragged ends, over whole and split frames: it fails at each piece in turn. */
static void test_remove_gives_everything_back(void **state)
{
	struct test_pool p = test_pool_make(4 * GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	uint64_t before, first = GIANT - 5 * HUGE - 77, count = 2 * GIANT + 9 * HUGE;
	mb_frame busy;
	int nth = 1;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){7}), 0);
	before = test_snapshot(&p);
	for (;; nth++) {
		int rc;

		arm(MBC_POINT_REMOVE_TAKE, nth);
		rc = mb_range_remove(p.f, (mb_frame){first}, count, &busy);
		if (!disarm()) {
			assert_int_equal(rc, 0);
			break;
		}
		assert_int_equal(rc, -EBUSY);
		assert_int_equal(test_snapshot(&p), before);
		test_pool_validate(&p);
	}
	assert_true(nth > 10);
	assert_int_equal(test_count(&p).offline, count);
	assert_int_equal(mb_range_add(p.f, (mb_frame){first}, count), 0);
	assert_int_equal(test_snapshot(&p), before);
	test_pool_drop(&p);
}

static void test_holes_roll_back(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	uint64_t before;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){100}, 5 * HUGE), 0);
	before = test_snapshot(&p);
	for (int nth = 1; nth <= 6; nth++) {
		arm(MBC_POINT_HOLES_APPLY, nth);
		assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){6 * HUGE + 9}, 5 * HUGE), -EALREADY);
		assert_true(disarm());
		assert_int_equal(test_snapshot(&p), before);
		arm(MBC_POINT_HOLES_APPLY, nth);
		assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){100}, 5 * HUGE), -EALREADY);
		assert_true(disarm());
		assert_int_equal(test_snapshot(&p), before);
		test_pool_validate(&p);
	}
	test_pool_drop(&p);
}

/* In band: a block that cannot be made at the moment, and one that cannot go. */
static void test_in_band_blocks_roll_back(void **state)
{
	(void)state;
	for (int nth = 1; nth <= 9; nth++) {
		struct test_pool p = test_pool_in_band(2 * GIANT, 1);
		mb_slot slot = test_slot(&p);
		mb_frame far = {GIANT + 100 * HUGE + 3};
		uint64_t before = test_snapshot(&p);

		arm(MBC_POINT_BLOCK_MAKE, 1);
		assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, far), -EBUSY);
		assert_true(disarm());
		assert_int_equal(test_snapshot(&p), before);
		test_pool_validate(&p);
		assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, far), 0);
		assert_int_equal(test_count(&p).used, 2);
		assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, far), 0);
		arm(nth < 9 ? MBC_POINT_VANISH_WORD : MBC_POINT_VANISH_DONE, nth < 9 ? nth : 1);
		assert_int_equal(mb_slot_close(p.f, slot), 0);
		assert_true(disarm());
		/* it has stayed, all of it */
		assert_int_equal(test_count(&p).used, 1);
		test_pool_validate(&p);
		/* and goes when somebody needs the room */
		slot = test_slot(&p);
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_GIANT, &far), 0);
		assert_int_equal(far.n, GIANT);
		assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, far), 0);
		assert_int_equal(test_snapshot(&p), before);
		test_pool_drop(&p);
	}
}

/* In band: a block that somebody looks into stays, until he has looked away and somebody needs the room. */
static void test_in_band_guard(void **state)
{
	struct test_pool p = test_pool_in_band(2 * GIANT, 2);
	mb_slot slot = test_slot(&p), looker = test_slot(&p);
	mb_frame far = {GIANT + 100 * HUGE + 3};
	uint64_t before = test_snapshot(&p);
	mbc_a32 *guard = &mbc_slot_at(p.f, looker.n)->guard;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, far), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, far), 0);
	mbc_store32_relaxed(guard, (uint32_t)mbc_block_of(far.n / HUGE) + 1);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_int_equal(test_count(&p).used, 1);
	mbc_store32_relaxed(guard, 0);
	assert_int_equal(mb_frame_alloc(p.f, looker, MB_GIANT, &far), 0);
	assert_int_equal(mb_frame_free(p.f, looker, MB_GIANT, far), 0);
	assert_int_equal(test_snapshot(&p), before);
	test_pool_drop(&p);
}

struct holder {
	struct test_pool *p;
	mb_slot slot;
	mb_frame frame;
	atomic_int done;
	int rc;
};

static void *alloc_held(void *arg)
{
	struct holder *h = arg;

	may_hold = true;
	h->rc = mb_frame_alloc(h->p->f, h->slot, MB_BASE, &h->frame);
	atomic_store(&h->done, 1);
	return NULL;
}

/* One thread stands still within a split; the other allocates all there is but that range, and goes on. */
static void hold_open(struct test_pool *p, enum mbc_point point)
{
	struct holder h = {.p = p, .slot = test_slot(p)};
	mb_slot slot = test_slot(p);
	uint64_t n = 0, free_before;
	mb_frame frame;
	pthread_t t;

	/* what is split already is used up, so that the other thread must split; and we have something to split
	 */
	for (uint64_t x = 0; x < HUGE; x++)
		if (p->f->in_band && mb_frame_state(p->f, (mb_frame){x}) == MB_FREE)
			assert_int_equal(mb_frame_take(p->f, slot, MB_BASE, (mb_frame){x}), 0);
	free_before = test_count(p).free;
	assert_int_equal(mb_frame_take(p->f, slot, MB_BASE, (mb_frame){2 * GIANT + 5}), 0);
	atomic_store(&hold_point, (int)point);
	assert_int_equal(pthread_create(&t, NULL, alloc_held, &h), 0);
	while (!atomic_load(&holding) && !atomic_load(&h.done))
		;
	assert_true(atomic_load(&holding));
	/* nobody waits for it: what it has locked is merely missing */
	while (mb_frame_alloc(p->f, slot, MB_BASE, &frame) == 0)
		n++;
	assert_true(n > 0 && n < free_before);
	assert_true(free_before - n <= 2 * GIANT);
	assert_true(atomic_load(&holding));
	atomic_store(&hold_point, -1);
	pthread_join(t, NULL);
	assert_int_equal(h.rc, 0);
	/* now the rest of it is there */
	while (mb_frame_alloc(p->f, slot, MB_BASE, &frame) == 0)
		n++;
	assert_int_equal(test_count(p).free, 0);
	test_pool_drop(p);
}

static void test_a11_held_open_out_of_band(void **state)
{
	struct test_pool p = test_pool_make(4 * GIANT, 2, 0);

	(void)state;
	hold_open(&p, MBC_POINT_SPLIT_OPEN);
	p = test_pool_make(4 * GIANT, 2, 0);
	hold_open(&p, MBC_POINT_SPLIT_FILL);
}

static void test_a11_held_open_in_band(void **state)
{
	struct test_pool p = test_pool_in_band(4 * GIANT, 2);

	(void)state;
	hold_open(&p, MBC_POINT_SPLIT_FILL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_merge_rolls_back),
	    cmocka_unit_test(test_split_gives_the_frame_back),
	    cmocka_unit_test(test_take_gives_the_frame_back),
	    cmocka_unit_test(test_remove_gives_everything_back),
	    cmocka_unit_test(test_holes_roll_back),
	    cmocka_unit_test(test_in_band_blocks_roll_back),
	    cmocka_unit_test(test_in_band_guard),
	    cmocka_unit_test(test_a11_held_open_out_of_band),
	    cmocka_unit_test(test_a11_held_open_in_band),
	};

	return cmocka_run_group_tests_name("core points", tests, NULL, NULL);
}
