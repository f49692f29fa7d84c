/* SPDX-License-Identifier: MIT */
/* memmap.c - see memmap.h. */
#include "machine/memmap.h"

unsigned memmap_make(const struct mb_region *regions, unsigned count, struct memmap_entry out[MEMMAP_MAX])
{
	unsigned n = 0;
	for (unsigned i = 0; i < count && n + 3 <= MEMMAP_MAX; i++) {
		uint64_t start = regions[i].gpa, end = start + regions[i].size;
		if (start == 0 && end > MEMMAP_HOLE_END) {
			out[n++] = (struct memmap_entry){0, MEMMAP_HOLE, E820_RAM};
			out[n++] =
			    (struct memmap_entry){MEMMAP_HOLE, MEMMAP_HOLE_END - MEMMAP_HOLE, E820_RESERVED};
			start = MEMMAP_HOLE_END;
		}
		out[n++] = (struct memmap_entry){start, end - start, E820_RAM};
	}
	return n;
}

static bool overlap(uint64_t a, uint64_t a_end, uint64_t b, uint64_t b_end)
{
	return a < b_end && b < a_end;
}

bool memmap_is_told(uint64_t gpa, uint64_t size)
{
	return overlap(gpa, gpa + size, MEMMAP_INFO_GPA, MEMMAP_CMDLINE_GPA + MEMMAP_CMDLINE_MAX) ||
	       overlap(gpa, gpa + size, MEMMAP_ACPI, MEMMAP_TOLD_END);
}
