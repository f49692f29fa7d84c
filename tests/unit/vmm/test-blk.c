/* SPDX-License-Identifier: MIT */
/*
 * test-blk.c - virtio-blk: what a good driver gets, what a hostile one does not, and that nothing touches
 * guest memory after a reset, a stopped queue or a pause.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/blk.h"
#include "virtio_rig.h"

#include "log.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <linux/virtio_blk.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

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

struct fixture {
	struct rig r;
	struct rig_queue q;
	struct blk *b;
	int fd; /* of the disk's file, our own */
};

static void *at(struct fixture *f, uint64_t gpa)
{
	return mb_space_hva(f->r.space, gpa, 1);
}

static void bring_up(struct fixture *f)
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
	struct fixture *f = calloc(1, sizeof(*f));
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
	bring_up(f);
	return 0;
}

static int setup(void **state)
{
	return setup_disk(state, false, false);
}

static int setup_readonly(void **state)
{
	return setup_disk(state, true, false);
}

static int setup_elsewhere(void **state)
{
	return setup_disk(state, false, true);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	blk_destroy(f->b);
	rig_teardown(&f->r);
	close(f->fd);
	free(f);
	return 0;
}

/* ---- a driver ------------------------------------------------------------------------------------------- */

static uint64_t header_at(unsigned slot)
{
	return HEADERS + slot * UINT64_C(32);
}

static uint8_t *status_of(struct fixture *f, unsigned slot)
{
	return (uint8_t *)at(f, header_at(slot)) + 16;
}

/* Header, data (if any) and status as descriptors 3 * slot and on. */
static void put(struct fixture *f, unsigned slot, uint32_t type, uint64_t sector, uint64_t data, uint32_t len,
		bool in)
{
	struct virtio_blk_outhdr header = {.type = htole32(type), .sector = htole64(sector)};
	uint16_t d = (uint16_t)(3 * slot), last = (uint16_t)(len ? d + 2 : d + 1);

	memcpy(at(f, header_at(slot)), &header, sizeof(header));
	*status_of(f, slot) = PENDING;
	rig_desc(&f->q, d, header_at(slot), sizeof(header), VRING_DESC_F_NEXT, (uint16_t)(d + 1));
	if (len)
		rig_desc(&f->q, d + 1u, data, len, VRING_DESC_F_NEXT | (in ? VRING_DESC_F_WRITE : 0), last);
	rig_desc(&f->q, last, header_at(slot) + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, d);
}

struct used {
	struct fixture *f;
	uint32_t id, len;
};

static bool is_used(void *arg)
{
	struct used *u = arg;

	return rig_used(&u->f->q, &u->id, &u->len);
}

static bool is_broken(void *arg)
{
	struct fixture *f = arg;

	return rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET;
}

/* Notifies, and waits for the next answer: the used length. */
static uint32_t answer(struct fixture *f)
{
	struct used u = {.f = f};

	rig_notify(&f->r, 0);
	assert_true(rig_until(&f->r, is_used, &u));
	return u.len;
}

static uint8_t request(struct fixture *f, uint32_t type, uint64_t sector, uint64_t data, uint32_t len, bool in)
{
	put(f, 0, type, sector, data, len, in);
	answer(f);
	return *status_of(f, 0);
}

static void pattern(void *to, size_t len, unsigned seed)
{
	unsigned char *p = to;

	for (size_t i = 0; i < len; i++)
		p[i] = (unsigned char)(seed + i * 7 + (i >> 9));
}

static void assert_file(struct fixture *f, uint64_t offset, const void *expected, size_t len)
{
	unsigned char *got = malloc(len);

	assert_int_equal(pread(f->fd, got, len, (off_t)offset), len);
	assert_memory_equal(got, expected, len);
	free(got);
}

/* ---- a good driver --------------------------------------------------------------------------------------- */

