/* SPDX-License-Identifier: MIT */
/*
 * pit.h - channel 2 of a PC's interval timer, and the port that gates it: what programs measure the processor's
 * clock with that know of no better (memtest86+, Linux without kvm-clock). The channels that interrupt are not
 * there. Source: Intel 8254 Programmable Interval Timer, data sheet 231164.
 */
#ifndef VMM_DEVICES_PIT_H
#define VMM_DEVICES_PIT_H

#include "devices/device.h"

#define PIT_HZ UINT64_C(1193182)

struct pit;

/* now gives monotonic nanoseconds, on any thread; NULL: the kernel's CLOCK_MONOTONIC. -errno as bus_add(). */
int pit_create(const struct device_host *host, uint64_t (*now)(void), struct pit **out);
void pit_destroy(struct pit *p);

#endif
