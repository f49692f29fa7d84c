/* SPDX-License-Identifier: MIT */
/*
 * serial.h - an 8250 serial port (a 16550A with FIFOs) over a pair of file descriptors.
 *
 * Source: National Semiconductor, PC16550D data sheet. A reader that is slow makes the transmitter look busy
 * to the guest, and stops nobody: what the guest sends in spite of that is lost, as on a real port.
 */
#ifndef VMM_DEVICES_SERIAL_H
#define VMM_DEVICES_SERIAL_H

#include "devices/device.h"

struct serial;

struct serial_config {
	int in;                   /* -1: nothing can be typed */
	int out;                  /* -1: what the guest writes is dropped; should be non-blocking */
	bool escape;              /* Ctrl-A x ends the VM, Ctrl-A Ctrl-A sends Ctrl-A, Ctrl-A h helps */
	void (*on_escape)(void *arg);
	void *arg;
};

/* The descriptors stay the caller's. */
int serial_create(const struct device_host *host, const struct serial_config *config, struct serial **out);
/* The vCPUs must be gone. Writes out what is left, for a moment at most. NULL is fine. */
void serial_destroy(struct serial *s);

#endif
