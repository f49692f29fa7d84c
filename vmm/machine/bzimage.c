/* SPDX-License-Identifier: MIT */
/* bzimage.c - see bzimage.h. */
#include "machine/bzimage.h"

#include "error.h"
#include "machine/memmap.h"

#include <errno.h>
#include <string.h>

#define MIB            (UINT64_C(1) << 20)
#define HEADER_MAGIC   0x53726448u /* "HdrS" */
#define HEADER_VERSION 0x020c      /* the first one with a 64-bit entry */
#define SECTOR         512u
#define PARAGRAPH      16u
#define ENTRY_64       0x200               /* the 64-bit entry, from the start of the protected-mode part */
#define IMAGE_END      (UINT64_C(1) << 32) /* what our page tables map */

/* Fields of the setup header, which lie in the file where they lie in the zero page. */
enum {
	HDR_SETUP_SECTS = 0x1f1,
	HDR_SYSSIZE = 0x1f4,
	HDR_BOOT_FLAG = 0x1fe,
	HDR_JUMP = 0x201, /* the header ends at 0x202 + this byte */
	HDR_MAGIC = 0x202,
	HDR_VERSION = 0x206,
	HDR_TYPE_OF_LOADER = 0x210,
	HDR_LOADFLAGS = 0x211,
	HDR_CODE32_START = 0x214,
	HDR_RAMDISK_IMAGE = 0x218,
	HDR_RAMDISK_SIZE = 0x21c,
	HDR_CMD_LINE_PTR = 0x228,
	HDR_INITRD_ADDR_MAX = 0x22c,
	HDR_KERNEL_ALIGNMENT = 0x230,
	HDR_RELOCATABLE = 0x234,
	HDR_XLOADFLAGS = 0x236,
	HDR_CMDLINE_SIZE = 0x238,
	HDR_PREF_ADDRESS = 0x258,
	HDR_INIT_SIZE = 0x260
};

/* Further fields of the zero page. */
enum {
	ZERO_RSDP = 0x070,
	ZERO_EXT_RAMDISK_IMAGE = 0x0c0,
	ZERO_EXT_RAMDISK_SIZE = 0x0c4,
	ZERO_E820_ENTRIES = 0x1e8,
	ZERO_E820_TABLE = 0x2d0,
	ZERO_BYTES = 0x1000
};

#define BOOT_FLAG        0xaa55
#define LOADED_HIGH      0x01
#define XLF_KERNEL_64    0x01
#define LOADER_UNDEFINED 0xff
#define E820_ENTRY_BYTES 20
#define ALIGNMENT_MAX    (UINT32_C(1) << 30)

static uint16_t get16(const unsigned char *p)
{
	return (uint16_t)(p[0] | p[1] << 8);
}

static uint32_t get32(const unsigned char *p)
{
	return get16(p) | (uint32_t)get16(p + 2) << 16;
}

