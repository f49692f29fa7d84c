/* SPDX-License-Identifier: MIT */
/*
 * test-overcommit.c - spaces that are charged when they are touched: the charge is what the kernel holds, holes
 * that are touched are counted, who finds the budget empty waits and goes on, and waiting can be ended.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define RESERVE_MAX (2 * MiB)

static struct mb_space *over(struct mb_pool *pool, const char *name, uint64_t size, uint64_t minimum)
{
	struct mb_region region = {0, size};
	struct mb_space_config config = {
	    .name = name, .regions = &region, .region_count = 1, .overcommit = true, .minimum = minimum};
	struct mb_space *space;
	struct mb_error err;

	if (mb_space_create(pool, &config, &space, &err))
		fail_msg("%s", err.text);
	return space;
}

static struct mb_overcommit_status status(struct mb_space *space)
{
	struct mb_overcommit_status s;

	assert_true(mb_space_get_overcommit(space, &s));
	return s;
}

static void touch(struct mb_space *space, uint64_t gpa, unsigned char value)
{
	*(volatile unsigned char *)((char *)mb_space_window(space) + gpa) = value;
}

static int print_flaw(void *arg, const struct mb_discrepancy *d)
{
	(void)arg;
	print_message("%s: %s\n", d->kind, d->text);
	return 0;
}

static void check_clean(struct mb_pool *pool, struct mb_space *space)
{
	assert_int_equal(mb_space_check(space, print_flaw, NULL), 0);
	assert_int_equal(mb_pool_check(pool, print_flaw, NULL), 0);
}

/* Used of the budget: what the kernel holds, and the reserves. */
static void exact(struct mb_pool *pool, uint64_t reserves)
{
	assert_int_equal(budget_used(pool), pool_resident_bytes(pool) + reserves);
}

static const enum place places[] = {ON_MEMFD, ON_TMPFS, ON_HUGETLB};

static struct mb_pool *next_pool(unsigned i, uint64_t size, uint64_t budget)
{
	const char *why;

	if (!place_ready(places[i], &why)) {
		print_message("without %s: %s\n", place_name(places[i]), why);
		return NULL;
	}
	return pool_at(places[i], size, budget);
}

static void touching_charges(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct mb_pool *pool = next_pool(i, 64 * MiB, 16 * MiB);
		struct mb_space *space;
		uint64_t reserve;

		if (!pool)
			continue;
		space = over(pool, "a", 64 * MiB, 0);
		reserve = status(space).reserve;
		assert_in_range(reserve, PAGE, RESERVE_MAX);
		exact(pool, reserve);
		assert_int_equal(pool_resident_bytes(pool), 0);
		touch(space, 10 * MiB + 5 * PAGE, 1);
		exact(pool, reserve);
		assert_int_equal(pool_resident_bytes(pool), HUGE_2M);
		assert_true(all_zero((char *)mb_space_window(space) + 10 * MiB, 5 * PAGE));
		for (uint64_t at = 20 * MiB; at < 30 * MiB; at += HUGE_2M)
			touch(space, at, 2);
		assert_true(pool_resident_bytes(pool) >= 12 * MiB);
		check_clean(pool, space);
		exact(pool, reserve);
		mb_space_destroy(space);
		assert_int_equal(budget_used(pool), 0);
		assert_int_equal(pool_resident_bytes(pool), 0);
		mb_pool_close(pool);
	}
}

static void holes_are_charged_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct mb_pool *pool = next_pool(i, 32 * MiB, 0);
		struct mb_space *space;
		uint64_t reserve;

		if (!pool)
			continue;
		space = over(pool, "a", 32 * MiB, 0);
		reserve = status(space).reserve;
		touch(space, 4 * MiB, 7);
		touch(space, 8 * MiB, 7);
		assert_int_equal(mb_space_inflate(space, 4 * MiB, HUGE_2M), 0);
		exact(pool, reserve);
		assert_int_equal(pool_resident_bytes(pool), HUGE_2M);
		/* a page out of the middle: its bytes go, but for huge pages */
		assert_int_equal(mb_space_inflate(space, 8 * MiB + 3 * PAGE, PAGE), 0);
		exact(pool, reserve);
		check_clean(pool, space);
		touch(space, 8 * MiB + 3 * PAGE, 9);
		touch(space, 4 * MiB + PAGE, 9);
		exact(pool, reserve);
		check_clean(pool, space);
		if (places[i] != ON_HUGETLB)
			assert_int_equal(status(space).hole_touches, 2);
		assert_int_equal(mb_space_deflate(space, 4 * MiB, HUGE_2M), 0);
		assert_int_equal(mb_space_deflate(space, 8 * MiB + 3 * PAGE, PAGE), 0);
		check_clean(pool, space);
		assert_true(all_zero((char *)mb_space_window(space) + 4 * MiB, HUGE_2M));
		assert_true(all_zero((char *)mb_space_window(space) + 8 * MiB + 3 * PAGE, PAGE));
		assert_int_equal(*((char *)mb_space_window(space) + 8 * MiB), 7);
		exact(pool, reserve);
		check_clean(pool, space);
		mb_space_destroy(space);
		mb_pool_close(pool);
	}
}

