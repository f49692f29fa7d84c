/* SPDX-License-Identifier: MIT */
/*
 * boot.h - what a guest starts from: a kernel of either kind, its command line, an initial RAM disk.
 *
 * Two boot protocols are known: PVH for ELF images, and the 64-bit boot protocol of Linux for bzImages. Which
 * one, the kernel's first bytes decide. boot_open() reads and checks the headers before any memory is taken;
 * boot_load() puts all into the guest's memory, which must be fresh (zero).
 */
#ifndef VMM_MACHINE_BOOT_H
#define VMM_MACHINE_BOOT_H

#include "machine/guestmem.h"
#include "machine/image.h"
#include <stdbool.h>

struct boot;

/* initrd: a path or NULL. Both paths must outlive it. */
MB_MUST_CHECK int boot_open(const char *kernel, const char *initrd, struct boot **out, struct mb_error *err);
void boot_close(struct boot *boot);
/* Whether it is Linux, or begins as Linux does. */
bool boot_is_linux(const struct boot *boot);

/* What the guest is told, and where that lies. */
struct boot_facts {
	const struct mb_region *regions; /* its RAM, ascending */
	unsigned region_count;
	const char *cmdline;
	uint64_t rsdp;           /* the ACPI tables' root; 0: none */
	struct mb_region initrd; /* boot_load() sets it; size 0: none */
};

/* How the first CPU begins. */
struct boot_entry {
	bool wide; /* in 64-bit mode with 4 GiB mapped as they are, rsi = info; else 32-bit, ebx = info */
	uint64_t rip;
	uint64_t info; /* gpa of what the protocol hands over */
};

MB_MUST_CHECK int boot_load(const struct boot *boot, const struct guestmem *mem, struct boot_facts *facts,
			    struct boot_entry *entry, struct mb_error *err);

#endif
