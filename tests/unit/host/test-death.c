/* SPDX-License-Identifier: MIT */
/*
 * test-death.c - owners of a pool file die and others wait: what the dead had comes back, who waits for bytes
 * is served first come first served, the pool changes its size and budget meanwhile, and survives a boot empty.
 */
#include "charge.h"
#include "fixture.h"
#include "owner.h"
#include "records.h"
#include "state.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SIZE (8 * MiB)

/* A process that has a space of the pool until it is killed; with queue it waits for bytes as well. */
static pid_t peer_of(const char *path, const char *name, uint64_t size, bool queue)
{
	int fds[2];
	char ready;
	pid_t pid;

	assert_int_equal(pipe(fds), 0);
	pid = fork();
	if (!pid) {
		struct mb_pool *pool = attach(path);
		struct mb_space *space = space_of(pool, name, size, false);

		fill(space, 0, size, 0x55);
		if (queue)
			space_queue_up(space, size);
		if (write(fds[1], "r", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	assert_int_equal(read(fds[0], &ready, 1), 1);
	close(fds[0]);
	close(fds[1]);
	return pid;
}

static pid_t peer(const char *path, const char *name, bool queue)
{
	return peer_of(path, name, SIZE, queue);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static struct mb_pool *new_pool(const char *name, uint64_t budget)
{
	pool_file_at(ON_TMPFS, name, 64 * MiB, budget);
	return attach(fixture_path(name));
}

static void finish(struct mb_pool *pool, const char *name)
{
	struct mb_error err;

	assert_pool_clean(pool);
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(fixture_path(name), &err), 0);
}

static void what_the_dead_had_comes_back(void **state)
{
	struct mb_pool *pool = new_pool("dead", 0), *other;
	pid_t a = peer(fixture_path("dead"), "a", false), b = peer(fixture_path("dead"), "b", true);
	struct mb_recovered did;
	struct mb_error err;

	(void)state;
	assert_int_equal(budget_used(pool), 2 * SIZE);
	assert_int_equal(mb_pool_recover(pool, &did, &err), 0);
	assert_int_equal(did.owners, 0);
	end(a);
	end(b);
	/* A kill between the owner's word and the pool's: the sum is off by what it was about. */
	atomic_fetch_add(&pool->vars->budget_used, 3 * MiB);
	other = attach(fixture_path("dead"));
	assert_int_equal(budget_used(other), 0);
	assert_int_equal(pool_resident_bytes(other), 0);
	assert_int_equal(mb_pool_recover(pool, &did, &err), 0); /* once is enough */
	assert_int_equal(did.owners, 0);
	mb_pool_close(other);
	finish(pool, "dead");
}

static void recovery_says_what_it_did(void **state)
{
	struct mb_pool *pool = new_pool("said", 0);
	pid_t a = peer(fixture_path("said"), "a", false), b = peer(fixture_path("said"), "b", false);
	struct mb_recovered did;
	struct mb_error err;

	(void)state;
	end(a);
	assert_int_equal(mb_pool_recover(pool, &did, &err), 0);
	assert_int_equal(did.owners, 1);
	assert_int_equal(did.frames, SIZE);
	assert_int_equal(did.charged, SIZE);
	assert_int_equal(budget_used(pool), SIZE); /* the other is not disturbed */
	end(b);
	assert_int_equal(mb_pool_recover(pool, &did, &err), 0);
	finish(pool, "said");
}

/* A dead owner's bytes are anybody's as soon as they are gone, whatever becomes of who takes them back. */
static void bytes_come_back_in_steps(void **state)
{
	const uint64_t step = 32 * MiB, size = 3 * step;
	struct mb_pool *pool;
	struct mb_error err;
	pid_t a;

	(void)state;
	pool_file_at(ON_TMPFS, "steps", 128 * MiB, 0);
	pool = attach(fixture_path("steps"));
	a = peer_of(fixture_path("steps"), "a", size, false);
	end(a);
	/* it died in the middle of a change of its charge, which the sum does not have yet */
	atomic_fetch_add(&pool->owners[0].charging, 1);
	atomic_fetch_sub(&pool->vars->budget_used, MiB);
	for (uint64_t done = 0; done < size - step; done += step) {
		pool->fault_in = 2; /* one step, and no second one */
		assert_int_equal(mb_pool_recover(pool, NULL, &err), -EIO);
		assert_int_equal(budget_used(pool), size - done - step);
		assert_int_equal(pool_resident_bytes(pool), size - done - step);
		assert_pool_clean(pool);
	}
	pool->fault_in = 0;
	assert_int_equal(mb_pool_recover(pool, NULL, &err), 0);
	assert_int_equal(budget_used(pool), 0);
	assert_int_equal(pool_resident_bytes(pool), 0);
	finish(pool, "steps");
}

/* ---- waiting ------------------------------------------------------------------------------------------- */

static int add_waiting(void *arg, const struct mb_owner_status *o)
{
	*(uint64_t *)arg += o->waiting;
	return 0;
}

static uint64_t bytes_wanted(struct mb_pool *pool)
{
	uint64_t bytes = 0;

	mb_pool_walk_owners(pool, add_waiting, &bytes);
	return bytes;
}

static void first_come_first_served(void **state)
{
	struct mb_pool *pool = new_pool("queue", 2 * SIZE + MiB);
	struct mb_space *first = space_of(pool, "first", SIZE, false),
			*second = space_of(pool, "second", SIZE, false);
	uint64_t missing = 0;

	(void)state;
	space_queue_up(first, 2 * MiB);
	space_queue_up(second, MiB);
	space_queue_up(first, 2 * MiB); /* keeps its place */
	assert_int_equal(bytes_wanted(pool), 3 * MiB);
	assert_int_equal(space_charge(first, 2 * MiB, &missing), -EDQUOT);
	assert_int_equal(missing, MiB);
	assert_int_equal(space_charge(second, MiB, &missing), -EDQUOT); /* there is as much, but not for it */
	space_leave_queue(first);
	assert_int_equal(space_charge(second, MiB, NULL), 0);
	assert_int_equal(space_charge(first, PAGE, NULL), -EDQUOT);
	space_leave_queue(second);
	space_uncharge(second, MiB);
	assert_int_equal(space_charge(first, MiB, NULL), 0);
	space_uncharge(first, MiB);
	mb_space_destroy(first);
	mb_space_destroy(second);
	finish(pool, "queue");
}

/* Deflations that lack bytes stand in the same queue, and leave it when they are served. */
static void deflations_queue(void **state)
{
	struct mb_pool *pool = new_pool("deflate", 2 * SIZE);
	struct mb_space *first = space_of(pool, "first", SIZE, false),
			*second = space_of(pool, "second", SIZE, false);
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_space_inflate(first, 0, 4 * MiB), 0);
	assert_int_equal(mb_space_inflate(second, 0, 4 * MiB), 0);
	assert_int_equal(mb_pool_set_budget(pool, 2 * SIZE - 8 * MiB, NULL, &err), 0);
	assert_int_equal(mb_space_deflate(first, 0, 2 * MiB), -EDQUOT);
	mb_space_queue_up(first, 2 * MiB);
	assert_int_equal(mb_space_deflate(second, 0, MiB), -EDQUOT);
	mb_space_queue_up(second, MiB);
	assert_int_equal(bytes_wanted(pool), 3 * MiB);
	assert_true(budget_all_wait(pool));
	assert_int_equal(mb_pool_set_budget(pool, 2 * SIZE - 6 * MiB, NULL, &err), 0);
	assert_int_equal(mb_space_deflate(second, 0, MiB), -EDQUOT); /* there is as much, but not for it */
	assert_int_equal(mb_space_deflate(first, 0, MiB), 0);
	assert_int_equal(bytes_wanted(pool), MiB);
	assert_int_equal(mb_space_deflate(first, MiB, MiB), -EDQUOT); /* the second's turn */
	assert_int_equal(mb_space_deflate(second, 0, MiB), 0);
	assert_int_equal(bytes_wanted(pool), 0);
	mb_space_queue_up(second, MiB);
	assert_int_equal(mb_space_deflate(second, MiB, MiB), -EDQUOT);
	mb_space_leave_queue(second);
	assert_int_equal(bytes_wanted(pool), 0);
	mb_space_destroy(first);
	mb_space_destroy(second);
	finish(pool, "deflate");
}

struct waiter {
	struct mb_space *space;
	uint64_t bytes;
	int rc;
};

static void *wait_for_bytes(void *arg)
{
	struct waiter *w = arg;

	space_queue_up(w->space, w->bytes);
	while ((w->rc = space_charge(w->space, w->bytes, NULL)) == -EDQUOT)
		space_sleep(w->space, 20);
	space_leave_queue(w->space);
	return NULL;
}

static void until_it_waits(struct mb_space *space)
{
	const struct timespec pause = {0, 1000000};

	while (!atomic_load(&space->pool->vars->wait[space->owner].ticket))
		nanosleep(&pause, NULL);
}

static void waiters_are_woken(void **state)
{
	struct mb_pool *pool = new_pool("wake", 2 * SIZE);
	struct mb_space *space = space_of(pool, "waits", SIZE, false),
			*gives = space_of(pool, "gives", SIZE, false);
	struct waiter w = {.space = space, .bytes = 2 * MiB};
	struct mb_error err;
	pthread_t thread;

	(void)state;
	for (int how = 0; how < 3; how++) {
		assert_int_equal(pthread_create(&thread, NULL, wait_for_bytes, &w), 0);
		until_it_waits(space);
		if (how == 0)
			assert_int_equal(mb_space_inflate(gives, 0, 2 * MiB), 0);
		else if (how == 1)
			assert_int_equal(mb_pool_set_budget(pool, 2 * SIZE + 2 * MiB, NULL, &err), 0);
		else
			mb_space_destroy(gives);
		pthread_join(thread, NULL);
		assert_int_equal(w.rc, 0);
	}
	space_uncharge(space, 6 * MiB);
	mb_space_destroy(space);
	finish(pool, "wake");
}

/* Nobody tells of the death: the waiter finds it. The dead one was first in the queue. */
static void a_killed_waiter_is_in_nobodys_way(void **state)
{
	struct mb_pool *pool = new_pool("kill", 2 * SIZE);
	struct mb_space *space = space_of(pool, "waits", 4 * MiB, false);
	pid_t dead = peer(fixture_path("kill"), "dead", true);
	struct waiter w = {.space = space, .bytes = SIZE};
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, wait_for_bytes, &w), 0);
	until_it_waits(space);
	end(dead);
	pthread_join(thread, NULL);
	assert_int_equal(w.rc, 0);
	space_uncharge(space, SIZE);
	mb_space_destroy(space);
	finish(pool, "kill");
}

