/* SPDX-License-Identifier: MIT */
/* disk_rig.c - see disk_rig.h. */
#include "disk_rig.h"

#include <endian.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

void *disk_at(struct disk_fixture *f, uint64_t gpa)
{
	return mb_space_hva(f->r.space, gpa, 1);
}

void disk_bring_up(struct disk_fixture *f)
{
	assert_true(rig_negotiate(&f->r, VERSION_1 | EVENT_IDX | INDIRECT) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_queue_init(&f->r, &f->q, 0, QSIZE);
	assert_int_equal(rig_queue_start(&f->q), 1);
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 4);
	rig_interrupts(&f->r);
}

static int setup_disk(void **state, bool readonly, bool elsewhere)
{
	struct disk_fixture *f = calloc(1, sizeof(*f));
	struct blk_config config = {.elsewhere = elsewhere,
				    .disk = {.readonly = readonly,
					     .bytes = BYTES,
					     .block_size = 512,
					     .physical_size = 4096,
					     .id = "serial-of-20-bytes.."}};

	rig_setup(&f->r);
	f->fd = memfd_create("disk", MFD_CLOEXEC);
	assert_true(f->fd >= 0);
	assert_int_equal(ftruncate(f->fd, BYTES), 0);
	config.disk.fd = dup(f->fd);
	*state = f;
	if (blk_create(&f->r.host, &config, &f->b))
		return -1;
	disk_bring_up(f);
	return 0;
}

int disk_setup(void **state)
{
	return setup_disk(state, false, false);
}

int disk_setup_readonly(void **state)
{
	return setup_disk(state, true, false);
}

int disk_setup_elsewhere(void **state)
{
	return setup_disk(state, false, true);
}

int disk_teardown(void **state)
{
	struct disk_fixture *f = *state;

	blk_destroy(f->b);
	rig_teardown(&f->r);
	close(f->fd);
	free(f);
	return 0;
}

uint64_t disk_header_at(unsigned slot)
{
	return HEADERS + slot * UINT64_C(32);
}

uint8_t *disk_status_of(struct disk_fixture *f, unsigned slot)
{
	return (uint8_t *)disk_at(f, disk_header_at(slot)) + 16;
}

/* Header, data (if any) and status as descriptors 3 * slot and on. */
void disk_put(struct disk_fixture *f, unsigned slot, uint32_t type, uint64_t sector, uint64_t data,
	      uint32_t len, bool in)
{
	struct virtio_blk_outhdr header = {.type = htole32(type), .sector = htole64(sector)};
	uint16_t d = (uint16_t)(3 * slot), last = (uint16_t)(len ? d + 2 : d + 1);

	memcpy(disk_at(f, disk_header_at(slot)), &header, sizeof(header));
	*disk_status_of(f, slot) = PENDING;
	rig_desc(&f->q, d, disk_header_at(slot), sizeof(header), VRING_DESC_F_NEXT, (uint16_t)(d + 1));
	if (len)
		rig_desc(&f->q, d + 1u, data, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), last);
	rig_desc(&f->q, last, disk_header_at(slot) + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, d);
}

bool disk_is_used(void *arg)
{
	struct disk_used *u = arg;

	return rig_used(&u->f->q, &u->id, &u->len);
}

bool disk_is_broken(void *arg)
{
	struct disk_fixture *f = arg;

	return rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET;
}

/* Notifies, and waits for the next answer: the used length. */
uint32_t disk_answer(struct disk_fixture *f)
{
	struct disk_used u = {.f = f};

	rig_notify(&f->r, 0);
	assert_true(rig_until(&f->r, disk_is_used, &u));
	return u.len;
}

uint8_t disk_request(struct disk_fixture *f, uint32_t type, uint64_t sector, uint64_t data, uint32_t len,
		     bool in)
{
	disk_put(f, 0, type, sector, data, len, in);
	disk_answer(f);
	return *disk_status_of(f, 0);
}

void disk_pattern(void *to, size_t len, unsigned seed)
{
	unsigned char *p = to;

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(seed + i * 7 + (i >> 9));
}

void disk_assert_file(struct disk_fixture *f, uint64_t offset, const void *expected, size_t len)
{
	unsigned char *got = malloc(len);

	assert_int_equal(pread(f->fd, got, len, (off_t)offset), len);
	assert_memory_equal(got, expected, len);
	free(got);
}

uint8_t disk_ranges(struct disk_fixture *f, uint32_t type, const struct virtio_blk_discard_write_zeroes *r,
		    unsigned n)
{
	memcpy(disk_at(f, DATA), r, n * sizeof(*r));
	return disk_request(f, type, 0, DATA, (uint32_t)(n * sizeof(*r)), false);
}

blkcnt_t disk_blocks(struct disk_fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return st.st_blocks;
}
