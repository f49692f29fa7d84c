/* SPDX-License-Identifier: MIT */
/* test-core-errors.c - bad input: each its own errno, and nothing changed. */
#include "pool.h"

/* One giant frame plain, one with huge frames missing, one with a ragged end; then nothing. */
struct fixture {
	struct test_pool p;
	mb_slot slot;
	mb_frame base, huge, giant;
	uint64_t before;
};

#define CAPACITY (6 * GIANT)
#define RAGGED   (3 * GIANT + 3 * HUGE + 100) /* end of what is online */

static int set_up(void **state)
{
	struct fixture *x = calloc(1, sizeof(*x));

	assert_non_null(x);
	x->p = test_pool_empty(CAPACITY, 2, 0);
	assert_int_equal(mb_range_add(x->p.f, (mb_frame){0}, RAGGED), 0);
	x->slot = test_slot(&x->p);
	x->giant.n = 0;
	x->base.n = GIANT + 7 * HUGE + 9;
	x->huge.n = GIANT + 9 * HUGE;
	assert_int_equal(mb_frame_take(x->p.f, x->slot, MB_GIANT, x->giant), 0);
	assert_int_equal(mb_frame_take(x->p.f, x->slot, MB_HUGE, x->huge), 0);
	assert_int_equal(mb_frame_take(x->p.f, x->slot, MB_BASE, x->base), 0);
	x->before = test_snapshot(&x->p);
	*state = x;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *x = *state;

	assert_int_equal(test_snapshot(&x->p), x->before);
	test_pool_drop(&x->p);
	free(x);
	return 0;
}

static void test_bad_configurations(void **state)
{
	struct mb_frames_config good = {.capacity = GIANT, .base_shift = 12, .slots = 1}, c;
	size_t bytes = mb_frames_meta_bytes(&good);
	char *area = test_map(bytes + 4096);
	struct mb_frames *f = NULL;

	(void)state;
	c = good;
	c.capacity = 0;
	assert_int_equal(mb_frames_meta_bytes(&c), 0);
	assert_int_equal(mb_frames_init(area, bytes, &c, &f), -EINVAL);
	c.capacity = UINT64_MAX;
	assert_int_equal(mb_frames_init(area, bytes, &c, &f), -EINVAL);
	c = good;
	c.slots = 0;
	assert_int_equal(mb_frames_init(area, bytes, &c, &f), -EINVAL);
	c = good;
	c.base_shift = 3;
	assert_int_equal(mb_frames_init(area, bytes, &c, &f), -EINVAL);
	c = good;
	c.flags = 1u << 31;
	assert_int_equal(mb_frames_init(area, bytes, &c, &f), -EINVAL);
	assert_int_equal(mb_frames_init(NULL, bytes, &good, &f), -EINVAL);
	assert_int_equal(mb_frames_init(area + 64, bytes, &good, &f), -EINVAL);
	assert_int_equal(mb_frames_init(area, bytes - 1, &good, &f), -ENOSPC);
	assert_int_equal(mb_frames_init_in_band(area, 4095, &good, &f), -ENOSPC);
	assert_int_equal(mb_frames_init_in_band(area, 4096, &good, &f), -ENOSPC);
	assert_int_equal(mb_frames_init_in_band(area + 8, bytes - 8, &good, &f), -EINVAL);
	c = good;
	c.flags = MB_FRAMES_OWNED;
	assert_int_equal(mb_frames_init_in_band(area, bytes, &c, &f), -EINVAL);
	assert_int_equal(mb_frames_attach(area, bytes, &f), -EILSEQ);
	assert_int_equal(mb_frames_attach(area, 100, &f), -ENOSPC);
	assert_int_equal(mb_frames_attach(NULL, bytes, &f), -EINVAL);
	assert_null(f);
	/* a failed init has written nothing */
	for (size_t n = 0; n < bytes; n++)
		assert_int_equal(area[n], 0);
	munmap(area, bytes + 4096);
}

static void test_slot_that_is_not_open(void **state)
{
	struct fixture *x = *state;
	struct mb_frames *f = x->p.f;
	mb_frame frame = {0};
	const uint32_t bad[] = {1, 2, 3, UINT32_MAX};

	for (unsigned n = 0; n < 4; n++) {
		mb_slot s = {bad[n]};

		assert_int_equal(mb_frame_alloc(f, s, MB_BASE, &frame), -EBADF);
		assert_int_equal(mb_frame_alloc_batch(f, s, MB_BASE, &frame, 1), -EBADF);
		assert_int_equal(mb_frame_free(f, s, MB_BASE, x->base), -EBADF);
		assert_int_equal(mb_frame_free(f, s, MB_HUGE, x->huge), -EBADF);
		assert_int_equal(mb_frame_free_batch(f, s, MB_BASE, &x->base, 1), -EBADF);
		assert_int_equal(mb_frame_take(f, s, MB_BASE, (mb_frame){GIANT}), -EBADF);
		assert_int_equal(mb_frame_free_part(f, s, x->giant, 1), -EBADF);
		assert_int_equal(mb_frame_holes_add(f, s, x->giant, 1), -EBADF);
		assert_int_equal(mb_slot_close(f, s), -EBADF);
	}
}

