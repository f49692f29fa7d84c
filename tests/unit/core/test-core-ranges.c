/* SPDX-License-Identifier: MIT */
/* test-core-ranges.c - ranges come and go (A2), in band (A11), and a model of all of it. */
#include "layout.h"
#include "pool.h"

/* Whatever the ends, what was added is free, what was removed is offline, and adding all gives all again. */
static void test_a2_ends_at_any_frame(void **state)
{
	const uint64_t ends[] = {0,
				 1,
				 63,
				 64,
				 65,
				 511,
				 512,
				 513,
				 5000,
				 GIANT - 1,
				 GIANT,
				 GIANT + 1,
				 GIANT + 512,
				 GIANT + 700,
				 2 * GIANT,
				 2 * GIANT + 3,
				 3 * GIANT - 512,
				 3 * GIANT};
	unsigned n = sizeof(ends) / sizeof(ends[0]);

	(void)state;
	for (unsigned a = 0; a < n; a++)
		for (unsigned b = a + 1; b < n; b++) {
			struct test_pool p = test_pool_empty(3 * GIANT, 1, 0);
			uint64_t count = ends[b] - ends[a];
			struct mb_frames_count c;

			assert_int_equal(mb_range_add(p.f, (mb_frame){ends[a]}, count), 0);
			assert_int_equal(test_count(&p).free, count);
			test_pool_validate(&p);
			assert_int_equal(mb_range_add(p.f, (mb_frame){ends[a]}, count), -EEXIST);
			if (ends[a])
				assert_int_equal(mb_range_add(p.f, (mb_frame){0}, ends[a]), 0);
			if (ends[b] < 3 * GIANT)
				assert_int_equal(mb_range_add(p.f, (mb_frame){ends[b]}, 3 * GIANT - ends[b]),
						 0);
			c = test_count(&p);
			assert_int_equal(c.free, 3 * GIANT);
			assert_int_equal(c.whole[MB_GIANT], 3);
			assert_int_equal(c.lines, 0);
			assert_int_equal(mb_range_remove(p.f, (mb_frame){ends[a]}, count, NULL), 0);
			assert_int_equal(test_count(&p).free, 3 * GIANT - count);
			assert_int_equal(test_count(&p).offline, count);
			test_pool_drop(&p);
		}
}

static void test_a2_drain(void **state)
{
	struct test_pool p = test_pool_make(4 * GIANT, 2, 0);
	mb_slot slot = test_slot(&p), other = test_slot(&p);
	mb_frame huge = {GIANT + 4 * HUGE}, base = {2 * GIANT + 5}, giant = {3 * GIANT}, frame;
	uint64_t left = 0, n = 0;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, huge), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, base), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, giant), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){GIANT}, 3 * GIANT, &left), 0);
	assert_int_equal(left, GIANT + HUGE + 1);
	assert_int_equal(mb_frame_state(p.f, base), MB_DRAINING);
	assert_int_equal(mb_frame_state(p.f, huge), MB_DRAINING);
	assert_int_equal(mb_frame_state(p.f, giant), MB_DRAINING);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){2 * GIANT}), MB_OFFLINE);
	/* nothing of it is handed out, to neither slot */
	while (mb_frame_alloc(p.f, n % 2 ? slot : other, MB_BASE, &frame) == 0) {
		assert_true(frame.n < GIANT);
		n++;
	}
	assert_int_equal(n, GIANT);
	assert_int_equal(mb_frame_free(p.f, other, MB_BASE, base), 0);
	assert_int_equal(mb_frame_state(p.f, base), MB_OFFLINE);
	assert_int_equal(mb_frame_free(p.f, other, MB_BASE, base), -ENXIO);
	assert_int_equal(mb_frame_free_part(p.f, slot, huge, 100), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){GIANT}, 3 * GIANT, &left), 0);
	assert_int_equal(left, GIANT + HUGE - 100);
	assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){huge.n + 100}, HUGE - 100), 0);
	assert_int_equal(mb_frame_free_part(p.f, slot, giant, 1000), 0);
	assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){giant.n + 1000}, GIANT - 1000), 0);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), -ENOMEM);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){GIANT}, 3 * GIANT, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(test_count(&p).offline, 3 * GIANT);
	test_pool_validate(&p);
	/* and it can come again */
	assert_int_equal(mb_range_add(p.f, (mb_frame){GIANT}, 3 * GIANT), 0);
	assert_int_equal(test_count(&p).whole[MB_GIANT], 3);
	test_pool_drop(&p);
}

