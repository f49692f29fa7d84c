/* SPDX-License-Identifier: MIT */
/* test-pit.c - channel 2 of the interval timer: counting once and in squares, its gate, latching, with a clock
 * that stands still unless it is told otherwise. */
#include "devices/pit.h"

#include <errno.h>
#include <platform.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define CONTROL (PLATFORM_PIT_PORT + 1)
#define GATE    0x01
#define OUTPUT  0x20
#define ONCE    0xb0 /* channel 2, low byte then high byte, mode 0 */
#define RATE    0xb4
#define SQUARE  0xb6
#define LATCH   0x80

static uint64_t time_ns;

static uint64_t now(void)
{
	return time_ns;
}

/* Just so long that so many ticks are over. */
static void pass(uint64_t ticks)
{
	time_ns += (ticks * 1000000 / PIT_HZ + 1) * 1000;
}

static uint8_t in(struct bus *bus, uint16_t port)
{
	uint8_t value = 0;
	assert_true(bus_read(bus, BUS_PIO, port, &value, 1));
	return value;
}

static void out(struct bus *bus, uint16_t port, uint8_t value)
{
	assert_true(bus_write(bus, BUS_PIO, port, &value, 1));
}

static bool output(struct bus *bus)
{
	return in(bus, PLATFORM_PIT_GATE) & OUTPUT;
}

static void load(struct bus *bus, uint8_t control, uint16_t count)
{
	out(bus, CONTROL, control);
	out(bus, PLATFORM_PIT_PORT, (uint8_t)count);
	out(bus, PLATFORM_PIT_PORT, (uint8_t)(count >> 8));
}

static unsigned count(struct bus *bus)
{
	unsigned low = in(bus, PLATFORM_PIT_PORT);
	return in(bus, PLATFORM_PIT_PORT) << 8 | low;
}

struct fixture {
	struct bus *bus;
	struct pit *pit;
};

static int set_up(void **state)
{
	static struct fixture f;
	struct device_host host = {0};
	time_ns = UINT64_C(1000000000);
	host.bus = f.bus = bus_create();
	assert_non_null(f.bus);
	assert_int_equal(pit_create(&host, now, &f.pit), 0);
	*state = &f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	pit_destroy(f->pit);
	bus_destroy(f->bus);
	return 0;
}

/* What programs measure the processor's clock with. */
static void counts_once(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	out(bus, PLATFORM_PIT_GATE, GATE);
	assert_false(output(bus));
	load(bus, ONCE, 50000);
	assert_false(output(bus));
	assert_int_equal(count(bus), 50000);
	pass(20000);
	assert_false(output(bus));
	assert_in_range(count(bus), 29995, 30000);
	pass(29990);
	assert_false(output(bus));
	pass(10);
	assert_true(output(bus));
	pass(1000);
	assert_true(output(bus));
	assert_in_range(count(bus), 0x10000 - 1010, 0x10000 - 1000);
	load(bus, ONCE, 0); /* 65,536 */
	pass(65000);
	assert_false(output(bus));
	pass(536);
	assert_true(output(bus));
}

static void stands_still_while_the_gate_is_shut(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	load(bus, ONCE, 1000);
	pass(5000);
	assert_false(output(bus));
	assert_int_equal(count(bus), 1000);
	out(bus, PLATFORM_PIT_GATE, GATE);
	pass(400);
	out(bus, PLATFORM_PIT_GATE, 0);
	pass(5000);
	assert_in_range(count(bus), 595, 600);
	assert_false(output(bus));
	out(bus, PLATFORM_PIT_GATE, GATE | 2);
	assert_int_equal(in(bus, PLATFORM_PIT_GATE) & 3, GATE | 2);
	pass(600);
	assert_true(output(bus));
}

static void latches(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	out(bus, PLATFORM_PIT_GATE, GATE);
	load(bus, ONCE, 0x8000);
	pass(0x1000);
	out(bus, CONTROL, LATCH);
	unsigned before = count(bus);
	load(bus, ONCE, 0x8000);
	pass(0x1000);
	out(bus, CONTROL, LATCH);
	pass(0x2000);
	assert_int_equal(count(bus), before);
	assert_in_range(count(bus), 0x8000 - 0x3010, 0x8000 - 0x3000);
}

static void squares(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	out(bus, PLATFORM_PIT_GATE, GATE);
	load(bus, SQUARE, 1000);
	for (unsigned i = 0; i < 5; i++) {
		assert_true(output(bus));
		pass(500);
		assert_false(output(bus));
		pass(498);
		time_ns += 1000;
	}
	load(bus, RATE, 1000);
	assert_true(output(bus));
	assert_in_range(count(bus), 1, 1000);
}

static void single_bytes_and_other_channels(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	out(bus, CONTROL, 0x90); /* the low byte only */
	out(bus, PLATFORM_PIT_PORT, 200);
	assert_int_equal(in(bus, PLATFORM_PIT_PORT), 200);
	out(bus, CONTROL, 0xa0); /* the high byte only */
	out(bus, PLATFORM_PIT_PORT, 2);
	assert_int_equal(in(bus, PLATFORM_PIT_PORT), 2);
	out(bus, CONTROL, 0x30); /* channel 0 */
	assert_int_equal(in(bus, PLATFORM_PIT_PORT), 2);
}

/* Whatever is written, in whatever size, something is read, and nothing breaks. */
static void takes_anything(void **state)
{
	struct bus *bus = ((struct fixture *)*state)->bus;
	uint64_t random = 88172645463325252, value;
	static const uint16_t ports[] = {PLATFORM_PIT_PORT, CONTROL, PLATFORM_PIT_GATE};
	for (unsigned i = 0; i < 200000; i++) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		uint16_t port = ports[random % 3];
		unsigned len = 1u << (random >> 8 & 3);
		value = random >> 16;
		assert_true(bus_write(bus, BUS_PIO, port, &value, len));
		assert_true(bus_read(bus, BUS_PIO, ports[random >> 4 & 1 ? 0 : 2], &value, len));
		time_ns += random >> (random & 63);
	}
}

static void one_only(void **state)
{
	struct fixture *f = *state;
	struct device_host host = {.bus = f->bus};
	struct pit *other = NULL;
	assert_int_equal(pit_create(&host, NULL, &other), -EEXIST);
	assert_null(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(counts_once, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(stands_still_while_the_gate_is_shut, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(latches, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(squares, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(single_bytes_and_other_channels, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(takes_anything, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(one_only, set_up, tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