struct toucher {
	struct mb_space *space;
	uint64_t bytes;
	_Atomic uint64_t done;
	pthread_t thread;
};

static void *touch_all(void *arg)
{
	struct toucher *t = arg;

	for (uint64_t at = 0; at < t->bytes; at += PAGE) {
		touch(t->space, at, (unsigned char)(at / PAGE));
		atomic_store(&t->done, at + PAGE);
	}
	return NULL;
}

static void await_starved(struct mb_space *space, bool starved)
{
	for (int i = 0; i < 20000 && mb_space_starved(space) != starved; i++)
		usleep(1000);
	assert_int_equal(mb_space_starved(space), starved);
}

/* The budget has no byte left that a page would fit in; somebody gives; it goes on, and all is what it wrote.
 */
static void starving_waits(void **state)
{
	(void)state;
	for (unsigned i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		struct mb_pool *pool = next_pool(i, 64 * MiB, 16 * MiB);
		struct mb_space *a, *b;
		struct toucher t = {.bytes = 12 * MiB};
		uint64_t granule = places[i] == ON_HUGETLB ? HUGE_2M : PAGE;

		if (!pool)
			continue;
		a = over(pool, "a", 32 * MiB, 0);
		b = over(pool, "b", 32 * MiB, 0);
		for (uint64_t at = 0; at < 6 * MiB; at += PAGE)
			touch(a, at, 1);
		t.space = b;
		assert_int_equal(pthread_create(&t.thread, NULL, touch_all, &t), 0);
		await_starved(b, true);
		assert_true(budget_used(pool) <= 16 * MiB && budget_used(pool) > 16 * MiB - granule);
		exact(pool, status(a).reserve + status(b).reserve);
		assert_true(status(b).missing > 0);
		assert_string_equal(status(b).reason, "budget");
		check_clean(pool, b);
		assert_int_equal(mb_space_inflate(a, 0, 6 * MiB), 0);
		assert_int_equal(pthread_join(t.thread, NULL), 0);
		await_starved(b, false);
		assert_int_equal(status(b).starved_count, 1);
		for (uint64_t at = 0; at < t.bytes; at += PAGE)
			assert_int_equal(*((unsigned char *)mb_space_window(b) + at),
					 (unsigned char)(at / PAGE));
		check_clean(pool, b);
		check_clean(pool, a);
		mb_space_destroy(a);
		mb_space_destroy(b);
		mb_pool_close(pool);
	}
}

static void *read_into(void *arg)
{
	struct toucher *t = arg;
	int fd[2];
	ssize_t n;

	if (pipe(fd) || write(fd[1], "x", 1) != 1)
		return NULL;
	n = read(fd[0], (char *)mb_space_window(t->space) + t->bytes, 1);
	atomic_store(&t->done, n < 0 ? (uint64_t)errno : 0);
	close(fd[0]);
	close(fd[1]);
	return NULL;
}

static void abandoning_ends_the_wait(void **state)
{
	struct mb_pool *pool = pool_at(ON_MEMFD, 32 * MiB, 4 * MiB);
	struct mb_space *space = over(pool, "a", 32 * MiB, 0);
	struct toucher t = {.space = space, .bytes = 16 * MiB};

	(void)state;
	touch(space, 0, 1);
	for (uint64_t at = 8 * MiB; budget_used(pool) + PAGE <= 4 * MiB; at += PAGE)
		touch(space, at, 1);
	assert_int_equal(pthread_create(&t.thread, NULL, read_into, &t), 0);
	await_starved(space, true);
	mb_space_abandon(space);
	assert_int_equal(pthread_join(t.thread, NULL), 0);
	assert_int_equal(atomic_load(&t.done), EFAULT);
	assert_true(pool_resident_bytes(pool) <= 4 * MiB);
	assert_int_equal(mb_space_present(space, 16 * MiB, 1), -EFAULT);
	mb_space_destroy(space);
	assert_int_equal(budget_used(pool), 0);
	mb_pool_close(pool);
}

