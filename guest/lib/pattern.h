/* SPDX-License-Identifier: MIT */
/*
 * pattern.h - what the guests write into their pages, so that a page that was lost, doubled, misplaced or
 * brought back from the dead shows: each word depends on the page's number and on its own place.
 */
#ifndef GUEST_PATTERN_H
#define GUEST_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#define PATTERN_WORDS 512 /* in a page */

static inline uint64_t pattern_word(uint64_t page, unsigned word)
{
	return (page + 1) * 0x9e3779b97f4a7c15 + word * 0xbf58476d1ce4e5b9;
}

static inline volatile uint64_t *pattern_page(uint64_t page)
{
	return (volatile uint64_t *)(uintptr_t)(page << 12);
}

static inline void pattern_fill(uint64_t page)
{
	uint64_t *words = (uint64_t *)(uintptr_t)(page << 12), value = pattern_word(page, 0);

	for (unsigned i = 0; i < PATTERN_WORDS; i++, value += 0xbf58476d1ce4e5b9)
		words[i] = value;
}

/* The first word that is not as it should be, or -1. */
static inline int pattern_check(uint64_t page)
{
	const uint64_t *words = (const uint64_t *)(uintptr_t)(page << 12);
	uint64_t value = pattern_word(page, 0), differ = 0;

	for (unsigned i = 0; i < PATTERN_WORDS; i++, value += 0xbf58476d1ce4e5b9)
		differ |= words[i] ^ value;
	for (unsigned i = 0; differ && i < PATTERN_WORDS; i++)
		if (words[i] != pattern_word(page, i))
			return (int)i;
	return -1;
}

/* The first word that is not zero, or -1. */
static inline int pattern_check_zero(uint64_t page)
{
	const uint64_t *words = (const uint64_t *)(uintptr_t)(page << 12);

	for (unsigned i = 0; i < PATTERN_WORDS; i++)
		if (words[i])
			return (int)i;
	return -1;
}

#endif
