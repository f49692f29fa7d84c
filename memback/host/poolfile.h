/* SPDX-License-Identifier: MIT */
/* poolfile.h - what attaching to a pool file, making it and removing it share. */
#ifndef HOST_POOLFILE_H
#define HOST_POOLFILE_H

#include "records.h"
#include "state.h"

/* Opens a pool file; its header is checked and copied, and where its tables lie is in *r. */
int poolfile_open(const char *path, int *fd_out, struct pool_header *h, struct records *r,
		  struct mb_error *err);
int poolfile_map(struct mb_pool *pool, int fd, const struct records *r, struct mb_error *err);
/*
 * Opens the memory file that a header names, and makes sure that it is the very one, whatever has become of its
 * length. -ENOENT: there is none; -ESTALE: it is another.
 */
int poolfile_open_memory(struct mb_pool *pool, const struct pool_header *h, struct mb_error *err);

#endif
