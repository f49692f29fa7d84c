/* SPDX-License-Identifier: MIT */
/* mem.c - memory functions, so that the core's objects import nothing. */
#include "mem.h"

#include <stdint.h>

#define MBC_OWN __attribute__((weak, visibility("hidden")))

MBC_OWN void *memset(void *to, int c, size_t len);
MBC_OWN void *memcpy(void *restrict to, const void *restrict from, size_t len);
MBC_OWN void *memmove(void *to, const void *from, size_t len);
MBC_OWN int memcmp(const void *a, const void *b, size_t len);

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

void *memset(void *to, int c, size_t len)
{
	volatile unsigned char *p = (volatile unsigned char *)to;

	while (len--)
		*p++ = (unsigned char)c;
	return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t len)
{
	volatile unsigned char *p = (volatile unsigned char *)to;
	const unsigned char *q = (const unsigned char *)from;

	while (len--)
		*p++ = *q++;
	return to;
}

void *memmove(void *to, const void *from, size_t len)
{
	volatile unsigned char *p = (volatile unsigned char *)to;
	const unsigned char *q = (const unsigned char *)from;

	if ((uintptr_t)to <= (uintptr_t)from)
		return memcpy(to, from, len);
	while (len--)
		p[len] = q[len];
	return to;
}

int memcmp(const void *a, const void *b, size_t len)
{
	const unsigned char *p = (const unsigned char *)a, *q = (const unsigned char *)b;

	for (size_t n = 0; n < len; n++)
		if (p[n] != q[n])
			return p[n] < q[n] ? -1 : 1;
	return 0;
}
