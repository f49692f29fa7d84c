/* SPDX-License-Identifier: MIT */
/*
 * test-loop.c - the event loop: readiness, removal in the middle of a turn, stale completions, timers,
 * deferred calls, posts of other threads, and what is said when io_uring is forbidden.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MS UINT64_C(1000000)

struct fixture {
	struct loop *loop;
	struct loop_source *timer; /* ends a run that would last for ever */
	bool timed_out;
	/* what the callbacks of a test note down */
	struct loop_source *a, *b;
	int fd_a, fd_b;
	unsigned calls_a, calls_b;
	uint32_t seen;
	char order[64];
};

static void note(struct fixture *f, char c)
{
	size_t n = strlen(f->order);

	assert_true(n + 1 < sizeof(f->order));
	f->order[n] = c;
}

static void on_limit(void *arg)
{
	struct fixture *f = arg;

	f->timed_out = true;
	loop_stop(f->loop);
}

/* Runs until a callback stops it; false if none did for so long. */
static bool run(struct fixture *f, uint64_t limit_ms)
{
	f->timed_out = false;
	assert_int_equal(loop_arm_timer(f->timer, limit_ms * MS), 0);
	assert_int_equal(loop_run(f->loop), 0);
	loop_arm_timer(f->timer, 0);
	return !f->timed_out;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->fd_a = f->fd_b = -1;
	if (loop_create(&f->loop) || loop_add_timer(f->loop, on_limit, f, &f->timer))
		return -1;
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	loop_destroy(f->loop);
	if (f->fd_a >= 0)
		close(f->fd_a);
	if (f->fd_b >= 0)
		close(f->fd_b);
	free(f);
	return 0;
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

/* ---- descriptors ------------------------------------------------------------------------------------- */

static void on_fd_thrice(void *arg, int fd, uint32_t events)
{
	struct fixture *f = arg;

	assert_int_equal(fd, f->fd_a);
	f->seen |= events;
	if (++f->calls_a == 3)
		loop_stop(f->loop);
}

static void test_fd_is_level_triggered(void **state)
{
	struct fixture *f = *state;
	uint64_t value;

	f->fd_a = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_thrice, f, &f->a), 0);
	assert_false(run(f, 20));
	assert_int_equal(f->calls_a, 0);
	signal_fd(f->fd_a);
	assert_true(run(f, 5000));
	assert_int_equal(f->calls_a, 3);
	assert_int_equal(f->seen, POLLIN);
	assert_int_equal(read(f->fd_a, &value, sizeof(value)), sizeof(value));
	f->calls_a = 0;
	assert_false(run(f, 20));
	/* One completion may have been on its way when the value was read. */
	assert_in_range(f->calls_a, 0, 1);
}

static void on_fd_count(void *arg, int fd, uint32_t events)
{
	struct fixture *f = arg;

	f->seen = events;
	if (fd == f->fd_a)
		f->calls_a++;
	else
		f->calls_b++;
	loop_stop(f->loop);
}

static void test_set_events(void **state)
{
	struct fixture *f = *state;
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	f->fd_a = pair[0];
	f->fd_b = pair[1];
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_count, f, &f->a), 0);
	assert_false(run(f, 10));
	assert_int_equal(loop_set_events(f->a, POLLOUT), 0);
	assert_true(run(f, 5000));
	assert_int_equal(f->seen, POLLOUT);
	assert_int_equal(loop_set_events(f->a, POLLIN), 0);
	assert_false(run(f, 10));
	assert_int_equal(write(f->fd_b, "x", 1), 1);
	assert_true(run(f, 5000));
	assert_int_equal(f->seen, POLLIN);
	/* Nothing is watched, not even a hang-up. */
	assert_int_equal(loop_set_events(f->a, 0), 0);
	close(f->fd_b);
	f->fd_b = -1;
	assert_false(run(f, 10));
	assert_int_equal(loop_set_events(f->a, POLLIN), 0);
	assert_true(run(f, 5000));
	assert_true(f->seen & POLLHUP);
}

