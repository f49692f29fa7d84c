/* SPDX-License-Identifier: MIT */
/* disk.c - see disk.h. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/disk.h"

#include "error.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_SIZE_MAX (UINT32_C(1) << 16) /* nothing has larger ones; topology counts in 16 bits */

static int explain_open(const char *path, bool readonly, int code, struct mb_error *err)
{
	switch (code) {
	case ENOENT:
		return error_set(err, -code,
				 "disk %s: there is no such file; make one, as with `truncate -s 1G`", path);
	case EISDIR:
		return error_set(err, -code, "disk %s is a directory; name a file or a block device", path);
	case EACCES:
	case EROFS:
	case EPERM:
	case ETXTBSY:
		if (!readonly)
			return error_set(err, -code,
					 "disk %s cannot be written: %s; add ',readonly' to read it", path,
					 strerror(code));
		break;
	}
	return error_open(err, -code, "disk", path);
}

static bool is_block_size(uint64_t size)
{
	return size >= DISK_SECTOR && size <= BLOCK_SIZE_MAX && !(size & (size - 1));
}

static int measure_device(const char *path, struct disk *d, struct mb_error *err)
{
	unsigned physical = 0;
	int logical = 0;

	if (ioctl(d->fd, BLKGETSIZE64, &d->bytes) || ioctl(d->fd, BLKSSZGET, &logical))
		return error_set(err, -errno, "disk %s: cannot be measured: %s", path, strerror(errno));
	if (logical > 0 && is_block_size((unsigned)logical))
		d->block_size = (uint32_t)logical;
	if (!ioctl(d->fd, BLKPBSZGET, &physical) && is_block_size(physical) && physical > d->block_size)
		d->physical_size = physical;
	return 0;
}

static int measure(const char *path, struct disk *d, struct mb_error *err)
{
	struct stat st;
	int rc = 0;

	if (fstat(d->fd, &st))
		return error_set(err, -errno, "disk %s: %s", path, strerror(errno));
	d->block_size = d->physical_size = DISK_SECTOR;
	if (S_ISDIR(st.st_mode))
		return explain_open(path, d->readonly, EISDIR, err);
	if (S_ISREG(st.st_mode)) {
		d->bytes = (uint64_t)st.st_size;
		if (st.st_blksize > 0 && is_block_size((uint64_t)st.st_blksize))
			d->physical_size = (uint32_t)st.st_blksize;
	} else if (S_ISBLK(st.st_mode)) {
		rc = measure_device(path, d, err);
	} else {
		rc = error_set(err, -EINVAL, "disk %s is neither a file nor a block device", path);
	}
	if (rc)
		return rc;
	if (d->physical_size < d->block_size)
		d->physical_size = d->block_size;
	if (!d->bytes)
		return error_set(err, -EINVAL, "disk %s is empty; give it a size, as with `truncate -s 1G`",
				 path);
	if (d->bytes % d->block_size)
		return error_set(
		    err, -EINVAL,
		    "disk %s has %llu bytes, which is no multiple of its blocks' %u; is it a raw image?", path,
		    (unsigned long long)d->bytes, d->block_size);
	return 0;
}

static int lock(const char *path, const struct disk *d, struct mb_error *err)
{
	struct flock all = {.l_type = d->readonly ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (!fcntl(d->fd, F_OFD_SETLK, &all))
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return error_set(err, -EBUSY, "disk %s is in use%s: by another program, or named twice", path,
				 d->readonly ? " by a writer" : "");
	/* Some file systems have no locks: then nothing is known, which is no reason to refuse. */
	log_at(LOG_WARN, "disk %s cannot be locked: %s; see to it that nobody else writes to it", path,
	       strerror(errno));
	return 0;
}

int disk_open(const char *path, bool readonly, const char *id, struct disk *out, struct mb_error *err)
{
	struct disk d = {.readonly = readonly};
	int rc;

	/* Not blocking: a pipe is refused below rather than waited for. */
	d.fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (d.fd < 0)
		return explain_open(path, readonly, errno, err);
	rc = measure(path, &d, err);
	if (!rc)
		rc = lock(path, &d, err);
	/* From here on it is to wait for its data: io_uring would not. */
	if (!rc && fcntl(d.fd, F_SETFL, 0))
		rc = error_set(err, -errno, "disk %s: %s", path, strerror(errno));
	if (rc) {
		close(d.fd);
		return rc;
	}
	for (size_t i = 0; id && id[i] && i < sizeof(d.id); i++)
		d.id[i] = id[i];
	*out = d;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (disk->fd >= 0)
		close(disk->fd);
	disk->fd = -1;
}
