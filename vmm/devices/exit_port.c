/* SPDX-License-Identifier: MIT */
/* exit_port.c - see exit_port.h. */
#include "devices/exit_port.h"

#include <errno.h>
#include <platform.h>
#include <stdlib.h>
#include <string.h>

struct exit_port {
	void (*on_exit)(void *arg, uint8_t status);
	void *arg;
};

static void port_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	(void)dev;
	(void)offset;
	memset(data, 0, len);
}

static void port_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct exit_port *e = dev;
	(void)len;
	if (offset == 0)
		e->on_exit(e->arg, *(const uint8_t *)data);
}

static const struct bus_ops ops = {.read = port_read, .write = port_write};

int exit_port_create(const struct device_host *host, void (*on_exit)(void *arg, uint8_t status), void *arg,
		     struct exit_port **out)
{
	struct exit_port *e = calloc(1, sizeof(*e));
	if (e == NULL)
		return -ENOMEM;
	e->on_exit = on_exit;
	e->arg = arg;
	int rc = bus_add(host->bus, BUS_PIO, PLATFORM_EXIT_PORT, 4, &ops, e, "exit");
	if (rc != 0) {
		free(e);
		return rc;
	}
	*out = e;
	return 0;
}

void exit_port_destroy(struct exit_port *e)
{
	free(e);
}
