/* SPDX-License-Identifier: MIT */
/*
 * vm_mem.h - a VM's pluggable memory: its region, which blocks are plugged, the device, and what it asks of the
 * machine. Loop thread only.
 */
#ifndef VMM_VM_MEM_H
#define VMM_VM_MEM_H

#include "devices/mem.h"
#include "layout.h"
#include "machine/machine.h"
#include "vm_devices.h"

struct vm_mem {
	struct plugmap map;
	struct machine *machine;
	struct mem *device; /* NULL: the VM has none */
};

struct vm_mem_config {
	const struct device_host *host;
	struct machine *machine;
	struct mb_space *space;
	const struct mb_region *region;
	uint64_t block; /* bytes */
	struct vm_devices *devices;
	void (*on_change)(void *arg); /* as struct mem_config's */
	void *arg;
};

/* All of it, or a negative errno and nothing. After machine_set_memory(). */
MB_MUST_CHECK int vm_mem_create(struct vm_mem *m, const struct vm_mem_config *config);
/* The vCPUs must be gone. */
void vm_mem_destroy(struct vm_mem *m);

#endif
