/* SPDX-License-Identifier: MIT */
/*
 * serial.h - an 8250 serial port over a pair of file descriptors.
 */
#ifndef VMM_DEVICES_SERIAL_H
#define VMM_DEVICES_SERIAL_H

#include "devices/device.h"

struct serial;

struct serial_config {
	int in;                   /* -1: nothing can be typed */
	int out;                  /* -1: what the guest writes is dropped */
	bool escape;              /* Ctrl-A x ends the VM, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h helps */
	void (*on_escape)(void *arg);
	void *arg;
};

/* The descriptors stay the caller's. */
int serial_create(const struct device_host *host, const struct serial_config *config, struct serial **out);
void serial_destroy(struct serial *s);

#endif
