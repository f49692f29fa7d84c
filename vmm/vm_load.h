/* SPDX-License-Identifier: MIT */
/*
 * vm_load.h - a VM's kernel is loaded, and told where the devices are: in ACPI, and on the command line for those
 * without. Before the vCPUs run.
 */
#ifndef VMM_VM_LOAD_H
#define VMM_VM_LOAD_H

#include "layout.h"
#include "machine/boot.h"
#include "machine/machine.h"
#include "vm.h"
#include "vm_devices.h"

/* What it takes; all of it stays the caller's. */
struct vm_load {
	const struct vm_config *config;
	struct machine *machine;
	struct mb_space *space;
	const struct layout *layout;
	const struct vm_devices *devices;
};

/* 0, or a negative errno with the cause and the remedy: what of it is in guest memory then does not matter. */
MB_MUST_CHECK int vm_load(const struct vm_load *load, const struct boot *boot, struct mb_error *err);

#endif