/* Both are ready in one batch: whichever comes first removes the other. */
static void on_fd_remove_other(void *arg, int fd, uint32_t events)
{
	struct fixture *f = arg;

	(void)events;
	if (fd == f->fd_a) {
		f->calls_a++;
		loop_remove(f->b);
	} else {
		f->calls_b++;
		loop_remove(f->a);
	}
	loop_set_events(fd == f->fd_a ? f->a : f->b, 0);
}

static void test_remove_one_that_is_ready(void **state)
{
	struct fixture *f = *state;

	f->fd_a = eventfd(1, EFD_NONBLOCK);
	f->fd_b = eventfd(1, EFD_NONBLOCK);
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_remove_other, f, &f->a), 0);
	assert_int_equal(loop_add_fd(f->loop, f->fd_b, POLLIN, on_fd_remove_other, f, &f->b), 0);
	assert_false(run(f, 20));
	assert_int_equal(f->calls_a + f->calls_b, 1);
}

/* Removes itself, and puts another one into the slot that has become free: it must not get what was old. */
static void on_fd_replace_self(void *arg, int fd, uint32_t events)
{
	struct fixture *f = arg;

	(void)fd;
	(void)events;
	f->calls_a++;
	loop_remove(f->a);
	assert_int_equal(loop_add_fd(f->loop, f->fd_b, POLLIN, on_fd_count, f, &f->b), 0);
}

static void test_remove_self_and_reuse(void **state)
{
	struct fixture *f = *state;

	f->fd_a = eventfd(1, EFD_NONBLOCK);
	f->fd_b = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_replace_self, f, &f->a), 0);
	assert_false(run(f, 20));
	assert_int_equal(f->calls_a, 1);
	assert_int_equal(f->calls_b, 0);
	signal_fd(f->fd_b);
	assert_true(run(f, 5000));
	assert_int_equal(f->calls_b, 1);
}

/* A completion lies in the ring unseen when its source goes, and its slot and fd number are taken again. */
static void test_stale_completion(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->fd_a = eventfd(0, EFD_NONBLOCK);
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_count, f, &f->a), 0);
	assert_false(run(f, 10));
	for (int i = 0; i < 100; i++) {
		signal_fd(f->fd_a);
		loop_remove(f->a);
		close(f->fd_a);
		fd = eventfd(0, EFD_NONBLOCK);
		assert_int_equal(fd, f->fd_a);
		assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_count, f, &f->a), 0);
		assert_false(run(f, 1));
	}
	assert_int_equal(f->calls_a, 0);
}

/* The poll in the ring must not keep the open file alive. */
static void test_remove_lets_go_of_the_file(void **state)
{
	struct fixture *f = *state;
	int pair[2];
	char c;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	assert_int_equal(loop_add_fd(f->loop, pair[0], POLLIN, on_fd_count, f, &f->a), 0);
	assert_false(run(f, 10));
	loop_remove(f->a);
	close(pair[0]);
	assert_int_equal(read(pair[1], &c, 1), 0);
	close(pair[1]);
}

static void test_closed_descriptor_is_told(void **state)
{
	struct fixture *f = *state;
	int fd = eventfd(0, EFD_NONBLOCK);

	f->fd_a = fd;
	close(fd);
	assert_int_equal(loop_add_fd(f->loop, fd, POLLIN, on_fd_count, f, &f->a), 0);
	assert_true(run(f, 5000));
	assert_int_equal(f->seen, POLLNVAL);
	loop_remove(f->a);
	f->fd_a = -1;
	assert_int_equal(loop_add_fd(f->loop, -1, POLLIN, on_fd_count, f, &f->a), -EBADF);
}

#define MANY 300 /* more than the ring has entries */

struct many {
	struct fixture *f;
	unsigned left;
	struct loop_source *sources[MANY];
	int fds[MANY];
};

static void on_many(void *arg, int fd, uint32_t events)
{
	struct many *m = arg;
	uint64_t value;

	assert_int_equal(events, POLLIN);
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	if (!--m->left)
		loop_stop(m->f->loop);
}

