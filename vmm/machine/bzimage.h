/* SPDX-License-Identifier: MIT */
/*
 * bzimage.h - loads a bzImage by the 64-bit boot protocol of Linux: what distributions ship as vmlinuz, and
 * memtest86+. The kernel unpacks itself.
 *
 * Source: Linux, Documentation/arch/x86/boot.rst and zero-page.rst. The image is hostile: every number in it
 * is checked against the file's size and the guest's memory.
 */
#ifndef VMM_MACHINE_BZIMAGE_H
#define VMM_MACHINE_BZIMAGE_H

#include "machine/boot.h"

/* The start of the file, up to the end of what the setup header may be. */
#define BZIMAGE_HEAD 0x290

struct bzimage {
	const struct image *image;
	unsigned char head[BZIMAGE_HEAD];
	uint64_t offset; /* in the file, of what is loaded */
	uint64_t size;   /* bytes of it */
	uint64_t pref_address;
	uint32_t init_size;
	uint32_t alignment;
	uint32_t initrd_max;  /* the last address that the initial RAM disk may have */
	uint32_t cmdline_max; /* characters without the final 0 */
	bool relocatable;
};

/* Whether the file's first bytes are a bzImage's. */
bool bzimage_is(const unsigned char head[BZIMAGE_HEAD]);
/* Reads and checks the header; the image must outlive bz. -ENOEXEC with the reason and a remedy. */
MB_MUST_CHECK int bzimage_open(struct bzimage *bz, const struct image *image, struct mb_error *err);
/*
 * Loads the kernel. used: what of the guest's memory it wants until it runs by itself; the initial RAM disk
 * must lie elsewhere.
 */
MB_MUST_CHECK int bzimage_load(const struct bzimage *bz, const struct guestmem *mem, struct mb_region *used,
			       struct mb_error *err);
/* Writes the zero page, page tables and descriptors, and says how the CPU begins. */
MB_MUST_CHECK int bzimage_write(const struct bzimage *bz, const struct guestmem *mem,
				const struct boot_facts *facts, const struct mb_region *used,
				struct boot_entry *entry, struct mb_error *err);

#endif
