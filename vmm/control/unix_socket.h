/* SPDX-License-Identifier: MIT */
/*
 * unix_socket.h - UNIX stream sockets by path: one to serve at, and one to be a client of.
 */
#ifndef VMM_CONTROL_UNIX_SOCKET_H
#define VMM_CONTROL_UNIX_SOCKET_H

#include <memback/pool.h>
#include <sys/types.h>

struct unix_socket {
	int fd;
	char path[108]; /* as long as sun_path */
	/* The file that it made, by which unix_socket_close() knows whether it is still ours. */
	dev_t dev;
	ino_t ino;
};

/*
 * Listens at path, mode 0600 from the first moment. A socket at which nobody listens is replaced; a live
 * one is refused (-EADDRINUSE), and so is what is no socket (-EEXIST). Non-blocking, close-on-exec.
 */
MB_MUST_CHECK int unix_socket_listen(const char *path, struct unix_socket *out, struct mb_error *err);
/* Closes it, and removes its file unless another has come in its place. */
void unix_socket_close(struct unix_socket *s);

/* Connects: *fd is the caller's, close-on-exec, blocking; what it sends may block for some seconds. */
MB_MUST_CHECK int unix_socket_connect(const char *path, int *fd, struct mb_error *err);

#endif
