/* SPDX-License-Identifier: MIT */
/*
 * memmap.h - the memory map that a guest is told (E820), and where in the first megabyte the VMM puts what it
 * tells: only here are those places chosen.
 *
 *   0x2000  PVH start info, memory map      0x9000   page tables that map 4 GiB as it is (bzImage)
 *   0x3000  command line, 16 KiB            0x9f000  reserved up to 1 MiB; the ACPI tables lie
 *   0x7000  zero page (bzImage)             0xe0000  here, where they are looked for
 *   0x8000  descriptor table (bzImage)      0xffff0  reset code, instead of a BIOS
 */
#ifndef VMM_MACHINE_MEMMAP_H
#define VMM_MACHINE_MEMMAP_H

#include <memback/pool.h>
#include <stdbool.h>
#include <stdint.h>

#define MEMMAP_INFO_GPA    0x2000
#define MEMMAP_CMDLINE_GPA 0x3000
#define MEMMAP_CMDLINE_MAX 0x4000 /* bytes with the final 0 */
#define MEMMAP_ZERO_PAGE   0x7000
#define MEMMAP_GDT         0x8000
#define MEMMAP_GDT_LIMIT   0x1f /* four descriptors */
#define MEMMAP_PAGE_TABLES 0x9000
#define MEMMAP_TABLES_END  0xf000
#define MEMMAP_ACPI        0xe0000
#define MEMMAP_ACPI_END    0xff000
#define MEMMAP_RESET       0xffff0 /* where a processor begins, and a kernel jumps that resets through the BIOS */
#define MEMMAP_TOLD_END    0x100000

/* The legacy hole that every x86 kernel leaves alone: no RAM is announced in it. */
#define MEMMAP_HOLE     UINT64_C(0x9f000)
#define MEMMAP_HOLE_END UINT64_C(0x100000)

#define E820_RAM      1
#define E820_RESERVED 2

struct memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
};

#define MEMMAP_MAX 34

/* The map of these regions of RAM; returns how many entries it has. Regions that do not fit are left out. */
unsigned memmap_make(const struct mb_region *regions, unsigned count, struct memmap_entry out[MEMMAP_MAX]);

/* Whether [gpa, gpa + size), which is guest memory, overlaps what the VMM tells a PVH guest: start info,
 * command line, ACPI tables. */
bool memmap_is_told(uint64_t gpa, uint64_t size);

#endif
