/* SPDX-License-Identifier: MIT */
/*
 * test-space.c - guest address spaces: where frames come from, what is refused, and that whatever fails
 * leaves nothing behind.
 */
#include "fixture.h"
#include "format.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct mb_pool *big_pool(uint64_t size)
{
	struct mb_pool_config config = {.backing = MB_BACKING_ANON, .size = size};
	struct mb_pool *pool = NULL;
	struct mb_error err;

	if (mb_pool_create_private(&config, &pool, NULL, &err))
		fail_msg("%s", err.text);
	return pool;
}

static struct mb_space *space_in(struct mb_pool *pool, const char *name, const struct mb_region *regions,
				 unsigned count)
{
	struct mb_space_config config = {.name = name, .regions = regions, .region_count = count};
	struct mb_space *space = NULL;
	struct mb_error err;

	if (mb_space_create(pool, &config, &space, &err))
		fail_msg("%s", err.text);
	return space;
}

static int refused(struct mb_pool *pool, const char *name, const struct mb_region *regions, unsigned count)
{
	struct mb_space_config config = {.name = name, .regions = regions, .region_count = count};
	struct mb_space *space = NULL;
	struct mb_error err;
	int rc = mb_space_create(pool, &config, &space, &err);

	assert_null(space);
	assert_error(&err, rc);
	return rc;
}

static uint64_t extents(struct mb_space *space)
{
	struct mb_space_status s;

	assert_int_equal(mb_space_get_status(space, &s, NULL), 0);
	return s.extents;
}

/* The hole for devices below 4 GiB: two regions, one window, an addition from end to end. */
static void regions_with_a_hole(void **state)
{
	const struct mb_region r[] = {{0, 3 * GiB}, {4 * GiB, 2 * GiB}};
	struct mb_pool *pool = big_pool(8 * GiB);
	struct mb_space *space = space_in(pool, "a", r, 2);
	char *window = mb_space_window(space);
	mb_frame f;

	(void)state;
	assert_int_equal((uintptr_t)window % GiB, 0);
	assert_ptr_equal(mb_space_hva(space, 5 * GiB, PAGE), window + 5 * GiB);
	assert_ptr_equal(mb_space_hva(space, 0, 3 * GiB), window);
	assert_null(mb_space_hva(space, 3 * GiB - 1, 2));
	assert_null(mb_space_hva(space, 3 * GiB, 1));
	assert_null(mb_space_hva(space, 4 * GiB - 1, 2));
	assert_null(mb_space_hva(space, 6 * GiB, 1));
	assert_null(mb_space_hva(space, 0, 0));
	assert_null(mb_space_hva(space, UINT64_MAX, 1));
	assert_null(mb_space_hva(space, 1, UINT64_MAX));
	assert_null(mb_space_hva(space, 5 * GiB, UINT64_MAX - 5 * GiB + 1));
	assert_int_equal(mb_space_frame(space, 3 * GiB, &f), -ERANGE);
	assert_int_equal(mb_space_inflate(space, 3 * GiB - PAGE, 2 * PAGE), -ERANGE);
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* gpa -> frame -> (owner, gpa) for every huge frame, and congruence modulo 1 GiB. */
static void both_ways(void **state)
{
	const struct mb_region r[] = {{0, 3 * GiB}, {4 * GiB, 2 * GiB}};
	struct mb_pool *pool = big_pool(8 * GiB);
	struct mb_space *space = space_in(pool, "a", r, 2);
	struct mb_frame_owner o;
	mb_frame f;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		for (uint64_t gpa = r[i].gpa; gpa < r[i].gpa + r[i].size; gpa += HUGE_2M) {
			assert_int_equal(mb_space_frame(space, gpa + 3 * PAGE + 17, &f), 0);
			assert_int_equal(f.n % (GiB / PAGE), (gpa / PAGE + 3) % (GiB / PAGE));
			assert_int_equal(mb_pool_frame_owner(pool, f, &o), 0);
			assert_int_equal(o.gpa, gpa + 3 * PAGE);
			assert_int_equal(o.owner, owner_of(space).id);
		}
	}
	assert_int_equal(mb_pool_frame_owner(pool, (mb_frame){8 * GiB / PAGE}, &o), -ERANGE);
	mb_space_destroy(space);
	assert_int_equal(mb_pool_frame_owner(pool, f, &o), -ENOENT);
	mb_pool_close(pool);
}