/* ---- size, boot ---------------------------------------------------------------------------------------- */

static void size_changes(void **state)
{
	struct mb_pool *pool = new_pool("size", 0);
	struct mb_space *space = space_of(pool, "has", SIZE, false);
	struct mb_pool_status s, before;
	struct mb_error err;
	uint64_t left = 0;
	mb_frame f;

	(void)state;
	assert_int_equal(mb_space_frame(space, 0, &f), 0);
	assert_int_equal(mb_pool_resize(pool, 65 * MiB, NULL, &err), -EINVAL);
	assert_int_equal(mb_pool_resize(pool, 3 * MiB, NULL, &err), -EINVAL);
	assert_int_equal(mb_pool_resize(pool, 2 * MiB, &left, &err), 0);
	assert_int_equal(left, f.n ? SIZE : SIZE - 2 * MiB);
	assert_int_equal(mb_pool_get_status(pool, &before, &err), 0);
	assert_int_equal(before.draining, left);
	assert_int_equal(mb_pool_resize(pool, 64 * MiB, NULL, &err), -EBUSY); /* it is still leaving */
	assert_error(&err, -EBUSY);
	/* and nothing of it has come back, nor been promised */
	assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
	assert_memory_equal(&s, &before, sizeof(s));
	assert_int_equal(atomic_load(&pool->vars->online), 2 * MiB);
	assert_int_equal(mb_pool_resize(pool, 2 * MiB, &left, &err), 0);
	assert_clean(space);
	assert_pool_clean(pool);
	mb_space_destroy(space);
	assert_int_equal(mb_pool_resize(pool, 2 * MiB, &left, &err), 0);
	assert_int_equal(left, 0);
	assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
	assert_int_equal(s.size, 2 * MiB);
	assert_int_equal(s.draining, 0);
	assert_int_equal(s.maximum, 64 * MiB);
	assert_int_equal(mb_pool_resize(pool, 64 * MiB, &left, &err), 0);
	mb_space_destroy(space_of(pool, "all", 64 * MiB, false));
	finish(pool, "size");
}

