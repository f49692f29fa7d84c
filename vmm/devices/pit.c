/* SPDX-License-Identifier: MIT */
/* pit.c - see pit.h. A counter is not counted: where it is follows from when it was started. */
#include "devices/pit.h"

#include <errno.h>
#include <platform.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The control word. */
#define CHANNEL(word) ((word) >> 6)
#define ACCESS(word)  ((word) >> 4 & 3)
#define MODE(word)    ((word) >> 1 & 7)
enum { ACCESS_LATCH, ACCESS_LOW, ACCESS_HIGH, ACCESS_BOTH };
enum { MODE_ONCE, MODE_RATE = 2, MODE_SQUARE = 3 }; /* 6 and 7 are 2 and 3; 1, 4, 5 count once, as 0 does */

/* The port that gates it. */
#define GATE    0x01
#define SPEAKER 0x02
#define REFRESH 0x10 /* turns over at each refresh of memory, every 15 us */
#define OUTPUT  0x20

#define REFRESH_NS 15000

struct pit {
	pthread_mutex_t lock;
	uint64_t (*now)(void);
	uint8_t mode, access;
	uint8_t gate;     /* bits of the port that were written */
	bool high_next;   /* with ACCESS_BOTH: the low byte was written or read */
	bool running;     /* a count was loaded */
	uint8_t low;      /* written, and waits for its high byte */
	uint32_t count;   /* 1 to 0x10000 */
	uint64_t started; /* while the gate is open: when the count was full */
	uint64_t passed;  /* while it is shut: nanoseconds counted before */
	bool latched;
	uint16_t latch;
};

static uint64_t monotonic(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Since the count was loaded. Rounded to microseconds, so that a year does not overflow. */
static uint64_t ticks(const struct pit *p)
{
	uint64_t ns = p->gate & GATE ? p->now() - p->started : p->passed;
	return ns / 1000 * PIT_HZ / 1000000;
}

static uint8_t kind_of_mode(const struct pit *p)
{
	uint8_t mode = p->mode & 3;
	return mode == MODE_RATE || mode == MODE_SQUARE ? mode : MODE_ONCE;
}

static uint16_t counter(const struct pit *p)
{
	uint64_t t = ticks(p);
	if (!p->running)
		return 0;
	if (kind_of_mode(p) == MODE_ONCE)
		return (uint16_t)(p->count - t); /* goes on below zero */
	if (kind_of_mode(p) == MODE_SQUARE)
		t *= 2;
	return (uint16_t)(p->count - t % p->count);
}

static bool output(const struct pit *p)
{
	uint64_t t = ticks(p);
	if (!p->running)
		return kind_of_mode(p) != MODE_ONCE;
	if (kind_of_mode(p) == MODE_ONCE)
		return t >= p->count;
	if (kind_of_mode(p) == MODE_SQUARE)
		return t % p->count < (p->count + 1) / 2;
	return t % p->count != p->count - 1;
}

static void load(struct pit *p, uint16_t value)
{
	p->count = value == 0 ? 0x10000 : value;
	p->running = true;
	p->started = p->now();
	p->passed = 0;
}

static void write_control(struct pit *p, uint8_t word)
{
	if (CHANNEL(word) != 2)
		return;
	if (ACCESS(word) == ACCESS_LATCH) {
		if (!p->latched)
			p->latch = counter(p);
		p->latched = true;
		return;
	}
	p->access = ACCESS(word);
	p->mode = MODE(word);
	p->high_next = p->latched = p->running = false;
}

static void write_counter(struct pit *p, uint8_t value)
{
	if (p->access == ACCESS_LOW) {
		load(p, value);
	} else if (p->access == ACCESS_HIGH) {
		load(p, (uint16_t)(value << 8));
	} else if (p->high_next) {
		p->high_next = false;
		load(p, (uint16_t)(value << 8 | p->low));
	} else {
		p->high_next = true;
		p->low = value;
	}
}

static uint8_t read_counter(struct pit *p)
{
	uint16_t value = p->latched ? p->latch : counter(p);
	bool high = p->access == ACCESS_HIGH || (p->access == ACCESS_BOTH && p->high_next);
	if (p->access == ACCESS_BOTH)
		p->high_next = !p->high_next;
	if (p->access != ACCESS_BOTH || high)
		p->latched = false;
	return (uint8_t)(high ? value >> 8 : value);
}

static void write_gate(struct pit *p, uint8_t value)
{
	bool before = p->gate & GATE, after = value & GATE;
	uint64_t now = p->now();
	if (before && !after)
		p->passed = now - p->started;
	if (!before && after)
		p->started = now - p->passed;
	p->gate = value & (GATE | SPEAKER);
}

static uint8_t read_gate(const struct pit *p)
{
	return (uint8_t)(p->gate | (output(p) ? OUTPUT : 0) | (p->now() / REFRESH_NS & 1 ? REFRESH : 0));
}

/* ---- ports -------------------------------------------------------------------------------------------- */

static void timer_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	struct pit *p = dev;
	memset(data, 0, len);
	pthread_mutex_lock(&p->lock);
	if (offset == 0)
		*(uint8_t *)data = read_counter(p);
	pthread_mutex_unlock(&p->lock);
}

static void timer_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct pit *p = dev;
	uint8_t value = *(const uint8_t *)data;
	(void)len;
	pthread_mutex_lock(&p->lock);
	if (offset == 0)
		write_counter(p, value);
	else
		write_control(p, value);
	pthread_mutex_unlock(&p->lock);
}

static void gate_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	struct pit *p = dev;
	(void)offset;
	memset(data, 0, len);
	pthread_mutex_lock(&p->lock);
	*(uint8_t *)data = read_gate(p);
	pthread_mutex_unlock(&p->lock);
}

static void gate_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct pit *p = dev;
	(void)offset;
	(void)len;
	pthread_mutex_lock(&p->lock);
	write_gate(p, *(const uint8_t *)data);
	pthread_mutex_unlock(&p->lock);
}

static const struct bus_ops timer_ops = {.read = timer_read, .write = timer_write};
static const struct bus_ops gate_ops = {.read = gate_read, .write = gate_write};

int pit_create(const struct device_host *host, uint64_t (*now)(void), struct pit **out)
{
	struct pit *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	*p = (struct pit){.now = now != NULL ? now : monotonic, .access = ACCESS_BOTH};
	pthread_mutex_init(&p->lock, NULL);
	int rc = bus_add(host->bus, BUS_PIO, PLATFORM_PIT_PORT, 2, &timer_ops, p, "timer");
	if (rc == 0)
		rc = bus_add(host->bus, BUS_PIO, PLATFORM_PIT_GATE, 1, &gate_ops, p, "timer gate");
	if (rc != 0) {
		pit_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void pit_destroy(struct pit *p)
{
	if (p == NULL)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}
