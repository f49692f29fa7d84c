/* SPDX-License-Identifier: MIT */
/*
 * size.h - sizes in bytes, as people write and read them. Thread-safe.
 */
#ifndef VMM_SIZE_H
#define VMM_SIZE_H

#include <stdint.h>

/*
 * Reads "4096", "512M", "1.5G", "2T", "64KiB", "10 MiB", "3MB": units are powers of 1024, in either case;
 * -EINVAL: no size; -ERANGE: more than 2^64 - 1 bytes; -EDOM: the fraction is no whole number of bytes. *out
 * changes on success only.
 */
int size_parse(const char *text, uint64_t *out);

/* "0 B", "4 KiB", "1.5 GiB"; what is no short fraction of a unit gets two decimals. Returns buf. */
#define SIZE_TEXT 32
const char *size_format(uint64_t bytes, char buf[SIZE_TEXT]);
/* The same bytes when size_parse() reads it, in the largest unit of which they are a whole number: "7323G". */
const char *size_exact(uint64_t bytes, char buf[SIZE_TEXT]);

#endif