static void bad_configurations(void **state)
{
	struct mb_pool *pool = big_pool(GiB);
	const struct mb_region ok = {0, HUGE_2M}, odd = {0, PAGE}, off = {PAGE, HUGE_2M}, none = {0, 0};
	const struct mb_region overlap[] = {{0, 4 * MiB}, {2 * MiB, 4 * MiB}},
			       down[] = {{4 * MiB, HUGE_2M}, {0, HUGE_2M}};
	const struct mb_region high = {UINT64_C(1) << 52, HUGE_2M}, wrap = {UINT64_MAX - HUGE_2M + 1, HUGE_2M};
	const struct mb_region large = {0, 2 * GiB};
	char name[80];

	(void)state;
	memset(name, 'x', sizeof(name));
	name[79] = '\0';
	assert_int_equal(refused(pool, name, &ok, 1), -EINVAL);
	assert_int_equal(refused(pool, "", &ok, 1), -EINVAL);
	assert_int_equal(refused(pool, NULL, &ok, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", &ok, 0), -EINVAL);
	assert_int_equal(refused(pool, "a", &odd, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", &off, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", &none, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", overlap, 2), -EINVAL);
	assert_int_equal(refused(pool, "a", down, 2), -EINVAL);
	assert_int_equal(refused(pool, "a", &high, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", &wrap, 1), -EINVAL);
	assert_int_equal(refused(pool, "a", &large, 1), -ENOMEM);
	assert_int_equal(budget_used(pool), 0);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

static void bad_pools(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_ANON};
	struct mb_pool *pool = NULL;
	struct mb_error err;
	const uint64_t sizes[] = {0, PAGE, HUGE_2M + PAGE, 65 * TiB, UINT64_MAX, UINT64_MAX - HUGE_2M + 1};

	(void)state;
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		config.size = sizes[i];
		assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), -EINVAL);
		assert_error(&err, -EINVAL);
	}
	config.size = GiB;
	config.budget = 2 * GiB;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	config.budget = 0;
	config.backing = (enum mb_backing)17;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	config.backing = MB_BACKING_FILE;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	config.memory_path = "/nonexistent\n/directory";
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), -ENOENT);
	assert_error(&err, -ENOENT);
	assert_null(pool);
}

static void names_and_the_table(void **state)
{
	static struct mb_space *spaces[OWNERS_MAX];
	struct mb_pool *pool = big_pool(GiB);
	const struct mb_region r = {0, HUGE_2M};
	uint32_t id;

	(void)state;
	spaces[0] = space_in(pool, "same", &r, 1);
	id = owner_of(spaces[0]).id;
	assert_int_equal(refused(pool, "same", &r, 1), -EEXIST);
	mb_space_destroy(spaces[0]);
	spaces[0] = space_in(pool, "same", &r, 1);
	assert_int_not_equal(owner_of(spaces[0]).id, id); /* never used again */
	for (unsigned i = 1; i < OWNERS_MAX; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vm%u", i);
		spaces[i] = space_in(pool, name, &r, 1);
	}
	assert_int_equal(refused(pool, "one more", &r, 1), -EUSERS);
	assert_pool_clean(pool);
	for (unsigned i = 0; i < OWNERS_MAX; i++)
		mb_space_destroy(spaces[i]);
	assert_int_equal(budget_used(pool), 0);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

/* Free memory in pieces: few extents, all of it usable, and the rest of the pool untouched. */
static void scattered_frames(void **state)
{
	struct mb_space *small[32];
	struct mb_pool *pool = big_pool(64 * MiB);
	const struct mb_region two = {0, HUGE_2M}, half = {0, 32 * MiB}, more = {0, 34 * MiB};
	struct mb_space *space;

	(void)state;
	for (unsigned i = 0; i < 32; i++) {
		char name[16];

		snprintf(name, sizeof(name), "vm%u", i);
		small[i] = space_in(pool, name, &two, 1);
	}
	for (unsigned i = 0; i < 32; i += 2)
		mb_space_destroy(small[i]);
	assert_int_equal(refused(pool, "a", &more, 1), -EDQUOT);
	space = space_in(pool, "a", &half, 1);
	assert_true(extents(space) <= 16);
	assert_clean(space);
	fill(space, 0, 32 * MiB, 1);
	assert_int_equal(mb_space_inflate(space, PAGE, 32 * MiB - 2 * PAGE), 0);
	assert_int_equal(resident(space, 0, 32 * MiB), 2 * PAGE);
	assert_int_equal(mb_space_inflate(space, 0, 2 * PAGE), -EALREADY);
	assert_int_equal(owner_of(space).inflated, 32 * MiB - 2 * PAGE);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	for (unsigned i = 1; i < 32; i += 2)
		mb_space_destroy(small[i]);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

/* More frame numbers than budget, and budget than frames: each shortage has its own word. */
static void shortages(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_ANON, .size = 64 * MiB, .budget = 32 * MiB};
	struct mb_pool *pool = NULL;
	const struct mb_region r = {0, 40 * MiB}, all = {0, 32 * MiB}, two = {0, 34 * MiB};
	struct mb_space *space;

	(void)state;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, NULL), 0);
	assert_int_equal(refused(pool, "a", &r, 1), -EDQUOT);
	space = space_in(pool, "a", &all, 1);
	assert_int_equal(mb_space_inflate(space, 0, 32 * MiB), 0);
	/* the budget has room again, the frame numbers have not */
	assert_int_equal(refused(pool, "b", &two, 1), -EDQUOT);
	mb_space_destroy(space);
	mb_pool_close(pool);
	config.budget = 0;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, NULL), 0);
	space = space_in(pool, "a", &all, 1);
	assert_int_equal(mb_space_inflate(space, 0, 32 * MiB), 0);
	assert_int_equal(refused(pool, "b", &two, 1), -ENOMEM);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* A terabyte-scale guest costs what it touches. */
