/* SPDX-License-Identifier: MIT */
/* boot.c - see boot.h. */
#include "machine/boot.h"

#include "error.h"
#include "machine/bzimage.h"
#include "machine/elf.h"
#include "machine/memmap.h"
#include "machine/pvh.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PAGE       UINT64_C(4096)
#define INITRD_END (UINT64_C(1) << 32) /* every kernel takes one below; above, only some */

struct boot {
	struct image kernel;
	struct image initrd; /* fd -1: none */
	struct elf *elf;     /* or a bzImage: */
	struct bzimage bz;
};

static int open_kernel(struct boot *b, struct mb_error *err)
{
	unsigned char head[BZIMAGE_HEAD];
	if (b->kernel.size >= sizeof(head)) {
		int rc = image_read(&b->kernel, 0, head, sizeof(head), err);
		if (rc != 0)
			return rc;
		if (bzimage_is(head))
			return bzimage_open(&b->bz, &b->kernel, err);
	}
	return elf_open(&b->kernel, &b->elf, err);
}

int boot_open(const char *kernel, const char *initrd, struct boot **out, struct mb_error *err)
{
	struct boot *b = calloc(1, sizeof(*b));
	if (b == NULL)
		return error_set(err, -ENOMEM, "kernel '%s': out of memory", kernel);
	b->initrd.fd = -1;
	int rc = image_open(&b->kernel, "kernel", kernel, err);
	if (rc == 0)
		rc = open_kernel(b, err);
	if (rc == 0 && initrd != NULL)
		rc = image_open(&b->initrd, "initrd", initrd, err);
	if (rc == 0 && initrd != NULL && b->initrd.size == 0)
		rc = error_set(err, -ENOEXEC,
			       "initrd '%s': it is empty; leave out --initrd, or give a whole one", initrd);
	if (rc != 0) {
		boot_close(b);
		return rc;
	}
	*out = b;
	return 0;
}

void boot_close(struct boot *boot)
{
	if (boot == NULL)
		return;
	elf_close(boot->elf);
	image_close(&boot->kernel);
	image_close(&boot->initrd);
	free(boot);
}

bool boot_is_linux(const struct boot *boot)
{
	return boot->elf == NULL || elf_is_linux(boot->elf);
}

/*
 * As high as it goes below 4 GiB, in the region that reaches highest there, and clear of what the kernel
 * wants. Returns 0 if there is no such place.
 */
static uint64_t place_initrd(const struct boot_facts *facts, const struct mb_region *used, uint64_t size,
			     uint64_t end)
{
	for (unsigned i = facts->region_count; i-- > 0;) {
		const struct mb_region *r = &facts->regions[i];
		uint64_t top = r->gpa + r->size < end ? r->gpa + r->size : end;
		uint64_t floor = r->gpa > MEMMAP_HOLE_END ? r->gpa : MEMMAP_HOLE_END;
		if (used->gpa >= floor && used->gpa < top && floor < used->gpa + used->size)
			floor = used->gpa + used->size; /* what lies below the kernel is not worth a search */
		if (top > floor && size <= top - floor && ((top - size) & ~(PAGE - 1)) >= floor)
			return (top - size) & ~(PAGE - 1);
	}
	return 0;
}

static int load_initrd(const struct boot *boot, const struct guestmem *mem, const struct mb_region *used,
		       struct boot_facts *facts, struct mb_error *err)
{
	uint64_t end = boot->elf == NULL ? (uint64_t)boot->bz.initrd_max + 1 : INITRD_END;
	uint64_t size = boot->initrd.size;
	uint64_t gpa = place_initrd(facts, used, size, end < INITRD_END ? end : INITRD_END);
	void *hva = gpa == 0 ? NULL : guestmem_touch(mem, gpa, size);
	if (hva == NULL)
		return error_set(err, -ENOEXEC,
				 "initrd '%s': its %llu bytes do not fit into the guest's memory beside the "
				 "kernel; give the guest more with --memory",
				 boot->initrd.path, (unsigned long long)size);
	facts->initrd = (struct mb_region){gpa, size};
	return image_read(&boot->initrd, 0, hva, size, err);
}

static int write_cmdline(const struct guestmem *mem, const char *cmdline, struct mb_error *err)
{
	size_t length = strlen(cmdline) + 1;
	if (length > MEMMAP_CMDLINE_MAX)
		return error_set(err, -E2BIG, "--append: the command line has %zu bytes; at most %d fit",
				 length, MEMMAP_CMDLINE_MAX);
	if (guestmem_write(mem, MEMMAP_CMDLINE_GPA, cmdline, length) != 0)
		return error_set(err, -EFAULT, "the guest's memory is too small for its command line");
	return 0;
}

int boot_load(const struct boot *boot, const struct guestmem *mem, struct boot_facts *facts,
	      struct boot_entry *entry, struct mb_error *err)
{
	struct mb_region used = {0};
	int rc = write_cmdline(mem, facts->cmdline, err);
	if (rc == 0 && boot->elf != NULL)
		rc = elf_load(boot->elf, mem, &used, err);
	else if (rc == 0)
		rc = bzimage_load(&boot->bz, mem, &used, err);
	if (rc == 0 && boot->initrd.fd >= 0)
		rc = load_initrd(boot, mem, &used, facts, err);
	if (rc != 0)
		return rc;
	if (boot->elf == NULL)
		return bzimage_write(&boot->bz, mem, facts, &used, entry, err);
	*entry = (struct boot_entry){.rip = elf_entry(boot->elf), .info = PVH_INFO_GPA};
	return pvh_write(mem, facts, err);
}
