/* SPDX-License-Identifier: MIT */
/*
 * device.h - what a device asks of the machine that it sits in.
 *
 * A device never sees KVM: it gets a bus, the gate to guest memory, the event loop, and two functions that
 * make eventfds. Unit tests give it plain eventfds instead.
 */
#ifndef VMM_DEVICES_DEVICE_H
#define VMM_DEVICES_DEVICE_H

#include "control/loop.h"
#include "machine/bus.h"
#include "machine/guestmem.h"

struct device_host {
	struct bus *bus;
	const struct guestmem *mem;
	struct loop *loop;
	/* As machine_irqfd() and machine_ioeventfd(). */
	int (*irqfd)(void *machine, unsigned gsi, int *fd);
	int (*ioeventfd)(void *machine, uint64_t gpa, unsigned len, uint32_t value, int *fd);
	void *machine;
};

#endif
