/* SPDX-License-Identifier: MIT */
/*
 * pageset.c - a set of page numbers: a bitmap with summaries, see pageset.h.
 *
 * Invariants: bit i of map[n + 1] is set if and only if map[n][i] != 0; the top level is one word; count is
 * the number of bits in map[0].
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/pageset.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define NONE UINT64_MAX

static unsigned bits_of(uint64_t word)
{
	return (unsigned)__builtin_popcountll(word);
}

/* Bits [from, to) of a word; from < to <= 64. */
static uint64_t mask_of(unsigned from, unsigned to)
{
	return (UINT64_MAX << from) & (UINT64_MAX >> (64 - to));
}

int pageset_init(struct pageset *set, uint64_t limit)
{
	uint64_t n = limit, total = 0, *p;

	memset(set, 0, sizeof(*set));
	if (!limit || limit > UINT64_C(1) << (6 * PAGESET_LEVELS))
		return -EINVAL;
	do {
		n = (n + 63) / 64;
		set->words[set->levels++] = n;
		total += n;
	} while (n > 1);
	set->bytes = total * sizeof(uint64_t);
	p = mmap(NULL, set->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		memset(set, 0, sizeof(*set));
		return -ENOMEM;
	}
	set->limit = limit;
	for (unsigned l = 0; l < set->levels; l++) {
		set->map[l] = p;
		p += set->words[l];
	}
	return 0;
}

void pageset_free(struct pageset *set)
{
	if (set->bytes)
		munmap(set->map[0], set->bytes);
	memset(set, 0, sizeof(*set));
}

static void summary_set(struct pageset *set, uint64_t word)
{
	for (unsigned l = 1; l < set->levels; l++) {
		uint64_t *w = &set->map[l][word / 64], old = *w;

		*w = old | UINT64_C(1) << (word % 64);
		if (old)
			return;
		word /= 64;
	}
}

static void summary_clear(struct pageset *set, uint64_t word)
{
	for (unsigned l = 1; l < set->levels; l++) {
		uint64_t *w = &set->map[l][word / 64];

		*w &= ~(UINT64_C(1) << (word % 64));
		if (*w)
			return;
		word /= 64;
	}
}

uint64_t pageset_add(struct pageset *set, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, before = set->count;

	while (first < end) {
		uint64_t word = first / 64, stop = (word + 1) * 64 < end ? (word + 1) * 64 : end;
		uint64_t mask = mask_of(first % 64, (unsigned)(stop - word * 64));
		uint64_t old = set->map[0][word];

		set->map[0][word] = old | mask;
		if (!old) {
			summary_set(set, word);
			set->count += stop - first;
		} else {
			set->count += bits_of(mask & ~old);
		}
		first = stop;
	}
	return set->count - before;
}

uint64_t pageset_remove(struct pageset *set, uint64_t first, uint64_t count)
{
	uint64_t end = first + count, before = set->count;

	while (first < end && set->count) {
		uint64_t word = first / 64, stop = (word + 1) * 64 < end ? (word + 1) * 64 : end;
		uint64_t mask = mask_of(first % 64, (unsigned)(stop - word * 64));
		uint64_t old = set->map[0][word];

		if (old & mask) {
			set->map[0][word] = old & ~mask;
			set->count -= bits_of(old & mask);
			if (!(old & ~mask))
				summary_clear(set, word);
		}
		first = stop;
	}
	return before - set->count;
}

/* The first member at or after from. */
static uint64_t next_member(const struct pageset *set, uint64_t from)
{
	uint64_t i = from; /* index of a bit of level l */
	unsigned l = 0;

	for (;;) {
		uint64_t word = i / 64, bits;

		if (word >= set->words[l])
			return NONE;
		bits = set->map[l][word] & UINT64_MAX << (i % 64);
		if (bits) {
			i = word * 64 + (unsigned)__builtin_ctzll(bits);
			break;
		}
		if (++l == set->levels)
			return NONE;
		i = word + 1;
	}
	while (l)
		i = i * 64 + (unsigned)__builtin_ctzll(set->map[--l][i]);
	return i;
}

/* The first number at or after from, but not beyond end, that is no member. */
static uint64_t next_stranger(const struct pageset *set, uint64_t from, uint64_t end)
{
	while (from < end) {
		uint64_t bits = ~set->map[0][from / 64] & UINT64_MAX << (from % 64);

		if (bits) {
			from = from / 64 * 64 + (unsigned)__builtin_ctzll(bits);
			break;
		}
		from = (from / 64 + 1) * 64;
	}
	return from < end ? from : end;
}

bool pageset_next(const struct pageset *set, uint64_t from, uint64_t end, uint64_t *first, uint64_t *count)
{
	uint64_t i;

	if (!set->count || from >= end)
		return false;
	i = next_member(set, from);
	if (i >= end)
		return false;
	*first = i;
	*count = next_stranger(set, i, end) - i;
	return true;
}

void pageset_clear(struct pageset *set)
{
	uint64_t first = 0, count;

	while (pageset_next(set, first, set->limit, &first, &count)) {
		pageset_remove(set, first, count);
		first += count;
	}
}

void pageset_move(struct pageset *set, struct pageset *from)
{
	uint64_t first = 0, count;
	struct pageset empty;

	if (!set->count) {
		empty = *set;
		*set = *from;
		*from = empty;
		return;
	}
	while (pageset_next(from, first, from->limit, &first, &count)) {
		pageset_add(set, first, count);
		pageset_remove(from, first, count);
		first += count;
	}
}
