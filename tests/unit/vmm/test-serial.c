/* SPDX-License-Identifier: MIT */
/* test-serial.c - the serial port: registers, interrupts, the escape, a reader that is slow. */
#include "devices/serial.h"

#include <errno.h>
#include <fcntl.h>
#include <platform.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

struct fixture {
	struct device_host host;
	struct serial *serial;
	int irq; /* a copy of the line's eventfd */
	int in[2], out[2];
	unsigned escapes;
	struct loop_source *timer;
};

static int give_irqfd(void *machine, unsigned gsi, int *fd)
{
	struct fixture *f = machine;
	assert_int_equal(gsi, PLATFORM_SERIAL_GSI);
	*fd = eventfd(0, EFD_NONBLOCK);
	f->irq = dup(*fd);
	return 0;
}

static void on_escape(void *arg)
{
	struct fixture *f = arg;
	f->escapes++;
}

static void stop(void *arg)
{
	loop_stop(arg);
}

/* Lets the loop do what is to do. */
static void run_loop(struct fixture *f)
{
	assert_int_equal(loop_arm_timer(f->timer, 5000000), 0);
	assert_int_equal(loop_run(f->host.loop), 0);
}

static uint8_t in(struct fixture *f, unsigned reg)
{
	uint8_t value = 0;
	assert_true(bus_read(f->host.bus, BUS_PIO, PLATFORM_SERIAL_PORT + reg, &value, 1));
	return value;
}

static void out(struct fixture *f, unsigned reg, uint8_t value)
{
	assert_true(bus_write(f->host.bus, BUS_PIO, PLATFORM_SERIAL_PORT + reg, &value, 1));
}

/* How often the line was pulled since the last time. */
static unsigned pulls(struct fixture *f)
{
	uint64_t count = 0;
	if (read(f->irq, &count, sizeof(count)) < 0)
		return 0;
	return (unsigned)count;
}

static void type(struct fixture *f, const char *bytes, size_t count)
{
	assert_int_equal(write(f->in[1], bytes, count), count);
	run_loop(f);
}

static void test_transmits(void **state)
{
	struct fixture *f = *state;
	char got[8] = "";
	assert_int_equal(in(f, 5) & 0x60, 0x60);
	out(f, 0, 'h');
	out(f, 0, 'i');
	assert_int_equal(read(f->out[0], got, sizeof(got)), 2);
	assert_string_equal(got, "hi");
	assert_int_equal(pulls(f), 0); /* not enabled */
	out(f, 1, 2);
	assert_int_equal(pulls(f), 1);
	assert_int_equal(in(f, 2) & 0xf, 2);
	assert_int_equal(in(f, 2) & 0xf, 1); /* reading it took it away */
	out(f, 0, '!');
	assert_int_equal(pulls(f), 1);
}

static void test_receives(void **state)
{
	struct fixture *f = *state;
	out(f, 1, 1);
	type(f, "ok", 2);
	assert_int_equal(pulls(f), 1);
	assert_int_equal(in(f, 2) & 0xf, 4);
	assert_int_equal(in(f, 5) & 1, 1);
	assert_int_equal(in(f, 0), 'o');
	assert_int_equal(in(f, 0), 'k');
	assert_int_equal(in(f, 5) & 1, 0);
	assert_int_equal(in(f, 2) & 0xf, 1);
	type(f, "x", 1);
	assert_int_equal(pulls(f), 1);
}

/* More than the port holds stays in the pipe, and none of it is lost. */
static void test_receives_more_than_it_holds(void **state)
{
	struct fixture *f = *state;
	char bytes[4000];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (char)('a' + i % 26);
	type(f, bytes, sizeof(bytes));
	for (size_t i = 0; i < sizeof(bytes); i++) {
		if (!(in(f, 5) & 1))
			run_loop(f);
		assert_int_equal(in(f, 0), bytes[i]);
	}
	assert_int_equal(in(f, 5) & 1, 0);
}

/* What was piped in before the guest opened the port waits for it; what comes later can be cleared. */
static void test_early_input(void **state)
{
	struct fixture *f = *state;
	type(f, "hi", 2);
	out(f, 2, 7); /* FIFOs on and empty */
	out(f, 4, 0xb);
	assert_int_equal(in(f, 0), 'h');
	out(f, 2, 7);
	assert_int_equal(in(f, 5) & 1, 0);
}

/* A full port that the guest clears: what is still in the pipe comes after. */
static void test_clearing_a_full_port(void **state)
{
	struct fixture *f = *state;
	char bytes[5000];
	memset(bytes, 'x', sizeof(bytes));
	bytes[sizeof(bytes) - 1] = '!';
	type(f, bytes, sizeof(bytes));
	run_loop(f);
	out(f, 4, 3);
	out(f, 2, 7);
	assert_int_equal(in(f, 5) & 1, 0);
	uint8_t last = 0;
	for (size_t i = 0; i < sizeof(bytes) && last != '!'; i++) {
		if (!(in(f, 5) & 1))
			run_loop(f);
		last = in(f, 0);
	}
	assert_int_equal(last, '!');
}

