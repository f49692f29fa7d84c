/* SPDX-License-Identifier: MIT */
/*
 * test-terabyte.c - guests of a terabyte, of which next to nothing is touched; and regions that begin inflated.
 * What must not grow with the size is counted, in lines and in pages of the records; no time is asserted.
 */
#include "fixture.h"
#include "state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Pages of the pool's records that are resident. */
static uint64_t records_pages(const struct mb_pool *pool)
{
	uint64_t pages = (pool->map_bytes + PAGE - 1) / PAGE, n = 0;
	unsigned char *vec = malloc(pages);

	assert_non_null(vec);
	assert_int_equal(mincore(pool->map, pool->map_bytes, vec), 0);
	for (uint64_t i = 0; i < pages; i++)
		n += vec[i] & 1;
	free(vec);
	return n;
}

static struct mb_frames_count frames_of(struct mb_pool *pool)
{
	struct mb_frames_count c;

	mb_frames_count(pool->frames, &c);
	return c;
}

static int sum_stretch(void *arg, const struct mb_stretch *s)
{
	struct mb_stretch *sum = arg;

	sum->len += s->len;
	sum->inflated += s->inflated;
	sum->resident += s->resident;
	return 0;
}

static void half_a_terabyte_goes(enum place place)
{
	struct mb_pool *pool = pool_at(place, TiB, 0);
	struct mb_space *space = space_of(pool, "large", TiB, false);
	uint64_t lines = frames_of(pool).lines, pages = records_pages(pool);
	struct mb_stretch sum = {0};

	assert_int_equal(mb_space_inflate(space, 256 * GiB, 512 * GiB), 0);
	assert_int_equal(frames_of(pool).lines, lines);
	assert_int_equal(frames_of(pool).holes, 512 * GiB / PAGE);
	/* a header of a block for 62 GiB each, and not a page more */
	assert_true(records_pages(pool) - pages <= 16);
	assert_int_equal(owner_of(space).inflated, 512 * GiB);
	assert_int_equal(budget_used(pool), 512 * GiB);
	assert_int_equal(mb_space_walk(space, TiB / 512, sum_stretch, &sum), 0);
	assert_int_equal(sum.len, TiB);
	assert_int_equal(sum.inflated, 512 * GiB);
	assert_int_equal(sum.resident, 0);
	/* its ends are exact, and what is inflated cannot be again */
	assert_int_equal(mb_space_inflate(space, 768 * GiB - PAGE, 2 * PAGE), -EALREADY);
	assert_int_equal(mb_space_deflate(space, 256 * GiB - PAGE, 2 * PAGE), -EALREADY);
	assert_int_equal(mb_space_deflate(space, 500 * GiB + HUGE_2M, HUGE_2M), 0);
	fill(space, 500 * GiB + HUGE_2M, HUGE_2M, 0x5a);
	assert_int_equal(owner_of(space).inflated, 512 * GiB - HUGE_2M);
	assert_true(resident(space, 500 * GiB, GiB) >= HUGE_2M);
	assert_clean(space);
	assert_int_equal(mb_space_inflate(space, 500 * GiB + HUGE_2M, HUGE_2M), 0);
	assert_int_equal(mb_space_deflate(space, 256 * GiB, 512 * GiB), 0);
	assert_int_equal(budget_used(pool), TiB);
	assert_true(all_zero(mb_space_hva(space, 500 * GiB, 4 * HUGE_2M), 4 * HUGE_2M));
	mb_space_destroy(space);
	assert_int_equal(frames_of(pool).lines, 0);
	assert_int_equal(budget_used(pool), 0);
	mb_pool_close(pool);
}

static void test_half_a_terabyte_goes(void **state)
{
	(void)state;
	half_a_terabyte_goes(ON_ANON);
	half_a_terabyte_goes(ON_MEMFD);
}