static void test_more_than_the_ring_holds(void **state)
{
	struct many m = {.f = *state};

	for (int i = 0; i < MANY; i++) {
		m.fds[i] = eventfd(0, EFD_NONBLOCK);
		assert_int_equal(loop_add_fd(m.f->loop, m.fds[i], POLLIN, on_many, &m, &m.sources[i]), 0);
	}
	for (int round = 0; round < 3; round++) {
		m.left = MANY;
		for (int i = 0; i < MANY; i++)
			signal_fd(m.fds[i]);
		assert_true(run(m.f, 5000));
	}
	for (int i = 0; i < MANY; i++) {
		loop_remove(m.sources[i]);
		close(m.fds[i]);
	}
	assert_false(run(m.f, 10));
}

/* ---- timers ------------------------------------------------------------------------------------------ */

static void on_timer_a(void *arg)
{
	struct fixture *f = arg;

	note(f, 'a');
	if (++f->calls_a < 3)
		loop_arm_timer(f->a, 5 * MS);
	else
		loop_remove(f->a);
}

static void on_timer_b(void *arg)
{
	note(arg, 'b');
}

static void test_timers(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(loop_add_timer(f->loop, on_timer_a, f, &f->a), 0);
	assert_int_equal(loop_add_timer(f->loop, on_timer_b, f, &f->b), 0);
	assert_false(run(f, 20)); /* not armed: silent */
	assert_string_equal(f->order, "");
	/* Due in the order of their times, not of their making. */
	loop_arm_timer(f->a, 30 * MS);
	loop_arm_timer(f->b, 1 * MS);
	assert_false(run(f, 200));
	assert_string_equal(f->order, "baaa");
	/* Armed again: the last one counts; disarmed: silent; for ever: no overflow. */
	loop_arm_timer(f->b, UINT64_MAX);
	assert_false(run(f, 20));
	loop_arm_timer(f->b, 1 * MS);
	loop_arm_timer(f->b, 0);
	assert_false(run(f, 20));
	assert_string_equal(f->order, "baaa");
	loop_arm_timer(f->b, 1 * MS);
	loop_remove(f->b);
	assert_false(run(f, 20));
	assert_string_equal(f->order, "baaa");
}

/* ---- deferred calls ---------------------------------------------------------------------------------- */

static void on_deferred_a(void *arg)
{
	struct fixture *f = arg;

	note(f, 'a');
	f->calls_a++;
	if (f->calls_a < 20)
		loop_defer(f->a);
}

static void on_deferred_b(void *arg)
{
	struct fixture *f = arg;

	note(f, 'b');
	loop_remove(f->b);
}

static void on_fd_note(void *arg, int fd, uint32_t events)
{
	struct fixture *f = arg;
	uint64_t value;

	(void)events;
	assert_int_equal(read(fd, &value, sizeof(value)), sizeof(value));
	note(f, 'F');
}

static void test_deferred(void **state)
{
	struct fixture *f = *state;
	struct loop_source *fd_source;

	f->fd_a = eventfd(1, EFD_NONBLOCK);
	assert_int_equal(loop_add_deferred(f->loop, on_deferred_a, f, &f->a), 0);
	assert_int_equal(loop_add_deferred(f->loop, on_deferred_b, f, &f->b), 0);
	assert_false(run(f, 10));
	assert_string_equal(f->order, "");
	loop_defer(f->a);
	loop_defer(f->b);
	loop_defer(f->a); /* pending already: once */
	assert_int_equal(loop_add_fd(f->loop, f->fd_a, POLLIN, on_fd_note, f, &fd_source), 0);
	assert_false(run(f, 50));
	/* A call that defers itself over and over does not keep the descriptor waiting. */
	assert_int_equal(f->calls_a, 20);
	assert_non_null(strchr(f->order, 'F'));
	assert_true(strchr(f->order, 'F') - f->order < 4);
	assert_non_null(strstr(f->order, "ab"));
	/* Removed while pending: silent. */
	f->calls_a = 0;
	loop_defer(f->a);
	loop_remove(f->a);
	assert_false(run(f, 10));
	assert_int_equal(f->calls_a, 0);
}

/* ---- other threads ----------------------------------------------------------------------------------- */

#define THREADS 4
#define POSTS   20000

