/* SPDX-License-Identifier: MIT */
/* test-blk-hostile.c - virtio-blk: what a hostile driver does not get. */
#include "disk_rig.h"

#include "log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void test_beyond_the_end(void **state)
{
	static const struct {
		uint64_t sector;
		uint32_t len;
	} bad[] = {{SECTORS, 512},
		   {SECTORS - 1, 1024},
		   {UINT64_MAX, 512},
		   {UINT64_MAX / 512 + 1, 512},
		   {UINT64_C(1) << 55, 512},
		   {0, 511},
		   {0, 513},
		   {SECTORS + 1, 512}};
	struct disk_fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, bad[i].sector, DATA, bad[i].len, true),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, bad[i].sector, DATA, bad[i].len, false),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(lseek(f->fd, 0, SEEK_END), BYTES);
	assert_int_equal(disk_blocks(f), 0);
	/* No data at all is no error. */
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, 0, 0, true), VIRTIO_BLK_S_OK);
}

static void test_bad_ranges(void **state)
{
	static const struct {
		struct virtio_blk_discard_write_zeroes range;
		uint32_t type;
		uint8_t status;
	} bad[] = {
	    {{.sector = SECTORS, .num_sectors = 1}, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR},
	    {{.sector = UINT64_MAX, .num_sectors = 2}, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR},
	    {{.sector = 1, .num_sectors = SECTORS}, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_IOERR},
	    {{.num_sectors = UINT32_MAX}, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_IOERR},
	    {{.num_sectors = 1, .flags = 1}, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_S_UNSUPP},
	    {{.num_sectors = 1, .flags = 2}, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP},
	    {{.num_sectors = 1, .flags = UINT32_MAX}, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_S_UNSUPP},
	};
	struct virtio_blk_discard_write_zeroes mixed[2] = {{.num_sectors = 8},
							   {.sector = SECTORS, .num_sectors = 1}};
	struct disk_fixture *f = *state;
	char text[4096] = "still here";

	assert_int_equal(pwrite(f->fd, text, sizeof(text), 0), sizeof(text));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(disk_ranges(f, bad[i].type, &bad[i].range, 1), bad[i].status);
	/* One bad range, and none is done. */
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_DISCARD, mixed, 2), VIRTIO_BLK_S_IOERR);
	/* Half a range, none, and more than there may be. */
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 8, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_DISCARD, 0, 0, 0, false), VIRTIO_BLK_S_IOERR);
	memset(disk_at(f, DATA), 0, 17 * 16);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	disk_assert_file(f, 0, text, sizeof(text));
}

static void test_unknown_types(void **state)
{
	static const uint32_t types[] = {2, 3, 5, 9, 10, 14, 0x80000000, UINT32_MAX};
	struct disk_fixture *f = *state;

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_int_equal(disk_request(f, types[i], 0, DATA, 512, true), VIRTIO_BLK_S_UNSUPP);
}

static void test_short_header(void **state)
{
	struct disk_fixture *f = *state;

	*disk_status_of(f, 0) = PENDING;
	rig_desc(&f->q, 0, HEADERS, 15, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, HEADERS + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	disk_answer(f);
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_IOERR);
	/* Nothing to read at all. */
	*disk_status_of(f, 0) = PENDING;
	rig_desc(&f->q, 0, HEADERS + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	disk_answer(f);
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_IOERR);
}

/* Nowhere to put a status: the device cannot answer, and says that it is broken. */
static void test_no_status(void **state)
{
	static const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT};
	struct disk_fixture *f = *state;
	struct blk_status s;

	for (unsigned round = 0; round < 2; round++) {
		memcpy(disk_at(f, HEADERS), &header, sizeof(header));
		rig_desc(&f->q, 0, HEADERS, round ? 0 : 16, 0, 0);
		rig_offer(&f->q, 0);
		rig_notify(&f->r, 0);
		assert_true(rig_until(&f->r, disk_is_broken, f));
		blk_get_status(f->b, &s);
		assert_true(s.broken);
		disk_bring_up(f);
		assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	}
}

/* Buffers that are no memory, or only partly. */
static void test_bad_addresses(void **state)
{
	static const uint64_t bad[] = {FAKE_HALF - 256, FAKE_HALF, UINT64_MAX - 100, FAKE_HIGH - 512,
				       FAKE_HIGH + FAKE_HALF - 1};
	struct disk_fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		disk_put(f, 0, VIRTIO_BLK_T_IN, 0, bad[i], 512, true);
		rig_notify(&f->r, 0);
		assert_true(rig_until(&f->r, disk_is_broken, f));
		disk_bring_up(f);
	}
}

/* The same buffer for everything, the rings as data, the same head again and again. */
static void test_overlaps(void **state)
{
	struct disk_fixture *f = *state;

	for (unsigned i = 0; i < 20; i++) {
		disk_put(f, 0, VIRTIO_BLK_T_IN, 0, disk_header_at(0), 512,
			 true); /* over its own header and status */
		rig_offer(&f->q, 0);
		rig_offer(&f->q, 0);
		disk_put(f, 1, VIRTIO_BLK_T_OUT, 0, RIG_RINGS, 65536, false);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 4);
	}
	disk_put(f, 0, VIRTIO_BLK_T_IN, 0, RIG_RINGS, 65536, true); /* the disk's contents become the rings */
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	disk_bring_up(f);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* Overcommitted memory that the host cannot give now: the request waits, and is not failed. */
static void test_absent_memory(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_used u = {.f = f};
	struct blk_status s;

	fake_space_set_absent(f->r.space, (DATA >> 12) + 1);
	disk_put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 8192, true);
	disk_put(f, 1, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false);
	rig_notify(&f->r, 0);
	for (unsigned i = 0; i < 10; i++) {
		rig_turns(&f->r, 8);
		usleep(1000);
	}
	assert_false(disk_is_used(&u));
	blk_get_status(f->b, &s);
	assert_int_equal(s.in_flight, 0);
	fake_space_set_absent(f->r.space, UINT64_MAX);
	for (unsigned i = 0; i < 2; i++)
		assert_true(rig_until(&f->r, disk_is_used, &u));
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(*disk_status_of(f, 1), VIRTIO_BLK_S_OK);
	/* A reset meanwhile: it is forgotten. */
	fake_space_set_absent(f->r.space, DATA >> 12);
	disk_put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 512, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	disk_bring_up(f);
	fake_space_set_absent(f->r.space, UINT64_MAX);
	rig_turns(&f->r, 8);
	assert_false(disk_is_used(&u));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
}

/* The file becomes shorter under us: an error, and no more. */
static void test_truncated_file(void **state)
{
	struct disk_fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, BYTES / 2), 0);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS - 8, DATA, 4096, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, SECTORS / 2 - 4, DATA, 4096, true),
			 VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, DATA, 4096, true), VIRTIO_BLK_S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_beyond_the_end, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_ranges, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_unknown_types, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_short_header, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_no_status, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_bad_addresses, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_overlaps, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_absent_memory, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_truncated_file, disk_setup, disk_teardown),
	};
	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("blk-hostile", tests, NULL, NULL);
}