static void test_bad_level_and_count(void **state)
{
	struct fixture *x = *state;
	struct mb_frames *f = x->p.f;
	mb_frame frame;

	assert_int_equal(mb_frame_alloc(f, x->slot, (enum mb_level)3, &frame), -EINVAL);
	assert_int_equal(mb_frame_free(f, x->slot, (enum mb_level)77, x->base), -EINVAL);
	assert_int_equal(mb_frame_take(f, x->slot, (enum mb_level)3, x->base), -EINVAL);
	assert_int_equal(mb_frame_free_batch(f, x->slot, (enum mb_level)3, &x->base, 1), -EINVAL);
	assert_int_equal(mb_frame_alloc_batch(f, x->slot, MB_BASE, &frame, 0), -EINVAL);
	assert_int_equal(mb_frame_alloc_batch(f, x->slot, (enum mb_level)3, &frame, 1), -EINVAL);
	assert_int_equal(mb_frame_free_batch(f, x->slot, MB_BASE, &frame, 0), -EINVAL);
	assert_int_equal(mb_frame_free_part(f, x->slot, x->giant, 0), -EINVAL);
	assert_int_equal(mb_range_add(f, (mb_frame){5 * GIANT}, 0), -EINVAL);
	assert_int_equal(mb_range_remove(f, (mb_frame){0}, 0, NULL), -EINVAL);
	assert_int_equal(mb_range_drain(f, (mb_frame){0}, 0, NULL), -EINVAL);
}

static void test_free_of_what_is_not_ours(void **state)
{
	struct fixture *x = *state;
	struct mb_frames *f = x->p.f;
	mb_slot s = x->slot;

	/* misaligned */
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){x->huge.n + 1}), -EINVAL);
	assert_int_equal(mb_frame_free(f, s, MB_GIANT, (mb_frame){x->giant.n + HUGE}), -EINVAL);
	assert_int_equal(mb_frame_take(f, s, MB_HUGE, (mb_frame){x->huge.n + 1}), -EINVAL);
	/* foreign */
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){CAPACITY}), -ERANGE);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){UINT64_MAX}), -ERANGE);
	assert_int_equal(mb_frame_free(f, s, MB_GIANT, (mb_frame){CAPACITY}), -ERANGE);
	assert_int_equal(mb_frame_take(f, s, MB_BASE, (mb_frame){CAPACITY}), -ERANGE);
	assert_int_equal(mb_frame_free_part(f, s, (mb_frame){CAPACITY - 1}, 2), -ERANGE);
	assert_int_equal(mb_frame_free_part(f, s, (mb_frame){1}, UINT64_MAX), -ERANGE);
	/* offline: at each level */
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){RAGGED}), -ENXIO);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){RAGGED + HUGE}), -ENXIO);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){5 * GIANT}), -ENXIO);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){3 * GIANT + 4 * HUGE}), -ENXIO);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){5 * GIANT}), -ENXIO);
	assert_int_equal(mb_frame_free(f, s, MB_GIANT, (mb_frame){5 * GIANT}), -ENXIO);
	assert_int_equal(mb_frame_take(f, s, MB_BASE, (mb_frame){RAGGED}), -ENXIO);
	assert_int_equal(mb_frame_take(f, s, MB_GIANT, (mb_frame){4 * GIANT}), -ENXIO);
	assert_int_equal(mb_frame_free_part(f, s, (mb_frame){RAGGED}, 1), -ENXIO);
}

