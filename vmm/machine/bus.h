/* SPDX-License-Identifier: MIT */
/*
 * bus.h - which device answers at which port or guest physical address.
 *
 * Devices register ranges before the vCPUs start; after that the table never changes, so that vCPU threads
 * look it up without a lock. A device protects its own state.
 */
#ifndef VMM_MACHINE_BUS_H
#define VMM_MACHINE_BUS_H

#include <stdbool.h>
#include <stdint.h>

enum bus_space { BUS_PIO, BUS_MMIO };

/* Called on vCPU threads, several at once. offset < the range's size; offset + len may reach past its end,
 * len is 1, 2, 4 or 8. Values are little-endian in data. */
struct bus_ops {
	void (*read)(void *dev, uint64_t offset, void *data, unsigned len);
	void (*write)(void *dev, uint64_t offset, const void *data, unsigned len);
};

struct bus;
struct bus *bus_create(void); /* NULL: out of memory */
void bus_destroy(struct bus *bus);
/* -EEXIST: overlaps a range there; -ENOSPC: too many ranges. ops and name must live as long as the bus. */
int bus_add(struct bus *bus, enum bus_space space, uint64_t base, uint64_t size, const struct bus_ops *ops,
	    void *dev, const char *name);
/* false: nobody answers there; a read then gives all ones. */
bool bus_read(const struct bus *bus, enum bus_space space, uint64_t addr, void *data, unsigned len);
bool bus_write(const struct bus *bus, enum bus_space space, uint64_t addr, const void *data, unsigned len);

#endif
