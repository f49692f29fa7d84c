/* SPDX-License-Identifier: MIT */
/* power.c - see power.h. It has no state but its callback, so that it needs no lock. */
#include "devices/power.h"

#include <errno.h>
#include <platform.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SLEEP_ENABLE   0x20 /* in the sleep control register, beside the type in bits 2 to 4 */
#define KEYBOARD_RESET 0xfe /* pulse the reset line */
#define PANICKED       0x01

struct power {
	void (*on_event)(void *arg, enum power_event event);
	void *arg;
	int irq;
};

/* Nothing is ever pending, and the keyboard controller's buffers are empty. */
static void read_zero(void *dev, uint64_t offset, void *data, unsigned len)
{
	(void)dev;
	(void)offset;
	memset(data, 0, len);
}

static void read_panic(void *dev, uint64_t offset, void *data, unsigned len)
{
	read_zero(dev, offset, data, len);
	*(uint8_t *)data = PANICKED; /* what can be said */
}

static void write_sleep(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct power *p = dev;
	uint8_t value = *(const uint8_t *)data;
	(void)len;
	if (offset == 0 && (value & SLEEP_ENABLE) && (value >> 2 & 7) == PLATFORM_SLEEP_S5)
		p->on_event(p->arg, POWER_OFF);
	if (offset == PLATFORM_RESET_PORT - PLATFORM_SLEEP_PORT && value == PLATFORM_RESET_VALUE)
		p->on_event(p->arg, POWER_RESET);
}

static void write_keyboard(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct power *p = dev;
	(void)offset;
	(void)len;
	if (*(const uint8_t *)data == KEYBOARD_RESET)
		p->on_event(p->arg, POWER_RESET);
}

static void write_panic(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct power *p = dev;
	(void)offset;
	(void)len;
	if (*(const uint8_t *)data & PANICKED)
		p->on_event(p->arg, POWER_PANIC);
}

static const struct bus_ops sleep_ops = {.read = read_zero, .write = write_sleep};
static const struct bus_ops keyboard_ops = {.read = read_zero, .write = write_keyboard};
static const struct bus_ops panic_ops = {.read = read_panic, .write = write_panic};

int power_create(const struct device_host *host, void (*on_event)(void *arg, enum power_event event), void *arg,
		 struct power **out)
{
	struct power *p = calloc(1, sizeof(*p));
	if (p == NULL)
		return -ENOMEM;
	*p = (struct power){.on_event = on_event, .arg = arg, .irq = -1};
	int rc = host->irqfd(host->machine, PLATFORM_POWER_GSI, &p->irq);
	if (rc == 0)
		rc = bus_add(host->bus, BUS_PIO, PLATFORM_SLEEP_PORT, 4, &sleep_ops, p, "power");
	if (rc == 0)
		rc = bus_add(host->bus, BUS_PIO, PLATFORM_KEYBOARD_PORT, 1, &keyboard_ops, p, "keyboard");
	if (rc == 0)
		rc = bus_add(host->bus, BUS_PIO, PLATFORM_PANIC_PORT, 1, &panic_ops, p, "pvpanic");
	if (rc != 0) {
		power_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void power_destroy(struct power *p)
{
	if (p == NULL)
		return;
	if (p->irq >= 0)
		close(p->irq);
	free(p);
}

void power_press(struct power *p)
{
	const uint64_t one = 1;
	/* it cannot be full: KVM empties it */
	if (write(p->irq, &one, sizeof(one)) < 0)
		return;
}
