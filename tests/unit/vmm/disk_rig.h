/* SPDX-License-Identifier: MIT */
/* disk_rig.h - a virtio-blk device in the bench of virtio_rig.h, with a file as its disk, and a driver's requests. */
#ifndef TESTS_DISK_RIG_H
#define TESTS_DISK_RIG_H

#include "devices/blk.h"
#include "virtio_rig.h"

#include <linux/virtio_blk.h>
#include <sys/types.h>

#define VERSION_1   (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define EVENT_IDX   (UINT64_C(1) << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT    (UINT64_C(1) << VIRTIO_RING_F_INDIRECT_DESC)
#define NEEDS_RESET VIRTIO_CONFIG_S_NEEDS_RESET

#define QSIZE   64
#define SECTORS UINT64_C(8192) /* 4 MiB */
#define BYTES   (SECTORS * 512)
#define HEADERS RIG_BUFFERS                       /* 32 bytes a slot: header, then status */
#define DATA    (RIG_BUFFERS + UINT64_C(0x10000)) /* 1 MiB at most */
#define PENDING 0xee                              /* a status that nobody has written */

struct disk_fixture {
	struct rig r;
	struct rig_queue q;
	struct blk *b;
	int fd; /* of the disk's file, our own */
};

/* An answer that is waited for: whose, and what it was. */
struct disk_used {
	struct disk_fixture *f;
	uint32_t id, len;
};

/* Host address of guest memory. */
void *disk_at(struct disk_fixture *f, uint64_t gpa);
/* As a driver does: all features, the queue, DRIVER_OK. */
void disk_bring_up(struct disk_fixture *f);
/* As cmocka wants them. elsewhere: guest memory may be missing, as with overcommit. */
int disk_setup(void **state);
int disk_setup_readonly(void **state);
int disk_setup_elsewhere(void **state);
int disk_teardown(void **state);
uint64_t disk_header_at(unsigned slot);
uint8_t *disk_status_of(struct disk_fixture *f, unsigned slot);
/* A request in this slot: header, data (len 0: none), status. */
void disk_put(struct disk_fixture *f, unsigned slot, uint32_t type, uint64_t sector, uint64_t data,
	      uint32_t len, bool in);
bool disk_is_used(void *arg);
bool disk_is_broken(void *arg);
/* Notifies, and waits for the next answer: the used length. */
uint32_t disk_answer(struct disk_fixture *f);
/* The same in slot 0, notified and waited for: its status. */
uint8_t disk_request(struct disk_fixture *f, uint32_t type, uint64_t sector, uint64_t data, uint32_t len,
		     bool in);
void disk_pattern(void *to, size_t len, unsigned seed);
/* What the disk's file has there. */
void disk_assert_file(struct disk_fixture *f, uint64_t offset, const void *expected, size_t len);
/* A request of type discard or write zeroes for these ranges: its status. */
uint8_t disk_ranges(struct disk_fixture *f, uint32_t type, const struct virtio_blk_discard_write_zeroes *r,
		    unsigned n);
/* Blocks of 512 bytes that the disk's file holds. */
blkcnt_t disk_blocks(struct disk_fixture *f);

#endif
