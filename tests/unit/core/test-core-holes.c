/* SPDX-License-Identifier: MIT */
/* test-core-holes.c - pools with owners: huge and giant frames, and holes in them. */
#include "layout.h"
#include "pool.h"

static void test_base_frames_are_refused(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	mb_frame frame = {0};

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), -EPERM);
	assert_int_equal(mb_frame_alloc_batch(p.f, slot, MB_BASE, &frame, 1), -EPERM);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, frame), -EPERM);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frame), -EPERM);
	assert_int_equal(mb_frame_free_part(p.f, slot, frame, 1), -EPERM);
	assert_int_equal(mb_range_remove(p.f, (mb_frame){1}, HUGE, NULL), -EINVAL);
	test_pool_drop(&p);
}

static void test_holes_in_a_giant_frame(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	uint64_t empty = test_snapshot(&p);
	struct mb_frames_count c;
	mb_frame giant;

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_GIANT, &giant), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){giant.n + 3}, 2 * HUGE), 0);
	c = test_count(&p);
	assert_int_equal(c.holes, 2 * HUGE);
	assert_int_equal(c.used, GIANT - 2 * HUGE);
	assert_int_equal(c.free, GIANT);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){giant.n + 2}), MB_USED);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){giant.n + 3}), MB_HOLE);
	test_pool_validate(&p);
	/* holes are nobody else's: the only other frame is the other giant one */
	for (uint64_t n = 0; n < 512; n++) {
		mb_frame huge;

		assert_int_equal(mb_frame_alloc(p.f, slot, MB_HUGE, &huge), 0);
		assert_true(huge.n / GIANT != giant.n / GIANT);
	}
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_HUGE, &giant), -ENOMEM);
	for (uint64_t n = 0; n < 512; n++)
		assert_int_equal(
		    mb_frame_free(p.f, slot, MB_HUGE, (mb_frame){(1 - giant.n / GIANT) * GIANT + n * HUGE}), 0);
	/* huge frames inside it are not frames of their own */
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, giant), -ENOENT);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, giant), -EBUSY);
	/* the whole of it becomes holes, and stays its owner's */
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){giant.n + 3}, 2 * HUGE), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, giant, GIANT), 0);
	assert_int_equal(test_count(&p).holes, GIANT);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, giant), -EBUSY);
	assert_int_equal(mb_frame_holes_remove(p.f, slot, giant, GIANT), 0);
	assert_int_equal(test_count(&p).used, GIANT);
	/* freed with holes in it, all of it is free */
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){giant.n + 77}, 99999), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, giant), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, giant), -EALREADY);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_int_equal(test_snapshot(&p), empty);
	assert_int_equal(test_count(&p).lines, 0);
	test_pool_drop(&p);
}

static void test_bad_holes_change_nothing(void **state)
{
	struct test_pool p = test_pool_empty(4 * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot;
	mb_frame huge = {GIANT + 5 * HUGE};
	uint64_t before;

	(void)state;
	assert_int_equal(mb_range_add(p.f, (mb_frame){0}, 2 * GIANT + 3 * HUGE), 0);
	slot = test_slot(&p);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, huge), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){huge.n + HUGE}), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){huge.n + 600}, 10), 0);
	before = test_snapshot(&p);
	/* a run that reaches a hole, at its end; one that lacks a hole */
	assert_int_equal(mb_frame_holes_add(p.f, slot, huge, 601), -EALREADY);
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){huge.n + 600}, 11), -EALREADY);
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){5}, 1), -EALREADY);
	/* not owned: free huge, free in a giant, offline, foreign */
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){huge.n + HUGE}, HUGE + 1), -EALREADY);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){huge.n + HUGE + 200}, HUGE), -ENOENT);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){GIANT - 1}, 2), -ENOENT);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){2 * GIANT + 3 * HUGE}, 1), -ENXIO);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){3 * GIANT}, 1), -ENXIO);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){4 * GIANT - 1}, 2), -ERANGE);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){0}, 0), -EINVAL);
	assert_int_equal(test_snapshot(&p), before);
	/* a huge frame with holes is freed with them */
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, (mb_frame){huge.n + HUGE}), 0);
	assert_int_equal(test_count(&p).holes, 0);
	test_pool_drop(&p);
}

