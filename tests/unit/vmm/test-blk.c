/* SPDX-License-Identifier: MIT */
/*
 * test-blk.c - virtio-blk: what a good driver gets, and that nothing touches guest memory after a reset, a stopped
 * queue or a pause.
 */
#include "disk_rig.h"

#include "log.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- a good driver --------------------------------------------------------------------------------------- */

static void test_offered(void **state)
{
	struct disk_fixture *f = *state;
	struct blk_status s;
	uint32_t low;

	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_DEVICE_ID), 2);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES);
	assert_true(low >> VIRTIO_BLK_F_FLUSH & 1);
	assert_true(low >> VIRTIO_BLK_F_DISCARD & 1);
	assert_true(low >> VIRTIO_BLK_F_WRITE_ZEROES & 1);
	assert_false(low >> VIRTIO_BLK_F_RO & 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), SECTORS);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG + 12), BLK_SEGMENTS);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG + 20), 512);
	/* physical_block_exp 3, no offset, min_io_size 8 */
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG + 24), 3 | 8 << 16);
	/* The configuration cannot be written. */
	rig_set(&f->r, VIRTIO_MMIO_CONFIG, 1);
	assert_int_equal(rig_get(&f->r, VIRTIO_MMIO_CONFIG), SECTORS);
	blk_get_status(f->b, &s);
	assert_int_equal(s.capacity, BYTES);
	assert_true(s.driver_ok);
}

static void test_write_read(void **state)
{
	static const uint32_t lens[] = {512, 4096, 65536, 1 << 20};
	struct disk_fixture *f = *state;
	unsigned char *copy = malloc(1 << 20);
	struct blk_status s;

	for (unsigned i = 0; i < 4; i++) {
		uint64_t sector = i * 2048 + i;

		if (sector * 512 + lens[i] > BYTES)
			sector = SECTORS - lens[i] / 512; /* to the very end */
		disk_pattern(disk_at(f, DATA), lens[i], i);
		memcpy(copy, disk_at(f, DATA), lens[i]);
		assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, sector, DATA, lens[i], false),
				 VIRTIO_BLK_S_OK);
		disk_assert_file(f, sector * 512, copy, lens[i]);
		memset(disk_at(f, DATA), 0, lens[i]);
		disk_put(f, 0, VIRTIO_BLK_T_IN, sector, DATA, lens[i], true);
		assert_int_equal(disk_answer(f), lens[i] + 1);
		assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
		assert_memory_equal(disk_at(f, DATA), copy, lens[i]);
	}
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	blk_get_status(f->b, &s);
	assert_int_equal(s.reads, 4);
	assert_int_equal(s.writes, 4);
	assert_int_equal(s.flushes, 1);
	assert_int_equal(s.read_bytes, s.written_bytes);
	assert_int_equal(s.read_bytes, 512 + 4096 + 65536 + (1 << 20));
	assert_int_equal(s.failed, 0);
	free(copy);
}

/* All slots at once, answered in any order, each by its own status. */
static void test_many_at_once(void **state)
{
	struct disk_fixture *f = *state;
	unsigned n = QSIZE / 3;
	struct disk_used u = {.f = f};
	bool seen[QSIZE] = {false};

	for (unsigned i = 0; i < n; i++) {
		disk_pattern((char *)disk_at(f, DATA) + i * 4096, 4096, i);
		disk_put(f, i, VIRTIO_BLK_T_OUT, i * 8, DATA + i * 4096, 4096, false);
	}
	rig_notify(&f->r, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_until(&f->r, disk_is_used, &u));
		assert_int_equal(u.id % 3, 0);
		assert_false(seen[u.id]);
		seen[u.id] = true;
		assert_int_equal(*disk_status_of(f, u.id / 3), VIRTIO_BLK_S_OK);
	}
	disk_assert_file(f, 0, disk_at(f, DATA), n * 4096);
	assert_true(rig_interrupts(&f->r) > 0);
}

/* Header, data and status in pieces of a few bytes, and in one indirect table. */
static void test_any_layout(void **state)
{
	struct disk_fixture *f = *state;
	struct virtio_blk_outhdr header = {.type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(3)};
	struct vring_desc *table = disk_at(f, DATA + 0x80000);
	unsigned n = 0;

	disk_pattern(disk_at(f, DATA), 1024, 9);
	memcpy(disk_at(f, HEADERS), &header, sizeof(header));
	*disk_status_of(f, 0) = PENDING;
	for (unsigned i = 0; i < 4; i++)
		table[n++] = (struct vring_desc){.addr = HEADERS + i * 4, .len = 4};
	for (unsigned i = 0; i < 1024; i += 128)
		table[n++] = (struct vring_desc){.addr = DATA + i, .len = 128};
	table[n++] = (struct vring_desc){.addr = HEADERS + 16, .len = 1, .flags = VRING_DESC_F_WRITE};
	for (unsigned i = 0; i + 1 < n; i++) {
		table[i].flags |= VRING_DESC_F_NEXT;
		table[i].next = (uint16_t)(i + 1);
	}
	rig_desc(&f->q, 0, DATA + 0x80000, n * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(disk_answer(f), 1);
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
	disk_assert_file(f, 3 * 512, disk_at(f, DATA), 1024);
	/* Header and data in one buffer, data and status in one. */
	header.type = htole32(VIRTIO_BLK_T_IN);
	memcpy(disk_at(f, HEADERS), &header, sizeof(header));
	rig_desc(&f->q, 0, HEADERS, 16, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, DATA + 0x1000, 1025, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(disk_answer(f), 1025);
	assert_int_equal(((uint8_t *)disk_at(f, DATA + 0x1000))[1024], VIRTIO_BLK_S_OK);
	assert_memory_equal(disk_at(f, DATA + 0x1000), disk_at(f, DATA), 1024);
}

static void test_id(void **state)
{
	struct disk_fixture *f = *state;

	memset(disk_at(f, DATA), 0xaa, 32);
	disk_put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA, 20, true);
	assert_int_equal(disk_answer(f), 21);
	assert_memory_equal(disk_at(f, DATA), "serial-of-20-bytes..", 20);
	/* Less room, and more. */
	disk_put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA + 64, 6, true);
	assert_int_equal(disk_answer(f), 7);
	assert_memory_equal(disk_at(f, DATA + 64), "serial", 6);
	disk_put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA + 128, 64, true);
	assert_int_equal(disk_answer(f), 21);
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
}

