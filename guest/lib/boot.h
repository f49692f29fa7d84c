/* SPDX-License-Identifier: MIT */
/*
 * boot.h - what the loader said (PVH start info): the memory map and the command line.
 */
#ifndef GUEST_BOOT_H
#define GUEST_BOOT_H

#include <stdbool.h>
#include <stdint.h>

#define PAGE_SHIFT 12
#define PAGE_SIZE  4096ull
#define HUGE_SIZE  (2ull << 20)
#define GIANT_SIZE (1ull << 30)

/* [start, end) in guest physical addresses. */
struct range {
	uint64_t start, end;
};

#define BOOT_RANGES 16

struct boot {
	struct range ram[BOOT_RANGES]; /* all RAM, page-aligned, as the loader says it */
	unsigned ram_count;
	struct range free[BOOT_RANGES]; /* what is neither below 1 MiB, nor image, nor reserved */
	unsigned free_count;
};

extern struct boot boot;

/* Copies what is needed out of the loader's memory. Ends the VM when there is no valid start info. */
void boot_parse(void);

/*
 * Takes memory (zero, if the loader left it so) away from boot.free for good, lowest first. Only before the
 * guest gives boot.free to an allocator. Ends the VM when there is not enough.
 */
void *boot_reserve(uint64_t bytes, uint64_t align);

/* Is all of [gpa, gpa + len) RAM? */
bool boot_is_ram(uint64_t gpa, uint64_t len);
/* Bytes of RAM in all. */
uint64_t boot_ram_bytes(void);
/* The end of the highest RAM. */
uint64_t boot_ram_end(void);

/*
 * Options of the command line, words of the form key or key=value. The value of the first such word, or
 * NULL; of a bare key, "". The string ends with the word (at a NUL).
 */
const char *boot_option(const char *key);
/* The same for numbers; fallback if the word is not there. A value that is no number ends the VM. */
uint64_t boot_option_number(const char *key, uint64_t fallback);
/* The word number n of this key, for keys that occur several times; NULL: none left. */
const char *boot_option_nth(const char *key, unsigned n);
/* Number of words, and word number n. */
unsigned boot_words(void);
const char *boot_word(unsigned n);

#endif