static void test_offered(void **state)
{
	struct fixture *f = *state;
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
	struct fixture *f = *state;
	unsigned char *copy = malloc(1 << 20);
	struct blk_status s;

	for (unsigned i = 0; i < 4; i++) {
		uint64_t sector = i * 2048 + i;

		if (sector * 512 + lens[i] > BYTES)
			sector = SECTORS - lens[i] / 512; /* to the very end */
		pattern(at(f, DATA), lens[i], i);
		memcpy(copy, at(f, DATA), lens[i]);
		assert_int_equal(request(f, VIRTIO_BLK_T_OUT, sector, DATA, lens[i], false), VIRTIO_BLK_S_OK);
		assert_file(f, sector * 512, copy, lens[i]);
		memset(at(f, DATA), 0, lens[i]);
		put(f, 0, VIRTIO_BLK_T_IN, sector, DATA, lens[i], true);
		assert_int_equal(answer(f), lens[i] + 1);
		assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
		assert_memory_equal(at(f, DATA), copy, lens[i]);
	}
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
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
	struct fixture *f = *state;
	unsigned n = QSIZE / 3;
	struct used u = {.f = f};
	bool seen[QSIZE] = {false};

	for (unsigned i = 0; i < n; i++) {
		pattern((char *)at(f, DATA) + i * 4096, 4096, i);
		put(f, i, VIRTIO_BLK_T_OUT, i * 8, DATA + i * 4096, 4096, false);
	}
	rig_notify(&f->r, 0);
	for (unsigned i = 0; i < n; i++) {
		assert_true(rig_until(&f->r, is_used, &u));
		assert_int_equal(u.id % 3, 0);
		assert_false(seen[u.id]);
		seen[u.id] = true;
		assert_int_equal(*status_of(f, u.id / 3), VIRTIO_BLK_S_OK);
	}
	assert_file(f, 0, at(f, DATA), n * 4096);
	assert_true(rig_interrupts(&f->r) > 0);
}

/* Header, data and status in pieces of a few bytes, and in one indirect table. */
static void test_any_layout(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_outhdr header = {.type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(3)};
	struct vring_desc *table = at(f, DATA + 0x80000);
	unsigned n = 0;

	pattern(at(f, DATA), 1024, 9);
	memcpy(at(f, HEADERS), &header, sizeof(header));
	*status_of(f, 0) = PENDING;
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
	assert_int_equal(answer(f), 1);
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
	assert_file(f, 3 * 512, at(f, DATA), 1024);
	/* Header and data in one buffer, data and status in one. */
	header.type = htole32(VIRTIO_BLK_T_IN);
	memcpy(at(f, HEADERS), &header, sizeof(header));
	rig_desc(&f->q, 0, HEADERS, 16, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, DATA + 0x1000, 1025, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(answer(f), 1025);
	assert_int_equal(((uint8_t *)at(f, DATA + 0x1000))[1024], VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA + 0x1000), at(f, DATA), 1024);
}

static void test_id(void **state)
{
	struct fixture *f = *state;

	memset(at(f, DATA), 0xaa, 32);
	put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA, 20, true);
	assert_int_equal(answer(f), 21);
	assert_memory_equal(at(f, DATA), "serial-of-20-bytes..", 20);
	/* Less room, and more. */
	put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA + 64, 6, true);
	assert_int_equal(answer(f), 7);
	assert_memory_equal(at(f, DATA + 64), "serial", 6);
	put(f, 0, VIRTIO_BLK_T_GET_ID, 0, DATA + 128, 64, true);
	assert_int_equal(answer(f), 21);
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
}

static uint8_t ranges(struct fixture *f, uint32_t type, const struct virtio_blk_discard_write_zeroes *r,
		      unsigned n)
{
	memcpy(at(f, DATA), r, n * sizeof(*r));
	return request(f, type, 0, DATA, (uint32_t)(n * sizeof(*r)), false);
}

static blkcnt_t blocks(struct fixture *f)
{
	struct stat st;

	assert_int_equal(fstat(f->fd, &st), 0);
	return st.st_blocks;
}

static void test_discard_and_zeroes(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes two[2] = {{.sector = 0, .num_sectors = 2048},
							 {.sector = 4096, .num_sectors = 2048}};
	struct virtio_blk_discard_write_zeroes zero = {.sector = 2047, .num_sectors = 2};
	static unsigned char ones[BYTES], expected[BYTES];
	blkcnt_t full;

	memset(ones, 0x11, sizeof(ones));
	memcpy(expected, ones, sizeof(ones));
	assert_int_equal(pwrite(f->fd, ones, sizeof(ones), 0), BYTES);
	full = blocks(f);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, two, 2), VIRTIO_BLK_S_OK);
	assert_int_equal(full - blocks(f), 4096);
	memset(expected, 0, 2048 * 512);
	memset(expected + 4096 * 512, 0, 2048 * 512);
	assert_file(f, 0, expected, BYTES);
	/* This file system cannot zero a range, so zeros are written: no more holes, no less. */
	full = blocks(f);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	memset(expected + 2047 * 512, 0, 1024);
	assert_file(f, 0, expected, BYTES);
	assert_true(blocks(f) >= full);
	zero = (struct virtio_blk_discard_write_zeroes){.num_sectors = SECTORS};
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	memset(expected, 0, BYTES);
	assert_file(f, 0, expected, BYTES);
	zero.flags = VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP;
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &zero, 1), VIRTIO_BLK_S_OK);
	assert_int_equal(blocks(f), 0);
	/* Nothing to be done, and much of it. */
	zero.num_sectors = 0;
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, &(struct virtio_blk_discard_write_zeroes){0}, 1),
			 VIRTIO_BLK_S_OK);
}

