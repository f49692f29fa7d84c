/* SPDX-License-Identifier: MIT */
/*
 * test-check.c - the check finds what was done behind the library's back, and names the place; and it finds
 * nothing where nothing was done.
 */
#include "fixture.h"
#include "format.h"
#include "ledger.h"
#include "state.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE (32 * MiB)

static enum place place; /* of the run */

struct found {
	unsigned count;
	struct mb_discrepancy d[16];
};

static int keep(void *arg, const struct mb_discrepancy *d)
{
	struct found *f = arg;

	assert_true(d->text[0] && strlen(d->text) < sizeof(d->text) - 1 && !strchr(d->text, '\n'));
	if (f->count < 16)
		f->d[f->count] = *d;
	f->count++;
	return 0;
}

static bool has(const struct found *f, const char *kind, uint64_t gpa, uint64_t frame, uint64_t len)
{
	for (unsigned i = 0; i < f->count && i < 16; i++)
		if (!strcmp(f->d[i].kind, kind) && f->d[i].gpa == gpa && f->d[i].frame == frame &&
		    f->d[i].len == len)
			return true;
	return false;
}

static struct found space_finds(struct mb_space *space)
{
	struct found f = {0};
	int found = mb_space_check(space, keep, &f);

	assert_int_equal(found, f.count);
	return f;
}

static struct found pool_finds(struct mb_pool *pool)
{
	struct found f = {0};
	int found = mb_pool_check(pool, keep, &f);

	assert_int_equal(found, f.count);
	return f;
}

static uint64_t frame_of(struct mb_space *space, uint64_t gpa)
{
	mb_frame f = {0};

	assert_int_equal(mb_space_frame(space, gpa, &f), 0);
	return f.n;
}

static uint64_t unit(void)
{
	return place == ON_HUGETLB || place == ON_HUGETLBFS ? HUGE_2M : PAGE;
}

