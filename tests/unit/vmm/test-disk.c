/* SPDX-License-Identifier: MIT */
/*
 * test-disk.c - the files behind disks: what is accepted, what is refused and why, who may share; and the
 * words of --disk.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/disk.h"
#include "options_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char place[64];

static const char *file(const char *name, long size)
{
	static char path[2][128];
	static unsigned n;
	char *p = path[n++ % 2];
	int fd;

	snprintf(p, sizeof(path[0]), "%s/%s", place, name);
	if (size < 0)
		return p;
	fd = open(p, O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, size), 0);
	close(fd);
	return p;
}

static int begin(void **state)
{
	(void)state;
	strcpy(place, "/tmp/memback-disk-XXXXXX");
	return mkdtemp(place) ? 0 : -1;
}

static int end(void **state)
{
	static const char *const names[] = {"a", "odd", "empty", "fifo"};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		unlink(file(names[i], -1));
	return rmdir(place);
}

static void assert_refused(const char *path, bool readonly, int code, const char *word)
{
	struct disk d = {.fd = -1};
	struct mb_error err = {0};

	assert_int_equal(disk_open(path, readonly, NULL, &d, &err), code);
	assert_int_equal(err.code, code);
	assert_non_null(strstr(err.text, word));
	assert_int_equal(d.fd, -1);
}

static void measured(void **state)
{
	struct mb_error err;
	struct disk d;

	(void)state;
	assert_int_equal(disk_open(file("a", 1 << 20), false, "abc", &d, &err), 0);
	assert_int_equal(d.bytes, 1 << 20);
	assert_int_equal(d.block_size, 512);
	assert_true(d.physical_size >= 512 && !(d.physical_size & (d.physical_size - 1)));
	assert_memory_equal(d.id, "abc\0\0", 5);
	/* Its data is waited for. */
	assert_false(fcntl(d.fd, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(d.fd, F_GETFD) & FD_CLOEXEC);
	disk_close(&d);
	assert_int_equal(d.fd, -1);
	assert_int_equal(disk_open(file("a", 1 << 20), false, "a serial number of more than 20", &d, &err), 0);
	assert_memory_equal(d.id, "a serial number of m", 20);
	disk_close(&d);
}

static void refused(void **state)
{
	(void)state;
	assert_refused(file("missing", -1), false, -ENOENT, "truncate");
	assert_refused(place, false, -EISDIR, "directory");
	assert_refused(place, true, -EISDIR, "directory");
	assert_refused(file("odd", 1000), false, -EINVAL, "512");
	assert_refused(file("empty", 0), false, -EINVAL, "empty");
	assert_refused("/dev/null", false, -EINVAL, "neither");
	assert_int_equal(mkfifo(file("fifo", -1), 0600), 0);
	assert_refused(file("fifo", -1), true, -EINVAL, "neither"); /* and not waited for */
}

/* One writer, or many readers. */
static void shared(void **state)
{
	const char *path = file("a", 4096);
	struct disk writer, first, second;
	struct mb_error err;

	(void)state;
	assert_int_equal(disk_open(path, false, NULL, &writer, &err), 0);
	assert_refused(path, false, -EBUSY, "in use");
	assert_refused(path, true, -EBUSY, "in use");
	disk_close(&writer);
	assert_int_equal(disk_open(path, true, NULL, &first, &err), 0);
	assert_int_equal(disk_open(path, true, NULL, &second, &err), 0);
	assert_refused(path, false, -EBUSY, "in use");
	disk_close(&first);
	assert_refused(path, false, -EBUSY, "in use");
	disk_close(&second);
	assert_int_equal(disk_open(path, false, NULL, &writer, &err), 0);
	disk_close(&writer);
}

static int parse(const char *text, struct vm_disk_config *out, char *copy, struct mb_error *err)
{
	strcpy(copy, text);
	return options_parse_disk(copy, out, err);
}

static void words(void **state)
{
	struct vm_disk_config c;
	struct mb_error err;
	char copy[200];

	(void)state;
	assert_int_equal(parse("a.img", &c, copy, &err), 0);
	assert_string_equal(c.path, "a.img");
	assert_false(c.readonly);
	assert_null(c.id);
	assert_int_equal(parse("a.img,readonly,serial=x y", &c, copy, &err), 0);
	assert_string_equal(c.path, "a.img");
	assert_true(c.readonly);
	assert_string_equal(c.id, "x y");
	assert_int_equal(parse("a,,b,,,serial=1,,2", &c, copy, &err), 0);
	assert_string_equal(c.path, "a,b,");
	assert_string_equal(c.id, "1,2");
	assert_int_equal(parse(",,", &c, copy, &err), 0);
	assert_string_equal(c.path, ",");
	assert_int_equal(parse("", &c, copy, &err), -EINVAL);
	assert_int_equal(parse(",readonly", &c, copy, &err), -EINVAL);
	assert_int_equal(parse("a,", &c, copy, &err), -EINVAL);
	assert_int_equal(parse("a,readonly=1", &c, copy, &err), -EINVAL);
	assert_int_equal(parse("a,serial=123456789012345678901", &c, copy, &err), -EINVAL);
	assert_non_null(strstr(err.text, "20"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(measured, begin, end),
	    cmocka_unit_test_setup_teardown(refused, begin, end),
	    cmocka_unit_test_setup_teardown(shared, begin, end),
	    cmocka_unit_test(words),
	};

	return cmocka_run_group_tests_name("disk", tests, NULL, NULL);
}