static void test_readonly(void **state)
{
	struct fixture *f = *state;
	struct virtio_blk_discard_write_zeroes all = {.num_sectors = SECTORS};
	unsigned char text[512];

	memset(text, 0x33, sizeof(text));
	assert_int_equal(pwrite(f->fd, text, sizeof(text), 0), 512);
	rig_set(&f->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	assert_true(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_RO & 1);
	assert_false(rig_get(&f->r, VIRTIO_MMIO_DEVICE_FEATURES) >> VIRTIO_BLK_F_DISCARD & 1);
	memset(at(f, DATA), 0, 512);
	assert_int_equal(request(f, VIRTIO_BLK_T_OUT, 0, DATA, 512, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, &all, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(ranges(f, VIRTIO_BLK_T_WRITE_ZEROES, &all, 1), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
	assert_memory_equal(at(f, DATA), text, 512);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	assert_file(f, 0, text, 512);
}

/* ---- resets, stops, pauses ------------------------------------------------------------------------------- */

/* Once the reset is done the guest's memory is its own: nothing that was in flight lands in it. */
static void test_reset_in_flight(void **state)
{
	struct fixture *f = *state;
	struct blk_status s;
	const unsigned n = 8, len = 1 << 17; /* long enough that the kernel does them elsewhere */
	static unsigned char ones[BYTES];

	memset(ones, 0x11, sizeof(ones));
	assert_int_equal(pwrite(f->fd, ones, sizeof(ones), 0), BYTES);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < n; i++)
			put(f, i, VIRTIO_BLK_T_IN, i * 256, DATA + i * len, len, true);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 1 + round % 3);
		if (round & 1) {
			rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
		} else {
			rig_set(&f->r, VIRTIO_MMIO_QUEUE_SEL, 0);
			rig_set(&f->r, VIRTIO_MMIO_QUEUE_READY, 0);
		}
		memset(at(f, DATA), 0x22, n * len);
		blk_get_status(f->b, &s);
		assert_int_equal(s.in_flight, 0);
		rig_turns(&f->r, 8);
		usleep(1000);
		for (unsigned i = 0; i < n * len; i += 512)
			assert_int_equal(((unsigned char *)at(f, DATA))[i], 0x22);
		bring_up(f);
	}
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
}

static void test_pause(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	unsigned n = QSIZE / 3, used = 0;

	for (unsigned i = 0; i < n; i++)
		put(f, i, VIRTIO_BLK_T_IN, i * 256, DATA + i * 16384, 16384, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 2);
	blk_pause(f->b);
	while (is_used(&u))
		used++;
	assert_int_equal(used, n);
	/* What comes now waits. */
	put(f, 0, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	assert_false(is_used(&u));
	blk_pause(f->b);
	blk_resume(f->b);
	assert_true(rig_until(&f->r, is_used, &u));
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
}

static void test_destroy_in_flight(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < QSIZE / 3; i++)
		put(f, i, VIRTIO_BLK_T_OUT, i * 256, DATA + i * 16384, 16384, false);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 1); /* teardown does the rest */
}

/* ---- memory that comes late ------------------------------------------------------------------------------- */

/* Watches the data's first page, which is missing from now on: a touch waits. -1: not for this user. */
static int watch_data(struct fixture *f)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.range = {(uintptr_t)at(f, DATA), 4096},
					.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	assert_int_equal(madvise(at(f, DATA), 4096, MADV_DONTNEED), 0);
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	return fd;
}

/* A read of the data begins, and waits for its memory. */
static int begin_late_read(struct fixture *f)
{
	struct pollfd p = {.fd = watch_data(f), .events = POLLIN};

	if (p.fd < 0)
		skip();
	fake_space_set_starved(f->r.space, true);
	put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 4096, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 4);
	assert_int_equal(poll(&p, 1, 10000), 1);
	alarm(30); /* else a loop that waits would wait for ever */
	return p.fd;
}

static void end_late_read(struct fixture *f, int fd)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)at(f, DATA), 4096}};

	assert_int_equal(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
	fake_space_set_starved(f->r.space, false);
}

static unsigned in_flight(struct fixture *f)
{
	struct blk_status s;

	blk_get_status(f->b, &s);
	return s.in_flight;
}

