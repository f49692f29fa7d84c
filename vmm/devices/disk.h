/* SPDX-License-Identifier: MIT */
/*
 * disk.h - the file or block device behind a virtual disk: opened, checked, locked, and measured.
 *
 * Nobody else may write to it while we have it, nor have it at all while we write: an open-file-description
 * lock over all of it (QEMU takes such locks too, on some of its bytes) says so. It goes with the descriptor.
 */
#ifndef VMM_DEVICES_DISK_H
#define VMM_DEVICES_DISK_H

#include <memback/pool.h>
#include <stdbool.h>
#include <stdint.h>

#define DISK_SECTOR   512 /* bytes: the unit of virtio-blk, whatever the disk's blocks are */
#define DISK_ID_BYTES 20  /* what a guest sees of the serial number, NUL-padded */

struct disk {
	int fd;
	bool readonly;
	uint64_t bytes;         /* a multiple of block_size */
	uint32_t block_size;    /* bytes: the least that can be read or written; a power of two, >= 512 */
	uint32_t physical_size; /* bytes: the least that is not slower; a power of two, >= block_size */
	char id[DISK_ID_BYTES]; /* not terminated if it is full */
};

/*
 * Opens a raw file or a block device. id: what the guest is told as the serial number, NULL or "": none.
 * -EBUSY: somebody else has it; -EISDIR, -EINVAL (no file, or a size that is no disk's), or open(2)'s errors;
 * err names cause and remedy.
 */
MB_MUST_CHECK int disk_open(const char *path, bool readonly, const char *id, struct disk *out,
			    struct mb_error *err);
void disk_close(struct disk *disk);

#endif
