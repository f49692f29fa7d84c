/* SPDX-License-Identifier: MIT */
/*
 * freestanding.c - what a compiler may call by itself, for whoever links the core without a C library.
 *
 * Hosted programs are linked without this file: their C library's functions are faster, and a weak definition
 * in a static library would win against a shared one.
 */
#include <stddef.h>
#include <stdint.h>

#define MBC_OWN __attribute__((weak, visibility("hidden")))

MBC_OWN void *memset(void *to, int c, size_t len);
MBC_OWN void *memcpy(void *restrict to, const void *restrict from, size_t len);
MBC_OWN void *memmove(void *to, const void *from, size_t len);
MBC_OWN int memcmp(const void *a, const void *b, size_t len);

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