static void test_a2_drain_with_ragged_ends(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	mb_frame frame;
	uint64_t left;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){1000}), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){1001}), 0);
	/* [1001, GIANT + 5): cuts two lines, and two giant frames */
	assert_int_equal(mb_range_drain(p.f, (mb_frame){1001}, GIANT + 5 - 1001, &left), 0);
	assert_int_equal(left, 1);
	test_pool_validate(&p);
	for (unsigned n = 0; n < 999; n++) {
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
		assert_true(frame.n < 1000 || frame.n >= GIANT + 5);
	}
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){1000}), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){1001}), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){1001}, GIANT + 5 - 1001, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(test_count(&p).offline, GIANT + 5 - 1001);
	assert_int_equal(mb_range_add(p.f, (mb_frame){1001}, GIANT + 5 - 1001), 0);
	assert_int_equal(test_count(&p).offline, 0);
	test_pool_drop(&p);
}

/* ---- a model: one byte a frame ----------------------------------------------------------------------- */

#define MODEL_FRAMES (GIANT + 9 * HUGE + 77)

struct model {
	struct test_pool p;
	mb_slot slot;
	unsigned char *is; /* enum mb_state; what drains is MB_DRAINING */
	uint64_t x;
};

static bool all(const struct model *m, uint64_t first, uint64_t count, unsigned char state)
{
	for (uint64_t n = first; n < first + count; n++)
		if (m->is[n] != state)
			return false;
	return true;
}

static bool any(const struct model *m, uint64_t first, uint64_t count, unsigned char state)
{
	return memchr(m->is + first, state, count) != NULL;
}

static void pick(struct model *m, uint64_t *first, uint64_t *count)
{
	static const uint64_t most[] = {3, 70, 600, 5000, GIANT};
	uint64_t r = test_random(&m->x);

	*first = (r >> 8) % MODEL_FRAMES;
	*count = 1 + test_random(&m->x) % most[r % 5];
	if (*count > MODEL_FRAMES - *first)
		*count = MODEL_FRAMES - *first;
}

static void model_range(struct model *m)
{
	uint64_t first, count;
	mb_frame busy;
	int rc;

	pick(m, &first, &count);
	if (test_random(&m->x) % 2) {
		bool fits = all(m, first, count, MB_OFFLINE);

		rc = mb_range_add(m->p.f, (mb_frame){first}, count);
		if (rc == -ENOSPC)
			return;
		assert_int_equal(rc, fits ? 0 : -EEXIST);
		if (!rc)
			memset(m->is + first, MB_FREE, count);
		return;
	}
	rc = mb_range_remove(m->p.f, (mb_frame){first}, count, &busy);
	if (rc == -ENOSPC)
		return;
	if (any(m, first, count, MB_OFFLINE)) {
		assert_int_equal(rc, -ENXIO);
	} else if (any(m, first, count, MB_USED)) {
		assert_int_equal(rc, -EBUSY);
		assert_true(busy.n >= first && busy.n < first + count && m->is[busy.n] == MB_USED);
	} else {
		assert_int_equal(rc, 0);
		memset(m->is + first, MB_OFFLINE, count);
	}
}

static void model_frames(struct model *m)
{
	uint64_t first, count, r = test_random(&m->x);
	int rc;

	pick(m, &first, &count);
	if (r % 3 == 0) {
		enum mb_level level = (enum mb_level)(r / 3 % 2);
		uint64_t size = mb_level_frames(level);
		mb_frame frame;

		if (mb_frame_alloc(m->p.f, m->slot, level, &frame) == 0) {
			assert_true(all(m, frame.n, size, MB_FREE));
			memset(m->is + frame.n, MB_USED, size);
		}
	} else if (r % 3 == 1) {
		rc = mb_frame_free_part(m->p.f, m->slot, (mb_frame){first}, count);
		if (all(m, first, count, MB_USED)) {
			assert_int_equal(rc, 0);
			memset(m->is + first, MB_FREE, count);
		} else {
			assert_true(rc == -ENXIO || rc == -EALREADY);
		}
	} else {
		enum mb_level level = (enum mb_level)(r / 3 % 3);
		uint64_t size = mb_level_frames(level);

		first -= first % size;
		rc = mb_frame_take(m->p.f, m->slot, level, (mb_frame){first});
		if (first + size <= MODEL_FRAMES && all(m, first, size, MB_FREE)) {
			assert_int_equal(rc, 0);
			memset(m->is + first, MB_USED, size);
		} else {
			assert_true(rc == -EBUSY || rc == -ENXIO);
		}
	}
}

