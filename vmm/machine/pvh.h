/* SPDX-License-Identifier: MIT */
/*
 * pvh.h - what a PVH guest is told at its start: start info, memory map, command line, initial RAM disk.
 *
 * Source: Xen's public header arch-x86/hvm/start_info.h (start info version 1) and the HVM direct boot ABI.
 */
#ifndef VMM_MACHINE_PVH_H
#define VMM_MACHINE_PVH_H

#include "machine/boot.h"
#include "machine/guestmem.h"
#include "machine/memmap.h"

#define PVH_INFO_GPA MEMMAP_INFO_GPA

/* Writes it. ebx of the first CPU is PVH_INFO_GPA then. */
MB_MUST_CHECK int pvh_write(const struct guestmem *mem, const struct boot_facts *facts, struct mb_error *err);

#endif
