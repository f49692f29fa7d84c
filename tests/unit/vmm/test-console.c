/* SPDX-License-Identifier: MIT */
/*
 * test-console.c - the terminal: raw while the console is open, and as before however the process ends; and
 * left alone by a job in the background. Each case runs as a process of its own on a pseudo-terminal.
 */
#include "console.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { FINE, FAILED };

static bool is_raw(int fd)
{
	struct termios now;
	return tcgetattr(fd, &now) == 0 && !(now.c_lflag & (ICANON | ECHO | ISIG));
}

/* In the child: the terminal is ours. What a case returns is the exit status. */
typedef int case_fn(void);

struct terminal {
	int ours, theirs;
};

static void open_terminal(struct terminal *t)
{
	t->ours = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->ours >= 0);
	assert_int_equal(grantpt(t->ours), 0);
	assert_int_equal(unlockpt(t->ours), 0);
	t->theirs = open(ptsname(t->ours), O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(t->theirs >= 0);
	assert_false(is_raw(t->theirs));
}

static void close_terminal(struct terminal *t)
{
	close(t->ours);
	close(t->theirs);
}

/* Runs fn with the terminal as its standard input and output; returns the status of waitpid(). */
static int run_on(const struct terminal *t, case_fn *fn)
{
	const struct rlimit none = {0, 0};
	int status;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		(void)setrlimit(RLIMIT_CORE, &none);
		if (setsid() < 0 || ioctl(t->theirs, TIOCSCTTY, 0) != 0 || dup2(t->theirs, 0) < 0 ||
		    dup2(t->theirs, 1) < 0)
			_exit(FAILED);
		exit(fn());
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static int open_and_close(void)
{
	struct console c;
	struct mb_error err;
	if (console_open(CONSOLE_STDIO, NULL, &c, &err) != 0 || !is_raw(0) || !c.escape || c.in < 0)
		return FAILED;
	console_close(&c);
	return is_raw(0) ? FAILED : FINE;
}

static int open_and_exit(void)
{
	struct console c;
	struct mb_error err;
	return console_open(CONSOLE_STDIO, NULL, &c, &err) == 0 && is_raw(0) ? FINE : FAILED;
}

static int open_and_die(void)
{
	if (signal(SIGBUS, SIG_DFL) == SIG_ERR || open_and_exit() != FINE)
		return FAILED;
	raise(SIGBUS);
	return FAILED;
}

/* A child in a process group of its own is in the background. */
static int open_in_background(void)
{
	struct console c;
	struct mb_error err;
	int status;
	pid_t pid = fork();
	if (pid == 0) {
		if (setpgid(0, 0) != 0 || console_open(CONSOLE_STDIO, NULL, &c, &err) != 0)
			_exit(FAILED);
		bool alone = !is_raw(0) && c.in < 0 && !c.escape && c.out >= 0;
		console_close(&c);
		_exit(alone ? FINE : FAILED);
	}
	if (pid < 0 || waitpid(pid, &status, WUNTRACED) != pid)
		return FAILED;
	if (WIFSTOPPED(status)) {
		kill(pid, SIGKILL);
		return FAILED;
	}
	return WEXITSTATUS(status);
}

static void exits_well(case_fn *fn)
{
	struct terminal t;
	open_terminal(&t);
	int status = run_on(&t, fn);
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), FINE);
	assert_false(is_raw(t.theirs));
	close_terminal(&t);
}

static void test_restored_when_closed(void **state)
{
	(void)state;
	exits_well(open_and_close);
}

static void test_restored_at_exit(void **state)
{
	(void)state;
	exits_well(open_and_exit);
}

static void test_restored_by_a_deadly_signal(void **state)
{
	struct terminal t;
	(void)state;
	open_terminal(&t);
	int status = run_on(&t, open_and_die);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(WTERMSIG(status), SIGBUS);
	assert_false(is_raw(t.theirs));
	close_terminal(&t);
}

static void test_left_alone_in_the_background(void **state)
{
	(void)state;
	exits_well(open_in_background);
}

static void test_pty(void **state)
{
	struct console c;
	struct mb_error err;
	char got[4] = "";
	(void)state;
	assert_int_equal(console_open(CONSOLE_PTY, NULL, &c, &err), 0);
	int fd = open(c.pty, O_RDWR | O_NOCTTY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_true(is_raw(fd));
	assert_int_equal(write(fd, "a\n", 2), 2);
	assert_int_equal(read(c.in, got, sizeof(got)), 2);
	assert_memory_equal(got, "a\n", 2);
	assert_int_equal(write(c.out, "b\n", 2), 2);
	assert_int_equal(read(fd, got, sizeof(got)), 2);
	assert_memory_equal(got, "b\n", 2);
	close(fd);
	assert_int_equal(write(c.out, "c", 1), 1); /* its reader went away; another may come */
	console_close(&c);
}

static void test_what_cannot_be_opened(void **state)
{
	struct console c;
	struct mb_error err;
	(void)state;
	assert_int_equal(console_open(CONSOLE_FILE, "/nowhere/at/all", &c, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/at/all"));
	assert_non_null(strstr(err.text, "check the path"));
	assert_int_equal(c.out, -1);
	assert_int_equal(console_open(CONSOLE_NONE, NULL, &c, &err), 0);
	assert_int_equal(c.in, -1);
	assert_int_equal(c.out, -1);
	console_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_restored_when_closed),
	    cmocka_unit_test(test_restored_at_exit),
	    cmocka_unit_test(test_restored_by_a_deadly_signal),
	    cmocka_unit_test(test_left_alone_in_the_background),
	    cmocka_unit_test(test_pty),
	    cmocka_unit_test(test_what_cannot_be_opened),
	};
	return cmocka_run_group_tests_name("console", tests, NULL, NULL);
}
