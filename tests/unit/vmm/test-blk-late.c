/* SPDX-License-Identifier: MIT */
/* test-blk-late.c - virtio-blk: a request whose memory comes late holds up nobody but who waits for it. */
#include "disk_rig.h"

#include "log.h"

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

/* Watches the data's first page, which is missing from now on: a touch waits. -1: not for this user. */
static int watch_data(struct disk_fixture *f)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register range = {.range = {(uintptr_t)disk_at(f, DATA), 4096},
					.mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return -1;
	assert_int_equal(ioctl(fd, UFFDIO_API, &api), 0);
	assert_int_equal(madvise(disk_at(f, DATA), 4096, MADV_DONTNEED), 0);
	assert_int_equal(ioctl(fd, UFFDIO_REGISTER, &range), 0);
	return fd;
}

/* A read of the data begins, and waits for its memory. */
static int begin_late_read(struct disk_fixture *f)
{
	struct pollfd p = {.fd = watch_data(f), .events = POLLIN};

	if (p.fd < 0)
		skip();
	fake_space_set_starved(f->r.space, true);
	disk_put(f, 0, VIRTIO_BLK_T_IN, 0, DATA, 4096, true);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 4);
	assert_int_equal(poll(&p, 1, 10000), 1);
	alarm(30); /* else a loop that waits would wait for ever */
	return p.fd;
}

static void end_late_read(struct disk_fixture *f, int fd)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)disk_at(f, DATA), 4096}};

	assert_int_equal(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
	fake_space_set_starved(f->r.space, false);
}

static unsigned in_flight(struct disk_fixture *f)
{
	struct blk_status s;

	blk_get_status(f->b, &s);
	return s.in_flight;
}

/* Control's thread goes on, and what is late is answered when it comes. */
static void test_pause_does_not_wait_for_memory(void **state)
{
	struct disk_fixture *f = *state;
	struct disk_used u = {.f = f};
	int fd = begin_late_read(f);

	blk_pause(f->b);
	assert_int_equal(in_flight(f), 1);
	assert_false(disk_is_used(&u));
	end_late_read(f, fd);
	assert_true(rig_until(&f->r, disk_is_used, &u));
	assert_int_equal(*disk_status_of(f, 0), VIRTIO_BLK_S_OK);
	blk_resume(f->b);
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_FLUSH, 0, 0, 0, false), VIRTIO_BLK_S_OK);
	alarm(0);
	close(fd);
}

struct resetter {
	struct disk_fixture *f;
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
	struct disk_fixture *f = *state;
	struct disk_used u = {.f = f};
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
	assert_int_equal(*disk_status_of(f, 0), PENDING);
	disk_bring_up(f);
	assert_false(disk_is_used(&u));
	assert_int_equal(disk_request(f, VIRTIO_BLK_T_IN, 0, DATA, 512, true), VIRTIO_BLK_S_OK);
	alarm(0);
	close(fd);
}

/* The end finds a vCPU in a reset: it is let out first. */
static void test_destroy_in_a_reset(void **state)
{
	struct disk_fixture *f = *state;
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

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_pause_does_not_wait_for_memory, disk_setup_elsewhere,
					    disk_teardown),
	    cmocka_unit_test_setup_teardown(test_reset_waits_for_memory_alone, disk_setup_elsewhere,
					    disk_teardown),
	    cmocka_unit_test_setup_teardown(test_destroy_in_a_reset, disk_setup_elsewhere, disk_teardown),
	};
	log_init("test", LOG_ERROR);
	return cmocka_run_group_tests_name("blk-late", tests, NULL, NULL);
}
