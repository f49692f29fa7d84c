/* SPDX-License-Identifier: MIT */
/* image.c - see image.h. */
#include "machine/image.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int image_open(struct image *image, const char *what, const char *path, struct mb_error *err)
{
	struct stat st;
	int rc = 0;
	*image = (struct image){.what = what, .path = path};
	image->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO must not stop us */
	if (image->fd < 0 || fstat(image->fd, &st) != 0)
		rc = error_open(err, -errno, what, path);
	else if (!S_ISREG(st.st_mode))
		rc = error_set(err, -ENOEXEC, "%s '%s': not a regular file; name an image", what, path);
	if (rc != 0)
		image_close(image);
	else
		image->size = (uint64_t)st.st_size;
	return rc;
}

void image_close(struct image *image)
{
	if (image->fd >= 0)
		close(image->fd);
	image->fd = -1;
}

int image_read(const struct image *image, uint64_t offset, void *to, uint64_t len, struct mb_error *err)
{
	if (offset > image->size || len > image->size - offset)
		return error_set(
		    err, -ENOEXEC,
		    "%s '%s': it is truncated, or its headers point behind its end; give a whole one",
		    image->what, image->path);
	for (uint64_t done = 0; done < len;) {
		ssize_t n = pread(image->fd, (char *)to + done, len - done, (off_t)(offset + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			int code = n < 0 ? -errno : -EIO;
			return error_set(err, code, "%s '%s': cannot read it: %s", image->what, image->path,
					 strerror(-code));
		}
		done += (uint64_t)n;
	}
	return 0;
}
