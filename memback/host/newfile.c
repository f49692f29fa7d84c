/* SPDX-License-Identifier: MIT */
/* newfile.c - see newfile.h. */
#include "newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int open_nameless(const char *path, unsigned mode)
{
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_TMPFILE | O_RDWR | O_CLOEXEC, (mode_t)mode) : -1;

	free(copy);
	return fd;
}

int newfile_open(struct newfile *f, const char *path, unsigned mode)
{
	int fd = open_nameless(path, mode);

	*f = (struct newfile){.path = path};
	if (fd >= 0)
		return fd;
	if (asprintf(&f->temp, "%s.XXXXXX", path) < 0) {
		f->temp = NULL;
		return -ENOMEM;
	}
	fd = mkostemp(f->temp, O_CLOEXEC);
	if (fd < 0) {
		fd = -errno;
		free(f->temp);
		f->temp = NULL;
	}
	return fd;
}

static int publish_nameless(const char *path, int fd)
{
	char name[32];

	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (!linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW))
		return 0;
	/* without /proc; only root may */
	if (errno == ENOENT && !linkat(fd, "", AT_FDCWD, path, AT_EMPTY_PATH))
		return 0;
	return -errno;
}

int newfile_publish(struct newfile *f, int fd)
{
	if (!f->temp)
		return publish_nameless(f->path, fd);
	if (renameat2(AT_FDCWD, f->temp, AT_FDCWD, f->path, RENAME_NOREPLACE)) {
		if (errno != EINVAL && errno != ENOSYS)
			return -errno;
		if (link(f->temp, f->path)) /* a file system that cannot rename like that */
			return -errno;
		unlink(f->temp);
	}
	free(f->temp);
	f->temp = NULL;
	return 0;
}

void newfile_end(struct newfile *f)
{
	if (f->temp)
		unlink(f->temp);
	free(f->temp);
	f->temp = NULL;
}