/* Somebody who is no owner is killed at some instruction of a change of size; nobody else has died. */
static void a_killed_resize_is_in_nobodys_way(void **state)
{
	struct mb_pool *pool = new_pool("resize", 0);
	uint64_t random = 88172645463325252u;
	struct mb_error err;

	(void)state;
	alarm(60); /* who waited for the dead would wait for ever */
	for (unsigned i = 0; i < 200; i++) {
		struct timespec pause = {0, (long)(random % 300000)};
		int fds[2];
		char ready;
		pid_t pid;

		random = random * 6364136223846793005u + 1442695040888963407u;
		assert_int_equal(pipe(fds), 0);
		pid = fork();
		if (!pid) {
			struct mb_pool *mine = attach(fixture_path("resize"));

			if (write(fds[1], "r", 1) != 1)
				_exit(1);
			for (uint64_t n = 0;; n++)
				if (mb_pool_resize(mine, n % 2 ? 64 * MiB : 2 * MiB, NULL, &err))
					_exit(1);
		}
		assert_int_equal(read(fds[0], &ready, 1), 1);
		close(fds[0]);
		close(fds[1]);
		nanosleep(&pause, NULL);
		end(pid);
		assert_int_equal(mb_pool_resize(pool, 32 * MiB, NULL, &err), 0);
		assert_pool_clean(pool);
	}
	alarm(0);
	assert_int_equal(mb_pool_resize(pool, 64 * MiB, NULL, &err), 0);
	mb_space_destroy(space_of(pool, "all", 64 * MiB, false));
	finish(pool, "resize");
}

