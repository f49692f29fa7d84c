/* SPDX-License-Identifier: MIT */
/* bus.c - see bus.h. A short table, searched linearly: a lookup is nothing beside the exit that led here. */
#include "machine/bus.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_MAX 32

struct range {
	enum bus_space space;
	uint64_t base;
	uint64_t size;
	const struct bus_ops *ops;
	void *dev;
	const char *name;
};

struct bus {
	struct range ranges[RANGES_MAX];
	unsigned count;
};

struct bus *bus_create(void)
{
	return calloc(1, sizeof(struct bus));
}

void bus_destroy(struct bus *bus)
{
	free(bus);
}

int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t size, const struct bus_ops *ops,
	    void *dev, const char *name)
{
	if (size == 0 || base + size < base)
		return -EINVAL;
	for (unsigned i = 0; i < bus->count; i++) {
		const struct range *r = &bus->ranges[i];
		if (r->space == space && base < r->base + r->size && r->base < base + size)
			return -EEXIST;
	}
	if (bus->count == RANGES_MAX)
		return -ENOSPC;
	bus->ranges[bus->count++] = (struct range){space, base, size, ops, dev, name};
	return 0;
}

static const struct range *find(const struct bus *bus, enum bus_space space, uint64_t addr)
{
	for (unsigned i = 0; i < bus->count; i++) {
		const struct range *r = &bus->ranges[i];
		if (r->space == space && addr >= r->base && addr - r->base < r->size)
			return r;
	}
	return NULL;
}

bool bus_read(const struct bus *bus, enum bus_space space, uint64_t addr, void *data, unsigned len)
{
	const struct range *r = find(bus, space, addr);
	memset(data, 0xff, len);
	if (r == NULL)
		return false;
	r->ops->read(r->dev, addr - r->base, data, len);
	return true;
}

bool bus_write(const struct bus *bus, enum bus_space space, uint64_t addr, const void *data, unsigned len)
{
	const struct range *r = find(bus, space, addr);
	if (r == NULL)
		return false;
	r->ops->write(r->dev, addr - r->base, data, len);
	return true;
}
