/* SPDX-License-Identifier: MIT */
/*
 * backing_file.c - memory in a sparse file with small pages: memfd, tmpfs, a file system on a disk.
 *
 * A frame number is the offset in the file. Giving back is FALLOC_FL_PUNCH_HOLE: MADV_DONTNEED would only
 * unmap, and free nothing. A hole in a large page of tmpfs splits the page and frees at once.
 */
#include "backing_ops.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static int file_map(const struct backing *b, void *at, uint64_t offset, uint64_t len, struct mb_error *err)
{
	void *p =
	    mmap(at, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE | MAP_FIXED, b->fd, (off_t)offset);
	int rc = errno;

	if (p == MAP_FAILED)
		return host_error(err, -rc, "cannot map %s of the memory file: %s; check `ulimit -v`",
				  host_size(len).text, strerror(rc));
	if (b->huge_pages)
		madvise(at, len, MADV_HUGEPAGE);
	if (!b->blocks_exact) /* on a disk: reading ahead would fill holes with pages of zeros */
		madvise(at, len, MADV_RANDOM);
	return 0;
}

int backing_punch(const struct backing *b, uint64_t offset, uint64_t len)
{
	int rc;

	do {
		rc = fallocate(b->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)len);
	} while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : 0;
}

static int file_give_back(const struct backing *b, void *at, uint64_t offset, uint64_t len)
{
	(void)at;
	return backing_punch(b, offset, len);
}

const struct backing_ops backing_file_ops = {
    .what = "a memory file",
    .map = file_map,
    .give_back = file_give_back,
    .purge = file_give_back,
    .forget = backing_punch,
};