static void another_boot_finds_it_empty(void **state)
{
	struct mb_pool *pool = new_pool("boot", 32 * MiB);
	pid_t dead = peer(fixture_path("boot"), "dead", true);
	struct mb_pool_status s;
	struct mb_error err;

	(void)state;
	assert_int_equal(mb_pool_resize(pool, 48 * MiB, NULL, &err), 0);
	end(dead);
	atomic_fetch_xor(&pool->vars->boot[1], 1);
	memset((char *)pool->ledger, 0xff, 64); /* and whatever else a crash may leave */
	atomic_store(&pool->vars->budget_used, UINT64_MAX);
	mb_pool_close(pool);
	pool = attach(fixture_path("boot"));
	assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
	assert_true(s.rebuilt);
	assert_int_equal(s.owners, 0);
	assert_int_equal(s.resident, 0);
	assert_int_equal(s.budget, 32 * MiB);
	assert_int_equal(s.budget_used, 0);
	assert_int_equal(s.size, 48 * MiB);
	mb_pool_close(pool);
	pool = attach(fixture_path("boot"));
	assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
	assert_false(s.rebuilt);
	finish(pool, "boot");
}

static struct mb_pool *attach_kept(const char *name, struct mb_recovered *did)
{
	struct mb_pool *pool = NULL;
	struct mb_error err;

	assert_int_equal(mb_pool_attach_kept(fixture_path(name), &pool, did, &err), 0);
	return pool;
}

static void another_boot_repairs_it(void **state)
{
	struct mb_pool *pool;
	struct mb_recovered did;
	struct mb_pool_status s;
	struct mb_error err;

	(void)state;
	for (int bad = 0; bad < 2; bad++) {
		pool = new_pool("keep", 32 * MiB);
		end(peer(fixture_path("keep"), "dead", true));
		atomic_fetch_xor(&pool->vars->boot[1], 1);
		if (bad) /* of a frame that is free */
			atomic_fetch_xor(&pool->ledger[(64 * MiB >> HUGE_SHIFT) - 1], UINT64_C(1) << 63);
		mb_pool_close(pool);
		pool = attach_kept("keep", &did);
		assert_int_equal(did.owners, !bad);
		assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
		assert_int_equal(s.kept, !bad);
		assert_int_equal(s.rebuilt, bad);
		assert_int_equal(s.resident, 0);
		assert_int_equal(s.budget_used, 0);
		assert_int_equal(s.budget, 32 * MiB);
		mb_pool_close(pool);
		pool = attach_kept("keep", &did);
		assert_int_equal(mb_pool_get_status(pool, &s, &err), 0);
		assert_false(s.kept || s.rebuilt);
		finish(pool, "keep");
	}
}

/* Who has other work, too, buries a little at a time: what is gone is uncharged, what is left is for the next call. */
static void the_dead_are_buried_by_and_by(void **state)
{
	struct mb_pool *pool;
	unsigned calls = 1;
	pid_t dead;

	(void)state;
	pool_file_at(ON_TMPFS, "slowly", 256 * MiB, 0);
	pool = attach(fixture_path("slowly"));
	dead = peer_of(fixture_path("slowly"), "dead", 128 * MiB, false);
	assert_false(owner_bury_some(pool, 0));
	end(dead);
	assert_true(owner_bury_some(pool, 0));
	assert_true(budget_used(pool) < 128 * MiB && budget_used(pool) > 0);
	assert_true(owner_some_dead(pool));
	while (owner_bury_some(pool, 0))
		calls++;
	assert_true(calls > 1);
	assert_int_equal(budget_used(pool), 0);
	assert_int_equal(pool_resident_bytes(pool), 0);
	finish(pool, "slowly");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(what_the_dead_had_comes_back),      cmocka_unit_test(recovery_says_what_it_did),
	    cmocka_unit_test(first_come_first_served),           cmocka_unit_test(waiters_are_woken),
	    cmocka_unit_test(a_killed_waiter_is_in_nobodys_way), cmocka_unit_test(size_changes),
	    cmocka_unit_test(another_boot_repairs_it),           cmocka_unit_test(another_boot_finds_it_empty),
	    cmocka_unit_test(bytes_come_back_in_steps),          cmocka_unit_test(the_dead_are_buried_by_and_by),
	    cmocka_unit_test(deflations_queue),                  cmocka_unit_test(a_killed_resize_is_in_nobodys_way),
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
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	fixture_end();
	return failed ? 1 : 0;
}