static uint64_t get64(const unsigned char *p)
{
	return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static void put32(unsigned char *p, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		p[i] = (unsigned char)(value >> 8 * i);
}

static void put64(unsigned char *p, uint64_t value)
{
	put32(p, (uint32_t)value);
	put32(p + 4, (uint32_t)(value >> 32));
}

static int bad(const struct bzimage *bz, struct mb_error *err, const char *why)
{
	return error_set(err, -ENOEXEC,
			 "kernel '%s': %s; give a bzImage for x86-64, or an ELF image with a PVH "
			 "entry point",
			 bz->image->path, why);
}

/* ---- the header --------------------------------------------------------------------------------------- */

bool bzimage_is(const unsigned char head[BZIMAGE_HEAD])
{
	return get32(head + HDR_MAGIC) == HEADER_MAGIC && get16(head + HDR_BOOT_FLAG) == BOOT_FLAG;
}

static int cut_off(const struct bzimage *bz, struct mb_error *err)
{
	uint64_t whole = bz->offset + (uint64_t)get32(bz->head + HDR_SYSSIZE) * PARAGRAPH;
	return error_set(err, -ENOEXEC,
			 "kernel '%s': it is cut off: it has %llu bytes of the %llu that its header names; "
			 "copy it anew",
			 bz->image->path, (unsigned long long)bz->image->size, (unsigned long long)whole);
}

static int take_header(struct bzimage *bz, struct mb_error *err)
{
	const unsigned char *h = bz->head;
	unsigned sectors = h[HDR_SETUP_SECTS] == 0 ? 4 : h[HDR_SETUP_SECTS]; /* 0 is 4, for old times' sake */
	if (get16(h + HDR_VERSION) < HEADER_VERSION || !(get16(h + HDR_XLOADFLAGS) & XLF_KERNEL_64))
		return bad(bz, err, "it has no 64-bit entry point (boot protocol 2.12 or later)");
	if (!(h[HDR_LOADFLAGS] & LOADED_HIGH))
		return bad(bz, err, "it wants to be loaded below 1 MiB");
	bz->offset = (sectors + 1) * SECTOR;
	if (bz->offset >= bz->image->size || bz->image->size - bz->offset <= ENTRY_64)
		return bad(bz, err, "it is truncated: the kernel proper is not in it");
	bz->size = bz->image->size - bz->offset;
	/* In whole paragraphs, of which not every kernel has all of the last one in its file; others have a
	 * signature behind it. */
	if ((uint64_t)get32(h + HDR_SYSSIZE) * PARAGRAPH >= bz->size + PARAGRAPH)
		return cut_off(bz, err);
	bz->pref_address = get64(h + HDR_PREF_ADDRESS);
	bz->init_size = get32(h + HDR_INIT_SIZE);
	bz->alignment = get32(h + HDR_KERNEL_ALIGNMENT);
	bz->relocatable = h[HDR_RELOCATABLE] != 0;
	bz->initrd_max = get32(h + HDR_INITRD_ADDR_MAX);
	bz->cmdline_max = get32(h + HDR_CMDLINE_SIZE);
	if (bz->alignment == 0)
		bz->alignment = 1;
	if ((bz->alignment & (bz->alignment - 1)) != 0 || bz->alignment > ALIGNMENT_MAX)
		return bad(bz, err, "its alignment is no power of two up to 1 GiB");
	return 0;
}

int bzimage_open(struct bzimage *bz, const struct image *image, struct mb_error *err)
{
	*bz = (struct bzimage){.image = image};
	if (image->size < BZIMAGE_HEAD)
		return bad(bz, err, "it is too short to be a kernel");
	int rc = image_read(image, 0, bz->head, sizeof(bz->head), err);
	if (rc != 0)
		return rc;
	return bzimage_is(bz->head) ? take_header(bz, err) : bad(bz, err, "it is no bzImage");
}

/* ---- loading ------------------------------------------------------------------------------------------ */

/* Whether the guest has memory for it there, that is not ours. */
static bool fits(const struct guestmem *mem, uint64_t at, uint64_t size)
{
	return at >= MIB && at < IMAGE_END && size <= IMAGE_END - at && guestmem_hva(mem, at, size) != NULL;
}

int bzimage_load(const struct bzimage *bz, const struct guestmem *mem, struct mb_region *used,
		 struct mb_error *err)
{
	uint64_t size = bz->init_size > bz->size ? bz->init_size : bz->size;
	uint64_t at = bz->pref_address;
	if (!fits(mem, at, size) && bz->relocatable)
		at = (MIB + bz->alignment - 1) & ~(uint64_t)(bz->alignment - 1);
	if (!fits(mem, at, size))
		return error_set(
		    err, -ENOEXEC,
		    "kernel '%s': the %llu bytes that it wants at %#llx do not fit into the guest's "
		    "memory; give the guest more with --memory",
		    bz->image->path, (unsigned long long)size, (unsigned long long)at);
	*used = (struct mb_region){at, size};
	void *hva = guestmem_touch(mem, at, bz->size);
	if (hva == NULL)
		return error_set(err, -ENOMEM, "kernel '%s': the pool has no memory for it", bz->image->path);
	return image_read(bz->image, bz->offset, hva, bz->size, err);
}

/* ---- what it is told ---------------------------------------------------------------------------------- */

static void fill_zero_page(const struct bzimage *bz, const struct boot_facts *facts, uint64_t at,
			   unsigned char zero[ZERO_BYTES])
{
	struct memmap_entry map[MEMMAP_MAX];
	unsigned end = HDR_MAGIC + bz->head[HDR_JUMP];
	if (end > BZIMAGE_HEAD)
		end = BZIMAGE_HEAD;
	memset(zero, 0, ZERO_BYTES);
	memcpy(zero + HDR_SETUP_SECTS, bz->head + HDR_SETUP_SECTS, end - HDR_SETUP_SECTS);
	zero[HDR_TYPE_OF_LOADER] = LOADER_UNDEFINED;
	put32(zero + HDR_CODE32_START, (uint32_t)at);
	put32(zero + HDR_CMD_LINE_PTR, MEMMAP_CMDLINE_GPA);
	put64(zero + ZERO_RSDP, facts->rsdp);
	put32(zero + HDR_RAMDISK_IMAGE, (uint32_t)facts->initrd.gpa);
	put32(zero + HDR_RAMDISK_SIZE, (uint32_t)facts->initrd.size);
	put32(zero + ZERO_EXT_RAMDISK_IMAGE, (uint32_t)(facts->initrd.gpa >> 32));
	put32(zero + ZERO_EXT_RAMDISK_SIZE, (uint32_t)(facts->initrd.size >> 32));
	zero[ZERO_E820_ENTRIES] = (unsigned char)memmap_make(facts->regions, facts->region_count, map);
	for (unsigned i = 0; i < zero[ZERO_E820_ENTRIES]; i++) {
		unsigned char *entry = zero + ZERO_E820_TABLE + i * E820_ENTRY_BYTES;
		put64(entry, map[i].addr);
		put64(entry + 8, map[i].size);
		put32(entry + 16, map[i].type);
	}
}

/* 4 GiB mapped as they are, in pages of 2 MiB: one table of the fourth level, one of the third, four of the
 * second. */
static int write_page_tables(const struct guestmem *mem)
{
	enum { ENTRIES = 512, DIRECTORIES = 4, PAGE = 4096, PRESENT_WRITE = 3, LARGE = 0x80 };
	const uint64_t top = MEMMAP_PAGE_TABLES, middle = top + PAGE, low = middle + PAGE;
	uint64_t table[ENTRIES] = {middle | PRESENT_WRITE};
	_Static_assert(MEMMAP_PAGE_TABLES + (2 + DIRECTORIES) * PAGE <= MEMMAP_TABLES_END, "they have room");
	int rc = guestmem_write(mem, top, table, sizeof(table));
	for (unsigned i = 0; i < DIRECTORIES; i++)
		table[i] = (low + i * PAGE) | PRESENT_WRITE;
	if (rc == 0)
		rc = guestmem_write(mem, middle, table, sizeof(table));
	for (unsigned d = 0; d < DIRECTORIES && rc == 0; d++) {
		for (uint64_t i = 0; i < ENTRIES; i++)
			table[i] = (d * ENTRIES + i) << 21 | LARGE | PRESENT_WRITE;
		rc = guestmem_write(mem, low + d * PAGE, table, sizeof(table));
	}
	return rc;
}

int bzimage_write(const struct bzimage *bz, const struct guestmem *mem, const struct boot_facts *facts,
		  const struct mb_region *used, struct boot_entry *entry, struct mb_error *err)
{
	/* as the protocol wants them: code at 0x10, data at 0x18 */
	static const uint64_t gdt[] = {0, 0, UINT64_C(0x00af9b000000ffff), UINT64_C(0x00cf93000000ffff)};
	unsigned char zero[ZERO_BYTES];
	size_t length = strlen(facts->cmdline);
	if (bz->cmdline_max != 0 && length > bz->cmdline_max)
		return error_set(err, -E2BIG, "--append: the command line has %zu bytes; this kernel takes %u",
				 length, bz->cmdline_max);
	fill_zero_page(bz, facts, used->gpa, zero);
	if (guestmem_write(mem, MEMMAP_ZERO_PAGE, zero, sizeof(zero)) != 0 ||
	    guestmem_write(mem, MEMMAP_GDT, gdt, sizeof(gdt)) != 0 || write_page_tables(mem) != 0)
		return error_set(err, -EFAULT, "the guest's memory is too small for its start information");
	*entry = (struct boot_entry){.wide = true, .rip = used->gpa + ENTRY_64, .info = MEMMAP_ZERO_PAGE};
	return 0;
}
