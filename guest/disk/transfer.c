/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - all of a disk, written or read with several requests in flight, of all sizes.
 */
#include "guest.h"

#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/pattern.h"
#include "lib/text.h"
#include <stddef.h>

#define SECTOR_WORDS 64
#define STALL_MS     60000
#define FNV_START    0xcbf29ce484222325
#define FNV_PRIME    0x100000001b3

/* What is done with a piece of the disk; at: its first sector. */
typedef void piece_fn(struct guest *g, void *arg, uint64_t at, uint64_t *words, uint32_t sectors);

struct sweep {
	uint32_t type;
	piece_fn *before, *after;
	void *arg;
	uint64_t at[BLK_SLOTS];
	uint32_t sectors[BLK_SLOTS];
	uint64_t next, random;
	unsigned flying;
};

static uint64_t *words_of(const struct guest *g, unsigned slot)
{
	return (uint64_t *)(uintptr_t)(g->buffer + slot * BUFFER_BYTES);
}

/* From one block to all that fits, by chance. */
static uint32_t piece_size(const struct guest *g, struct sweep *s)
{
	uint32_t block = g->b->block_size / BLK_SECTOR, most = BUFFER_BYTES / BLK_SECTOR, n;
	uint64_t left = g->b->sectors - s->next;

	s->random = s->random * 6364136223846793005 + 1442695040888963407;
	n = block << (s->random >> 40) % 9;
	n = n > most ? most : n;
	return n > left ? (uint32_t)left : n;
}

static void send_next(struct guest *g, struct sweep *s)
{
	unsigned slot = blk_driver_slot(g->b);

	s->at[slot] = s->next;
	s->sectors[slot] = piece_size(g, s);
	if (s->before)
		s->before(g, s->arg, s->next, words_of(g, slot), s->sectors[slot]);
	blk_driver_send(g->b, slot, s->type, s->next, words_of(g, slot), s->sectors[slot] * BLK_SECTOR,
			s->type == BLK_T_IN);
	s->next += s->sectors[slot];
	s->flying++;
}

static void take_one(struct guest *g, struct sweep *s)
{
	uint64_t deadline = irq_deadline_ms(STALL_MS);
	uint8_t status = BLK_S_NOTHING;
	unsigned slot;

	while ((slot = blk_driver_used(g->b, &status)) == BLK_SLOTS) {
		if (cpu_tsc() > deadline)
			fail(g, "a request is never answered", s->next);
		blk_driver_sleep(g->b, deadline);
	}
	if (status != BLK_S_OK)
		fail(g, s->type == BLK_T_IN ? "a read fails" : "a write fails", s->at[slot]);
	if (s->after)
		s->after(g, s->arg, s->at[slot], words_of(g, slot), s->sectors[slot]);
	s->flying--;
}

/* slots: how many requests may be in flight; with one, the pieces come in order. */
static void sweep(struct guest *g, struct sweep *s, unsigned slots)
{
	s->random = cpu_tsc();
	while (s->next < g->b->sectors || s->flying) {
		if (s->next < g->b->sectors && s->flying < slots)
			send_next(g, s);
		else
			take_one(g, s);
	}
}

static uint64_t seeded(const void *seed, uint64_t sector)
{
	return sector + (*(const uint64_t *)seed << 40);
}

static void fill(struct guest *g, void *arg, uint64_t at, uint64_t *words, uint32_t sectors)
{
	(void)g;
	for (uint32_t s = 0; s < sectors; s++)
		for (unsigned w = 0; w < SECTOR_WORDS; w++)
			*words++ = pattern_word(seeded(arg, at + s), w);
}

static void compare(struct guest *g, void *arg, uint64_t at, uint64_t *words, uint32_t sectors)
{
	for (uint32_t s = 0; s < sectors; s++)
		for (unsigned w = 0; w < SECTOR_WORDS; w++)
			if (*words++ != pattern_word(seeded(arg, at + s), w))
				fail(g, "a sector is not what was written", at + s);
}

static void add(struct guest *g, void *arg, uint64_t at, uint64_t *words, uint32_t sectors)
{
	uint64_t *sum = arg;

	(void)g;
	(void)at;
	for (uint32_t i = 0; i < sectors * SECTOR_WORDS; i++)
		*sum = (*sum ^ words[i]) * FNV_PRIME;
}

void transfer_write(struct guest *g, const char *value)
{
	uint64_t seed = number_of(value, NULL);
	struct sweep s = {.type = BLK_T_OUT, .before = fill, .arg = &seed};

	sweep(g, &s, BLK_SLOTS);
	print("disk: write=%lu: ok\n", (unsigned long)seed);
}

void transfer_verify(struct guest *g, const char *value)
{
	uint64_t seed = number_of(value, NULL);
	struct sweep s = {.type = BLK_T_IN, .after = compare, .arg = &seed};

	sweep(g, &s, BLK_SLOTS);
	print("disk: verify=%lu: ok\n", (unsigned long)seed);
}

void transfer_sum(struct guest *g, const char *value)
{
	uint64_t sum = FNV_START;
	struct sweep s = {.type = BLK_T_IN, .after = add, .arg = &sum};

	(void)value;
	sweep(g, &s, 1);
	print("disk: sum: 0x%016lx: ok\n", (unsigned long)sum);
}
