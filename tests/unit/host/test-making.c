/* SPDX-License-Identifier: MIT */
/*
 * test-making.c - pool files that somebody was killed over or was refused while making or removing them, and budgets
 * for which there is no room.
 */
#include "fixture.h"
#include "state.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (64 * MiB)

static enum place place; /* of the run */

static char *in_yard(const char *name)
{
	static char buf[4][256];
	static unsigned next;
	char *out = buf[next++ % 4];

	snprintf(out, sizeof(buf[0]), "%s/yard/%s",
		 place == ON_DISK ? fixture_dir() : fixture_path(place_name(place)), name);
	return out;
}

static int clear_yard(void **state)
{
	char command[300];

	(void)state;
	unlink(fixture_path("pool"));
	snprintf(command, sizeof(command), "rm -rf '%s' && mkdir '%s'", in_yard(""), in_yard(""));
	return system(command);
}

/* Both files lie where the memory can be; on a hugetlbfs nothing but that can. */
static int make(struct mb_error *err)
{
	struct mb_pool_config config = {
	    .backing = MB_BACKING_FILE, .size = SIZE, .memory_path = in_yard("pool.mem")};

	return mb_pool_create_file(place == ON_HUGETLBFS ? fixture_path("pool") : in_yard("pool"), &config,
				   NULL, err);
}

static const char *pool_path(void)
{
	return place == ON_HUGETLBFS ? fixture_path("pool") : in_yard("pool");
}

/* Files in the directory; they are removed. */
static unsigned remove_files(const char *dir)
{
	DIR *d = opendir(dir);
	unsigned count = 0;
	char name[600];

	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d));) {
		if (e->d_type != DT_REG)
			continue;
		snprintf(name, sizeof(name), "%s/%s", dir, e->d_name);
		unlink(name);
		count++;
	}
	closedir(d);
	return count;
}

/* ---- killed ---------------------------------------------------------------------------------------------- */

static void tracee(int (*fn)(void))
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) || raise(SIGSTOP))
		_exit(3);
	_exit(fn() ? 2 : 0);
}

/* A file system without O_TMPFILE: the call is made to fail. */
static void deny_nameless(pid_t pid)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs) || regs.orig_rax != SYS_openat ||
	    (regs.rdx & O_TMPFILE) != O_TMPFILE)
		return;
	regs.orig_rax = (unsigned long long)-1;
	assert_int_equal(ptrace(PTRACE_SETREGS, pid, NULL, &regs), 0);
}

/* Runs fn in a process that is killed at its so-manyth stop before or after a system call. False: it ended before. */
static bool killed_at(int (*fn)(void), unsigned stop, bool nameless)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		tracee(fn);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (!WIFSTOPPED(status))
		skip(); /* nobody may be traced here */
	ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD);
	for (unsigned i = 0; i < stop; i++) {
		assert_int_equal(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status)) {
			assert_int_equal(WEXITSTATUS(status), 0);
			return false;
		}
		assert_true(WIFSTOPPED(status));
		if (!nameless)
			deny_nameless(pid);
	}
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return true;
}

static int make_one(void)
{
	struct mb_error err;

	return make(&err);
}

static int destroy_one(void)
{
	return mb_pool_destroy(pool_path(), NULL);
}

/* Whatever is there: `create`, or `destroy` and then `create`, makes a pool of it, and destroying leaves nothing. */
static void make_and_unmake(void)
{
	struct mb_error err;
	struct mb_pool *pool;
	int rc = make(&err);

	if (rc) {
		assert_error(&err, -EEXIST);
		if (mb_pool_destroy(pool_path(), &err))
			fail_msg("%s", err.text);
		if (make(&err))
			fail_msg("%s", err.text);
	}
	pool = attach(pool_path());
	mb_space_destroy(space_of(pool, "x", 4 * MiB, false));
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(pool_path(), NULL), 0);
}

static void who_is_killed_making_one_is_in_nobodys_way(void **state)
{
	unsigned left = 0, stop = 1;

	(void)state;
	for (; killed_at(make_one, stop, true); stop++) {
		make_and_unmake();
		left += remove_files(in_yard(""));
	}
	assert_true(stop > 30);
	assert_int_equal(left, 0);
	assert_int_equal(mb_pool_destroy(pool_path(), NULL), 0);
}

static void who_is_killed_where_files_need_names_is_neither(void **state)
{
	unsigned stop = 1;

	(void)state;
	for (; killed_at(make_one, stop, false); stop++) {
		make_and_unmake();
		remove_files(in_yard(""));
	}
	assert_true(stop > 30);
	assert_int_equal(mb_pool_destroy(pool_path(), NULL), 0);
	assert_int_equal(remove_files(in_yard("")), 0);
}

