/* SPDX-License-Identifier: MIT */
/*
 * error.h - fills a struct mb_error: one line that names the cause and the remedy.
 */
#ifndef VMM_ERROR_H
#define VMM_ERROR_H

#include <memback/pool.h>

/* Sets err (may be NULL) and returns code, a negative errno. */
int error_set(struct mb_error *err, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* The same for a file that could not be opened: what and its path, the error's text, and what to do about it. */
int error_open(struct mb_error *err, int code, const char *what, const char *path);

#endif
