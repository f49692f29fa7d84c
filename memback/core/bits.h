/* SPDX-License-Identifier: MIT */
/* bits.h - bits of words, and two numbers at once: no instruction beyond plain x86-64, no library. */
#ifndef MBC_BITS_H
#define MBC_BITS_H

#include <stdint.h>

#define MBC_WORD_BITS 64u
#define MBC_FULL      UINT64_MAX /* a word whose frames are all free */

static inline unsigned mbc_lowest(uint64_t v) /* v != 0 */
{
	return (unsigned)__builtin_ctzll(v);
}

/* The same as 64 bits; the builtin's int would have to be extended, on the shortest path that there is. */
static inline uint64_t mbc_lowest64(uint64_t v) /* v != 0 */
{
#if defined(__x86_64__)
	uint64_t n;

	__asm__("rep bsfq %1, %0" : "=r"(n) : "rm"(v) : "cc");
	return n;
#else
	return (uint64_t)__builtin_ctzll(v);
#endif
}

static inline unsigned mbc_popcount(uint64_t v)
{
	v -= (v >> 1) & UINT64_C(0x5555555555555555);
	v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
	v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)((v * UINT64_C(0x0101010101010101)) >> 56);
}

/* Bits [first, first + count), first < 64, first + count <= 64. */
static inline uint64_t mbc_mask(unsigned first, unsigned count)
{
	return count >= 64 ? MBC_FULL : ((UINT64_C(1) << count) - 1) << first;
}

/* The lowest bits of v, at most n of them. */
static inline uint64_t mbc_lowest_bits(uint64_t v, unsigned n)
{
	uint64_t rest = v;

	if (n >= MBC_WORD_BITS)
		return v;
	while (rest && n--)
		rest &= rest - 1;
	return v ^ rest;
}

/* Two numbers at once; the compiler takes two registers where there are none of that width. */
typedef uint64_t mbc_two __attribute__((vector_size(16)));
typedef uint64_t mbc_two_anywhere __attribute__((vector_size(16), aligned(8), may_alias));

/* Those at an address; no function, which could not return them where there are no such registers. */
#define MBC_TWO_AT(address) (*(mbc_two_anywhere *)(address))
#define MBC_TWO_OF(address) (*(const mbc_two_anywhere *)(address))

static inline uint64_t mbc_min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

#endif
