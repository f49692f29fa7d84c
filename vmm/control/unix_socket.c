/* SPDX-License-Identifier: MIT */
/*
 * unix_socket.c - UNIX stream sockets by path.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "control/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG       16
#define TRIES         50
#define PAUSE_NS      20000000
#define SEND_LIMIT_S  5

__attribute__((format(printf, 3, 4))) static int fail(struct mb_error *err, int code, const char *fmt, ...)
{
	va_list args;

	err->code = code;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return code;
}

static int make_address(const char *path, struct sockaddr_un *addr, struct mb_error *err)
{
	size_t len = strlen(path);

	memset(addr, 0, sizeof(*addr));
	addr->sun_family = AF_UNIX;
	if (!len)
		return fail(err, -EINVAL, "the path of the socket is empty: name a file");
	if (len >= sizeof(addr->sun_path))
		return fail(
		    err, -ENAMETOOLONG,
		    "the socket's path is %zu bytes long, and a UNIX socket's may have at most %zu: choose "
		    "a shorter one ('%.40s...')",
		    len, sizeof(addr->sun_path) - 1, path);
	memcpy(addr->sun_path, path, len);
	return 0;
}

/*
 * Whoever replaces a stale socket looks first and unlinks then; two that start at once must not do that to
 * each other. A lock on the directory leaves nothing behind. It is given up after a second: someone else
 * may hold such a lock for reasons of his own. Returns a descriptor, or -1 without a lock.
 */
static int lock_directory(const char *path)
{
	struct timespec pause = {0, PAUSE_NS};
	char copy[sizeof(((struct sockaddr_un *)0)->sun_path)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	for (int i = 0; i < TRIES; i++) {
		if (!flock(fd, LOCK_EX | LOCK_NB))
			return fd;
		nanosleep(&pause, NULL);
	}
	close(fd);
	return -1;
}

/* Does whoever listens at the other end exist? Where that is not told, yes. */
static bool listener_exists(int fd)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) || peer.pid <= 0 || !kill(peer.pid, 0) ||
	       errno != ESRCH;
}

/*
 * 1: somebody listens there; 0: nobody does; negative: it cannot be told. -EOWNERDEAD: somebody who is gone;
 * -EAGAIN: too many wait for whoever listens.
 */
static int who_listens(const struct sockaddr_un *addr)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? -errno : 1;
	if (rc == 1 && !listener_exists(fd))
		rc = -EOWNERDEAD;
	close(fd);
	if (rc == -EINPROGRESS)
		return -EAGAIN;
	return rc == -ECONNREFUSED || rc == -ENOENT ? 0 : rc;
}

/*
 * The same; a process that was killed is waited for: its socket outlives it for as long as the kernel takes to end
 * what its io_uring had in flight.
 */
static int is_live(const struct sockaddr_un *addr)
{
	const struct timespec pause = {.tv_nsec = PAUSE_NS};
	int rc = who_listens(addr);

	/* our own tries are among those who wait */
	for (int i = 0, gone = rc == -EOWNERDEAD; gone && (rc == -EOWNERDEAD || rc == -EAGAIN) && i < TRIES; i++) {
		nanosleep(&pause, NULL);
		rc = who_listens(addr);
	}
	return rc == -EOWNERDEAD || rc == -EAGAIN ? 1 : rc;
}

static int make_way(const struct sockaddr_un *addr, struct mb_error *err)
{
	const char *path = addr->sun_path;
	struct stat st;
	int live;

	if (lstat(path, &st)) {
		if (errno == ENOENT)
			return 0;
		return fail(err, -errno, "%s cannot be looked at: %s", path, strerror(errno));
	}
	if (!S_ISSOCK(st.st_mode))
		return fail(err, -EEXIST, "%s exists and is no socket: choose another path, or remove it",
			    path);
	live = is_live(addr);
	if (live > 0)
		return fail(err, -EADDRINUSE,
			    "another program listens at %s: choose another path, or end that program first",
			    path);
	if (live < 0)
		return fail(err, live, "%s exists, and whether somebody listens there cannot be told: %s", path,
			    strerror(-live));
	if (unlink(path) && errno != ENOENT)
		return fail(err, -errno, "the stale socket %s cannot be removed: %s", path, strerror(errno));
	return 0;
}

