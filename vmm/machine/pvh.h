/* SPDX-License-Identifier: MIT */
/*
 * pvh.h - what a PVH guest is told at its start: start info, memory map, command line.
 *
 * Source: Xen's public header arch-x86/hvm/start_info.h (start info version 1) and the HVM direct boot ABI.
 */
#ifndef VMM_MACHINE_PVH_H
#define VMM_MACHINE_PVH_H

#include "machine/guestmem.h"

/* All of it lies here, below what kernels load and start other CPUs in. */
#define PVH_INFO_GPA    0x2000
#define PVH_INFO_END    0x7000
#define PVH_CMDLINE_GPA 0x3000
#define PVH_CMDLINE_MAX (PVH_INFO_END - PVH_CMDLINE_GPA) /* bytes with the final 0 */

/* Writes it for a guest of these regions. ebx of the first CPU is PVH_INFO_GPA then. */
MB_MUST_CHECK int pvh_write(const struct guestmem *mem, const struct mb_region *regions, unsigned count,
			    const char *cmdline, struct mb_error *err);

#endif
