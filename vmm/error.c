/* SPDX-License-Identifier: MIT */
/* error.c - see error.h. */
#include "error.h"

#include <stdarg.h>
#include <stdio.h>

int error_set(struct mb_error *err, int code, const char *fmt, ...)
{
	va_list args;
	if (err == NULL)
		return code;
	err->code = code;
	va_start(args, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, args);
	va_end(args);
	return code;
}
