/* SPDX-License-Identifier: MIT */
/*
 * test-room.c - budgets for which a file system or the kernel's huge pages have no room: said when they are set, and
 * not by SIGBUS when a guest touches the memory.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

/* A mount of its own at fixture_path("small"). */
static void mount_small(const char *type, const char *options)
{
	mkdir(fixture_path("small"), 0700);
	if (mount(type, fixture_path("small"), type, 0, options))
		skip(); /* not root */
}

static int unmount_small(void **state)
{
	(void)state;
	umount2(fixture_path("small"), MNT_DETACH);
	unlink(fixture_path("pool"));
	return 0;
}

static struct mb_pool *make(const char *path, uint64_t size, uint64_t budget)
{
	struct mb_pool_config config = {.backing = MB_BACKING_FILE,
					.size = size,
					.budget = budget,
					.memory_path = fixture_path("small/mem")};
	struct mb_error err;

	if (mb_pool_create_file(path, &config, NULL, &err))
		fail_msg("%s", err.text);
	return attach(path);
}

/* The records are allocated on the same mount: what they take is not there for the budget. */
static void records_take_room_too(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_FILE, .size = 64 * MiB};
	struct mb_error err;

	(void)state;
	mount_small("tmpfs", "size=70m");
	assert_int_equal(mb_pool_create_file(fixture_path("small/pool"), &config, NULL, &err), -ENOSPC);
	assert_error(&err, -ENOSPC);
	config.budget = 48 * MiB;
	assert_int_equal(mb_pool_create_file(fixture_path("small/pool"), &config, NULL, &err), 0);
	assert_int_equal(mb_pool_destroy(fixture_path("small/pool"), NULL), 0);
}

/* What is charged but not touched yet needs its room as well. */
static void what_is_charged_is_not_there_yet(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_space *space;
	struct mb_pool *pool;
	struct mb_error err;

	(void)state;
	mount_small("tmpfs", "size=64m");
	pool = make(path, 128 * MiB, 32 * MiB);
	space = space_of(pool, "x", 32 * MiB, false);
	assert_int_equal(mb_pool_set_budget(pool, 80 * MiB, NULL, &err), -ENOSPC);
	assert_error(&err, -ENOSPC);
	assert_int_equal(mb_pool_set_budget(pool, 60 * MiB, NULL, &err), 0);
	/* What is touched is there, and takes no more. */
	fill(space, 0, 32 * MiB, 1);
	assert_int_equal(mb_pool_set_budget(pool, 62 * MiB, NULL, &err), 0);
	assert_int_equal(mb_pool_set_budget(pool, 66 * MiB, NULL, &err), -ENOSPC);
	mb_space_destroy(space);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* Somebody else filled the mount meanwhile: less of a promise that cannot be kept is better than all of it. */
static void lowering_is_never_refused(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_pool *pool;
	struct mb_error err;

	(void)state;
	mount_small("tmpfs", "size=64m");
	pool = make(path, 64 * MiB, 60 * MiB);
	assert_int_equal(mount("tmpfs", fixture_path("small"), "tmpfs", MS_REMOUNT, "size=32m"), 0);
	assert_int_equal(mb_pool_set_budget(pool, 62 * MiB, NULL, &err), -ENOSPC);
	assert_int_equal(mb_pool_set_budget(pool, 50 * MiB, NULL, &err), 0);
	assert_string_equal(err.text, "");
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

static void a_hugetlbfs_bounds_the_budget(void **state)
{
	struct mb_pool_config config = {
	    .backing = MB_BACKING_HUGETLB_2M, .size = 64 * MiB, .memory_path = fixture_path("small/mem")};
	const char *path = fixture_path("pool"), *why;
	struct mb_error err;
	struct mb_pool *pool;

	(void)state;
	if (!place_ready(ON_HUGETLBFS, &why))
		skip();
	mount_small("hugetlbfs", "pagesize=2M,size=16m");
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), -ENOSPC);
	assert_error(&err, -ENOSPC);
	config.budget = 16 * MiB;
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), 0);
	pool = attach(path);
	assert_int_equal(mb_pool_set_budget(pool, 18 * MiB, NULL, &err), -ENOSPC);
	assert_error(&err, -ENOSPC);
	assert_int_equal(mb_pool_set_budget(pool, 14 * MiB, NULL, &err), 0);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

