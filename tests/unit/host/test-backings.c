/* SPDX-License-Identifier: MIT */
/*
 * test-backings.c - on each backing: memory really comes and really goes, as the kernel sees it.
 *
 * The same tests run for every place where memory can live; a place that this machine cannot have is named,
 * and if a place was left out the program says so. Nothing here believes the library's own counters.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (32 * MiB)

static enum place place; /* of the run */

static uint64_t granule(struct mb_pool *pool)
{
	struct mb_pool_status s;

	assert_int_equal(mb_pool_get_status(pool, &s, NULL), 0);
	return s.granule;
}

static void resident_rises_and_falls(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);

	(void)state;
	assert_int_equal(resident(space, 0, SIZE), 0);
	fill(space, 0, SIZE, 0xa5);
	assert_int_equal(resident(space, 0, SIZE), SIZE);
	assert_int_equal(budget_used(pool), SIZE);
	assert_true(pool_resident_bytes(pool) >= SIZE);
	assert_int_equal(mb_space_inflate(space, SIZE / 4, SIZE / 2), 0);
	assert_int_equal(resident(space, SIZE / 4, SIZE / 2), 0);
	assert_int_equal(resident(space, 0, SIZE), SIZE / 2);
	assert_int_equal(budget_used(pool), SIZE / 2);
	if (place != ON_DISK) /* a file system may keep blocks of its own */
		assert_int_equal(pool_resident_bytes(pool), SIZE / 2);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	assert_int_equal(budget_used(pool), 0);
	assert_true(pool_resident_bytes(pool) < PAGE * 16);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

