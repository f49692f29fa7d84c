/* SPDX-License-Identifier: MIT */
/*
 * paging.c - four-level page tables, filled on demand.
 *
 * A page directory is complete before it is linked into the tables: hosts that shadow page tables trap on
 * each write to a table in use, and let writes to other memory pass at full speed. Accessed and dirty are
 * set in advance for the same reason.
 */
#include "paging.h"

#include "boot.h"
#include "cpu.h"
#include "machine.h"
#include "text.h"
#include <platform.h>
#include <stddef.h>

#define ENTRIES      512
#define TABLE        0x067 /* present, writable, user, accessed, dirty */
#define PAGE         0x067
#define HUGE         0x0e7 /* and 2 MiB */
#define UNCACHED     0x018
#define ADDRESS      0x000ffffffffff000ull
#define EXTRA_TABLES 16 /* for paging_map_anyway() */

static uint64_t *root;
static uint64_t *next_table, *end_of_tables;  /* zeroed pages to take from */
static uint64_t *spare_tables, *end_of_spare; /* those of paging_add(), for when they are used up */
static struct range added;
static struct cpu_lock table_lock;

static uint64_t *take_table(void)
{
	uint64_t *table = next_table;

	if (table == end_of_tables && spare_tables) {
		table = spare_tables;
		end_of_tables = end_of_spare;
		spare_tables = NULL;
	}
	if (table == end_of_tables)
		machine_die("paging: no page left for page tables");
	next_table = table + ENTRIES;
	memset(table, 0, PAGE_SIZE);
	return table;
}

static uint64_t *table_of(uint64_t entry)
{
	return (uint64_t *)(uintptr_t)(entry & ADDRESS);
}

/* One 2 MiB entry: RAM (wholly or partly), device registers, or nothing. */
static uint64_t entry_for(uint64_t gpa, bool anyway)
{
	if (gpa >= PLATFORM_HOLE_START && gpa < PLATFORM_HOLE_END)
		return gpa | HUGE | UNCACHED;
	for (unsigned i = 0; i < boot.ram_count; i++)
		if (boot.ram[i].start < gpa + HUGE_SIZE && boot.ram[i].end > gpa)
			return gpa | HUGE;
	if (gpa >= added.start && gpa < added.end)
		return gpa | HUGE;
	return anyway ? gpa | HUGE : 0;
}

static void fill_directory(uint64_t *directory, uint64_t gpa, bool anyway)
{
	for (unsigned i = 0; i < ENTRIES; i++, gpa += HUGE_SIZE)
		if (!directory[i])
			directory[i] = entry_for(gpa, anyway);
}

/* The directory of this GiB, or NULL. */
static uint64_t *find_directory(uint64_t address)
{
	uint64_t top = root[address >> 39 & (ENTRIES - 1)], giant;

	if (!top)
		return NULL;
	giant = table_of(top)[address >> 30 & (ENTRIES - 1)];
	return giant ? table_of(giant) : NULL;
}

static void link_directory(uint64_t address, uint64_t *directory)
{
	uint64_t *top = &root[address >> 39 & (ENTRIES - 1)];

	if (!*top)
		*top = (uint64_t)(uintptr_t)take_table() | TABLE;
	table_of(*top)[address >> 30 & (ENTRIES - 1)] = (uint64_t)(uintptr_t)directory | TABLE;
}

static void map_giant(uint64_t address, bool anyway)
{
	uint64_t *directory = find_directory(address);

	if (directory) {
		fill_directory(directory, address & ~(GIANT_SIZE - 1), anyway);
		return;
	}
	directory = take_table();
	fill_directory(directory, address & ~(GIANT_SIZE - 1), anyway);
	link_directory(address, directory);
}

bool paging_fault(uint64_t address)
{
	uint64_t *directory;
	bool mapped;

	if (address >> 47 || address < PAGE_SIZE || !entry_for(address & ~(HUGE_SIZE - 1), false))
		return false;
	cpu_lock(&table_lock);
	/* Another CPU may have been faster; then the access just runs again. */
	directory = find_directory(address);
	mapped = directory && directory[address >> 21 & (ENTRIES - 1)];
	if (!mapped)
		map_giant(address, false);
	cpu_unlock(&table_lock);
	return true;
}

void paging_map_anyway(uint64_t address)
{
	cpu_lock(&table_lock);
	map_giant(address, true);
	cpu_unlock(&table_lock);
}

void paging_add(uint64_t gpa, uint64_t bytes)
{
	uint64_t tables = (bytes >> 30) + 2 + (bytes >> 39) + 2;

	spare_tables = boot_reserve(tables * PAGE_SIZE, PAGE_SIZE);
	end_of_spare = spare_tables + tables * ENTRIES;
	added = (struct range){gpa, gpa + bytes};
}

/* The first GiB, with the first 2 MiB by pages, so that page 0 can be left out and null pointers trap. */
static void map_first_giant(void)
{
	uint64_t *pages = take_table(), *directory = take_table();

	for (unsigned i = 1; i < ENTRIES; i++)
		pages[i] = i * PAGE_SIZE | PAGE;
	directory[0] = (uint64_t)(uintptr_t)pages | TABLE;
	fill_directory(directory, 0, false);
	link_directory(0, directory);
}

void paging_init(void)
{
	extern uint32_t start_cr3; /* start.S: where further CPUs find the page tables */
	uint64_t end = boot_ram_end();
	uint64_t tables = 2 + (end >> 39) + 1 + (end >> 30) + 4 + EXTRA_TABLES;

	next_table = boot_reserve(tables * PAGE_SIZE, PAGE_SIZE);
	end_of_tables = next_table + tables * ENTRIES;
	root = take_table();
	map_first_giant();
	map_giant(PLATFORM_VIRTIO_BASE, false);
	start_cr3 = (uint32_t)(uintptr_t)root;
	cpu_call0(cpl0_write_cr3, (uint64_t)(uintptr_t)root, 0);
}