/* Random holes against one byte a frame. */
static void test_holes_model(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	unsigned char *hole = calloc(GIANT, 1);
	uint64_t x = test_seed(), holes = 0;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){0}), 0);
	for (unsigned n = 0; n < 3000; n++) {
		uint64_t r = test_random(&x), first = (r >> 8) % GIANT;
		uint64_t count = 1 + test_random(&x) % (r % 3 ? 700 : 20000);
		bool add = r >> 4 & 1, fits;
		int rc;

		count = count < GIANT - first ? count : GIANT - first;
		fits = memchr(hole + first, add, count) == NULL;
		rc = add ? mb_frame_holes_add(p.f, slot, (mb_frame){first}, count)
			 : mb_frame_holes_remove(p.f, slot, (mb_frame){first}, count);
		assert_int_equal(rc, fits ? 0 : -EALREADY);
		if (rc)
			continue;
		memset(hole + first, add, count);
		holes = add ? holes + count : holes - count;
		assert_int_equal(test_count(&p).holes, holes);
	}
	for (uint64_t n = 0; n < GIANT; n += 37)
		assert_int_equal(mb_frame_state(p.f, (mb_frame){n}), hole[n] ? MB_HOLE : MB_USED);
	free(hole);
	test_pool_drop(&p);
}

/* Holes of whole giant frames are a bit each: no line appears, and a part that comes back is exact. */
static void test_giant_holes_have_no_lines(void **state)
{
	struct test_pool p = test_pool_make(1024 * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	uint64_t empty = test_snapshot(&p), before;

	(void)state;
	for (uint64_t n = 0; n < 1024; n++)
		assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){n * GIANT}), 0);
	before = test_count(&p).lines;
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){256 * GIANT}, 512 * GIANT), 0);
	assert_int_equal(test_count(&p).lines, before);
	assert_int_equal(test_count(&p).holes, 512 * GIANT);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){256 * GIANT - 1}), MB_USED);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){256 * GIANT}), MB_HOLE);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){768 * GIANT}), MB_USED);
	test_pool_validate(&p);
	before = test_snapshot(&p);
	/* what lies in it is a hole already; what reaches beyond it is none yet; a wrong end changes nothing */
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){300 * GIANT + 7}, 1), -EALREADY);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){255 * GIANT}, 2 * GIANT), -EALREADY);
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){767 * GIANT}, GIANT + 1), -EALREADY);
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, (mb_frame){300 * GIANT}), -ENOENT);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){300 * GIANT}), -EBUSY);
	assert_int_equal(test_snapshot(&p), before);
	/* a part, over the border of two of them */
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){400 * GIANT - 5}, HUGE), 0);
	assert_int_equal(test_count(&p).holes, 512 * GIANT - HUGE);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){400 * GIANT - 6}), MB_HOLE);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){400 * GIANT - 5}), MB_USED);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){400 * GIANT + HUGE - 6}), MB_USED);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){400 * GIANT + HUGE - 5}), MB_HOLE);
	test_pool_validate(&p);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){400 * GIANT - 5}, HUGE), 0);
	assert_int_equal(test_snapshot(&p), before);
	/* all of it comes back in one run, opened or not; freed with its holes it is free */
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){256 * GIANT}, 500 * GIANT), 0);
	assert_int_equal(test_count(&p).holes, 12 * GIANT);
	test_pool_validate(&p);
	for (uint64_t n = 0; n < 1024; n++)
		assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, (mb_frame){n * GIANT}), 0);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_int_equal(test_snapshot(&p), empty);
	assert_int_equal(test_count(&p).lines, 0);
	test_pool_drop(&p);
}

