/* SPDX-License-Identifier: MIT */
/* pvh.c - see pvh.h. */
#include "machine/pvh.h"

#include "error.h"

#include <errno.h>
#include <string.h>

#define START_MAGIC   0x336ec578u
#define E820_RAM      1
#define E820_RESERVED 2
#define MAP_MAX       34

/* The legacy hole that every x86 kernel leaves alone: no RAM is announced in it. */
#define LEGACY_HOLE     UINT64_C(0x9f000)
#define LEGACY_HOLE_END UINT64_C(0x100000)

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

struct map_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};
_Static_assert(sizeof(struct map_entry) == 24, "as the ABI has it");
_Static_assert(PVH_INFO_GPA + sizeof(struct start_info) + MAP_MAX * sizeof(struct map_entry) <= PVH_CMDLINE_GPA,
	       "start info, map and command line do not overlap");

static unsigned make_map(struct map_entry *map, const struct mb_region *regions, unsigned count)
{
	unsigned n = 0;
	for (unsigned i = 0; i < count && n + 3 <= MAP_MAX; i++) {
		uint64_t start = regions[i].gpa, end = start + regions[i].size;
		if (start == 0 && end > LEGACY_HOLE_END) {
			map[n++] = (struct map_entry){0, LEGACY_HOLE, E820_RAM, 0};
			map[n++] =
			    (struct map_entry){LEGACY_HOLE, LEGACY_HOLE_END - LEGACY_HOLE, E820_RESERVED, 0};
			start = LEGACY_HOLE_END;
		}
		map[n++] = (struct map_entry){start, end - start, E820_RAM, 0};
	}
	return n;
}

int pvh_write(const struct guestmem *mem, const struct mb_region *regions, unsigned count, const char *cmdline,
	      struct mb_error *err)
{
	struct map_entry map[MAP_MAX];
	unsigned entries = make_map(map, regions, count);
	size_t length = strlen(cmdline) + 1;
	if (length > PVH_CMDLINE_MAX)
		return error_set(err, -E2BIG, "--append: the command line has %zu bytes; at most %d fit",
				 length, PVH_CMDLINE_MAX);
	struct start_info info = {
	    .magic = START_MAGIC,
	    .version = 1,
	    .cmdline_paddr = PVH_CMDLINE_GPA,
	    .memmap_paddr = PVH_INFO_GPA + sizeof(info),
	    .memmap_entries = entries,
	};
	if (guestmem_write(mem, PVH_INFO_GPA, &info, sizeof(info)) != 0 ||
	    guestmem_write(mem, info.memmap_paddr, map, entries * sizeof(map[0])) != 0 ||
	    guestmem_write(mem, PVH_CMDLINE_GPA, cmdline, length) != 0)
		return error_set(err, -EFAULT, "the guest's memory is too small for its start information");
	return 0;
}
