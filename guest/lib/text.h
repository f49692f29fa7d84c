/* SPDX-License-Identifier: MIT */
/*
 * text.h - memory and string functions, and numbers in text. Memory functions are also what compilers call.
 */
#ifndef GUEST_TEXT_H
#define GUEST_TEXT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t n);
void *memmove(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
size_t strlen(const char *s);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t n);

/*
 * Formats into out, always ends it with NUL (size > 0), cuts what is too long, returns the bytes written
 * without the NUL. Knows %s %c %d %u %x %p %%, the length l, the flags 0 and -, a width.
 */
size_t text_format(char *out, size_t size, const char *format, va_list args);

/*
 * Parses an unsigned number in decimal or 0x hex, with an optional suffix K, M, G or T (powers of 1024).
 * end, if not NULL, gets the first character not used; with end NULL all of s has to be used.
 * false: no number, or beyond 64 bits.
 */
bool text_parse_size(const char *s, uint64_t *out, const char **end);

#endif
