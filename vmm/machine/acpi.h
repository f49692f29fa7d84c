/* SPDX-License-Identifier: MIT */
/*
 * acpi.h - the ACPI tables of a guest: its processors, where its devices are, how it is switched off.
 *
 * Source: ACPI 6.5. The machine is of the hardware-reduced kind: no timer, no fixed registers of old, a sleep
 * control register for power-off, a reset register, and a generic event device that says that the power
 * button was pressed. Tables: RSDP, XSDT, FADT, MADT, DSDT, and SRAT where memory can be plugged: Linux learns
 * from it how far memory may reach one day.
 */
#ifndef VMM_MACHINE_ACPI_H
#define VMM_MACHINE_ACPI_H

#include "machine/guestmem.h"
#include <stdbool.h>

/* A virtio-mmio transport. */
struct acpi_virtio {
	uint32_t base;
	uint32_t size;
	uint32_t gsi;
};

struct acpi_config {
	unsigned cpus;
	const struct acpi_virtio *virtio;
	unsigned virtio_count; /* at most 99 */
	/* All of the memory's regions, ascending; the last one can be plugged while the guest runs, if
	 * pluggable. */
	const struct mb_region *regions;
	unsigned region_count;
	bool pluggable;
};

/* Writes them, and code that resets to where the BIOS' would begin; *rsdp is where the tables do. -ENOSPC: more
 * than fits. */
MB_MUST_CHECK int acpi_write(const struct guestmem *mem, const struct acpi_config *config, uint64_t *rsdp,
			     struct mb_error *err);

#endif
