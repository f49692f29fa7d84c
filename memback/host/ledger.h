/* SPDX-License-Identifier: MIT */
/*
 * ledger.h - the ledger: for every huge frame its owner, with the owner's generation, and its guest
 * physical address, in one word. Frame and address agree in their low 21 bits, so one word covers 512 pages.
 *
 *   63      62..55   54..31       30..0
 *   valid   owner    generation   gpa >> 21
 *
 * An entry is written by the frame's owner after it took the frame and before anybody may rely on it, and
 * cleared before the frame is freed; so a frame has at most one writer at any time.
 */
#ifndef HOST_LEDGER_H
#define HOST_LEDGER_H

#include "format.h"
#include <stdbool.h>

#define LEDGER_GENERATION_MAX 0xffffffu

typedef _Atomic uint64_t ledger_word;
static_assert(sizeof(ledger_word) == 8, "8 bytes a huge frame, shared between processes");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "64-bit atomics must be lock-free to be shared");

struct ledger_entry {
	bool valid;
	uint32_t owner; /* index into the owners' table; not yet bounds-checked */
	uint32_t generation;
	uint64_t gpa;
};

static inline uint64_t ledger_pack(uint32_t owner, uint32_t generation, uint64_t gpa)
{
	return UINT64_C(1) << 63 | (uint64_t)(owner & 0xff) << 55 | (uint64_t)(generation & 0xffffff) << 31 |
	       (gpa >> HUGE_SHIFT & 0x7fffffff);
}
static_assert((GPA_END - 1) >> HUGE_SHIFT == 0x7fffffff, "31 bits hold every huge frame's address");

static inline struct ledger_entry ledger_unpack(uint64_t word)
{
	return (struct ledger_entry){
	    .valid = word >> 63,
	    .owner = word >> 55 & 0xff,
	    .generation = word >> 31 & 0xffffff,
	    .gpa = (word & 0x7fffffff) << HUGE_SHIFT,
	};
}

/* The word for a base frame; the caller has checked that the frame is in the pool. */
static inline ledger_word *ledger_at(ledger_word *ledger, uint64_t frame)
{
	return &ledger[frame >> (HUGE_SHIFT - BASE_SHIFT)];
}

#endif
