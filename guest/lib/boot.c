/* SPDX-License-Identifier: MIT */
/*
 * boot.c - PVH start info (Xen's public interface hvm/start_info.h, version 1), memory map, command line.
 */
#include "boot.h"

#include "console.h"
#include "machine.h"
#include "text.h"

#define START_MAGIC 0x336ec578
#define MEMMAP_RAM  1
#define CMDLINE_MAX 4096
#define WORDS_MAX   128
#define LOW_END     0x100000

struct start_info {
	uint32_t magic, version, flags, modules;
	uint64_t modlist, cmdline, rsdp;
	uint64_t memmap; /* version 1 and later */
	uint32_t memmap_entries, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

extern uint32_t start_info; /* start.S */
extern char image_end[];    /* guest.ld */

struct boot boot;
static char cmdline[CMDLINE_MAX];
static const char *words[WORDS_MAX];
static unsigned word_count;

static void copy_cmdline(uint64_t gpa)
{
	const char *from = (const char *)(uintptr_t)gpa;
	size_t n = 0;
	bool in_word = false;

	for (; gpa && n < CMDLINE_MAX - 1 && from[n]; n++)
		cmdline[n] = from[n];
	for (char *c = cmdline; *c; c++) {
		bool space = *c == ' ' || *c == '\t' || *c == '\n';

		if (space)
			*c = '\0';
		else if (!in_word && word_count < WORDS_MAX)
			words[word_count++] = c;
		in_word = !space;
	}
}

static void add_range(struct range *ranges, unsigned *count, uint64_t start, uint64_t end)
{
	if (start < end && *count < BOOT_RANGES)
		ranges[(*count)++] = (struct range){start, end};
}

static void add_ram(const struct memmap_entry *e)
{
	uint64_t start = (e->addr + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1),
		 end = (e->addr + e->size) & ~(PAGE_SIZE - 1);
	uint64_t low = ((uint64_t)(uintptr_t)image_end + HUGE_SIZE - 1) & ~(HUGE_SIZE - 1);

	if (e->type != MEMMAP_RAM || e->addr + e->size < e->addr)
		return;
	add_range(boot.ram, &boot.ram_count, start, end);
	/* What is below the image's last 2 MiB stays unused: loader's leftovers, trampoline, image. */
	add_range(boot.free, &boot.free_count, start > low ? start : low, end);
}

void boot_parse(void)
{
	const struct start_info *info = (const struct start_info *)(uintptr_t)start_info;
	const struct memmap_entry *map;

	if (!info || info->magic != START_MAGIC)
		machine_die("boot: no PVH start info at 0x%x", start_info);
	if (info->version < 1 || !info->memmap)
		machine_die("boot: the PVH start info has no memory map (version %u)", info->version);
	map = (const struct memmap_entry *)(uintptr_t)info->memmap;
	for (unsigned i = 0; i < info->memmap_entries; i++)
		add_ram(&map[i]);
	copy_cmdline(info->cmdline);
	if (!boot.free_count)
		machine_die("boot: no memory above the image");
}

void *boot_reserve(uint64_t bytes, uint64_t align)
{
	bytes = (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
	for (unsigned i = 0; i < boot.free_count; i++) {
		struct range *r = &boot.free[i];
		uint64_t at = (r->start + align - 1) & ~(align - 1);

		if (at > r->end || r->end - at < bytes)
			continue;
		r->start = at + bytes;
		return (void *)(uintptr_t)at;
	}
	machine_die("boot: no %lu KiB of memory left to reserve", (unsigned long)(bytes >> 10));
}

bool boot_is_ram(uint64_t gpa, uint64_t len)
{
	for (unsigned i = 0; i < boot.ram_count; i++)
		if (gpa >= boot.ram[i].start && gpa < boot.ram[i].end && len <= boot.ram[i].end - gpa)
			return true;
	return false;
}

uint64_t boot_ram_bytes(void)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < boot.ram_count; i++)
		sum += boot.ram[i].end - boot.ram[i].start;
	return sum;
}

uint64_t boot_ram_end(void)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < boot.ram_count; i++)
		if (boot.ram[i].end > end)
			end = boot.ram[i].end;
	return end;
}

unsigned boot_words(void)
{
	return word_count;
}

const char *boot_word(unsigned n)
{
	return words[n];
}

const char *boot_option_nth(const char *key, unsigned n)
{
	size_t len = strlen(key);

	for (unsigned i = 0; i < word_count; i++) {
		if (strncmp(words[i], key, len) || (words[i][len] && words[i][len] != '='))
			continue;
		if (!n--)
			return words[i][len] ? words[i] + len + 1 : words[i] + len;
	}
	return NULL;
}

const char *boot_option(const char *key)
{
	return boot_option_nth(key, 0);
}

uint64_t boot_option_number(const char *key, uint64_t fallback)
{
	const char *value = boot_option(key);
	uint64_t n = fallback;

	if (value && !text_parse_size(value, &n, NULL))
		machine_die("option %s: '%s' is no number", key, value);
	return n;
}