static void too_few_huge_pages_are_warned_of(void **state)
{
	struct mb_pool_config config = {
	    .backing = MB_BACKING_HUGETLB_2M, .size = 2 * TiB, .memory_path = fixture_path("hugetlbfs/mem")};
	const char *path = fixture_path("pool"), *why;
	struct mb_error warning, err;
	struct mb_space *space;
	struct mb_pool *pool;

	(void)state;
	if (!place_ready(ON_HUGETLBFS, &why))
		skip();
	config.budget = 16 * MiB;
	assert_int_equal(mb_pool_create_file(path, &config, &warning, &err), 0);
	assert_string_equal(warning.text, "");
	pool = attach(path);
	space = space_of(pool, "x", 16 * MiB, false);
	assert_int_equal(mb_pool_set_budget(pool, 16 * MiB, &warning, &err), 0);
	assert_string_equal(warning.text, "");
	assert_int_equal(mb_pool_set_budget(pool, TiB, &warning, &err), 0);
	assert_error(&warning, 0);
	assert_non_null(strstr(warning.text, "nr_hugepages"));
	mb_space_destroy(space);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
	config.budget = TiB;
	assert_int_equal(mb_pool_create_file(path, &config, &warning, &err), 0);
	assert_non_null(strstr(warning.text, "nr_hugepages"));
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* A mount without a bound promises more than any host has. */
static void a_budget_beyond_the_host_is_warned_of(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_error warning, err;
	struct mb_pool *pool;

	(void)state;
	mount_small("tmpfs", "nr_blocks=0");
	pool = make(path, TiB, 16 * MiB);
	assert_int_equal(mb_pool_set_budget(pool, 32 * MiB, &warning, &err), 0);
	assert_string_equal(warning.text, "");
	assert_int_equal(mb_pool_set_budget(pool, TiB, &warning, &err), 0);
	assert_error(&warning, 0);
	assert_non_null(strstr(warning.text, "OOM"));
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, NULL), 0);
}

/* Refused before any of it is taken: the OOM killer would choose somebody, perhaps not us. */
static void refuses_prealloc(struct mb_pool *pool)
{
	struct mb_region region = {0, TiB};
	struct mb_space_config config = {.name = "x", .regions = &region, .region_count = 1, .prealloc = true};
	struct mb_space *space = NULL;
	unsigned long long most;
	struct mb_error err;
	char unit, *at;

	assert_int_equal(mb_space_create(pool, &config, &space, &err), -ENOMEM);
	assert_null(space);
	assert_error(&err, -ENOMEM);
	assert_non_null(strstr(err.text, "OOM killer"));
	assert_int_equal(budget_used(pool), 0);
	at = strstr(err.text, "at most ");
	assert_non_null(at);
	assert_int_equal(sscanf(at, "at most %llu%c would work now", &most, &unit), 2);
	assert_true((unit == 'G' && most < 1024) || unit == 'M');
	region.size = 2 * MiB;
	assert_int_equal(mb_space_create(pool, &config, &space, &err), 0);
	assert_int_equal(resident(space, 0, region.size), region.size);
	mb_space_destroy(space);
}

static void prealloc_beyond_the_host_is_refused(void **state)
{
	struct mb_pool_config config = {.size = TiB};
	const enum mb_backing kind[] = {MB_BACKING_ANON, MB_BACKING_MEMFD, MB_BACKING_FILE};
	struct mb_pool *pool;
	struct mb_error err;

	(void)state;
	mount_small("tmpfs", "nr_blocks=0");
	for (unsigned i = 0; i < 3; i++) {
		config.backing = kind[i];
		config.memory_path = kind[i] == MB_BACKING_FILE ? fixture_path("small/mem") : NULL;
		if (mb_pool_create_private(&config, &pool, NULL, &err))
			fail_msg("%s", err.text);
		refuses_prealloc(pool);
		mb_pool_close(pool);
	}
}

#define TEST(name) cmocka_unit_test_teardown(name, unmount_small)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(records_take_room_too),
	    TEST(what_is_charged_is_not_there_yet),
	    TEST(lowering_is_never_refused),
	    TEST(a_hugetlbfs_bounds_the_budget),
	    TEST(too_few_huge_pages_are_warned_of),
	    TEST(a_budget_beyond_the_host_is_warned_of),
	    TEST(prealloc_beyond_the_host_is_refused),
	};
	int failed;

	if (fixture_begin(16))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
