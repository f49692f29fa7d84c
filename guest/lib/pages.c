/* SPDX-License-Identifier: MIT */
/*
 * pages.c - the guest's free pages in a plain bitmap.
 */
#include "pages.h"

#include "boot.h"
#include "machine.h"

#define WORD 64

static uint64_t *bitmap;       /* bit set: free */
static uint64_t words, cursor; /* in words; nothing is known to be free below the cursor */
static uint64_t free_count, total;

static bool is_free(uint64_t page)
{
	return page / WORD < words && bitmap[page / WORD] >> page % WORD & 1;
}

void pages_give(uint64_t first, uint64_t count)
{
	for (uint64_t page = first; page < first + count; page++) {
		if (is_free(page))
			machine_die("pages: page 0x%lx is free already", page);
		bitmap[page / WORD] |= (uint64_t)1 << page % WORD;
	}
	free_count += count;
	if (first / WORD < cursor)
		cursor = first / WORD;
}

void pages_init(void)
{
	words = boot_ram_end() / PAGE_SIZE / WORD + 1;
	bitmap = boot_reserve(words * sizeof(*bitmap), PAGE_SIZE);
	cursor = words;
	for (unsigned i = 0; i < boot.free_count; i++)
		pages_give(boot.free[i].start / PAGE_SIZE, (boot.free[i].end - boot.free[i].start) / PAGE_SIZE);
	total = free_count;
}

uint64_t pages_free(void)
{
	return free_count;
}

uint64_t pages_total(void)
{
	return total;
}

static uint64_t take_huge(void)
{
	unsigned step = PAGES_HUGE / WORD;

	for (uint64_t w = cursor & ~(uint64_t)(step - 1); w + step <= words; w += step) {
		uint64_t all = ~(uint64_t)0;

		for (unsigned i = 0; i < step; i++)
			all &= bitmap[w + i];
		if (~all)
			continue;
		for (unsigned i = 0; i < step; i++)
			bitmap[w + i] = 0;
		free_count -= PAGES_HUGE;
		return w * WORD;
	}
	return PAGES_NONE;
}

bool pages_take_at(uint64_t page)
{
	if (!is_free(page))
		return false;
	bitmap[page / WORD] &= ~((uint64_t)1 << page % WORD);
	free_count--;
	return true;
}

uint64_t pages_take(bool huge)
{
	while (cursor < words && !bitmap[cursor])
		cursor++;
	if (huge)
		return take_huge();
	if (cursor < words) {
		uint64_t page = cursor * WORD + (unsigned)__builtin_ctzll(bitmap[cursor]);

		pages_take_at(page);
		return page;
	}
	return PAGES_NONE;
}

bool pages_next_free(uint64_t from, struct pages_run *out)
{
	uint64_t page = from, end;

	while (page / WORD < words && !is_free(page))
		page = bitmap[page / WORD] ? page + 1 : (page / WORD + 1) * WORD;
	if (page / WORD >= words)
		return false;
	for (end = page; end < page + PAGES_HUGE && is_free(end);)
		end++;
	*out = (struct pages_run){page, end - page};
	return true;
}
