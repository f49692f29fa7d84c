/* SPDX-License-Identifier: MIT */
/*
 * power.h - how a guest is switched off, reset, and asked to switch itself off; and how it says that it has
 * panicked.
 *
 * Sleep control and reset registers of hardware-reduced ACPI (ACPI 6.5, 4.8.3.6 and 4.8.3.7), the keyboard
 * controller's reset command, the power button's line, and pvpanic (QEMU, docs/specs/pvpanic). platform.h has
 * the places.
 */
#ifndef VMM_DEVICES_POWER_H
#define VMM_DEVICES_POWER_H

#include "devices/device.h"

enum power_event { POWER_OFF, POWER_RESET, POWER_PANIC };

struct power;

/* on_event: on vCPU threads, as often as the guest says so. */
MB_MUST_CHECK int power_create(const struct device_host *host,
			       void (*on_event)(void *arg, enum power_event event), void *arg,
			       struct power **out);
void power_destroy(struct power *p);
/* Presses the power button. Any thread. */
void power_press(struct power *p);

#endif