/* Control's thread goes on, and what is late is answered when it comes. */
static void test_pause_does_not_wait_for_memory(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	int fd = begin_late_read(f);

	blk_pause(f->b);
	assert_int_equal(in_flight(f), 1);
	assert_false(is_used(&u));
	end_late_read(f, fd);
	assert_true(rig_until(&f->r, is_used, &u));
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
	blk_resume(f->b);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	alarm(0);
	close(fd);
}

struct resetter {
	struct fixture *f;
	_Atomic bool done;
};

static void *reset_disk(void *arg)
{
	struct resetter *r = arg;

	rig_set(&r->f->r, VIRTIO_MMIO_STATUS, 0);
	r->done = true;
	return NULL;
}

/* The vCPU waits until the kernel lets go of its memory, and it alone. */
static void test_reset_waits_for_memory_alone(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	struct resetter r = {.f = f};
	pthread_t thread;
	int fd = begin_late_read(f);

	assert_int_equal(pthread_create(&thread, NULL, reset_disk, &r), 0);
	for (unsigned i = 0; i < 20; i++) {
		usleep(5000);
		assert_int_equal(in_flight(f), 1);
		rig_turns(&f->r, 4);
	}
	blk_pause(f->b);
	blk_resume(f->b);
	assert_false(r.done);
	end_late_read(f, fd);
	assert_int_equal(pthread_join(thread, NULL), 0);
	assert_int_equal(in_flight(f), 0);
	rig_turns(&f->r, 8);
	assert_int_equal(*status_of(f, 0), PENDING);
	bring_up(f);
	assert_false(is_used(&u));
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
	alarm(0);
	close(fd);
}

/* The end finds a vCPU in a reset: it is let out first. */
static void test_destroy_in_a_reset(void **state)
{
	struct fixture *f = *state;
	struct resetter r = {.f = f};
	pthread_t thread;
	int fd = begin_late_read(f);

	assert_int_equal(pthread_create(&thread, NULL, reset_disk, &r), 0);
	usleep(20000);
	assert_false(r.done);
	end_late_read(f, fd);
	blk_destroy(f->b);
	f->b = NULL;
	assert_int_equal(pthread_join(thread, NULL), 0);
	alarm(0);
	close(fd);
}

/* ---- a hostile one ----------------------------------------------------------------------------------------
 */

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
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(request(f, VIRTIO_BLK_T_IN, bad[i].sector, DATA, bad[i].len, true),
				 VIRTIO_BLK_S_IOERR);
		assert_int_equal(request(f, VIRTIO_BLK_T_OUT, bad[i].sector, DATA, bad[i].len, false),
				 VIRTIO_BLK_S_IOERR);
	}
	assert_int_equal(lseek(f->fd, 0, SEEK_END), BYTES);
	assert_int_equal(blocks(f), 0);
	/* No data at all is no error. */
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, 0, 0, true), VIRTIO_BLK_S_OK);
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
	struct fixture *f = *state;
	char text[4096] = "still here";

	assert_int_equal(pwrite(f->fd, text, sizeof(text), 0), sizeof(text));
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(ranges(f, bad[i].type, &bad[i].range, 1), bad[i].status);
	/* One bad range, and none is done. */
	assert_int_equal(ranges(f, VIRTIO_BLK_T_DISCARD, mixed, 2), VIRTIO_BLK_S_IOERR);
	/* Half a range, none, and more than there may be. */
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 8, false), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, 0, 0, false), VIRTIO_BLK_S_IOERR);
	memset(at(f, DATA), 0, 17 * 16);
	assert_int_equal(request(f, VIRTIO_BLK_T_DISCARD, 0, DATA, 17 * 16, false), VIRTIO_BLK_S_IOERR);
	assert_file(f, 0, text, sizeof(text));
}

static void test_unknown_types(void **state)
{
	static const uint32_t types[] = {2, 3, 5, 9, 10, 14, 0x80000000, UINT32_MAX};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		assert_int_equal(request(f, types[i], 0, DATA, 512, true), VIRTIO_BLK_S_UNSUPP);
}

static void test_short_header(void **state)
{
	struct fixture *f = *state;

	*status_of(f, 0) = PENDING;
	rig_desc(&f->q, 0, HEADERS, 15, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, HEADERS + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	answer(f);
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_IOERR);
	/* Nothing to read at all. */
	*status_of(f, 0) = PENDING;
	rig_desc(&f->q, 0, HEADERS + 16, 1, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	answer(f);
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_IOERR);
}

