/* SPDX-License-Identifier: MIT */
/* test-unix-socket.c - the control socket's life: whose path is taken, and whose is left alone. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char dir[40];
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!f)
		return -1;
	strcpy(f->dir, "/tmp/test-unix-socket-XXXXXX");
	*state = f;
	return mkdtemp(f->dir) ? 0 : -1;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	int rc = rmdir(f->dir); /* nothing is left in it */

	free(f);
	return rc;
}

static void test_socket_mode(void **state)
{
	struct fixture *f = *state;
	mode_t before = umask(0);
	struct unix_socket s;
	struct mb_error err;
	struct stat st;
	char path[80];

	snprintf(path, sizeof(path), "%s/second", f->dir);
	assert_int_equal(unix_socket_listen(path, &s, &err), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	unix_socket_close(&s);
	assert_int_equal(umask(before), 0);
	assert_int_equal(stat(path, &st), -1);
}

static void refused(const char *path, int code, const char *word)
{
	struct unix_socket s;
	struct mb_error err = {0};

	assert_int_equal(unix_socket_listen(path, &s, &err), code);
	assert_int_equal(err.code, code);
	if (!strstr(err.text, word) || strchr(err.text, '\n'))
		fail_msg("'%s' is not in '%s'", word, err.text);
}

static void test_live_socket_is_refused(void **state)
{
	struct fixture *f = *state;
	struct unix_socket s;
	struct mb_error err;
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/live", f->dir);
	assert_int_equal(unix_socket_listen(path, &s, &err), 0);
	refused(path, -EADDRINUSE, path);
	assert_int_equal(unix_socket_connect(path, &fd, &err), 0); /* it was left alone */
	close(fd);
	unix_socket_close(&s);
}

static void test_stale_socket_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct unix_socket s;
	struct mb_error err;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/stale", f->dir);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	assert_int_equal(unix_socket_listen(addr.sun_path, &s, &err), 0);
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	unix_socket_close(&s);
	assert_int_equal(access(addr.sun_path, F_OK), -1);
}

static void test_paths_that_are_refused(void **state)
{
	struct fixture *f = *state;
	char path[200], file[80];
	int fd;

	memset(path, 'p', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	memcpy(path, "/tmp/", 5);
	refused(path, -ENAMETOOLONG, "107");
	refused("", -EINVAL, "empty");
	refused("/nonexistent/socket", -ENOENT, "directory");
	snprintf(file, sizeof(file), "%s/file", f->dir);
	fd = open(file, O_CREAT | O_WRONLY, 0600);
	close(fd);
	refused(file, -EEXIST, "no socket");
	assert_int_equal(unlink(file), 0); /* it was left alone */
	assert_int_equal(symlink("nowhere", file), 0);
	refused(file, -EEXIST, "no socket");
	assert_int_equal(unlink(file), 0);
}

static void test_only_our_own_socket_is_removed(void **state)
{
	struct fixture *f = *state;
	struct unix_socket first, second;
	struct mb_error err;
	char path[80];

	snprintf(path, sizeof(path), "%s/moved", f->dir);
	assert_int_equal(unix_socket_listen(path, &first, &err), 0);
	assert_int_equal(unlink(path), 0); /* somebody took it for his */
	assert_int_equal(unix_socket_listen(path, &second, &err), 0);
	unix_socket_close(&first);
	assert_int_equal(access(path, F_OK), 0);
	unix_socket_close(&second);
	assert_int_equal(access(path, F_OK), -1);
}

/* ---- a program that was killed --------------------------------------------------------------------------- */

/* A socket at which a process listens that is gone: as if the kernel had not closed it yet. Its descriptor. */
static int orphan(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	pid_t pid;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	pid = fork();
	if (!pid)
		_exit(listen(fd, 16) != 0); /* by which it is the child's */
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return fd;
}

static void *close_later(void *arg)
{
	const struct timespec pause = {.tv_nsec = 100000000};

	nanosleep(&pause, NULL);
	close(*(int *)arg);
	return NULL;
}

static void test_the_dead_are_waited_for(void **state)
{
	struct fixture *f = *state;
	struct unix_socket s;
	struct mb_error err;
	pthread_t thread;
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/orphan", f->dir);
	fd = orphan(path);
	assert_int_equal(pthread_create(&thread, NULL, close_later, &fd), 0);
	assert_int_equal(unix_socket_listen(path, &s, &err), 0);
	pthread_join(thread, NULL);
	unix_socket_close(&s);
	assert_int_equal(access(path, F_OK), -1);
}

/* Somebody else has it open, for whatever reason: that is as good as living. */
static void test_but_not_for_ever(void **state)
{
	struct fixture *f = *state;
	char path[80];
	int fd;

	snprintf(path, sizeof(path), "%s/orphan", f->dir);
	fd = orphan(path);
	refused(path, -EADDRINUSE, path);
	close(fd);
	assert_int_equal(unlink(path), 0);
}

#define SOCKET_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    SOCKET_TEST(test_socket_mode),
	    SOCKET_TEST(test_live_socket_is_refused),
	    SOCKET_TEST(test_stale_socket_is_replaced),
	    SOCKET_TEST(test_paths_that_are_refused),
	    SOCKET_TEST(test_only_our_own_socket_is_removed),
	    SOCKET_TEST(test_the_dead_are_waited_for),
	    SOCKET_TEST(test_but_not_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
