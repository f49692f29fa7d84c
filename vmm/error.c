/* SPDX-License-Identifier: MIT */
/* error.c - see error.h. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

static const char *remedy(int code)
{
	switch (code) {
	case -ENOENT:
	case -ENOTDIR:
		return "check the path";
	case -EACCES:
	case -EPERM:
		return "check the permissions of the file and of its directories";
	case -EISDIR:
		return "name a file, not a directory";
	case -EROFS:
		return "choose a file system that can be written";
	case -EMFILE:
		return "raise `ulimit -n`";
	default:
		return "name another file";
	}
}

int error_open(struct mb_error *err, int code, const char *what, const char *path)
{
	return error_set(err, code, "%s '%s': %s; %s", what, path, strerror(-code), remedy(code));
}
