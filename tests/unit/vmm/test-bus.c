/* SPDX-License-Identifier: MIT */
/* test-bus.c - which device answers where. */
#include "machine/bus.h"

#include <errno.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct probe {
	uint64_t offset;
	unsigned len;
	unsigned reads, writes;
};

static void probe_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	struct probe *p = dev;
	p->offset = offset;
	p->len = len;
	p->reads++;
	memset(data, 0x5a, len);
}

static void probe_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct probe *p = dev;
	(void)data;
	p->offset = offset;
	p->len = len;
	p->writes++;
}

static const struct bus_ops ops = {.read = probe_read, .write = probe_write};

static void test_lookup(void **state)
{
	struct probe port = {0}, memory = {0};
	uint32_t value = 0;
	(void)state;
	struct bus *bus = bus_create();
	assert_non_null(bus);
	assert_int_equal(bus_add(bus, BUS_PIO, 0x10, 4, &ops, &port, "port"), 0);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x10, 4, &ops, &memory, "memory"), 0);
	assert_true(bus_read(bus, BUS_PIO, 0x12, &value, 2));
	assert_int_equal(port.offset, 2);
	assert_int_equal(port.len, 2);
	assert_int_equal(value, 0x5a5a);
	assert_true(bus_write(bus, BUS_MMIO, 0x13, &value, 4));
	assert_int_equal(memory.offset, 3);
	assert_int_equal(memory.writes, 1);
	assert_int_equal(port.writes, 0);
	/* just outside, on both sides: nobody, and a read gives ones */
	assert_false(bus_read(bus, BUS_PIO, 0x14, &value, 4));
	assert_int_equal(value, 0xffffffff);
	assert_false(bus_read(bus, BUS_PIO, 0xf, &value, 4));
	assert_false(bus_write(bus, BUS_PIO, 0x14, &value, 4));
	assert_int_equal(port.reads, 1);
	bus_destroy(bus);
}

static void test_ranges_that_do_not_go(void **state)
{
	struct probe p = {0};
	int rc = 0;
	(void)state;
	struct bus *bus = bus_create();
	assert_non_null(bus);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x1000, 0x1000, &ops, &p, "a"), 0);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x1fff, 1, &ops, &p, "b"), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x800, 0x801, &ops, &p, "b"), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0, 0x10000, &ops, &p, "b"), -EEXIST);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x3000, 0, &ops, &p, "b"), -EINVAL);
	assert_int_equal(bus_add(bus, BUS_MMIO, UINT64_MAX, 2, &ops, &p, "b"), -EINVAL);
	assert_int_equal(bus_add(bus, BUS_MMIO, 0x2000, 1, &ops, &p, "b"), 0);
	for (uint64_t base = 0x10000; rc == 0 && base < 0x20000; base += 0x10)
		rc = bus_add(bus, BUS_MMIO, base, 0x10, &ops, &p, "many");
	assert_int_equal(rc, -ENOSPC);
	bus_destroy(bus);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_lookup),
	    cmocka_unit_test(test_ranges_that_do_not_go),
	};
	return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
