/* SPDX-License-Identifier: MIT */
/*
 * test-thp.c - transparent huge pages: holes of 4 KiB really free memory, stay free while khugepaged does
 * its worst, and cost a bounded number of mappings.
 */
#include "fixture.h"
#include "state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define SIZE     (32 * MiB)
#define THP      "/sys/kernel/mm/transparent_hugepage/"
#define KPF_THP  22
#define PATIENCE 100 /* tenths of a second */

static const enum place places[] = {ON_ANON, ON_MEMFD, ON_TMPFS};

static void nap(void)
{
	struct timespec tenth = {.tv_nsec = 100000000};

	nanosleep(&tenth, NULL);
}

/* Whether the page at p is part of a transparent huge page; -1: not to be told here. */
static int is_thp(const volatile char *p)
{
	uint64_t entry, flags;
	int map = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	int kpf = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);
	off_t at = (off_t)((uintptr_t)p / PAGE * 8);
	int out = -1;

	(void)*p; /* of a file, splitting unmaps the rest until it is touched */
	if (map >= 0 && kpf >= 0 && pread(map, &entry, 8, at) == 8 && entry >> 63 &&
	    pread(kpf, &flags, 8, (off_t)((entry & ((UINT64_C(1) << 55) - 1)) * 8)) == 8)
		out = flags >> KPF_THP & 1;
	close(map);
	close(kpf);
	return out;
}

/* Where the kernel can have huge pages, we get them; and one hole ends them for the frame, at once. */
static void one_hole_frees_one_page(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		struct mb_pool *pool;
		struct mb_space *space;
		char *p;
		const char *why;

		if (!place_ready(places[i], &why)) {
			print_message("# %s left out: %s\n", place_name(places[i]), why);
			continue;
		}
		pool = pool_at(places[i], SIZE, 0);
		space = space_of(pool, "a", SIZE, false);
		p = mb_space_window(space);
		fill(space, 0, SIZE, 1);
		if (is_thp(p) != 1) {
			print_message("# %s: no huge pages here, or not to be told\n", place_name(places[i]));
		} else {
			assert_int_equal(is_thp(p + 5 * PAGE), 1);
			assert_int_equal(mb_space_inflate(space, 4 * PAGE, PAGE), 0);
			/* the frame's other pages are pages of their own: the hole's bytes are free */
			assert_int_equal(is_thp(p + 5 * PAGE), 0);
			assert_int_equal(is_thp(p + HUGE_2M), 1);
			/* a range that ends within a huge frame splits that one too */
			assert_int_equal(mb_space_inflate(space, 4 * MiB, HUGE_2M + PAGE), 0);
			assert_int_equal(is_thp(p + 6 * MiB + PAGE), 0);
			assert_int_equal(is_thp(p + 8 * MiB), 1);
		}
		assert_clean(space);
		mb_space_destroy(space);
		mb_pool_close(pool);
	}
}

/*
 * A part of a huge frame that was all holes comes back, and is made resident at once: the rest are holes still, and
 * a huge page would fill them beyond the charge.
 */
static void a_part_comes_back_alone(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct mb_space *space;
		struct mb_pool *pool;
		const char *why;

		if (!place_ready(places[i], &why)) {
			print_message("# %s left out: %s\n", place_name(places[i]), why);
			continue;
		}
		pool = pool_at(places[i], SIZE, 0);
		space = space_of(pool, "a", SIZE, true);
		assert_int_equal(mb_space_inflate(space, 0, 8 * MiB), 0);
		assert_int_equal(mb_space_deflate(space, MiB, MiB), 0);
		assert_int_equal(resident(space, 0, 8 * MiB), MiB);
		assert_clean(space);
		/* what follows in whole frames is large, whatever the ends are */
		assert_int_equal(mb_space_deflate(space, 2 * MiB, 5 * MiB), 0);
		assert_int_equal(resident(space, 0, 8 * MiB), 6 * MiB);
		if (is_thp((char *)mb_space_window(space) + 8 * MiB) == 1)
			assert_int_equal(is_thp((char *)mb_space_window(space) + 2 * MiB), 1);
		assert_clean(space);
		mb_space_destroy(space);
		mb_pool_close(pool);
	}
}

static bool hurry_khugepaged(void)
{
	return setting(THP "khugepaged/max_ptes_none", "511") &&
	       setting(THP "khugepaged/pages_to_scan", "100000") &&
	       setting(THP "khugepaged/scan_sleep_millisecs", "10") &&
	       setting(THP "khugepaged/alloc_sleep_millisecs", "10");
}

/* Anonymous memory of our own with the same holes and no guard: what khugepaged does to it is the proof that
 * it was at work. */