/* A giant frame whose holes came in pieces gives up its lines, when asked, and only then. */
static void test_holes_merge(void **state)
{
	struct test_pool p = test_pool_make(4 * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	uint64_t before;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){GIANT}), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){2 * GIANT}), 0);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){0}), -EBUSY);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT}), -EBUSY);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){2 * GIANT}), -EBUSY);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT + 1}), -EINVAL);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){4 * GIANT}), -ERANGE);
	for (uint64_t n = 0; n < 512; n++) {
		assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT}), -EBUSY);
		assert_int_equal(
		    mb_frame_holes_add(p.f, slot, (mb_frame){GIANT + (n * 77 % 512) * HUGE}, HUGE - 1), 0);
		assert_int_equal(
		    mb_frame_holes_add(p.f, slot, (mb_frame){GIANT + (n * 77 % 512) * HUGE + HUGE - 1}, 1), 0);
	}
	before = test_snapshot(&p);
	assert_true(test_count(&p).lines >= 512);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT}), 0);
	assert_true(test_count(&p).lines <= 2);
	assert_int_equal(test_snapshot(&p), before);
	test_pool_validate(&p);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT}), -EBUSY);
	assert_int_equal(mb_frame_holes_remove(p.f, slot, (mb_frame){GIANT + 9}, 1), 0);
	assert_int_equal(mb_frame_holes_merge(p.f, slot, (mb_frame){GIANT}), -EBUSY);
	assert_int_equal(test_count(&p).holes, GIANT - 1);
	assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, (mb_frame){GIANT}), 0);
	test_pool_drop(&p);
}

/* Random holes of all sizes over a few giant frames, against one byte a huge frame. */
static void test_giant_holes_model(void **state)
{
	enum { GIANTS = 6, HUGES = GIANTS * 512 };
	struct test_pool p = test_pool_make(GIANTS * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	unsigned char hole[HUGES] = {0};
	uint64_t x = test_seed(), holes = 0;

	(void)state;
	for (uint64_t n = 0; n < GIANTS; n++)
		assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){n * GIANT}), 0);
	for (unsigned n = 0; n < 4000; n++) {
		uint64_t r = test_random(&x), unit = r & 1 ? 512 : 1, first = (r >> 8) % (HUGES / unit) * unit;
		uint64_t count = (1 + test_random(&x) % 3) * unit;
		bool add = r >> 4 & 1, fits;
		int rc;

		count = count < HUGES - first ? count : HUGES - first;
		fits = memchr(hole + first, add, count) == NULL;
		rc = add ? mb_frame_holes_add(p.f, slot, (mb_frame){first * HUGE}, count * HUGE)
			 : mb_frame_holes_remove(p.f, slot, (mb_frame){first * HUGE}, count * HUGE);
		assert_int_equal(rc, fits ? 0 : -EALREADY);
		if (rc)
			continue;
		memset(hole + first, add, count);
		holes = add ? holes + count : holes - count;
		assert_int_equal(test_count(&p).holes, holes * HUGE);
	}
	for (uint64_t n = 0; n < HUGES; n++)
		assert_int_equal(mb_frame_state(p.f, (mb_frame){n * HUGE + n % HUGE}),
				 hole[n] ? MB_HOLE : MB_USED);
	test_pool_drop(&p);
}

static void test_drain_with_holes(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, MB_FRAMES_OWNED);
	mb_slot slot = test_slot(&p);
	uint64_t left;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){GIANT}), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){GIANT + 9}, 9), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){GIANT}, GIANT, &left), 0);
	assert_int_equal(left, GIANT);
	assert_int_equal(mb_frame_free(p.f, slot, MB_GIANT, (mb_frame){GIANT}), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){GIANT}, GIANT, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(test_count(&p).offline, GIANT);
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_base_frames_are_refused),  cmocka_unit_test(test_holes_in_a_giant_frame),
	    cmocka_unit_test(test_bad_holes_change_nothing), cmocka_unit_test(test_holes_model),
	    cmocka_unit_test(test_drain_with_holes),         cmocka_unit_test(test_giant_holes_have_no_lines),
	    cmocka_unit_test(test_giant_holes_model),        cmocka_unit_test(test_holes_merge),
	};

	return cmocka_run_group_tests_name("core holes", tests, NULL, NULL);
}