static void minimum_is_kept(void **state)
{
	struct mb_pool *pool = pool_at(ON_MEMFD, 64 * MiB, 16 * MiB);
	struct mb_space *a = over(pool, "a", 32 * MiB, 6 * MiB), *b = over(pool, "b", 32 * MiB, 0);
	uint64_t reserves = status(a).reserve + status(b).reserve;
	struct toucher t = {.space = b, .bytes = 15 * MiB};

	(void)state;
	assert_int_equal(budget_used(pool), 6 * MiB + reserves);
	assert_int_equal(pthread_create(&t.thread, NULL, touch_all, &t), 0);
	await_starved(b, true);
	/* another has all the rest; what is a's own is there */
	for (uint64_t at = 0; at < 6 * MiB; at += PAGE)
		touch(a, at, 1);
	assert_int_equal(status(a).starved_count, 0);
	assert_int_equal(status(a).present, 6 * MiB);
	exact(pool, reserves);
	check_clean(pool, a);
	/* what it gives back below its minimum stays its own */
	assert_int_equal(mb_space_inflate(a, 0, HUGE_2M), 0);
	assert_true(mb_space_starved(b));
	assert_int_equal(budget_used(pool), pool_resident_bytes(pool) + reserves + HUGE_2M);
	mb_space_destroy(a);
	assert_int_equal(pthread_join(t.thread, NULL), 0);
	mb_space_destroy(b);
	mb_pool_close(pool);
}

static void the_gate_never_waits(void **state)
{
	struct mb_pool *pool = pool_at(ON_MEMFD, 32 * MiB, 4 * MiB);
	struct mb_space *space = over(pool, "a", 32 * MiB, 0);
	uint64_t reserve = status(space).reserve, pages = 0;
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_space_present(space, 32 * MiB, 1), -ERANGE);
	assert_int_equal(mb_space_present(space, MiB, PAGE), 0);
	for (uint64_t at = 8 * MiB; budget_used(pool) + PAGE <= 4 * MiB; at += PAGE)
		touch(space, at, 1);
	for (uint64_t at = 16 * MiB; !mb_space_present(space, at, 1); at += PAGE) {
		touch(space, at, 3);
		pages++;
	}
	assert_int_equal(pages, reserve / 2 / PAGE);
	assert_int_equal(budget_used(pool), pool_resident_bytes(pool) + reserve / 2);
	/* now the thread waits for it instead */
	await_starved(space, true);
	for (uint64_t at = 24 * MiB; !mb_space_present_now(space, at, 1); at += PAGE)
		pages++;
	assert_int_equal(pages, reserve / PAGE);
	assert_int_equal(budget_used(pool), pool_resident_bytes(pool));
	/* reading needs none */
	assert_false(mb_space_is_present(space, 30 * MiB, PAGE));
	assert_true(mb_space_is_present(space, 24 * MiB, PAGE));
	check_clean(pool, space);
	assert_int_equal(mb_pool_set_budget(pool, 16 * MiB, NULL, &err), 0);
	await_starved(space, false);
	assert_int_equal(status(space).reserve, reserve);
	assert_int_equal(mb_space_present(space, 16 * MiB + reserve / 2, 1), 0);
	check_clean(pool, space);
	mb_space_destroy(space);
	mb_pool_close(pool);
}

static void refuses(struct mb_pool *pool, const struct mb_space_config *config, int code, const char *word)
{
	struct mb_space *space;
	struct mb_error err;

	assert_int_equal(mb_space_create(pool, config, &space, &err), code);
	assert_non_null(strstr(err.text, word));
	assert_int_equal(budget_used(pool), 0);
}

static void what_cannot_be_is_refused(void **state)
{
	struct mb_region region = {0, 4 * MiB};
	struct mb_space_config config = {
	    .name = "a", .regions = &region, .region_count = 1, .overcommit = true};
	struct mb_pool *anon = pool_at(ON_ANON, 4 * MiB, 0), *memfd = pool_at(ON_MEMFD, 4 * MiB, 0);

	(void)state;
	refuses(anon, &config, -EOPNOTSUPP, "memfd");
	config.prealloc = true;
	refuses(memfd, &config, -EINVAL, "prealloc");
	config.prealloc = false;
	config.minimum = 8 * MiB;
	refuses(memfd, &config, -EINVAL, "minimum");
	mb_pool_close(anon);
	mb_pool_close(memfd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(touching_charges),
	    cmocka_unit_test(holes_are_charged_again),
	    cmocka_unit_test(starving_waits),
	    cmocka_unit_test(abandoning_ends_the_wait),
	    cmocka_unit_test(minimum_is_kept),
	    cmocka_unit_test(the_gate_never_waits),
	    cmocka_unit_test(what_cannot_be_is_refused),
	};
	struct mb_error err;
	int failed;

	if (mb_overcommit_check(&err)) {
		print_message("skipped: %s\n", err.text);
		return 77;
	}
	if (fixture_begin(40))
		return 1;
	failed = cmocka_run_group_tests_name("overcommit", tests, NULL, NULL);
	fixture_end();
	return failed;
}
