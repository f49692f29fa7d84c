/* SPDX-License-Identifier: MIT */
/* reference.c - the literal protocol. */
#include "reference.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum ref_state {
	REF_RANGE,  /* all free, no bitmap */
	REF_LOCKED, /* being made a bitmap, or a range again */
	REF_BITMAP,
};

struct ref_block {
	uint64_t base;
	uint32_t frames;
	_Atomic uint32_t free;
	_Atomic uint32_t state; /* enum ref_state */
	unsigned char spare[108];
	_Atomic unsigned char bitmap[4096 - 128]; /* a set bit: free */
};

_Static_assert(sizeof(struct ref_block) == 4096, "a block is a page");

struct ref {
	uint64_t frames;
	uint32_t blocks;
	_Atomic uint32_t first; /* the list begins here: where something was found last */
	struct ref_block *block;
};

struct ref *ref_create(uint64_t frames)
{
	struct ref *ref = calloc(1, sizeof(*ref));

	if (!ref)
		return NULL;
	ref->frames = frames;
	ref->blocks = (uint32_t)((frames + REF_BLOCK_FRAMES - 1) / REF_BLOCK_FRAMES);
	ref->block = aligned_alloc(4096, (size_t)ref->blocks * sizeof(*ref->block));
	if (!ref->block) {
		free(ref);
		return NULL;
	}
	memset(ref->block, 0, (size_t)ref->blocks * sizeof(*ref->block));
	for (uint32_t b = 0; b < ref->blocks; b++) {
		struct ref_block *block = &ref->block[b];
		uint64_t left = frames - (uint64_t)b * REF_BLOCK_FRAMES;

		block->base = (uint64_t)b * REF_BLOCK_FRAMES;
		block->frames = left < REF_BLOCK_FRAMES ? (uint32_t)left : REF_BLOCK_FRAMES;
		block->free = block->frames;
	}
	return ref;
}

void ref_destroy(struct ref *ref)
{
	free(ref->block);
	free(ref);
}

uint64_t ref_next_bit(uint64_t bit)
{
	return ((bit >> 3) + 1) << 3;
}

/* The one section that behaves like a lock: everybody else goes elsewhere meanwhile. */
static bool decompress(struct ref_block *block)
{
	uint32_t range = REF_RANGE;

	if (!atomic_compare_exchange_strong(&block->state, &range, REF_LOCKED))
		return range == REF_BITMAP;
	for (uint32_t n = 0; n < block->frames / 8; n++)
		atomic_store_explicit(&block->bitmap[n], 0xff, memory_order_relaxed);
	if (block->frames % 8)
		block->bitmap[block->frames / 8] = (unsigned char)((1u << block->frames % 8) - 1);
	atomic_store(&block->state, REF_BITMAP);
	return true;
}

static int take_first(struct ref_block *block, uint64_t *frame)
{
	uint64_t bit = 0;

	while (bit < block->frames) {
		_Atomic unsigned char *byte = &block->bitmap[bit >> 3];
		unsigned char v = atomic_load_explicit(byte, memory_order_relaxed);
		unsigned n;

		if (!v) {
			bit = ref_next_bit(bit);
			continue;
		}
		n = (unsigned)__builtin_ctz(v);
		if (atomic_compare_exchange_strong(byte, &v, (unsigned char)(v & (v - 1u)))) {
			atomic_fetch_sub(&block->free, 1);
			*frame = block->base + (bit & ~UINT64_C(7)) + n;
			return 0;
		}
		bit = ref_next_bit(bit);
	}
	return -ENOMEM;
}

int ref_alloc(struct ref *ref, uint64_t *frame)
{
	uint32_t first = atomic_load_explicit(&ref->first, memory_order_relaxed);

	for (uint32_t n = 0; n < ref->blocks; n++) {
		uint32_t b = (first + n) % ref->blocks;
		struct ref_block *block = &ref->block[b];

		if (!atomic_load(&block->free) || !decompress(block))
			continue;
		if (take_first(block, frame) == 0) {
			if (b != first)
				atomic_store_explicit(&ref->first, b, memory_order_relaxed);
			return 0;
		}
	}
	return -ENOMEM;
}

int ref_take(struct ref *ref, uint64_t frame)
{
	struct ref_block *block;
	uint64_t bit;
	unsigned char mask, v;

	if (frame >= ref->frames)
		return -ERANGE;
	block = &ref->block[frame / REF_BLOCK_FRAMES];
	bit = frame - block->base;
	mask = (unsigned char)(1u << (bit & 7));
	while (!decompress(block))
		;
	v = atomic_load(&block->bitmap[bit >> 3]);
	while (v & mask)
		if (atomic_compare_exchange_strong(&block->bitmap[bit >> 3], &v, (unsigned char)(v & ~mask))) {
			atomic_fetch_sub(&block->free, 1);
			return 0;
		}
	return -EBUSY;
}

/* All is free: a range again. Only sequential callers get here with nobody else in the block. */
static void compress(struct ref_block *block)
{
	uint32_t bitmap = REF_BITMAP;

	if (atomic_compare_exchange_strong(&block->state, &bitmap, REF_LOCKED))
		atomic_store(&block->state, REF_RANGE);
}

int ref_free(struct ref *ref, uint64_t frame)
{
	struct ref_block *block;
	uint64_t bit;
	unsigned char mask, v;

	if (frame >= ref->frames)
		return -ERANGE;
	block = &ref->block[frame / REF_BLOCK_FRAMES];
	bit = frame - block->base;
	mask = (unsigned char)(1u << (bit & 7));
	if (atomic_load(&block->state) == REF_RANGE)
		return -EALREADY;
	v = atomic_load_explicit(&block->bitmap[bit >> 3], memory_order_relaxed);
	do {
		if (v & mask)
			return -EALREADY;
	} while (!atomic_compare_exchange_strong(&block->bitmap[bit >> 3], &v, (unsigned char)(v | mask)));
	if (atomic_fetch_add(&block->free, 1) + 1 == block->frames)
		compress(block);
	return 0;
}

uint64_t ref_count_free(const struct ref *ref)
{
	uint64_t free = 0;

	for (uint32_t b = 0; b < ref->blocks; b++)
		free += atomic_load(&ref->block[b].free);
	return free;
}

uint64_t ref_count_bitmaps(const struct ref *ref)
{
	uint64_t n = 0;

	for (uint32_t b = 0; b < ref->blocks; b++)
		n += atomic_load(&ref->block[b].state) == REF_BITMAP;
	return n;
}