static int check_run(void *arg, const struct mb_run *run)
{
	const struct model *m = arg;

	assert_true(all(m, run->first.n, run->count, (unsigned char)run->state));
	return 0;
}

/* A part of a huge frame that leaves as a whole, and of which something is in use, leaves with it. */
static void test_a2_drain_twice(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	mb_frame used = {5 * HUGE + 12};
	uint64_t left;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, used), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){5 * HUGE}, HUGE, &left), 0);
	assert_int_equal(left, 1);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){5 * HUGE + 10}, 20, &left), 0);
	assert_int_equal(left, 1);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, used), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){5 * HUGE}, HUGE, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(test_count(&p).offline, HUGE);
	test_pool_drop(&p);
}

/* A range drains that ends within a huge frame of which the rest was never online: frame by frame. */
static void test_a2_drain_of_a_ragged_line(void **state)
{
	struct test_pool p = test_pool_empty(2 * GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	mb_frame used = {3 * HUGE + 5};
	uint64_t left;

	(void)state;
	assert_int_equal(mb_range_add(p.f, (mb_frame){0}, 3 * HUGE + 77), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, used), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){0}, 2 * GIANT, &left), 0);
	assert_int_equal(left, 1);
	assert_int_equal(mb_frame_state(p.f, used), MB_DRAINING);
	/* a part of what leaves leaves */
	assert_int_equal(mb_range_drain(p.f, (mb_frame){HUGE + 5}, 9, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, used), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){0}, 2 * GIANT, &left), 0);
	assert_int_equal(left, 0);
	assert_int_equal(test_count(&p).offline, 2 * GIANT);
	test_pool_drop(&p);
}

static void test_a2_model(void **state)
{
	struct model m = {.p = test_pool_empty(MODEL_FRAMES, 2, 0), .x = test_seed()};

	(void)state;
	m.slot = test_slot(&m.p);
	m.is = calloc(MODEL_FRAMES, 1);
	assert_non_null(m.is);
	memset(m.is, MB_OFFLINE, MODEL_FRAMES);
	for (unsigned n = 0; n < 6000; n++) {
		if (test_random(&m.x) % 3 == 0)
			model_range(&m);
		else
			model_frames(&m);
		if (n % 64 == 0) {
			assert_int_equal(mb_frames_walk(m.p.f, (mb_frame){0}, MODEL_FRAMES, check_run, &m), 0);
			test_pool_validate(&m.p);
		}
	}
	free(m.is);
	test_pool_drop(&m.p);
}

/* ---- in band ----------------------------------------------------------------------------------------- */

static void test_a11_in_band_gives_giant_frames_again(void **state)
{
	struct test_pool p = test_pool_in_band(4 * GIANT, 2);
	mb_slot slot = test_slot(&p), idle = test_slot(&p);
	struct mb_frames_count c = test_count(&p);
	uint64_t free_before = c.free, n = 0;
	mb_frame frame;
	unsigned char *seen = calloc(4 * GIANT, 1);

	(void)state;
	assert_int_equal(c.whole[MB_GIANT], 3);
	while (mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0) {
		assert_false(seen[frame.n]);
		seen[frame.n] = 1;
		n++;
	}
	c = test_count(&p);
	/* what is not handed out holds the bookkeeping: one frame a block, in the ranges themselves */
	assert_true(free_before - n <= p.f->blocks[0]);
	assert_int_equal(c.used, free_before);
	test_pool_validate(&p);
	for (uint64_t x = 0; x < 4 * GIANT; x++)
		if (seen[x])
			assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){x}), 0);
	free(seen);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	c = test_count(&p);
	assert_int_equal(c.used, 0);
	assert_int_equal(c.free, free_before);
	assert_int_equal(c.whole[MB_GIANT], 3);
	for (unsigned k = 0; k < 3; k++)
		assert_int_equal(mb_frame_alloc(p.f, idle, MB_GIANT, &frame), 0);
	assert_int_equal(mb_frame_alloc(p.f, idle, MB_GIANT, &frame), -ENOMEM);
	test_pool_drop(&p);
}

