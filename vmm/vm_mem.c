/* SPDX-License-Identifier: MIT */
/* vm_mem.c - see vm_mem.h. */
#include "vm_mem.h"

#include <inttypes.h>
#include <stdio.h>

static int open_range(void *arg, uint64_t gpa, uint64_t len, bool open)
{
	struct vm_mem *m = arg;
	return machine_open_memory(m->machine, gpa, len, open);
}

static int show_stretch(void *arg, unsigned n, uint64_t gpa, uint64_t len, bool show)
{
	struct vm_mem *m = arg;
	return machine_put_slot(m->machine, n, gpa, show ? len : 0);
}

/* On a vCPU thread. */
static void on_touch(void *arg, uint64_t gpa)
{
	struct vm_mem *m = arg;
	char text[96];
	snprintf(text, sizeof(text), "the guest touched memory that is not plugged, at %#" PRIx64, gpa);
	machine_stop_guest(m->machine, text);
}

int vm_mem_create(struct vm_mem *m, const struct vm_mem_config *config)
{
	const struct vm_device *place;
	struct mem_config device = {
	    .space = config->space,
	    .map = &m->map,
	    .machine = {.open = open_range,
			.show = show_stretch,
			.stretches_max = machine_slots_left(config->machine),
			.arg = m},
	    .on_change = config->on_change,
	    .on_touch = on_touch,
	    .change_arg = config->arg,
	    .touch_arg = m,
	};
	int rc = vm_devices_add(config->devices, VM_DEVICE_MEM, &place);
	if (rc == 0)
		rc = plugmap_init(&m->map, config->region->gpa, config->region->size, config->block);
	if (rc != 0)
		return rc;
	device.index = place->index;
	m->machine = config->machine;
	machine_set_plugmap(config->machine, &m->map);
	rc = mem_create(config->host, &device, &m->device);
	if (rc != 0)
		vm_mem_destroy(m);
	return rc;
}

void vm_mem_destroy(struct vm_mem *m)
{
	mem_destroy(m->device);
	m->device = NULL;
	if (m->machine != NULL)
		machine_set_plugmap(m->machine, NULL);
	plugmap_free(&m->map);
}