static char *bait_lay(void)
{
	char *p = mmap(NULL, 8 * MiB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	madvise(p, 8 * MiB, MADV_HUGEPAGE);
	memset(p, 1, 8 * MiB);
	for (uint64_t i = 0; i < 8 * MiB; i += 2 * PAGE) {
		madvise(p + i, PAGE, 20 /* MADV_COLD: splits */);
		madvise(p + i, PAGE, MADV_DONTNEED);
	}
	return p;
}

static bool bait_taken(char *p)
{
	unsigned char vec[8 * MiB / PAGE];
	unsigned n = 0;

	assert_int_equal(mincore(p, 8 * MiB, vec), 0);
	for (unsigned i = 0; i < sizeof(vec); i++)
		n += vec[i] & 1;
	return n >= sizeof(vec) * 3 / 4; /* all but the ragged edges */
}

static void holes_stay(void **state)
{
	struct mb_pool *pool[3] = {0};
	struct mb_space *space[3] = {0};
	bool taken = false;
	char *bait;

	(void)state;
	if (!hurry_khugepaged()) {
		print_message("# khugepaged cannot be hurried here (not root?)\n");
		skip();
	}
	for (unsigned i = 0; i < 3; i++) {
		const char *why;

		if (!place_ready(places[i], &why))
			continue;
		pool[i] = pool_at(places[i], SIZE, 0);
		space[i] = space_of(pool[i], "a", SIZE, false);
		fill(space[i], 0, SIZE, 1);
		for (uint64_t gpa = 0; gpa < SIZE; gpa += 2 * PAGE)
			assert_int_equal(mb_space_inflate(space[i], gpa, PAGE), 0);
		assert_int_equal(resident(space[i], 0, SIZE), SIZE / 2);
	}
	bait = bait_lay();
	for (int n = 0; n < PATIENCE && !taken; n++) {
		nap();
		taken = bait_taken(bait);
	}
	for (int n = 0; n < 10; n++)
		nap(); /* and a few more rounds, for the spaces */
	munmap(bait, 8 * MiB);
	for (unsigned i = 0; i < 3; i++) {
		if (!space[i])
			continue;
		assert_int_equal(resident(space[i], 0, SIZE), SIZE / 2);
		assert_clean(space[i]);
		mb_space_destroy(space[i]);
		mb_pool_close(pool[i]);
	}
	if (!taken) {
		print_message("# khugepaged did not fill our own bait: nothing was shown\n");
		skip();
	}
}

static unsigned mappings(void)
{
	FILE *f = fopen("/proc/self/maps", "re");
	unsigned lines = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		lines += c == '\n';
	fclose(f);
	return lines;
}

/* A hole in every second huge frame: more stretches than are allowed, so grains double. */
static void stretches_are_bounded(void **state)
{
	const uint64_t size = 512 * MiB;
	struct mb_pool *pool = pool_at(ON_ANON, size, 0);
	struct mb_space *space = space_of(pool, "a", size, false);
	unsigned before = mappings();

	(void)state;
	if (!space->guard.active) {
		print_message("# anonymous memory has no huge pages here\n");
		skip();
	}
	space->guard.stretches_max = 16;
	for (uint64_t gpa = 0; gpa < size; gpa += 2 * HUGE_2M) {
		assert_int_equal(mb_space_inflate(space, gpa, PAGE), 0);
		assert_true(space->guard.stretches <= 16);
		assert_true(mappings() <= before + 2 * 16 + 4);
	}
	assert_true(space->guard.grain_shift > 0);
	assert_int_equal(owner_of(space).inflated, size / 4 / MiB * PAGE);
	assert_clean(space);
	/* when all is whole again, no mark is left */
	for (uint64_t gpa = 0; gpa < size; gpa += 2 * HUGE_2M)
		assert_int_equal(mb_space_deflate(space, gpa, PAGE), 0);
	assert_int_equal(space->guard.stretches, 0);
	assert_int_equal(mappings(), before);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* The count of stretches against a count from scratch, over a random history. */
static void stretches_are_counted(void **state)
{
	const uint64_t size = 128 * MiB;
	struct mb_pool *pool = pool_at(ON_ANON, size, 0);
	struct mb_space *space = space_of(pool, "a", size, false);
	bool out[64] = {false};
	unsigned seed = 1;

	(void)state;
	for (int n = 0; n < 2000; n++) {
		unsigned f, runs = 0;
		bool last = false;

		seed = seed * 1103515245 + 12345;
		f = seed >> 16 & 63;
		assert_int_equal(
		    (out[f] ? mb_space_deflate : mb_space_inflate)(space, f * HUGE_2M + PAGE, PAGE), 0);
		out[f] = !out[f];
		for (unsigned i = 0; i < 64; i++) {
			runs += out[i] && !last;
			last = out[i];
		}
		if (space->guard.active)
			assert_int_equal(space->guard.stretches, runs);
	}
	mb_space_destroy(space);
	mb_pool_close(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_hole_frees_one_page),
	    cmocka_unit_test(a_part_comes_back_alone),
	    cmocka_unit_test(holes_stay),
	    cmocka_unit_test(stretches_are_bounded),
	    cmocka_unit_test(stretches_are_counted),
	};
	int failed;

	if (fixture_begin(0))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