static void missing(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, true);
	struct found f;

	(void)state;
	assert_int_equal(mb_space_inflate(space, 0, 4 * MiB), 0);
	assert_clean(space);
	if (place == ON_ANON)
		assert_int_equal(madvise((char *)mb_space_window(space) + 8 * MiB, unit(), MADV_DONTNEED), 0);
	else
		assert_int_equal(fallocate(space->mem.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)(frame_of(space, 8 * MiB) * PAGE), (off_t)unit()),
				 0);
	f = space_finds(space);
	assert_int_equal(f.count, 1);
	assert_true(has(&f, "missing", 8 * MiB, frame_of(space, 8 * MiB), unit()));
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void intruder(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	struct found f;

	(void)state;
	fill(space, 0, SIZE, 1);
	assert_int_equal(mb_space_inflate(space, 4 * MiB, 8 * MiB + 2 * PAGE), 0);
	assert_clean(space);
	assert_pool_clean(pool);
	((volatile char *)mb_space_window(space))[6 * MiB] = 1;
	f = space_finds(space);
	assert_int_equal(f.count, 1);
	assert_string_equal(f.d[0].kind, "intruder");
	assert_int_equal(f.d[0].gpa, 6 * MiB);
	assert_int_equal(f.d[0].frame, frame_of(space, 6 * MiB));
	assert_true(f.d[0].len >= unit()); /* the kernel may have given a whole huge page */
	/* the pool sees that more is resident than charged, and where the kernel tells places, whose it is */
	if (place != ON_DISK)
		assert_int_equal(pool_finds(pool).count, pool->mem.fd >= 0 && unit() == PAGE ? 2 : 1);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void swapped_entries(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	uint64_t a = frame_of(space, 4 * MiB), b = frame_of(space, 10 * MiB), word;
	struct found f;

	(void)state;
	word = *ledger_at(pool->ledger, a);
	*ledger_at(pool->ledger, a) = *ledger_at(pool->ledger, b);
	*ledger_at(pool->ledger, b) = word;
	f = space_finds(space);
	assert_int_equal(f.count, 2);
	assert_true(has(&f, "ledger", 4 * MiB, a, HUGE_2M));
	assert_true(has(&f, "ledger", 10 * MiB, b, HUGE_2M));
	f = pool_finds(pool);
	assert_int_equal(f.count, 2);
	assert_true(has(&f, "ledger", 10 * MiB, a, HUGE_2M));
	assert_true(has(&f, "ledger", 4 * MiB, b, HUGE_2M));
	/* erased, and a stranger's */
	*ledger_at(pool->ledger, a) = 0;
	*ledger_at(pool->ledger, b) = ledger_pack(77, 5, 10 * MiB);
	assert_int_equal(space_finds(space).count, 2);
	f = pool_finds(pool);
	assert_int_equal(f.count, 2);
	assert_true(has(&f, "allocator", UINT64_MAX, a, HUGE_2M));
	assert_true(has(&f, "ledger", 10 * MiB, b, HUGE_2M));
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void extents_changed(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE / 2, false);
	struct found f;

	(void)state;
	space->entry->extent[0].gpa += HUGE_2M;
	f = space_finds(space);
	assert_true(f.count == 1 && !strcmp(f.d[0].kind, "ledger"));
	f = pool_finds(pool);
	assert_int_equal(f.count, SIZE / 2 / HUGE_2M);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void wrong_sums(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	struct found f;

	(void)state;
	space->entry->charged -= PAGE;
	f = space_finds(space);
	assert_true(f.count == 1 && !strcmp(f.d[0].kind, "budget"));
	f = pool_finds(pool);
	assert_true(f.count == 1 && !strcmp(f.d[0].kind, "budget"));
	space->entry->charged += PAGE;
	pool->vars->budget_used += PAGE;
	f = pool_finds(pool);
	assert_true(f.count == 1 && !strcmp(f.d[0].kind, "budget"));
	pool->vars->budget_used -= PAGE;
	/* A budget that was lowered below what is used contradicts nothing. */
	assert_int_equal(mb_pool_set_budget(pool, SIZE / 2, NULL, NULL), 0);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* The allocator says hole, free or used where the others say something else. */
static void allocator_disagrees(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE / 2, false);
	uint64_t in = frame_of(space, 4 * MiB), out = 0;
	struct mb_frame_owner o;
	struct found f;

	(void)state;
	assert_int_equal(mb_frame_holes_add(pool->frames, space->slot, (mb_frame){in}, 1), 0);
	f = space_finds(space);
	assert_true(f.count >= 1 && !strcmp(f.d[0].kind, "allocator"));
	assert_int_equal(mb_frame_holes_remove(pool->frames, space->slot, (mb_frame){in}, 1), 0);
	assert_clean(space);

	assert_int_equal(mb_frame_free(pool->frames, space->slot, MB_HUGE, (mb_frame){in}), 0);
	f = space_finds(space);
	assert_true(has(&f, "allocator", 4 * MiB, in, HUGE_2M));
	f = pool_finds(pool);
	assert_true(has(&f, "allocator", 4 * MiB, in, HUGE_2M));
	assert_int_equal(mb_frame_take(pool->frames, space->slot, MB_HUGE, (mb_frame){in}), 0);
	assert_clean(space);

	while (!mb_pool_frame_owner(pool, (mb_frame){out}, &o))
		out += HUGE_PAGES;
	assert_int_equal(mb_frame_take(pool->frames, space->slot, MB_HUGE, (mb_frame){out}), 0);
	f = pool_finds(pool);
	assert_int_equal(f.count, 1);
	assert_true(has(&f, "allocator", UINT64_MAX, out, HUGE_2M));
	mb_space_destroy(space);
	mb_pool_close(pool);
}

/* Bytes that nobody is charged for. */
static void foreign_bytes(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE / 2, true);
	struct mb_frame_owner o;
	uint64_t out = 0;
	struct found f;
	mb_frame frame;

	(void)state;
	while (!mb_pool_frame_owner(pool, (mb_frame){out}, &o))
		out += HUGE_PAGES;
	if (pool->mem.fd >= 0 && place != ON_DISK) {
		assert_int_equal(fallocate(pool->mem.fd, 0, (off_t)(out * PAGE), HUGE_2M), 0);
		assert_clean(space);
		f = pool_finds(pool);
		assert_int_equal(f.count, 1);
		assert_string_equal(f.d[0].kind, "budget");
		assert_int_equal(f.d[0].len, HUGE_2M);
	}
	if (pool->mem.fd >= 0 && place != ON_DISK && pool->mem.granule == PAGE) {
		/* where the kernel tells, each place is named */
		assert_int_equal(pwrite(pool->mem.fd, "x", 1, (off_t)(out * PAGE + 5 * PAGE)), 1);
		f = pool_finds(pool);
		assert_true(has(&f, "intruder", UINT64_MAX, out + 5, PAGE));
		assert_int_equal(fallocate(pool->mem.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)(out * PAGE), HUGE_2M),
				 0);
		assert_int_equal(mb_space_frame(space, 3 * PAGE, &frame), 0);
		assert_int_equal(fallocate(pool->mem.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
					   (off_t)(frame.n * PAGE), PAGE),
				 0);
		f = pool_finds(pool);
		assert_int_equal(f.count, 1);
		assert_string_equal(f.d[0].kind, "missing");
		assert_int_equal(f.d[0].len, PAGE);
		/* one charged page less is another's intruder */
		assert_int_equal(mb_space_inflate(space, HUGE_2M, HUGE_2M), 0);
		fill(space, HUGE_2M, 2 * PAGE, 9);
		f = pool_finds(pool);
		assert_true(f.count >= 2); /* its own sum, and the pool's */
		assert_string_equal(f.d[1].kind, "budget");
		assert_non_null(strstr(f.d[1].text, "'a'"));
		assert_int_equal(mb_space_deflate(space, HUGE_2M, HUGE_2M), 0);
	}
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static int stop(void *arg, const struct mb_discrepancy *d)
{
	(void)d;
	++*(int *)arg;
	return 1;
}

static void stops_when_told(void **state)
{
	struct mb_pool *pool = pool_at(place, SIZE, 0);
	struct mb_space *space = space_of(pool, "a", SIZE, false);
	int calls = 0;

	(void)state;
	for (uint64_t f = 0; f < SIZE / PAGE; f += HUGE_PAGES)
		*ledger_at(pool->ledger, f) = 0;
	assert_int_equal(mb_space_check(space, stop, &calls), 1);
	assert_int_equal(mb_pool_check(pool, stop, &calls), 1);
	assert_int_equal(calls, 2);
	assert_int_equal(mb_space_check(space, NULL, NULL), SIZE / HUGE_2M);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(missing),         cmocka_unit_test(intruder),
	    cmocka_unit_test(swapped_entries), cmocka_unit_test(extents_changed),
	    cmocka_unit_test(wrong_sums),      cmocka_unit_test(allocator_disagrees),
	    cmocka_unit_test(foreign_bytes),   cmocka_unit_test(stops_when_told),
	};

	return fixture_run(40, ON_ANON, &place, tests, sizeof(tests) / sizeof(tests[0]));
}