static void test_escape(void **state)
{
	struct fixture *f = *state;
	type(f, "a\1\1b\1qc", 7);
	assert_int_equal(in(f, 0), 'a');
	assert_int_equal(in(f, 0), 1);
	assert_int_equal(in(f, 0), 'b');
	assert_int_equal(in(f, 0), 'c');
	assert_int_equal(f->escapes, 0);
	type(f, "\1", 1);
	type(f, "x", 1);
	assert_int_equal(f->escapes, 1);
	assert_int_equal(in(f, 5) & 1, 0);
}

/* The reader takes nothing: the transmitter becomes busy, nothing blocks, and all that fitted arrives. */
static void test_slow_reader(void **state)
{
	struct fixture *f = *state;
	size_t sent = 0, got = 0;
	char bytes[4096];
	out(f, 1, 2);
	while ((in(f, 5) & 0x20) && sent < 10000000) {
		out(f, 0, (uint8_t)('a' + sent % 26));
		sent++;
	}
	assert_in_range(sent, 65536, 9999999);
	out(f, 0, '?'); /* in spite of that: lost */
	(void)pulls(f);
	(void)in(f, 2);
	while (got < sent) {
		struct pollfd p = {.fd = f->out[0], .events = POLLIN};
		run_loop(f);
		if (poll(&p, 1, 1000) != 1)
			fail_msg("only %zu of %zu bytes arrived", got, sent);
		ssize_t n = read(f->out[0], bytes, sizeof(bytes));
		assert_true(n > 0);
		for (ssize_t i = 0; i < n; i++)
			assert_int_equal(bytes[i], 'a' + (got + (size_t)i) % 26);
		got += (size_t)n;
	}
	assert_int_equal(in(f, 5) & 0x60, 0x60);
	assert_int_not_equal(pulls(f), 0); /* it told that there is room again */
}

static void test_reader_that_went_away(void **state)
{
	struct fixture *f = *state;
	close(f->out[0]);
	f->out[0] = -1;
	for (unsigned i = 0; i < 100000; i++)
		out(f, 0, 'x');
	assert_int_equal(in(f, 5) & 0x60, 0x60);
	run_loop(f);
}

static void test_loopback_and_divisor(void **state)
{
	struct fixture *f = *state;
	char got[2];
	out(f, 4, 0x1a); /* loop, OUT2, RTS: as Linux probes */
	assert_int_equal(in(f, 6) & 0xf0, 0x90);
	out(f, 0, 'L');
	assert_int_equal(in(f, 0), 'L');
	out(f, 4, 0);
	out(f, 3, 0x80);
	out(f, 0, 0x12);
	out(f, 1, 0x34);
	assert_int_equal(in(f, 0), 0x12);
	assert_int_equal(in(f, 1), 0x34);
	out(f, 3, 3);
	assert_int_equal(in(f, 1), 0);
	out(f, 7, 0x5a);
	assert_int_equal(in(f, 7), 0x5a);
	assert_int_equal(read(f->out[0], got, sizeof(got)), -1); /* none of it went out */
	assert_int_equal(errno, EAGAIN);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	signal(SIGPIPE, SIG_IGN);
	if (f == NULL || pipe2(f->in, O_NONBLOCK) != 0 || pipe2(f->out, O_NONBLOCK) != 0)
		return -1;
	f->host.bus = bus_create();
	f->host.irqfd = give_irqfd;
	f->host.machine = f;
	if (f->host.bus == NULL || loop_create(&f->host.loop) != 0 ||
	    loop_add_timer(f->host.loop, stop, f->host.loop, &f->timer) != 0)
		return -1;
	struct serial_config config = {
	    .in = f->in[0], .out = f->out[1], .escape = true, .on_escape = on_escape, .arg = f};
	*state = f;
	return serial_create(&f->host, &config, &f->serial);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	serial_destroy(f->serial);
	loop_destroy(f->host.loop);
	bus_destroy(f->host.bus);
	close(f->irq);
	for (unsigned i = 0; i < 2; i++) {
		close(f->in[i]);
		if (f->out[i] >= 0)
			close(f->out[i]);
	}
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_transmits),
	    TEST(test_receives),
	    TEST(test_receives_more_than_it_holds),
	    TEST(test_early_input),
	    TEST(test_clearing_a_full_port),
	    TEST(test_escape),
	    TEST(test_slow_reader),
	    TEST(test_reader_that_went_away),
	    TEST(test_loopback_and_divisor),
	};
	return cmocka_run_group_tests_name("serial", tests, NULL, NULL);
}
