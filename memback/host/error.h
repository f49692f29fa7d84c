/* SPDX-License-Identifier: MIT */
/*
 * error.h - how the host side says what went wrong: one line with cause and remedy, never printed here.
 */
#ifndef HOST_ERROR_H
#define HOST_ERROR_H

#include <memback/pool.h>

/* Text for a byte count, such as "1.5 GiB" or "4096 bytes". */
struct size_text {
	char text[32];
};
struct size_text host_size(uint64_t bytes);
/* Rounded down to whole GiB, or MiB where that would lose much, such as "21G": as an option takes it. */
struct size_text host_size_to_type(uint64_t bytes);

/*
 * Fills err (may be NULL) with the code and one line; control characters, which a path may hold, become '?'.
 * Returns the code, so that a caller can return it at once.
 */
int host_error(struct mb_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same without a code: a warning. */
void host_warn(struct mb_error *warning, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Adds to a warning, if there is one already. */
void host_warn_more(struct mb_error *warning, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void host_clear(struct mb_error *err);

#endif
