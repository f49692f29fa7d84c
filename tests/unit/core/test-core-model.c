/* SPDX-License-Identifier: MIT */
/*
 * test-core-model.c - the literal protocol as oracle (A5, A6): two allocators under the same random operations.
 * What one of them hands out the other must be able to take, and they always agree on what is free, on what is
 * a double free, and on when there is nothing left.
 */
#include "pool.h"
#include "reference.h"

#define FRAMES (3 * REF_BLOCK_FRAMES + 1234)

struct pair {
	struct test_pool p;
	mb_slot slot;
	struct ref *ref;
	uint64_t x;
};

static void test_a6_next_byte(void **state)
{
	(void)state;
	assert_int_equal(ref_next_bit(0), 8);
	assert_int_equal(ref_next_bit(7), 8);
	assert_int_equal(ref_next_bit(8), 16);
	assert_int_equal(ref_next_bit(31743), 31744);
}

/* Both, one after the other; true: a frame was got. */
static bool alloc_both(struct pair *t, bool core_first)
{
	mb_frame frame;
	uint64_t n;
	int a, b;

	if (core_first) {
		a = mb_frame_alloc(t->p.f, t->slot, MB_BASE, &frame);
		b = a ? ref_alloc(t->ref, &n) : ref_take(t->ref, frame.n);
	} else {
		b = ref_alloc(t->ref, &n);
		a = b ? mb_frame_alloc(t->p.f, t->slot, MB_BASE, &frame)
		      : mb_frame_take(t->p.f, t->slot, MB_BASE, (mb_frame){n});
	}
	assert_int_equal(a, b);
	return a == 0;
}

static void step(struct pair *t, unsigned fill)
{
	uint64_t r = test_random(&t->x), n = (r >> 16) % FRAMES;

	if (r % 100 < fill) {
		alloc_both(t, r >> 8 & 1);
	} else if (r % 100 < 96) {
		int a = mb_frame_free(t->p.f, t->slot, MB_BASE, (mb_frame){n});
		int b = ref_free(t->ref, n);

		/* a frame of a larger one that is free is free, too: the same errno */
		assert_int_equal(a, b);
	} else if (r % 100 < 98) {
		assert_int_equal(mb_frame_take(t->p.f, t->slot, MB_BASE, (mb_frame){n}), ref_take(t->ref, n));
	} else {
		assert_int_equal(mb_frame_free(t->p.f, t->slot, MB_BASE, (mb_frame){FRAMES + n}),
				 ref_free(t->ref, FRAMES + n));
	}
}

static void test_a5_a6_reference_is_the_oracle(void **state)
{
	struct pair t = {.p = test_pool_make(FRAMES, 1, 0), .ref = ref_create(FRAMES), .x = test_seed()};

	(void)state;
	assert_non_null(t.ref);
	t.slot = test_slot(&t.p);
	for (unsigned phase = 0; phase < 8; phase++) {
		for (unsigned n = 0; n < 60000; n++)
			step(&t, phase % 2 ? 30 : 80);
		assert_int_equal(test_count(&t.p).free, ref_count_free(t.ref));
		for (uint64_t n = 0; n < FRAMES; n += 13) {
			bool free = mb_frame_state(t.p.f, (mb_frame){n}) == MB_FREE;

			if (ref_take(t.ref, n) == 0) {
				assert_true(free);
				assert_int_equal(ref_free(t.ref, n), 0);
			} else {
				assert_false(free);
			}
		}
		test_pool_validate(&t.p);
	}
	while (alloc_both(&t, true))
		;
	assert_int_equal(ref_count_free(t.ref), 0);
	for (uint64_t n = 0; n < FRAMES; n++) {
		assert_int_equal(ref_free(t.ref, n), 0);
		assert_int_equal(mb_frame_free(t.p.f, t.slot, MB_BASE, (mb_frame){n}), 0);
	}
	/* A9 in both: all free, no bitmap left */
	assert_int_equal(mb_slot_close(t.p.f, t.slot), 0);
	assert_int_equal(ref_count_bitmaps(t.ref), 0);
	/* the pool's last lines are ragged: they stay */
	assert_true(test_count(&t.p).lines <= 2);
	ref_destroy(t.ref);
	test_pool_drop(&t.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a6_next_byte),
	    cmocka_unit_test(test_a5_a6_reference_is_the_oracle),
	};

	return cmocka_run_group_tests_name("core model", tests, NULL, NULL);
}