/* The frames of a block's home are nobody's to free; and memory that was used is not taken for bookkeeping. */
static void test_a11_in_band_home(void **state)
{
	struct test_pool p = test_pool_in_band(GIANT, 1);
	mb_slot slot = test_slot(&p);
	mb_frame frame;
	uint64_t n = 0, homes = 0;

	(void)state;
	while (mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0) {
		memset((char *)p.area + (frame.n << 12), 0xa5, 4096);
		n++;
	}
	for (uint64_t b = 1; b < p.f->blocks[0]; b++) {
		mb_frame home = {mbc_load32_relaxed(mbc_dir(p.f, b))};

		homes++;
		assert_int_equal(mb_frame_state(p.f, home), MB_USED);
		assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, home), -ENXIO);
		assert_int_equal(mb_frame_free_part(p.f, slot, home, 1), -ENXIO);
	}
	assert_int_equal(n + homes, test_count(&p).used);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){0}), -ENXIO);
	for (uint64_t x = 0; x < GIANT; x++) {
		int rc = mb_frame_free(p.f, slot, MB_BASE, (mb_frame){x});

		assert_true(rc == 0 || rc == -ENXIO || rc == -EALREADY);
	}
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_int_equal(test_count(&p).used, 0);
	test_pool_drop(&p);
}

static void test_a2_in_band_ranges(void **state)
{
	struct test_pool p = test_pool_in_band(3 * GIANT + 100, 1);
	struct mb_frames_count before = test_count(&p);

	(void)state;
	assert_int_equal(mb_range_remove(p.f, (mb_frame){GIANT}, GIANT, NULL), 0);
	assert_int_equal(mb_range_remove(p.f, (mb_frame){2 * GIANT + 5}, 1000, NULL), 0);
	assert_int_equal(test_count(&p).offline, before.offline + GIANT + 1000);
	test_pool_validate(&p);
	assert_int_equal(mb_range_add(p.f, (mb_frame){2 * GIANT + 5}, 1000), 0);
	assert_int_equal(mb_range_add(p.f, (mb_frame){GIANT}, GIANT), 0);
	assert_int_equal(test_count(&p).offline, before.offline);
	assert_int_equal(test_count(&p).used, before.used);
	test_pool_drop(&p);
}

/* As small as it gets, and in frames of 64 KiB. */
static void test_a11_in_band_small(void **state)
{
	struct mb_frames_config c = {.base_shift = 16, .slots = 4};
	struct test_pool p;
	mb_frame frame;
	mb_slot slot;
	uint64_t n;

	(void)state;
	for (uint64_t frames = 9; frames < 700; frames += 13) {
		p = test_pool_in_band(frames, 1);
		slot = test_slot(&p);
		for (n = 0; mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0; n++)
			memset((char *)p.area + (frame.n << 12), 0x5a, 4096);
		assert_true(n > 0 && n < frames);
		test_pool_drop(&p);
	}
	p.bytes = (size_t)2048 << 16;
	p.area = (void *)(((uintptr_t)test_map(p.bytes + 65536) + 65535) & ~(uintptr_t)65535);
	assert_int_equal(mb_frames_init_in_band(p.area, p.bytes, &c, &p.f), 0);
	slot = test_slot(&p);
	for (n = 0; mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0; n++)
		memset((char *)p.area + (frame.n << 16), 0x5a, 65536);
	assert_true(n > 2000);
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a2_ends_at_any_frame),
	    cmocka_unit_test(test_a2_drain),
	    cmocka_unit_test(test_a2_drain_with_ragged_ends),
	    cmocka_unit_test(test_a2_drain_of_a_ragged_line),
	    cmocka_unit_test(test_a2_drain_twice),
	    cmocka_unit_test(test_a2_model),
	    cmocka_unit_test(test_a2_in_band_ranges),
	    cmocka_unit_test(test_a11_in_band_gives_giant_frames_again),
	    cmocka_unit_test(test_a11_in_band_home),
	    cmocka_unit_test(test_a11_in_band_small),
	};

	return cmocka_run_group_tests_name("core ranges", tests, NULL, NULL);
}
