/* SPDX-License-Identifier: MIT */
/* pvh.c - see pvh.h. */
#include "machine/pvh.h"

#include "error.h"

#include <errno.h>

#define START_MAGIC 0x336ec578u

struct start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "as the ABI has it");

struct module {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};
_Static_assert(sizeof(struct module) == 32, "as the ABI has it");

struct map_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};
_Static_assert(sizeof(struct map_entry) == 24, "as the ABI has it");

/* All that the ABI has us write but the command line, in one piece. */
struct page {
	struct start_info info;
	struct module initrd;
	struct map_entry map[MEMMAP_MAX];
};
_Static_assert(PVH_INFO_GPA + sizeof(struct page) <= MEMMAP_CMDLINE_GPA,
	       "start info, map and command line do not overlap");

int pvh_write(const struct guestmem *mem, const struct boot_facts *facts, struct mb_error *err)
{
	struct memmap_entry map[MEMMAP_MAX];
	struct page page = {
	    .info = {.magic = START_MAGIC,
		     .version = 1,
		     .cmdline_paddr = MEMMAP_CMDLINE_GPA,
		     .rsdp_paddr = facts->rsdp,
		     .memmap_paddr = PVH_INFO_GPA + offsetof(struct page, map)},
	    .initrd = {.paddr = facts->initrd.gpa, .size = facts->initrd.size},
	};
	page.info.memmap_entries = memmap_make(facts->regions, facts->region_count, map);
	for (unsigned i = 0; i < page.info.memmap_entries; i++)
		page.map[i] = (struct map_entry){map[i].addr, map[i].size, map[i].type, 0};
	if (facts->initrd.size > 0) {
		page.info.nr_modules = 1;
		page.info.modlist_paddr = PVH_INFO_GPA + offsetof(struct page, initrd);
	}
	if (guestmem_write(mem, PVH_INFO_GPA, &page, sizeof(page)) != 0)
		return error_set(err, -EFAULT, "the guest's memory is too small for its start information");
	return 0;
}
