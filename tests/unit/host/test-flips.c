/* SPDX-License-Identifier: MIT */
/*
 * test-flips.c - bits of a pool's records flip while it is in use. The check says so wherever two records disagree
 * then: the ledger with the owners' extents and with the allocator, an owner's sums with the pool's, with the
 * allocator's and with the kernel's. Nothing crashes, whatever flips.
 *
 * Each flip is made and taken back in a process of its own, which would be what crashes. (What is done with pools
 * whose records were damaged before they were attached: test-poolfile.c.)
 */
#include "fixture.h"
#include "format.h"
#include "records.h"
#include "state.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE       (64 * MiB)
#define CHECKS_MAX 60 /* of flips in the allocator: each may take a tenth of a second */

static struct mb_pool *pool;
static struct mb_space *space;

static void flip(void *at, unsigned bit)
{
	uint8_t *byte = (uint8_t *)at + bit / 8;

	*(volatile uint8_t *)byte = (uint8_t)(*byte ^ 1u << bit % 8);
}

/* fn in a child: how often it failed; a crash fails the test. */
static void in_child(int (*fn)(void))
{
	static const int fatal[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
	pid_t pid = fork();
	int status;

	if (!pid) {
		for (unsigned i = 0; i < sizeof(fatal) / sizeof(fatal[0]); i++)
			signal(fatal[i], SIG_DFL);
		alarm(100);
		pool = attach(fixture_path("flips")); /* a pool's mappings are not inherited */
		_exit(fn() != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_clean(space);
	assert_pool_clean(pool);
}

/* All bits of count bytes: each flip must be found. */
static int each_bit(void *at, unsigned bytes, const char *what)
{
	int missed = 0;

	for (unsigned bit = 0; bit < bytes * 8; bit++) {
		flip(at, bit);
		if (mb_pool_check(pool, NULL, NULL) <= 0) {
			print_error("nobody sees that bit %u of %s has flipped\n", bit, what);
			missed++;
		}
		flip(at, bit);
	}
	return missed;
}

static int flip_ledger(void)
{
	uint64_t owned = 0;
	struct mb_frame_owner o;

	while (mb_pool_frame_owner(pool, (mb_frame){owned}, &o))
		owned += HUGE_PAGES;
	return each_bit(ledger_at(pool->ledger, owned), 8, "the ledger's word of a frame that is somebody's");
}

static int flip_owner(void)
{
	struct owner_entry *e = &pool->owners[0];

	return each_bit(&e->extent[0].gpa, 8, "an extent's address") +
	       each_bit(&e->extent[0].frame, 8, "an extent's frame") +
	       each_bit(&e->generation, 4, "an owner's generation") +
	       each_bit(&pool->vars->budget_used, 8, "the pool's sum");
}

static void test_ledger(void **state)
{
	(void)state;
	in_child(flip_ledger);
}

static void test_owner(void **state)
{
	(void)state;
	in_child(flip_owner);
}

/* ---- the allocator ------------------------------------------------------------------------------------- */

static int add_run(void *arg, const struct mb_run *run)
{
	uint64_t *sum = arg;

	/* That a frame is offline rather than free, or a page a hole, stands nowhere else. */
	for (uint64_t i = 0; run->state != MB_FREE && run->state != MB_OFFLINE && i < run->count; i++)
		*sum = (*sum ^ (run->first.n + i)) * UINT64_C(0x100000001b3);
	return 0;
}

/* What the allocator says of all frames that are somebody's. */
static uint64_t says(void)
{
	uint64_t sum = UINT64_C(0xcbf29ce484222325);

	if (mb_frames_walk(pool->frames, (mb_frame){0}, SIZE / PAGE, add_run, &sum))
		return 0;
	return sum;
}

struct flips {
	unsigned tried, refused, changed, missed;
};

static void flip_and_attach(struct flips *f, uint8_t *at, unsigned bit)
{
	uint64_t before = says();
	struct mb_pool *mine = pool, *other;

	f->tried++;
	flip(at, bit);
	if (mb_pool_attach(fixture_path("flips"), &other, NULL)) {
		f->refused++;
		flip(at, bit);
		return;
	}
	pool = other;
	if (says() != before && f->changed++ < CHECKS_MAX && !mb_pool_check(pool, NULL, NULL)) {
		print_error("nobody sees that byte %llu of the records has changed\n",
			    (unsigned long long)(at - mine->map));
		f->missed++;
	}
	pool = mine;
	mb_pool_close(other);
	flip(at, bit);
}

/*
 * A sample of the allocator's bytes. Who attaches refuses the pool, or the allocator says of all frames what it said
 * before, or the check finds something.
 */
static int flip_allocator(void)
{
	struct flips f = {0};
	struct records r;

	if (records_place(SIZE, &r))
		return 1;
	for (uint64_t i = 0; i < r.frames_bytes; i += i < POOL_PAGE ? 7 : 1 + r.frames_bytes / 400)
		flip_and_attach(&f, pool->map + r.frames + i, (unsigned)(i % 8));
	/* the words that say most of it */
	for (uint64_t i = POOL_PAGE, n = 0; i < r.frames_bytes && n < 200; i++) {
		if (!pool->map[r.frames + i])
			continue;
		flip_and_attach(&f, pool->map + r.frames + i, (unsigned)(i % 8));
		n++;
	}
	print_message("of %u flips %u were refused, %u changed what it says\n", f.tried, f.refused, f.changed);
	return f.missed || !f.changed || !f.refused;
}

static void test_allocator(void **state)
{
	(void)state;
	in_child(flip_allocator);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_ledger),
	    cmocka_unit_test(test_owner),
	    cmocka_unit_test(test_allocator),
	};
	const char *why;
	int failed;

	if (fixture_begin(0))
		return 1;
	if (!place_ready(ON_TMPFS, &why)) {
		print_message("skipped: %s\n", why);
		fixture_end();
		return 77;
	}
	pool_file_at(ON_TMPFS, "flips", SIZE, 0);
	pool = attach(fixture_path("flips"));
	space = space_of(pool, "a", 16 * MiB, true);
	assert_int_equal(mb_space_inflate(space, 4 * MiB, 4 * MiB), 0);
	for (unsigned i = 0; i < 256; i += 3)
		assert_int_equal(mb_space_inflate(space, 9 * MiB + i * PAGE, PAGE), 0);
	failed = cmocka_run_group_tests_name("flips", tests, NULL, NULL);
	mb_space_destroy(space);
	mb_pool_close(pool);
	fixture_end();
	return failed ? 1 : 0;
}
