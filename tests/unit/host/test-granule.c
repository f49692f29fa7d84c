/* SPDX-License-Identifier: MIT */
/*
 * test-granule.c - backings that give back whole huge pages only: pending holes, charges by the granule,
 * reservations that turn a later SIGBUS into an error now.
 */
#include "fixture.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define SIZE    (32 * MiB)
#define NR_2M   "/proc/sys/vm/nr_hugepages"
#define DIR_1G  "/sys/kernel/mm/hugepages/hugepages-1048576kB/"
#define FREE_2M "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
#define RESV_2M "/sys/kernel/mm/hugepages/hugepages-2048kB/resv_hugepages"

static void expect(struct mb_space *space, struct mb_pool *pool, uint64_t inflated, uint64_t pending)
{
	struct mb_owner_status s = owner_of(space);

	assert_int_equal(s.inflated, inflated);
	assert_int_equal(s.pending, pending);
	assert_int_equal(s.actual, s.maximum - inflated + pending);
	assert_int_equal(budget_used(pool), s.actual);
	assert_clean(space);
	assert_pool_clean(pool);
}

static void the_last_hole_sends_the_granule(void **state)
{
	struct mb_pool *pool;
	struct mb_space *space;
	char *p;

	(void)state;
	pool = pool_at(ON_HUGETLB, SIZE, 0);
	space = space_of(pool, "a", SIZE, false);
	p = mb_space_window(space);
	fill(space, 0, SIZE, 7);
	assert_int_equal(mb_space_inflate(space, 0, HUGE_2M - PAGE), 0);
	expect(space, pool, HUGE_2M - PAGE, HUGE_2M - PAGE);
	assert_int_equal(resident(space, 0, SIZE), SIZE);
	/* a pending page comes back as zeros, though its bytes never left */
	assert_int_equal(mb_space_deflate(space, 3 * PAGE, 2 * PAGE), 0);
	assert_true(all_zero(p + 3 * PAGE, 2 * PAGE));
	assert_int_equal(p[2 * PAGE], 7); /* still in the balloon: nobody promised it to be clean */
	expect(space, pool, HUGE_2M - 3 * PAGE, HUGE_2M - 3 * PAGE);
	assert_int_equal(mb_space_inflate(space, 3 * PAGE, 2 * PAGE), 0);
	assert_int_equal(mb_space_inflate(space, HUGE_2M - PAGE, PAGE), 0);
	expect(space, pool, HUGE_2M, 0);
	assert_int_equal(resident(space, 0, HUGE_2M), 0);
	/* a part of it comes back: all of it is charged, the rest is pending */
	assert_int_equal(mb_space_deflate(space, PAGE, PAGE), 0);
	expect(space, pool, HUGE_2M - PAGE, HUGE_2M - PAGE);
	assert_true(all_zero(p + PAGE, PAGE));
	assert_int_equal(mb_space_deflate(space, 0, PAGE), 0);
	assert_int_equal(mb_space_deflate(space, 2 * PAGE, HUGE_2M - 2 * PAGE), 0);
	expect(space, pool, 0, 0);
	assert_true(all_zero(p, HUGE_2M));
	assert_int_equal(p[HUGE_2M], 7);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* One call over a ragged head, whole granules and a ragged tail. */
static void ragged_ranges(void **state)
{
	const uint64_t gpa = HUGE_2M + 3 * PAGE, len = 3 * HUGE_2M;
	struct mb_pool *pool;
	struct mb_space *space;

	(void)state;
	pool = pool_at(ON_HUGETLB, SIZE, 0);
	space = space_of(pool, "a", SIZE, true);
	assert_int_equal(mb_space_inflate(space, gpa, len), 0);
	expect(space, pool, len, HUGE_2M);
	assert_int_equal(resident(space, 0, SIZE), SIZE - 2 * HUGE_2M);
	assert_int_equal(mb_space_inflate(space, HUGE_2M, 3 * PAGE), 0);
	expect(space, pool, len + 3 * PAGE, 3 * PAGE);
	assert_int_equal(mb_space_deflate(space, HUGE_2M, len + 3 * PAGE), 0);
	expect(space, pool, 0, 0);
	assert_int_equal(resident(space, 0, SIZE), SIZE);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* Against a model: one bit a page, random ranges, both ways. */
static void random_history(void **state)
{
	enum { PAGES = 4 * 512 };
	static bool hole[PAGES];
	struct mb_pool *pool;
	struct mb_space *space;
	unsigned seed = 7;

	(void)state;
	pool = pool_at(ON_HUGETLB, SIZE, 0);
	space = space_of(pool, "a", PAGES * PAGE, false);
	for (int n = 0; n < 1500; n++) {
		unsigned first, count, i, full = 0, holes = 0, bad;
		bool want;
		int rc;

		seed = seed * 1103515245 + 12345;
		first = seed >> 8 & (PAGES - 1);
		seed = seed * 1103515245 + 12345;
		count = 1 + (seed >> 8) % (seed & 0x80 ? 600 : 5);
		if (count > PAGES - first)
			count = PAGES - first;
		want = !hole[first];
		for (bad = 0, i = first; i < first + count; i++)
			bad += hole[i] == want;
		rc = (want ? mb_space_inflate : mb_space_deflate)(space, first * PAGE, count * PAGE);
		assert_int_equal(rc, bad ? -EALREADY : 0);
		for (i = first; !rc && i < first + count; i++)
			hole[i] = want;
		for (i = 0; i < PAGES; i += 512) {
			unsigned here = 0;

			for (unsigned k = 0; k < 512; k++)
				here += hole[i + k];
			holes += here;
			full += here == 512;
		}
		assert_int_equal(owner_of(space).inflated, holes * PAGE);
		assert_int_equal(owner_of(space).pending, holes * PAGE - full * HUGE_2M);
		if (n % 100 == 0)
			expect(space, pool, holes * PAGE, holes * PAGE - full * HUGE_2M);
	}
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* Too few huge pages: the number that is missing, and how to get them. */
static void too_few_at_start(void **state)
{
	uint64_t avail = read_number(FREE_2M) - read_number(RESV_2M), size = (avail + 3) * HUGE_2M;
	struct mb_pool_config config = {.backing = MB_BACKING_HUGETLB_2M, .size = size};
	struct mb_region region = {0, size};
	struct mb_space_config space_config = {.name = "a", .regions = &region, .region_count = 1};
	struct mb_pool *pool = NULL;
	struct mb_space *space = NULL;
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, &err), 0);
	assert_int_equal(mb_space_create(pool, &space_config, &space, &err), -ENOMEM);
	assert_error(&err, -ENOMEM);
	assert_non_null(strstr(err.text, "3 huge pages of 2 MiB are missing"));
	assert_non_null(strstr(err.text, "sysctl vm.nr_hugepages="));
	assert_int_equal(budget_used(pool), 0);
	assert_int_equal(read_number(RESV_2M), 0);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

/* What a space was charged for is there when it is touched, whatever others do. */
static void reserved_means_reserved(void **state)
{
	struct mb_pool *pool;
	struct mb_space *space;
	char old[32], few[32];
	void *rival;
	uint64_t avail;

	(void)state;
	snprintf(old, sizeof(old), "%llu", (unsigned long long)read_number(NR_2M));
	pool = pool_at(ON_HUGETLB, SIZE, 0);
	space = space_of(pool, "a", SIZE, false);
	assert_int_equal(mb_space_inflate(space, 0, SIZE / 2), 0);
	/* a rival takes every page that is not spoken for */
	avail = read_number(FREE_2M) - read_number(RESV_2M);
	assert_true(avail >= SIZE / 2 / HUGE_2M);
	rival = mmap(NULL, avail * HUGE_2M, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB,
		     -1, 0);
	assert_true(rival != MAP_FAILED);
	memset(rival, 1, avail * HUGE_2M);
	fill(space, SIZE / 2, SIZE / 2, 1); /* no SIGBUS */
	assert_int_equal(mb_space_deflate(space, 0, HUGE_2M), -ENOMEM);
	expect(space, pool, SIZE / 2, 0);
	munmap(rival, avail * HUGE_2M);
	assert_int_equal(mb_space_deflate(space, 0, HUGE_2M), 0);
	/* and again: what was deflated cannot be taken away by making the kernel's pool small */
	snprintf(few, sizeof(few), "%d", 0);
	assert_true(setting(NR_2M, few));
	fill(space, 0, HUGE_2M, 1);
	assert_true(setting(NR_2M, old));
	mb_space_destroy(space);
	assert_int_equal(read_number(RESV_2M), 0);
	mb_pool_close(pool);
}

/* No mapping of 2 MiB pages covers an aligned GiB: see backing_hugetlb.c. */
static void mappings_avoid_giants(void **state)
{
	const uint64_t size = 3 * GiB;
	struct mb_pool_config config = {.backing = MB_BACKING_HUGETLB_2M, .size = size};
	struct mb_pool *pool = NULL;
	struct mb_space *space;
	char line[512], want[32];
	unsigned ours = 0;
	FILE *f;

	(void)state;
	snprintf(want, sizeof(want), "%llu", (unsigned long long)(size / HUGE_2M + 64));
	if (!setting(NR_2M, want) || read_number(FREE_2M) < size / HUGE_2M) {
		print_message("# left out: cannot reserve 3 GiB of huge pages\n");
		skip();
	}
	assert_int_equal(mb_pool_create_private(&config, &pool, NULL, NULL), 0);
	space = space_of(pool, "a", size, false);
	f = fopen("/proc/self/maps", "re");
	assert_non_null(f);
	while (fgets(line, sizeof(line), f)) {
		unsigned long long start, end;

		assert_int_equal(sscanf(line, "%llx-%llx", &start, &end), 2);
		if (start < (uintptr_t)mb_space_window(space) || end > (uintptr_t)mb_space_window(space) + size)
			continue;
		ours++;
		assert_true(((start + GiB - 1) & ~(GiB - 1)) + GiB > end);
	}
	fclose(f);
	assert_int_equal(ours, 4);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void giant_pages(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_HUGETLB_1G, .size = 2 * GiB};
	struct mb_pool *pool = NULL;
	struct mb_space *space;
	struct mb_error err;
	char *p;

	(void)state;
	if (!setting(DIR_1G "nr_hugepages", "2") || read_number(DIR_1G "free_hugepages") < 2) {
		print_message("# left out: this host has no two huge pages of 1 GiB\n");
		skip();
	}
	if (mb_pool_create_private(&config, &pool, NULL, &err))
		fail_msg("%s", err.text);
	space = space_of(pool, "a", 2 * GiB, false);
	p = mb_space_window(space);
	p[0] = p[GiB] = p[GiB + HUGE_2M] = 1;
	assert_int_equal(pool_resident_bytes(pool), 2 * GiB);
	assert_int_equal(mb_space_inflate(space, GiB, GiB - PAGE), 0);
	expect(space, pool, GiB - PAGE, GiB - PAGE);
	assert_int_equal(pool_resident_bytes(pool), 2 * GiB);
	assert_int_equal(mb_space_inflate(space, 2 * GiB - PAGE, PAGE), 0);
	expect(space, pool, GiB, 0);
	assert_int_equal(pool_resident_bytes(pool), GiB);
	assert_int_equal(mb_space_deflate(space, GiB + HUGE_2M, HUGE_2M), 0);
	expect(space, pool, GiB - HUGE_2M, GiB - HUGE_2M);
	assert_true(all_zero(p + GiB + HUGE_2M, HUGE_2M));
	mb_space_destroy(space);
	mb_pool_close(pool);
	assert_true(setting(DIR_1G "nr_hugepages", "0"));
}

/* Every text that a wrong hugetlb set-up gives. */
static void wrong_place(void **state)
{
	struct mb_pool_config config = {.backing = MB_BACKING_HUGETLB_2M, .size = SIZE};
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_pool_create_file(fixture_path("no"), &config, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
	assert_non_null(strstr(err.text, "mount -t hugetlbfs"));
	config.backing = MB_BACKING_HUGETLB_1G;
	assert_int_equal(mb_pool_create_private(&config, NULL, NULL, &err), -EINVAL);
	assert_error(&err, -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(the_last_hole_sends_the_granule),
	    cmocka_unit_test(ragged_ranges),
	    cmocka_unit_test(random_history),
	    cmocka_unit_test(too_few_at_start),
	    cmocka_unit_test(reserved_means_reserved),
	    cmocka_unit_test(mappings_avoid_giants),
	    cmocka_unit_test(giant_pages),
	    cmocka_unit_test(wrong_place),
	};
	const char *why;
	int failed;

	if (fixture_begin(40))
		return 1;
	if (!place_ready(ON_HUGETLB, &why)) {
		printf("skipped: %s\n", why);
		return 77;
	}
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