/* Nowhere to put a status: the device cannot answer, and says that it is broken. */
static void test_no_status(void **state)
{
	static const struct virtio_blk_outhdr header = {.type = VIRTIO_BLK_T_OUT};
	struct fixture *f = *state;
	struct blk_status s;

	for (unsigned round = 0; round < 2; round++) {
		memcpy(at(f, HEADERS), &header, sizeof(header));
		rig_desc(&f->q, 0, HEADERS, round ? 0 : 16, 0, 0);
		rig_offer(&f->q, 0);
		rig_notify(&f->r, 0);
		assert_true(rig_until(&f->r, is_broken, f));
		blk_get_status(f->b, &s);
		assert_true(s.broken);
		bring_up(f);
		assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	}
}

/* Buffers that are no memory, or only partly. */
static void test_bad_addresses(void **state)
{
	static const uint64_t bad[] = {FAKE_HALF - 256, FAKE_HALF, UINT64_MAX - 100, FAKE_HIGH - 512,
				       FAKE_HIGH + FAKE_HALF - 1};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		put(f, 0, VIRTIO_BLK_T_IN, 0, bad[i], 512, true);
		rig_notify(&f->r, 0);
		assert_true(rig_until(&f->r, is_broken, f));
		bring_up(f);
	}
}

/* The same buffer for everything, the rings as data, the same head again and again. */
static void test_overlaps(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 20; i++) {
		put(f, 0, VIRTIO_BLK_T_IN, 0, header_at(0), 512, true); /* over its own header and status */
		rig_offer(&f->q, 0);
		rig_offer(&f->q, 0);
		put(f, 1, VIRTIO_BLK_T_OUT, 0, RIG_RINGS, 65536, false);
		rig_notify(&f->r, 0);
		rig_turns(&f->r, 4);
	}
	put(f, 0, VIRTIO_BLK_T_IN, 0, RIG_RINGS, 65536, true); /* the disk's contents become the rings */
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	bring_up(f);
	assert_int_equal(request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
}

/* Overcommitted memory that the host cannot give now: the request waits, and is not failed. */
static void test_absent_memory(void **state)
{
	struct fixture *f = *state;
	struct used u = {.f = f};
	struct blk_status s;

	fake_space_set_absent(f->r.space, (DATA >> 12) + 1);
	put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 8192, true);
	put(f, 1, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false);
	rig_notify(&f->r, 0);
	for (unsigned i = 0; i < 10; i++) {
		rig_turns(&f->r, 8);
		usleep(1000);
	}
	assert_false(is_used(&u));
	blk_get_status(f->b, &s);
	assert_int_equal(s.in_flight, 0);
	fake_space_set_absent(f->r.space, UINT64_MAX);
	for (unsigned i = 0; i < 2; i++)
		assert_true(rig_until(&f->r, is_used, &u));
	assert_int_equal(*status_of(f, 0), VIRTIO_BLK_S_OK);
	assert_int_equal(*status_of(f, 1), VIRTIO_BLK_S_OK);
	/* A reset meanwhile: it is forgotten. */
	fake_space_set_absent(f->r.space, DATA >> 12);
	put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 512, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 8);
	bring_up(f);
	fake_space_set_absent(f->r.space, UINT64_MAX);
	rig_turns(&f->r, 8);
	assert_false(is_used(&u));
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
}

/* The file becomes shorter under us: an error, and no more. */
static void test_truncated_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ftruncate(f->fd, BYTES / 2), 0);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, SECTORS - 8, DATA, 4096, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, SECTORS / 2 - 4, DATA, 4096, true), VIRTIO_BLK_S_IOERR);
	assert_int_equal(request(f, VIRTIO_BLK_T_IN, 0, DATA, 4096, true), VIRTIO_BLK_S_OK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_offered, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_write_read, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_at_once, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_many_at_once, setup_elsewhere, teardown),
	    cmocka_unit_test_setup_teardown(test_any_layout, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_id, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_discard_and_zeroes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_readonly, setup_readonly, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_in_flight, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_destroy_in_flight, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_pause_does_not_wait_for_memory, setup_elsewhere, teardown),
	    cmocka_unit_test_setup_teardown(test_reset_waits_for_memory_alone, setup_elsewhere, teardown),
	    cmocka_unit_test_setup_teardown(test_destroy_in_a_reset, setup_elsewhere, teardown),
	    cmocka_unit_test_setup_teardown(test_beyond_the_end, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_ranges, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_unknown_types, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_short_header, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_no_status, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_addresses, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_overlaps, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_absent_memory, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncated_file, setup, teardown),
	};

	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("blk", tests, NULL, NULL);
}