#ifndef __SANITIZE_THREAD__ /* which leaves no address space of that size */
static void terabytes(void **state)
{
	struct mb_pool *pool = big_pool(64 * TiB);
	const struct mb_region r[] = {{0, 3 * GiB}, {4 * GiB, 16 * TiB - 3 * GiB}};
	struct mb_space *space = space_in(pool, "a", r, 2);
	char *p = mb_space_hva(space, 15 * TiB, PAGE);

	(void)state;
	assert_non_null(p);
	*p = 1;
	assert_int_equal(mb_space_inflate(space, 8 * TiB, 2 * TiB), 0);
	assert_int_equal(owner_of(space).actual, 14 * TiB);
	assert_int_equal(mb_space_inflate(space, 15 * TiB + 64 * PAGE, PAGE), 0);
	assert_int_equal(mb_space_deflate(space, 9 * TiB, TiB), 0);
	assert_int_equal(owner_of(space).actual, 15 * TiB - PAGE);
	mb_space_destroy(space);
	assert_int_equal(budget_used(pool), 0);
	mb_pool_close(pool);
}
#endif

/* ---- every failure leaves nothing behind ----------------------------------------------------------------- */

static int try_create(struct mb_pool *pool, struct mb_space **space)
{
	const struct mb_region r[] = {{0, 8 * MiB}, {16 * MiB, 6 * MiB}};
	struct mb_space_config config = {.name = "a", .regions = r, .region_count = 2, .prealloc = true};
	struct mb_error err;
	int rc = mb_space_create(pool, &config, space, &err);

	if (rc)
		assert_error(&err, rc);
	return rc;
}

static void creation_rolls_back(void **state)
{
	(void)state;
	for (enum place place = 0; place < PLACES; place++) {
		struct mb_pool *pool, *shared;
		struct mb_space *space = NULL;
		struct mb_pool_status s;
		const char *why;
		unsigned step = 1;

		if (!place_ready(place, &why))
			continue;
		pool = pool_at(place, 32 * MiB, 0);
		if (place_shared(place)) {
			pool_file_at(place, "rollback", 32 * MiB, 0);
			shared = attach(fixture_path("rollback"));
			mb_pool_close(pool);
			pool = shared;
		}
		for (;; step++) {
			pool->fault_in = step;
			if (!try_create(pool, &space))
				break;
			assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
			assert_int_equal(s.budget_used, 0);
			assert_int_equal(s.owners, 0);
			assert_int_equal(s.frames.free, s.frames.capacity);
			assert_true(s.resident < 16 * PAGE);
			assert_pool_clean(pool);
		}
		assert_true(step > 12); /* slot, charge, takes, ledger, window, maps, populating */
		pool->fault_in = 0;
		assert_clean(space);
		mb_space_destroy(space);
		assert_pool_clean(pool);
		mb_pool_close(pool);
		if (place_shared(place))
			assert_int_equal(mb_pool_destroy(fixture_path("rollback"), NULL), 0);
	}
}

