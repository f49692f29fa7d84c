/* SPDX-License-Identifier: MIT */
/*
 * exit_port.h - the port through which a guest ends the VM with a status (PLATFORM_EXIT_PORT).
 */
#ifndef VMM_DEVICES_EXIT_PORT_H
#define VMM_DEVICES_EXIT_PORT_H

#include "devices/device.h"

struct exit_port;

/* on_exit is called on a vCPU thread, with the low 8 bits of what was written. */
int exit_port_create(const struct device_host *host, void (*on_exit)(void *arg, uint8_t status), void *arg,
		     struct exit_port **out);
void exit_port_destroy(struct exit_port *e);

#endif