/*
 * bind() gives the file the mode of the socket's own inode, less the umask: so fchmod() before it leaves no
 * moment in which the file is open to others, without touching the umask of the whole process.
 */
static int bind_and_listen(struct unix_socket *s, const struct sockaddr_un *addr, struct mb_error *err)
{
	struct stat st;
	int code;

	if (fchmod(s->fd, 0600) || bind(s->fd, (const struct sockaddr *)addr, sizeof(*addr))) {
		code = -errno;
		if (code == -ENOENT)
			return fail(err, code, "the directory of the socket %s does not exist: make it first",
				    s->path);
		return fail(err, code,
			    "no socket can be made at %s: %s; choose a path in a directory that you may write",
			    s->path, strerror(-code));
	}
	if (listen(s->fd, BACKLOG) || lstat(s->path, &st)) {
		code = -errno;
		unlink(s->path);
		return fail(err, code, "nothing can listen at %s: %s", s->path, strerror(-code));
	}
	s->dev = st.st_dev;
	s->ino = st.st_ino;
	return 0;
}

int unix_socket_listen(const char *path, struct unix_socket *out, struct mb_error *err)
{
	struct sockaddr_un addr;
	int rc = make_address(path, &addr, err);
	int lock;

	if (rc)
		return rc;
	memcpy(out->path, addr.sun_path, sizeof(out->path));
	out->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (out->fd < 0)
		return fail(err, -errno, "no socket can be made: %s", strerror(errno));
	lock = lock_directory(path);
	rc = make_way(&addr, err);
	if (!rc)
		rc = bind_and_listen(out, &addr, err);
	if (lock >= 0)
		close(lock);
	if (rc)
		close(out->fd);
	return rc;
}

void unix_socket_close(struct unix_socket *s)
{
	struct stat st;

	/* Removed before it is closed: nobody can have taken it for stale in between. */
	if (!lstat(s->path, &st) && st.st_dev == s->dev && st.st_ino == s->ino)
		unlink(s->path);
	close(s->fd);
	s->fd = -1;
}

static int explain_connect(const char *path, int code, struct mb_error *err)
{
	struct stat st;

	switch (code) {
	case -ENOENT:
		return fail(err, code, "there is no socket %s: is the VM running, with --qmp and this path?",
			    path);
	case -ECONNREFUSED:
		if (!stat(path, &st) && !S_ISSOCK(st.st_mode))
			return fail(err, code,
				    "%s is no socket: give the path that the VM was started with (--qmp)",
				    path);
		return fail(err, code, "nobody listens at %s: its VM has ended; start it again", path);
	case -EACCES:
	case -EPERM:
		return fail(err, code,
			    "%s may not be opened: it belongs to the user who started the VM; become that "
			    "user, or root",
			    path);
	case -EAGAIN:
		return fail(err, code, "too many clients wait at %s: try again", path);
	default:
		return fail(err, code, "no connection to %s: %s", path, strerror(-code));
	}
}

int unix_socket_connect(const char *path, int *fd, struct mb_error *err)
{
	struct sockaddr_un addr;
	struct timeval limit = {SEND_LIMIT_S, 0};
	int rc = make_address(path, &addr, err);

	if (rc)
		return rc;
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return fail(err, -errno, "no socket can be made: %s", strerror(errno));
	/* It holds for connect() too, where the backlog is full. */
	setsockopt(*fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	do {
		rc = connect(*fd, (struct sockaddr *)&addr, sizeof(addr)) ? -errno : 0;
	} while (rc == -EINTR);
	if (!rc)
		return 0;
	close(*fd);
	return explain_connect(path, rc, err);
}
