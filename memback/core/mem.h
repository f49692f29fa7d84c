/* SPDX-License-Identifier: MIT */
/*
 * mem.h - the core's own memory functions; it calls no library's. What a compiler may call by itself
 * (memcpy, memset, memmove, memcmp) is defined in freestanding.c, for programs without a C library.
 */
#ifndef MBC_MEM_H
#define MBC_MEM_H

#include <stddef.h>

/* Fills len bytes, a multiple of 8 at an address that is one, with zeros. */
void mbc_zero(void *at, size_t len);

#endif
