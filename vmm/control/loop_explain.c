/* SPDX-License-Identifier: MIT */
/*
 * loop_explain.c - why there is no io_uring here, and what helps.
 */
#include "control/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int sysctl_io_uring_disabled(void)
{
	int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
	char digit = '0';

	if (fd < 0)
		return 0;
	if (read(fd, &digit, 1) != 1)
		digit = '0';
	close(fd);
	return digit - '0';
}

void loop_explain(int code, char *text, size_t size)
{
	int disabled = code == -EPERM ? sysctl_io_uring_disabled() : 0;

	if (disabled)
		snprintf(text, size,
			 "io_uring is switched off on this host (kernel.io_uring_disabled is %d): run "
			 "'sysctl kernel.io_uring_disabled=0' as root%s",
			 disabled, disabled == 1 ? ", or join the group of kernel.io_uring_group" : "");
	else if (code == -EPERM || code == -EACCES)
		snprintf(text, size,
			 "io_uring is not permitted here, probably by a seccomp filter (of a container?): "
			 "allow io_uring_setup, io_uring_enter and io_uring_register in it");
	else if (code == -ENOSYS)
		snprintf(text, size,
			 "this kernel has no io_uring, or an old one: Linux 5.11 or later is needed");
	else if (code == -ENOMEM)
		snprintf(text, size,
			 "no memory for the io_uring: raise the limit of locked memory (ulimit -l)");
	else if (code == -EMFILE || code == -ENFILE)
		snprintf(text, size, "no file descriptor left for the io_uring: raise the limit (ulimit -n)");
	else
		snprintf(text, size, "io_uring cannot be set up: %s", strerror(-code));
}