static void who_is_killed_removing_one_can_do_it_again(void **state)
{
	unsigned stop = 1;
	struct mb_error err;

	(void)state;
	do {
		struct mb_pool *pool = NULL;

		assert_int_equal(make(&err), 0);
		if (!killed_at(destroy_one, stop++, true))
			break;
		/* It is a whole pool, or it can be removed. */
		if (!mb_pool_attach(pool_path(), &pool, &err)) {
			mb_space_destroy(space_of(pool, "x", 4 * MiB, false));
			mb_pool_close(pool);
		}
		if (!access(pool_path(), F_OK) && mb_pool_destroy(pool_path(), &err))
			fail_msg("%s", err.text);
		assert_int_equal(remove_files(in_yard("")), 0);
	} while (stop < 1000);
	assert_true(stop > 15);
	assert_int_equal(remove_files(in_yard("")), 0);
}

/* ---- at once --------------------------------------------------------------------------------------------- */

static void of_many_makers_one_wins(void **state)
{
	int gate[2], status, won = 0;
	char c;

	(void)state;
	for (unsigned round = 0; round < 10; round++, won = 0) {
		assert_int_equal(pipe(gate), 0);
		for (unsigned i = 0; i < 6; i++) {
			if (fork())
				continue;
			close(gate[1]);
			_exit(read(gate[0], &c, 1) ? 3 : make_one() == -EEXIST);
		}
		close(gate[0]);
		close(gate[1]);
		for (unsigned i = 0; i < 6; i++) {
			assert_true(wait(&status) > 0);
			assert_true(WIFEXITED(status) && WEXITSTATUS(status) <= 1);
			won += !status;
		}
		assert_int_equal(won, 1);
		assert_int_equal(mb_pool_destroy(pool_path(), NULL), 0);
		assert_int_equal(remove_files(in_yard("")), 0);
	}
}

/* ---- refused --------------------------------------------------------------------------------------------- */

/* As in /tmp: who does not own a file may not remove it, though he may write it. */
static void a_refused_removal_changes_nothing(void **state)
{
	const char *path = fixture_path("pool");
	struct mb_pool_config config = {
	    .backing = MB_BACKING_FILE, .size = SIZE, .memory_path = in_yard("pool.mem")};
	struct mb_pool *pool;
	struct mb_error err;
	int status;
	pid_t pid;

	(void)state;
	if (geteuid())
		skip();
	config.mode = 0666;
	assert_int_equal(mb_pool_create_file(path, &config, NULL, &err), 0);
	assert_int_equal(chmod(fixture_dir(), 0711), 0);
	assert_int_equal(chmod(in_yard(""), 01777), 0);
	if (place != ON_DISK)
		assert_int_equal(chmod(fixture_path(place_name(place)), 0711), 0);
	pid = fork();
	if (!pid) {
		if (setgid(65534) || setuid(65534))
			_exit(3);
		_exit(mb_pool_destroy(path, &err) == -EPERM && strstr(err.text, "pool.mem") ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	pool = attach(path);
	mb_space_destroy(space_of(pool, "x", 4 * MiB, false));
	mb_pool_close(pool);
	assert_int_equal(mb_pool_destroy(path, &err), 0);
}

static void memory_that_was_cut_can_be_removed(void **state)
{
	struct mb_pool *pool = NULL;
	struct mb_error err;

	(void)state;
	assert_int_equal(make(&err), 0);
	assert_int_equal(truncate(in_yard("pool.mem"), SIZE / 2), 0);
	assert_int_equal(mb_pool_attach(pool_path(), &pool, &err), -EILSEQ);
	assert_error(&err, -EILSEQ);
	assert_non_null(strstr(err.text, "destroy"));
	assert_int_equal(mb_pool_destroy(pool_path(), &err), 0);
	assert_int_equal(remove_files(in_yard("")), 0);
}

static void names_that_are_taken_stay(void **state)
{
	struct mb_error err;
	int fd;

	(void)state;
	fd = open(in_yard("pool.mem"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(make(&err), -EEXIST);
	assert_error(&err, -EEXIST);
	assert_non_null(strstr(err.text, "--memory-file"));
	assert_int_equal(access(pool_path(), F_OK), -1);
	assert_int_equal(unlink(in_yard("pool.mem")), 0);
	assert_int_equal(symlink("/nonexistent/pool", pool_path()), 0);
	assert_int_equal(make(&err), -EEXIST);
	assert_error(&err, -EEXIST);
	assert_int_equal(unlink(pool_path()), 0);
	assert_int_equal(remove_files(in_yard("")), 0);
}

#define TEST(name) cmocka_unit_test_setup(name, clear_yard)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(who_is_killed_making_one_is_in_nobodys_way),
	    TEST(who_is_killed_where_files_need_names_is_neither),
	    TEST(who_is_killed_removing_one_can_do_it_again),
	    TEST(of_many_makers_one_wins),
	    TEST(a_refused_removal_changes_nothing),
	    TEST(memory_that_was_cut_can_be_removed),
	    TEST(names_that_are_taken_stay),
	};

	return fixture_run(72, ON_TMPFS, &place, tests, sizeof(tests) / sizeof(tests[0]));
}
