/* SPDX-License-Identifier: MIT */
/*
 * test-pageset.c - sets of page numbers, beside a plain array of booleans.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/pageset.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define LIMIT 300000 /* four levels, none of them full */

static bool oracle[LIMIT];

static uint64_t random_next(uint64_t *x)
{
	*x ^= *x << 13, *x ^= *x >> 7, *x ^= *x << 17;
	return *x;
}

/* All runs of the set, cut at from and end, are those of the oracle. */
static void assert_same(const struct pageset *set, uint64_t from, uint64_t end)
{
	uint64_t pos = from, first, count;

	while (pageset_next(set, pos, end, &first, &count)) {
		assert_true(count > 0 && first >= pos && first + count <= end);
		for (; pos < first; pos++)
			assert_false(oracle[pos]);
		for (; pos < first + count; pos++)
			assert_true(oracle[pos]);
		assert_true(pos == end || !oracle[pos]);
	}
	for (; pos < end; pos++)
		assert_false(oracle[pos]);
}

static uint64_t oracle_set(uint64_t first, uint64_t count, bool value)
{
	uint64_t changed = 0;

	for (uint64_t i = first; i < first + count; i++) {
		changed += oracle[i] != value;
		oracle[i] = value;
	}
	return changed;
}

static void test_against_an_array(void **state)
{
	uint64_t x = 20260101, total = 0;
	struct pageset set;

	(void)state;
	assert_int_equal(pageset_init(&set, LIMIT), 0);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t r = random_next(&x), first = random_next(&x) % LIMIT;
		uint64_t count = r >> 8 & 7 ? (r >> 16) % 70 : (r >> 16) % 9000;

		if (count > LIMIT - first)
			count = LIMIT - first;
		if (r & 1) {
			assert_int_equal(pageset_add(&set, first, count), oracle_set(first, count, true));
		} else {
			assert_int_equal(pageset_remove(&set, first, count), oracle_set(first, count, false));
		}
		if (step % 500 == 0)
			assert_same(&set, first / 2, first);
	}
	assert_same(&set, 0, LIMIT);
	for (unsigned i = 0; i < LIMIT; i++)
		total += oracle[i];
	assert_int_equal(set.count, total);
	assert_true(total > 0);
	pageset_clear(&set);
	memset(oracle, 0, sizeof(oracle));
	assert_int_equal(set.count, 0);
	assert_same(&set, 0, LIMIT);
	pageset_free(&set);
}

static void test_limits(void **state)
{
	struct pageset set;
	uint64_t first, count;

	(void)state;
	assert_int_equal(pageset_init(&set, 0), -EINVAL);
	assert_int_equal(pageset_init(&set, (UINT64_C(1) << 36) + 1), -EINVAL);
	pageset_free(&set);
	/* 16 TiB of pages, of which the last is added: found at once, and nothing else was touched. */
	assert_int_equal(pageset_init(&set, UINT64_C(1) << 32), 0);
	assert_false(pageset_next(&set, 0, set.limit, &first, &count));
	assert_int_equal(pageset_add(&set, UINT32_MAX, 1), 1);
	assert_true(pageset_next(&set, 0, set.limit, &first, &count));
	assert_true(first == UINT32_MAX && count == 1);
	assert_false(pageset_next(&set, 0, UINT32_MAX, &first, &count));
	pageset_free(&set);
	assert_int_equal(pageset_init(&set, 1), 0);
	assert_int_equal(pageset_add(&set, 0, 1), 1);
	assert_int_equal(pageset_add(&set, 0, 1), 0);
	assert_true(pageset_next(&set, 0, 1, &first, &count));
	assert_int_equal(pageset_remove(&set, 0, 1), 1);
	assert_int_equal(pageset_remove(&set, 0, 1), 0);
	assert_false(pageset_next(&set, 0, 1, &first, &count));
	pageset_free(&set);
}

static void test_move(void **state)
{
	struct pageset a, b;
	uint64_t first, count;

	(void)state;
	assert_int_equal(pageset_init(&a, 10000), 0);
	assert_int_equal(pageset_init(&b, 10000), 0);
	pageset_add(&b, 100, 50);
	pageset_move(&a, &b); /* into an empty one */
	assert_int_equal(a.count, 50);
	assert_int_equal(b.count, 0);
	pageset_add(&b, 120, 100);
	pageset_add(&b, 9999, 1);
	pageset_move(&a, &b); /* into one that has some of them */
	assert_int_equal(a.count, 121);
	assert_int_equal(b.count, 0);
	assert_true(pageset_next(&a, 0, 10000, &first, &count));
	assert_true(first == 100 && count == 120);
	assert_false(pageset_next(&b, 0, 10000, &first, &count));
	pageset_free(&a);
	pageset_free(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_against_an_array),
	    cmocka_unit_test(test_limits),
	    cmocka_unit_test(test_move),
	};

	return cmocka_run_group_tests_name("pageset", tests, NULL, NULL);
}