struct poster {
	struct loop *loop;
	unsigned *left; /* of all threads; the loop's thread counts */
	unsigned next;  /* number that is to come */
	unsigned numbers[POSTS];
	struct poster *self;
	pthread_t thread;
};

struct posted {
	struct poster *poster;
	unsigned number;
};

static void on_post(void *arg)
{
	struct posted *p = arg;

	assert_int_equal(p->number, p->poster->next);
	p->poster->next++;
	if (!--*p->poster->left)
		loop_stop(p->poster->loop);
	free(p);
}

static void *post_all(void *arg)
{
	struct poster *p = arg;

	for (unsigned i = 0; i < POSTS; i++) {
		struct posted *posted = malloc(sizeof(*posted));

		*posted = (struct posted){p, i};
		while (loop_post(p->loop, on_post, posted) == -EAGAIN)
			sched_yield();
	}
	return NULL;
}

static void test_posts_come_in_order(void **state)
{
	struct fixture *f = *state;
	struct poster *posters = calloc(THREADS, sizeof(*posters));
	unsigned left = THREADS * POSTS;

	for (int i = 0; i < THREADS; i++) {
		posters[i].loop = f->loop;
		posters[i].left = &left;
		assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
	}
	assert_true(run(f, 60000));
	for (int i = 0; i < THREADS; i++) {
		pthread_join(posters[i].thread, NULL);
		assert_int_equal(posters[i].next, POSTS);
	}
	assert_int_equal(left, 0);
	free(posters);
}

static void on_post_count(void *arg)
{
	struct fixture *f = arg;

	f->calls_a++;
}

static void test_posts_are_bounded(void **state)
{
	struct fixture *f = *state;
	unsigned posted = 0;

	while (posted < 1000000 && loop_post(f->loop, on_post_count, f) == 0)
		posted++;
	assert_in_range(posted, 100, 100000);
	assert_int_equal(loop_post(f->loop, on_post_count, f), -EAGAIN);
	assert_false(run(f, 100));
	assert_int_equal(f->calls_a, posted);
	assert_int_equal(loop_post(f->loop, on_post_count, f), 0);
}

static void test_stop_before_run(void **state)
{
	struct fixture *f = *state;

	loop_stop(f->loop);
	assert_int_equal(loop_run(f->loop), 0);
	assert_false(run(f, 10)); /* it was used up */
}

/* ---- no io_uring --------------------------------------------------------------------------------------- */

/* In a child: io_uring_setup answers with this error. */
static void forbid_io_uring(unsigned error)
{
	struct sock_filter code[] = {
	    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
	    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = 4, .filter = code};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(77);
}

static int create_forbidden(unsigned error, const char *word)
{
	struct loop *loop;
	char text[300] = "";
	int status;
	pid_t pid = fork();

	if (!pid) {
		forbid_io_uring(error);
		if (loop_create(&loop) != -(int)error)
			_exit(1);
		loop_explain(-(int)error, text, sizeof(text));
		_exit(strstr(text, word) && !strchr(text, '\n') ? 0 : 2);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_forbidden_is_explained(void **state)
{
	(void)state;
	int rc = create_forbidden(EPERM, "io_uring");

	if (rc == 77)
		skip();
	assert_int_equal(rc, 0);
	assert_int_equal(create_forbidden(ENOSYS, "5.11"), 0);
	assert_int_equal(create_forbidden(ENOMEM, "ulimit -l"), 0);
}

#define LOOP_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    LOOP_TEST(test_fd_is_level_triggered),
	    LOOP_TEST(test_set_events),
	    LOOP_TEST(test_remove_one_that_is_ready),
	    LOOP_TEST(test_remove_self_and_reuse),
	    LOOP_TEST(test_stale_completion),
	    LOOP_TEST(test_remove_lets_go_of_the_file),
	    LOOP_TEST(test_closed_descriptor_is_told),
	    LOOP_TEST(test_more_than_the_ring_holds),
	    LOOP_TEST(test_timers),
	    LOOP_TEST(test_deferred),
	    LOOP_TEST(test_posts_come_in_order),
	    LOOP_TEST(test_posts_are_bounded),
	    LOOP_TEST(test_stop_before_run),
	    cmocka_unit_test(test_forbidden_is_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