/* Inflate and deflate over two extents, failing at each step in turn. */
static void changes_roll_back(void **state)
{
	(void)state;
	for (enum place place = 0; place < PLACES; place++) {
		const uint64_t gpa = HUGE_2M + PAGE, len = 4 * HUGE_2M + 3 * PAGE;
		struct mb_pool *pool;
		struct mb_space *first, *gap, *space;
		const char *why;

		if (!place_ready(place, &why))
			continue;
		pool = pool_at(place, 32 * MiB, 0);
		first = space_of(pool, "first", 4 * MiB, false);
		gap = space_of(pool, "gap", 20 * MiB, false);
		mb_space_destroy(first);
		space = space_of(pool, "a", 12 * MiB, true);
		assert_int_equal(extents(space), 2);
		for (unsigned step = 1;; step++) {
			int rc;

			pool->fault_in = step;
			rc = mb_space_inflate(space, gpa, len);
			if (!rc)
				break;
			assert_int_equal(rc, -EIO);
			assert_int_equal(owner_of(space).inflated, 0);
			assert_int_equal(owner_of(space).actual, 12 * MiB);
			pool->fault_in = 0;
			fill(space, 0, 12 * MiB, 2); /* nothing that is charged is beyond reach */
			assert_clean(space);
			assert_pool_clean(pool);
		}
		pool->fault_in = 0;
		for (unsigned step = 1;; step++) {
			int rc;

			pool->fault_in = step;
			rc = mb_space_deflate(space, gpa, len);
			if (!rc)
				break;
			assert_int_equal(rc, -EIO);
			pool->fault_in = 0;
			assert_int_equal(owner_of(space).inflated, len);
			assert_clean(space);
			assert_pool_clean(pool);
		}
		pool->fault_in = 0;
		assert_clean(space);
		mb_space_destroy(space);
		mb_space_destroy(gap);
		assert_pool_clean(pool);
		mb_pool_close(pool);
	}
}

/* ---- the picture ------------------------------------------------------------------------------------------
 */

struct picture {
	uint64_t gpa, len, inflated, resident, split;
	unsigned stretches;
};

static int add(void *arg, const struct mb_stretch *s)
{
	struct picture *p = arg;

	assert_true(s->gpa >= p->gpa);
	p->gpa = s->gpa + s->len;
	p->len += s->len;
	p->inflated += s->inflated;
	p->resident += s->resident;
	p->split += s->split;
	p->stretches++;
	return 0;
}

static void picture_adds_up(void **state)
{
	const struct mb_region r[] = {{0, 8 * MiB}, {16 * MiB, 6 * MiB}};
	const uint64_t steps[] = {PAGE, 3 * PAGE, HUGE_2M, 5 * MiB, GiB};

	(void)state;
	for (enum place place = 0; place < PLACES; place++) {
		struct mb_pool *pool;
		struct mb_space *space;
		struct mb_space_status s;
		const char *why;

		if (!place_ready(place, &why))
			continue;
		pool = pool_at(place, 32 * MiB, 0);
		space = space_in(pool, "a", r, 2);
		fill(space, 0, 8 * MiB, 1);
		fill(space, 16 * MiB, HUGE_2M, 1);
		assert_int_equal(mb_space_inflate(space, 4 * PAGE, PAGE), 0);
		assert_int_equal(mb_space_inflate(space, HUGE_2M, HUGE_2M), 0);
		assert_int_equal(mb_space_get_status(space, &s, NULL), 0);
		for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			struct picture p = {0};

			assert_int_equal(mb_space_walk(space, steps[i], add, &p), 0);
			assert_int_equal(p.len, 14 * MiB);
			assert_int_equal(p.inflated, HUGE_2M + PAGE);
			assert_int_equal(p.split, HUGE_2M);
			assert_int_equal(p.resident, s.owner.pending ? 8 * MiB : 8 * MiB - PAGE);
			if (place != ON_DISK)
				assert_int_equal(s.resident, p.resident);
		}
		assert_int_equal(mb_space_walk(space, 0, add, NULL), -EINVAL);
		assert_int_equal(mb_space_walk(space, 100, add, NULL), -EINVAL);
		mb_space_destroy(space);
		mb_pool_close(pool);
	}
}

static void words(void **state)
{
	enum mb_backing b;

	(void)state;
	for (int i = MB_BACKING_ANON; i <= MB_BACKING_FILE; i++) {
		assert_int_equal(mb_backing_parse(mb_backing_name((enum mb_backing)i), &b), 0);
		assert_int_equal(b, i);
	}
	assert_int_equal(mb_backing_parse("hugetlb", &b), 0);
	assert_int_equal(b, MB_BACKING_HUGETLB_2M);
	assert_int_equal(mb_backing_parse("disk", &b), -EINVAL);
	assert_int_equal(mb_backing_parse("", &b), -EINVAL);
	assert_true(strlen(mb_version()) >= 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(regions_with_a_hole), cmocka_unit_test(both_ways),
	    cmocka_unit_test(bad_configurations),  cmocka_unit_test(bad_pools),
	    cmocka_unit_test(names_and_the_table), cmocka_unit_test(scattered_frames),
	    cmocka_unit_test(shortages),
#ifndef __SANITIZE_THREAD__
	    cmocka_unit_test(terabytes),
#endif
	    cmocka_unit_test(creation_rolls_back), cmocka_unit_test(changes_roll_back),
	    cmocka_unit_test(picture_adds_up),     cmocka_unit_test(words),
	};
	int failed;

	if (fixture_begin(40))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
