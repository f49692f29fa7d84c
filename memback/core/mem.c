/* SPDX-License-Identifier: MIT */
/* mem.c - see mem.h. */
#include "mem.h"

#include <stdint.h>

/* volatile: or the compiler finds that this is memset, and calls it */
void mbc_zero(void *at, size_t len)
{
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
	size_t words = len / 8;

	__asm__ volatile("rep stosq" : "+D"(at), "+c"(words) : "a"(0UL) : "memory");
#else
	volatile uint64_t *word = (volatile uint64_t *)at;

	for (size_t n = 0; n < len / 8; n++)
		word[n] = 0;
#endif
}
