/* SPDX-License-Identifier: MIT */
/*
 * layout.h - where a guest's memory lies in its physical address space. Pure arithmetic.
 *
 *   0 ------- 3 GiB ---- 4 GiB ----------- 1012 GiB -- 1 TiB ------------- 2^bits
 *   | RAM     | devices  | RAM             | AMD:      | RAM, then memory that is
 *   |         |          |                 | no RAM    | plugged later, aligned to 1 GiB
 *
 * AMD's processors keep the last 12 GiB below 1 TiB for HyperTransport (AMD I/O Virtualization Technology
 * (IOMMU) Specification, special address ranges: FD_0000_0000h to FF_FFFF_FFFFh); other VMMs leave it out for
 * them too.
 */
#ifndef VMM_LAYOUT_H
#define VMM_LAYOUT_H

#include <memback/pool.h>
#include <stdbool.h>

#define LAYOUT_HT_START UINT64_C(0xfd00000000)
#define LAYOUT_HT_END   UINT64_C(0x10000000000)

#define LAYOUT_REGIONS 3

struct layout {
	struct mb_region region[LAYOUT_REGIONS + 1]; /* ascending: RAM, then what is plugged later */
	unsigned ram;                                /* regions of RAM */
	bool pluggable;                              /* region[ram] is for memory that is plugged later */
};

struct layout_config {
	uint64_t memory;       /* bytes of RAM: a multiple of 2 MiB, not 0 */
	uint64_t pluggable;    /* bytes that may be plugged later: a multiple of 2 MiB, or 0 */
	unsigned address_bits; /* of guest physical addresses */
	bool amd;              /* leave the HyperTransport range out */
};

/* -EFBIG: the addresses do not reach so far; the text says what would fit. */
MB_MUST_CHECK int layout_make(const struct layout_config *config, struct layout *out, struct mb_error *err);

#endif
