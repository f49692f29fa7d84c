/* SPDX-License-Identifier: MIT */
/*
 * test-budget.c - several guests inflate and deflate at once against one budget that is too small for all:
 * what is used is within the budget at every instant, and in the end what is resident within what is used.
 */
#include "budget.h"
#include "fixture.h"
#include "state.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#define GUESTS 3
#define SIZE   (8 * MiB)
#define ROUNDS 400

struct guest {
	struct mb_space *space;
	unsigned seed;
	unsigned refused, done;
	int wrong; /* an errno that must not be */
};

static unsigned dice(struct guest *g)
{
	g->seed = g->seed * 1103515245 + 12345;
	return g->seed >> 8;
}

/* Guests own pages i of [0, 2048): out[i] says which they gave away. They write to what they have. */
static void *run_guest(void *arg)
{
	struct guest *g = arg;
	static _Thread_local bool out[SIZE / PAGE];
	unsigned char *p = mb_space_window(g->space);

	memset(out, true, sizeof(out));
	for (int n = 0; n < ROUNDS && !g->wrong; n++) {
		unsigned first = dice(g) % (SIZE / PAGE), count = 1;
		bool was = out[first];
		int rc;

		while (first + count < SIZE / PAGE && count < 900 && out[first + count] == was)
			count++;
		rc = (was ? mb_space_deflate : mb_space_inflate)(g->space, first * PAGE, count * PAGE);
		if (rc == -EDQUOT && was) {
			g->refused++;
			continue;
		}
		if (rc || (was && !all_zero(p + first * PAGE, count * PAGE)))
			g->wrong = rc ? rc : -EIO;
		g->done++;
		memset(out + first, !was, count);
		if (was)
			memset(p + first * PAGE, 0x77, count * PAGE);
	}
	return NULL;
}

static atomic_bool ended;

/* Counts the moments at which more was used than there is. */
static void *watch(void *arg)
{
	struct mb_pool *pool = arg;
	static unsigned bad;

	while (!atomic_load(&ended)) {
		struct mb_pool_status s;

		bad += mb_pool_get_status(pool, &s, NULL) || s.budget_used > s.budget;
	}
	return &bad;
}

static void never_exceeded(void **state)
{
	struct guest g[GUESTS];
	struct mb_pool *pool = pool_at(ON_MEMFD, GUESTS * SIZE, SIZE + SIZE / 2);
	pthread_t thread[GUESTS], watcher;
	unsigned refused = 0, done = 0;
	void *said;

	(void)state;
	for (unsigned i = 0; i < GUESTS; i++) {
		char name[] = {'g', (char)('0' + i), '\0'};

		g[i] = (struct guest){.space = space_of(pool, name, SIZE, false), .seed = i + 1};
		assert_int_equal(mb_space_inflate(g[i].space, 0, SIZE), 0);
	}
	assert_int_equal(pthread_create(&watcher, NULL, watch, pool), 0);
	for (unsigned i = 0; i < GUESTS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run_guest, &g[i]), 0);
	for (unsigned i = 0; i < GUESTS; i++)
		pthread_join(thread[i], NULL);
	atomic_store(&ended, true);
	pthread_join(watcher, &said);
	assert_int_equal(*(unsigned *)said, 0);
	for (unsigned i = 0; i < GUESTS; i++) {
		assert_int_equal(g[i].wrong, 0);
		assert_clean(g[i].space);
		refused += g[i].refused;
		done += g[i].done;
	}
	assert_true(done > 0 && refused > 0); /* else nothing was tried */
	assert_pool_clean(pool);
	assert_true(pool_resident_bytes(pool) <= budget_used(pool));
	for (unsigned i = 0; i < GUESTS; i++)
		mb_space_destroy(g[i].space);
	assert_int_equal(budget_used(pool), 0);
	assert_pool_clean(pool);
	mb_pool_close(pool);
}

static void charge_by_hand(void **state)
{
	struct pool_vars v = {.budget = 100};
	uint64_t missing = 0;

	(void)state;
	assert_int_equal(budget_charge(&v, 100, &missing), 0);
	assert_int_equal(budget_charge(&v, 1, &missing), -EDQUOT);
	assert_int_equal(missing, 1);
	assert_int_equal(budget_charge(&v, UINT64_MAX, &missing), -EDQUOT);
	assert_int_equal(missing, UINT64_MAX);
	assert_int_equal(budget_charge(&v, 0, NULL), 0);
	budget_uncharge(&v, 40);
	assert_int_equal(budget_charge(&v, 50, &missing), -EDQUOT);
	assert_int_equal(missing, 10);
	budget_uncharge(&v, 1000); /* damaged by somebody: not below zero */
	assert_int_equal(v.budget_used, 0);
	v.budget_used = 200; /* above the budget, which was lowered */
	assert_int_equal(budget_charge(&v, 1, &missing), -EDQUOT);
	assert_int_equal(missing, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(charge_by_hand),
	    cmocka_unit_test(never_exceeded),
	};
	int failed;

	if (fixture_begin(0))
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
