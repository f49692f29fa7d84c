/* SPDX-License-Identifier: MIT */
/*
 * elf.h - loads an ELF image with a PVH entry point (Xen's "x86/HVM direct boot ABI").
 *
 * The image is hostile: every number in it is checked against the file's size and the guest's memory.
 */
#ifndef VMM_MACHINE_ELF_H
#define VMM_MACHINE_ELF_H

#include "machine/guestmem.h"
#include "machine/image.h"
#include <stdbool.h>

/* An opened image whose headers have been read and checked; nothing loaded yet. */
struct elf;

/* The image must outlive it. -ENOEXEC: no such image; err names the file, the cause and the remedy. */
MB_MUST_CHECK int elf_open(const struct image *image, struct elf **out, struct mb_error *err);
void elf_close(struct elf *elf);

/* The 32-bit physical address where the guest begins (ELF note XEN_ELFNOTE_PHYS32_ENTRY). */
uint32_t elf_entry(const struct elf *elf);
/* Whether it says that it is Linux (ELF note XEN_ELFNOTE_GUEST_OS). */
bool elf_is_linux(const struct elf *elf);

/*
 * Reads all segments into guest memory, which must be fresh (zero). None may lie where the VMM puts what it
 * tells the guest (memmap.h). used: the stretch from the first of them to the last.
 */
MB_MUST_CHECK int elf_load(const struct elf *elf, const struct guestmem *mem, struct mb_region *used,
			   struct mb_error *err);

#endif
