/* SPDX-License-Identifier: MIT */
/*
 * mem.h - the core's own memory functions. What a compiler may call by itself (memcpy, memset, memmove,
 * memcmp) is defined in mem.c, weak and hidden: a program's own C library wins nothing and clashes with
 * nothing.
 */
#ifndef MBC_MEM_H
#define MBC_MEM_H

#include <stddef.h>

/* Fills len bytes, a multiple of 8 at an address that is one, with zeros. */
void mbc_zero(void *at, size_t len);

#endif