static void what_comes_back_is_zero(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	unsigned char *p = mb_space_window(space);

	(void)state;
	fill(space, 0, SIZE, 0x5a);
	assert_int_equal(mb_space_inflate(space, 4 * MiB, 8 * MiB), 0);
	/* a guest that touches what it gave away gains nothing by it */
	p[4 * MiB + 5 * PAGE] = 1;
	assert_int_equal(count_kind(space, "intruder", NULL), 1);
	assert_int_equal(mb_space_deflate(space, 4 * MiB, 8 * MiB), 0);
	assert_true(all_zero(p + 4 * MiB, 8 * MiB));
	assert_int_equal(p[4 * MiB - 1], 0x5a);
	assert_int_equal(p[12 * MiB], 0x5a);
	assert_int_equal(budget_used(pool), SIZE);
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* A guest that was reset does not wait: what it wrote to holes stays when they are restored. */
static void restore_keeps_and_purge_drops(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	unsigned char *p = mb_space_window(space);

	(void)state;
	fill(space, 0, SIZE, 0x5a);
	assert_int_equal(mb_space_inflate(space, 4 * MiB, 8 * MiB), 0);
	p[4 * MiB + 5 * PAGE] = 1;
	p[8 * MiB + 5 * PAGE] = 2;
	assert_int_equal(mb_space_purge(space, 8 * MiB, 4 * MiB), 0);
	assert_int_equal(count_kind(space, "intruder", NULL), 1);
	assert_int_equal(mb_space_purge(space, 8 * MiB, 5 * MiB), -EALREADY);
	assert_int_equal(mb_space_restore(space, 4 * MiB, 9 * MiB), -EALREADY);
	assert_int_equal(budget_used(pool), SIZE - 8 * MiB);
	assert_int_equal(mb_space_restore(space, 4 * MiB, 8 * MiB), 0);
	assert_int_equal(p[4 * MiB + 5 * PAGE], 1);
	p[4 * MiB + 5 * PAGE] = 0;
	assert_true(all_zero(p + 4 * MiB, 8 * MiB));
	assert_int_equal(p[12 * MiB], 0x5a);
	assert_int_equal(budget_used(pool), SIZE);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* What a guest says is free goes, and comes back zero by a mere touch; nobody's books change. */
static void discard_frees_and_keeps(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	unsigned char *p = mb_space_window(space);

	(void)state;
	fill(space, 0, SIZE, 0x5a);
	if (!mb_space_can_discard(space)) {
		assert_true(granule(pool) > PAGE);
		assert_int_equal(mb_space_discard(space, 4 * MiB, 8 * MiB), -EOPNOTSUPP);
		assert_int_equal(resident(space, 0, SIZE), SIZE);
	} else {
		assert_int_equal(granule(pool), PAGE);
		assert_int_equal(mb_space_discard(space, 4 * MiB, 8 * MiB), 0);
		assert_int_equal(resident(space, 0, SIZE), SIZE - 8 * MiB);
		assert_int_equal(owner_of(space).inflated, 0);
		assert_true(all_zero(p + 4 * MiB, 8 * MiB));
		assert_int_equal(p[4 * MiB - 1], 0x5a);
		assert_int_equal(p[12 * MiB], 0x5a);
		p[4 * MiB] = 1;
		assert_int_equal(mb_space_discard(space, SIZE - PAGE, 2 * PAGE), -ERANGE);
		assert_int_equal(mb_space_discard(space, PAGE, 0), -EINVAL);
		assert_int_equal(mb_space_discard(space, 1, PAGE), -EINVAL);
	}
	assert_int_equal(budget_used(pool), SIZE);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* Every second page, then the others: each hole is its own, and in the end all is gone. */
static void small_holes(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	bool fine = granule(pool) == PAGE;

	(void)state;
	fill(space, 0, SIZE, 1);
	for (uint64_t gpa = 0; gpa < 4 * MiB; gpa += 2 * PAGE)
		assert_int_equal(mb_space_inflate(space, gpa, PAGE), 0);
	assert_int_equal(resident(space, 0, 4 * MiB), fine ? 2 * MiB : 4 * MiB);
	assert_int_equal(owner_of(space).inflated, 2 * MiB);
	assert_int_equal(owner_of(space).pending, fine ? 0 : 2 * MiB);
	assert_int_equal(owner_of(space).actual, fine ? SIZE - 2 * MiB : SIZE);
	assert_int_equal(budget_used(pool), owner_of(space).actual);
	assert_clean(space);
	for (uint64_t gpa = PAGE; gpa < 4 * MiB; gpa += 2 * PAGE)
		assert_int_equal(mb_space_inflate(space, gpa, PAGE), 0);
	assert_int_equal(resident(space, 0, SIZE), SIZE - 4 * MiB);
	assert_int_equal(budget_used(pool), SIZE - 4 * MiB);
	assert_int_equal(owner_of(space).pending, 0);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void errors_change_nothing(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE - HUGE_2M, false);

	(void)state;
	assert_int_equal(mb_space_inflate(space, 0, 0), -EINVAL);
	assert_int_equal(mb_space_inflate(space, 1, PAGE), -EINVAL);
	assert_int_equal(mb_space_inflate(space, SIZE - HUGE_2M - PAGE, 2 * PAGE), -ERANGE);
	assert_int_equal(mb_space_inflate(space, UINT64_MAX - PAGE + 1, PAGE), -ERANGE);
	assert_int_equal(mb_space_inflate(space, PAGE, UINT64_MAX - PAGE + 1), -ERANGE);
	assert_int_equal(mb_space_deflate(space, 0, PAGE), -EALREADY);
	assert_int_equal(mb_space_inflate(space, 2 * MiB, 4 * MiB), 0);
	assert_int_equal(mb_space_inflate(space, 0, 8 * MiB), -EALREADY);
	assert_int_equal(mb_space_deflate(space, 0, 8 * MiB), -EALREADY);
	assert_int_equal(mb_space_deflate(space, 4 * MiB, 4 * MiB), -EALREADY);
	assert_int_equal(owner_of(space).inflated, 4 * MiB);
	assert_int_equal(budget_used(pool), SIZE - HUGE_2M - 4 * MiB);
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void prealloc_is_resident(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, true);
	char *p = mb_space_window(space);

	(void)state;
	assert_int_equal(resident(space, 0, SIZE), SIZE);
	assert_clean(space);
	assert_int_equal(mb_space_inflate(space, 2 * MiB, 6 * MiB), 0);
	assert_int_equal(resident(space, 0, SIZE), SIZE - 6 * MiB);
	assert_clean(space);
	assert_int_equal(mb_space_deflate(space, 2 * MiB, 6 * MiB), 0);
	assert_int_equal(resident(space, 0, SIZE), SIZE);
	assert_true(all_zero(p, SIZE));
	assert_clean(space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* A child does not get guest memory, so that it neither holds nor sees it. */
static void not_inherited(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	int status;
	pid_t pid;

	(void)state;
	fill(space, 0, PAGE, 1);
	pid = fork();
	if (!pid) {
		/* writing guest memory into a pipe: EFAULT where it is not mapped */
		int fd[2];

		_exit(pipe(fd) || write(fd[1], mb_space_window(space), 1) != -1 || errno != EFAULT);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void budget_is_kept(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, SIZE / 2);
	struct mb_region region = {0, SIZE / 2};
	struct mb_space_config config = {.name = "b", .regions = &region, .region_count = 1};
	struct mb_space *a = space_of(pool, "a", SIZE / 4 + HUGE_2M, false), *b = NULL;
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_space_create(pool, &config, &b, &err), -EDQUOT);
	assert_error(&err, -EDQUOT);
	assert_non_null(strstr(err.text, "10 MiB")); /* what is missing: 16 - (16 - 10) */
	assert_null(b);
	assert_int_equal(budget_used(pool), SIZE / 4 + HUGE_2M);
	assert_int_equal(mb_space_inflate(a, 0, SIZE / 4 + HUGE_2M), 0);
	assert_int_equal(mb_space_create(pool, &config, &b, &err), 0);
	assert_int_equal(mb_space_budget_left(a), 0);
	assert_int_equal(mb_space_deflate(a, 0, HUGE_2M), -EDQUOT);
	assert_int_equal(budget_used(pool), SIZE / 2);
	assert_clean(a);
	assert_int_equal(mb_space_inflate(b, 0, HUGE_2M), 0);
	assert_int_equal(mb_space_deflate(a, 0, HUGE_2M), 0);
	assert_clean(a);
	assert_clean(b);
	assert_pool_clean(pool);
	mb_space_destroy(b);
	mb_space_destroy(a);
	mb_pool_close(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(resident_rises_and_falls),
	    cmocka_unit_test(what_comes_back_is_zero),
	    cmocka_unit_test(restore_keeps_and_purge_drops),
	    cmocka_unit_test(discard_frees_and_keeps),
	    cmocka_unit_test(small_holes),
	    cmocka_unit_test(errors_change_nothing),
	    cmocka_unit_test(prealloc_is_resident),
	    cmocka_unit_test(not_inherited),
	    cmocka_unit_test(budget_is_kept),
	};

	return fixture_run(40, ON_ANON, &place, tests, sizeof(tests) / sizeof(tests[0]));
}