/* The same in pieces, as a balloon's queue brings it: lines come and go again. */
static void test_pieces_become_one(void **state)
{
	struct mb_pool *pool = pool_at(ON_ANON, 16 * GiB, 0);
	struct mb_space *space = space_of(pool, "pieces", 16 * GiB, false);

	(void)state;
	for (uint64_t at = 0; at < 8 * GiB; at += 32 * MiB) {
		assert_int_equal(mb_space_inflate(space, at + 4 * GiB, 32 * MiB), 0);
		assert_true(frames_of(pool).lines <= 512 + 2);
	}
	assert_true(frames_of(pool).lines <= 2);
	assert_int_equal(owner_of(space).inflated, 8 * GiB);
	assert_clean(space);
	/* and from above, by halves of pages */
	for (uint64_t at = 4 * GiB; at > 3 * GiB; at -= HUGE_2M) {
		assert_int_equal(mb_space_inflate(space, at - MiB, MiB), 0);
		assert_int_equal(mb_space_inflate(space, at - HUGE_2M, MiB), 0);
	}
	assert_true(frames_of(pool).lines <= 2);
	assert_int_equal(mb_space_deflate(space, 3 * GiB, 9 * GiB), 0);
	assert_int_equal(owner_of(space).inflated, 0);
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* ---- regions that begin inflated ------------------------------------------------------------------------ */

static struct mb_space *space_with_out(struct mb_pool *pool, uint64_t in, uint64_t out, uint64_t gpa,
				       bool prealloc)
{
	const struct mb_region regions[] = {{0, in}, {gpa, out}};
	struct mb_space_config config = {
	    .name = "out", .regions = regions, .region_count = 2, .regions_out = 1, .prealloc = prealloc};
	struct mb_error err = {0};
	struct mb_space *space;

	if (mb_space_create(pool, &config, &space, &err))
		fail_msg("%s", err.text);
	return space;
}

/* All that a guest may do to such a region, beside or far from the others. */
static void begins_out(enum place place, uint64_t gpa)
{
	uint64_t in = 8 * MiB, out = 32 * MiB;
	struct mb_pool *pool = pool_at(place, in + out, in + 6 * MiB);
	struct mb_space *space = space_with_out(pool, in, out, gpa, false);

	assert_int_equal(owner_of(space).maximum, in + out);
	assert_int_equal(owner_of(space).inflated, out);
	assert_int_equal(owner_of(space).actual, in);
	assert_int_equal(budget_used(pool), in);
	assert_clean(space);
	assert_int_equal(mb_space_inflate(space, gpa, HUGE_2M), -EALREADY);
	assert_int_equal(mb_space_deflate(space, gpa + 4 * MiB, 4 * MiB), 0);
	fill(space, gpa + 4 * MiB, 4 * MiB, 0x77);
	assert_int_equal(budget_used(pool), in + 4 * MiB);
	assert_int_equal(mb_space_deflate(space, gpa + 16 * MiB, 4 * MiB), -EDQUOT);
	assert_int_equal(mb_space_deflate(space, gpa + 6 * MiB, 4 * MiB), -EALREADY);
	assert_clean(space);
	assert_int_equal(mb_space_inflate(space, gpa + 4 * MiB, 4 * MiB), 0);
	assert_int_equal(budget_used(pool), in);
	assert_int_equal(resident(space, gpa, out), 0);
	assert_clean(space);
	mb_space_destroy(space);
	assert_int_equal(budget_used(pool), 0);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

static void test_begins_out(void **state)
{
	const char *why;

	(void)state;
	for (enum place place = 0; place < PLACES; place++) {
		if (!place_ready(place, &why)) {
			print_message("%s: skipped: %s\n", place_name(place), why);
			continue;
		}
		begins_out(place, 4 * GiB);
		begins_out(place, 8 * MiB);
	}
}

/* What begins out is not reserved either: there are huge pages for the rest alone. */
static void test_out_is_not_preallocated(void **state)
{
	struct mb_pool *pool = pool_at(ON_ANON, 64 * MiB, 0);
	struct mb_space *space = space_with_out(pool, 8 * MiB, 56 * MiB, GiB, true);

	(void)state;
	assert_int_equal(resident(space, 0, 8 * MiB), 8 * MiB);
	assert_int_equal(resident(space, GiB, 56 * MiB), 0);
	assert_int_equal(mb_space_deflate(space, GiB, HUGE_2M), 0);
	assert_int_equal(resident(space, GiB, 56 * MiB), HUGE_2M);
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* A terabyte that begins out costs a bit a GiB in the allocator. */
static void test_a_terabyte_begins_out(void **state)
{
	struct mb_pool *pool = pool_at(ON_ANON, TiB + 4 * GiB, 0);
	struct mb_space *space = space_with_out(pool, 4 * GiB, TiB, 8 * GiB, false);

	(void)state;
	assert_int_equal(frames_of(pool).lines, 0);
	assert_int_equal(frames_of(pool).holes, TiB / PAGE);
	assert_int_equal(budget_used(pool), 4 * GiB);
	assert_int_equal(mb_space_deflate(space, 900 * GiB, HUGE_2M), 0);
	fill(space, 900 * GiB, HUGE_2M, 1);
	assert_clean(space);
	mb_space_destroy(space);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

/* It fails at each step in turn, and nothing is left. */
static void test_out_is_undone(void **state)
{
	const struct mb_region regions[] = {{0, 4 * MiB}, {GiB, 8 * MiB}, {2 * GiB, 8 * MiB}};
	struct mb_space_config config = {
	    .name = "undone", .regions = regions, .region_count = 3, .regions_out = 2};
	struct mb_pool *pool = pool_at(ON_MEMFD, 32 * MiB, 0);
	struct mb_space *space = NULL;
	struct mb_error err;
	unsigned n = 0;

	(void)state;
	do {
		pool->fault_in = ++n;
		if (mb_space_create(pool, &config, &space, &err) == 0)
			break;
		assert_error(&err, -EIO);
		assert_int_equal(budget_used(pool), 0);
		assert_pool_clean(pool);
	} while (n < 1000);
	pool->fault_in = 0;
	assert_true(n > 5);
	mb_space_destroy(space);
	config.regions_out = 4;
	assert_int_equal(mb_space_create(pool, &config, &space, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	mb_pool_close(pool);
}

static int begin(void **state)
{
	(void)state;
	return fixture_begin(24);
}

static int end(void **state)
{
	(void)state;
	fixture_end();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_half_a_terabyte_goes),
	    cmocka_unit_test(test_pieces_become_one),
	    cmocka_unit_test(test_begins_out),
	    cmocka_unit_test(test_out_is_not_preallocated),
	    cmocka_unit_test(test_a_terabyte_begins_out),
	    cmocka_unit_test(test_out_is_undone),
	};

	return cmocka_run_group_tests_name("host terabyte", tests, begin, end);
}