static void test_double_free_and_wrong_level(void **state)
{
	struct fixture *x = *state;
	struct mb_frames *f = x->p.f;
	mb_slot s = x->slot;

	/* free already: at its own level, as a part of something larger that is free */
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){x->base.n + 1}), -EALREADY);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){x->huge.n + 5 * HUGE}), -EALREADY);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){x->huge.n + 5 * HUGE + 3}), -EALREADY);
	assert_int_equal(mb_frame_free(f, s, MB_GIANT, (mb_frame){2 * GIANT}), -EALREADY);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){2 * GIANT}), -EALREADY);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, (mb_frame){2 * GIANT + 1}), -EALREADY);
	/* allocated, at another level */
	assert_int_equal(mb_frame_free(f, s, MB_BASE, x->huge), -ENOENT);
	assert_int_equal(mb_frame_free(f, s, MB_BASE, x->giant), -ENOENT);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, x->giant), -ENOENT);
	assert_int_equal(mb_frame_free(f, s, MB_HUGE, (mb_frame){x->base.n / HUGE * HUGE}), -ENOENT);
	assert_int_equal(mb_frame_free(f, s, MB_GIANT, (mb_frame){x->base.n / GIANT * GIANT}), -ENOENT);
	/* a pool without owners has no holes */
	assert_int_equal(mb_frame_holes_add(f, s, x->huge, 1), -EPERM);
	assert_int_equal(mb_frame_holes_remove(f, s, x->huge, 1), -EPERM);
}

static void test_bad_ranges(void **state)
{
	struct fixture *x = *state;
	struct mb_frames *f = x->p.f;
	mb_frame busy = {0};

	assert_int_equal(mb_range_add(f, (mb_frame){CAPACITY - 1}, 2), -EFBIG);
	assert_int_equal(mb_range_add(f, (mb_frame){1}, UINT64_MAX), -EFBIG);
	assert_int_equal(mb_range_add(f, (mb_frame){CAPACITY}, 1), -EFBIG);
	assert_int_equal(mb_range_add(f, (mb_frame){RAGGED - 1}, 1), -EEXIST);
	assert_int_equal(mb_range_add(f, (mb_frame){RAGGED - 1}, GIANT), -EEXIST);
	assert_int_equal(mb_range_add(f, x->base, 1), -EEXIST);
	assert_int_equal(mb_range_add(f, (mb_frame){0}, CAPACITY), -EEXIST);
	assert_int_equal(mb_range_remove(f, (mb_frame){CAPACITY - 1}, 2, &busy), -ERANGE);
	assert_int_equal(mb_range_remove(f, (mb_frame){RAGGED - 1}, 2, &busy), -ENXIO);
	assert_int_equal(mb_range_remove(f, (mb_frame){5 * GIANT}, GIANT, &busy), -ENXIO);
	assert_int_equal(mb_range_remove(f, (mb_frame){x->base.n / HUGE * HUGE}, HUGE, &busy), -EBUSY);
	assert_int_equal(busy.n, x->base.n);
	busy.n = 0;
	assert_int_equal(mb_range_remove(f, (mb_frame){x->giant.n}, 3 * GIANT, &busy), -EBUSY);
	assert_int_equal(busy.n, x->giant.n);
	assert_int_equal(mb_range_drain(f, (mb_frame){CAPACITY - 1}, 2, NULL), -ERANGE);
	/* a part of a frame that is allocated whole cannot leave by itself */
	assert_int_equal(mb_range_drain(f, (mb_frame){x->giant.n + 7}, 100, NULL), -EBUSY);
}

static void test_full_pool(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	uint64_t before;
	mb_frame frame, out = {4711};

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_GIANT, &frame), 0);
	before = test_snapshot(&p);
	for (unsigned level = 0; level < MB_LEVELS; level++)
		assert_int_equal(mb_frame_alloc(p.f, slot, (enum mb_level)level, &out), -ENOMEM);
	assert_int_equal(mb_frame_alloc_batch(p.f, slot, MB_BASE, &out, 1), -ENOMEM);
	assert_int_equal(out.n, 4711);
	assert_int_equal(test_snapshot(&p), before);
	test_pool_drop(&p);
}

static void test_walk_bounds(void **state)
{
	struct fixture *x = *state;
	uint64_t h = 0;

	assert_int_equal(mb_frames_walk(x->p.f, (mb_frame){CAPACITY}, 1, test_hash_run, &h), -ERANGE);
	assert_int_equal(mb_frames_walk(x->p.f, (mb_frame){1}, UINT64_MAX, test_hash_run, &h), -ERANGE);
	assert_int_equal(mb_frames_walk(x->p.f, (mb_frame){0}, 0, test_hash_run, &h), -EINVAL);
	assert_int_equal(h, 0);
	assert_int_equal(mb_frame_state(x->p.f, (mb_frame){UINT64_MAX}), MB_OFFLINE);
}

#define WITH_POOL(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_bad_configurations),
	    WITH_POOL(test_slot_that_is_not_open),
	    WITH_POOL(test_bad_level_and_count),
	    WITH_POOL(test_free_of_what_is_not_ours),
	    WITH_POOL(test_double_free_and_wrong_level),
	    WITH_POOL(test_bad_ranges),
	    cmocka_unit_test(test_full_pool),
	    WITH_POOL(test_walk_bounds),
	};

	return cmocka_run_group_tests_name("core errors", tests, NULL, NULL);
}