static void test_discard_and_zeroes(void **state)
{
	struct disk_fixture *f = *state;
	struct virtio_blk_discard_write_zeroes two[2] = {{.sector = 0, .num_sectors = 2048},
							 {.sector = 4096, .num_sectors = 2048}};
	struct virtio_blk_discard_write_zeroes zero = {.sector = 2047, .num_sectors = 2};
	static unsigned char ones[BYTES], expected[BYTES];
	blkcnt_t full;

	memset(ones, 0x11, sizeof(ones));
	memcpy(expected, ones, sizeof(ones));
	assert_int_equal(pwrite(f->fd, ones, sizeof(ones), 0), BYTES);
	full = disk_blocks(f);
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_DISCARD, two, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(full - disk_blocks(f), 4096);
	memset(expected, 0, 2048 * 512);
	memset(expected + 4096 * 512, 0, 2048 * 512);
	disk_assert_file(f, 0, expected, BYTES);
	/* This file system cannot zero a range, so zeros are written: no more holes, no less. */
	full = disk_blocks(f);
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	memset(expected + 2047 * 512, 0, 1024);
	disk_assert_file(f, 0, expected, BYTES);
	assert_true(disk_blocks(f) >= full);
	zero = (struct virtio_blk_discard_write_zeroes){.num_sectors = SECTORS};
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	memset(expected, 0, BYTES);
	disk_assert_file(f, 0, expected, BYTES);
	zero.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(disk_blocks(f), 0);
	/* Nothing to be done, and much of it. */
	zero.num_sectors = 0;
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_DISCARD, &(struct virtio_blk_discard_write_zeroes){0}, 1),
			 VIRTIO_BLK_S_OK);
}

static void test_readonly(void **state)
{
	struct disk_fixture *f = *state;
	struct virtio_blk_discard_write_zeroes all = {.num_sectors = SECTORS};
	unsigned char text[512];

	memset(text, 0x33, sizeof(text));
	assert_int_equal(pwrite(f->fd, text, sizeof(text), 0), 512);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_true(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_RO & 1);
	assert_false(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_DISCARD & 1);
	memset(disk_at(f, DATA), 0, 512);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_DISCARD, &all, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &all, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(disk_at(f, DATA), text, 512);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	disk_assert_file(f, 0, text, 512);
}

/* ---- resets, stops, pauses ------------------------------------------------------------------------------- */

/* Once the reset is done the guest's memory is its own: nothing that was in flight lands in it. */
static void test_reset_in_flight(void **state)
{
	struct disk_fixture *f = *state;
	struct blk_status s;
	const unsigned n = 8, len = 1 << 17; /* long enough that the kernel does them elsewhere */
	static unsigned char ones[BYTES];

	memset(ones, 0x11, sizeof(ones));
	assert_int_equal(pwrite(f->fd, ones, sizeof(ones), 0), BYTES);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < n; i++)
			disk_put(f, i, VIRTIO_BLK_T_IN, i * 256, DATA + i * len, len, true);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 1 + round % 3);
		if (round & 1) {
			rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
		} else {
			rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 0);
			rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
		}
		memset(disk_at(f, DATA), 0x22, n * len);
		blk_get_status(f->b, &s);
		assert_int_equal(s.in_flight, 0);
		rig_turns(&f->r, 8);
		usleep(1000);
		for (unsigned i = 0; i < n * len; i += 512)
			assert_int_equal(((unsigned char *)disk_at(f, DATA))[i], 0x22);
		disk_bring_up(f);
	}
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
}

static void test_pause(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_used u = {.f = f};
	unsigned n = QSIZE / 3, used = 0;

	for (unsigned i = 0; i < n; i++)
		disk_put(f, i, VIRTIO_BLK_T_IN, i * 256, DATA + i * 16384, 16384, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 2);
	blk_pause(f->b);
	while (disk_is_used(&u))
		used++;
	assert_int_equal(used, n);
	/* What comes now waits. */
	disk_put(f, 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	assert_false(disk_is_used(&u));
	blk_pause(f->b);
	blk_resume(f->b);
	assert_true(rig_until(&f->r, disk_is_used, &u));
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
}

static void test_destroy_in_flight(void **state)
{
	struct disk_fixture *f = *state;

	for (unsigned i = 0; i < QSIZE / 3; i++)
		disk_put(f, i, VIRTIO_BLK_T_OUT, i * 256, DATA + i * 16384, 16384, false);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 1); /* teardown does the rest */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_offered, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_write_read, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_many_at_once, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_many_at_once, disk_setup_elsewhere, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_any_layout, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_id, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_discard_and_zeroes, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_readonly, disk_setup_readonly, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_in_flight, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_pause, disk_setup, disk_teardown),
	    cmocka_unit_test_setup_teardown(test_destroy_in_flight, disk_setup, disk_teardown),
	};
	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("blk", tests, NULL, NULL);
}
