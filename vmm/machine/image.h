/* SPDX-License-Identifier: MIT */
/*
 * image.h - a file that is loaded into a guest: a kernel or an initial RAM disk. Only regular files, and reads
 * that stay within the size which the file had when it was opened.
 */
#ifndef VMM_MACHINE_IMAGE_H
#define VMM_MACHINE_IMAGE_H

#include <memback/pool.h>
#include <stdint.h>

struct image {
	int fd; /* -1: none */
	uint64_t size;
	const char *what; /* "kernel", for messages */
	const char *path; /* the caller's, lives longer */
};

/* On failure the image is closed, and err names file, cause and remedy: -ENOENT..., -ENOEXEC. */
MB_MUST_CHECK int image_open(struct image *image, const char *what, const char *path, struct mb_error *err);
/* Does nothing to one that is not open. */
void image_close(struct image *image);
/* All of [offset, offset + len), or an error: -ENOEXEC beyond its end, -EIO... */
MB_MUST_CHECK int image_read(const struct image *image, uint64_t offset, void *to, uint64_t len,
			     struct mb_error *err);

#endif
