/* SPDX-License-Identifier: MIT */
/* error.c - error texts of the host side, and sizes in words. */
#include "error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

struct size_text host_size(uint64_t bytes)
{
	static const char *const unit[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	struct size_text out;
	int u = -1;
	uint64_t scale = 1;

	while (u < 5 && bytes / scale >= 1024) {
		scale *= 1024;
		u++;
	}
	if (u < 0)
		snprintf(out.text, sizeof(out.text), "%" PRIu64 " bytes", bytes);
	else if (bytes % scale == 0)
		snprintf(out.text, sizeof(out.text), "%" PRIu64 " %s", bytes / scale, unit[u]);
	else
		snprintf(out.text, sizeof(out.text), "%.2f %s", (double)bytes / (double)scale, unit[u]);
	return out;
}

struct size_text host_size_to_type(uint64_t bytes)
{
	struct size_text out;

	if (bytes >> 30 >= 16 || !(bytes & ((UINT64_C(1) << 30) - 1)))
		snprintf(out.text, sizeof(out.text), "%" PRIu64 "G", bytes >> 30);
	else
		snprintf(out.text, sizeof(out.text), "%" PRIu64 "M", bytes >> 20);
	return out;
}

static void one_line(char *text)
{
	for (char *c = text; *c; c++)
		if ((unsigned char)*c < 0x20 || *c == 0x7f)
			*c = '?';
}

int host_error(struct mb_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code;
	err->code = code;
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	one_line(err->text);
	return code;
}

void host_warn(struct mb_error *warning, const char *fmt, ...)
{
	va_list ap;

	if (!warning)
		return;
	warning->code = 0;
	va_start(ap, fmt);
	vsnprintf(warning->text, sizeof(warning->text), fmt, ap);
	va_end(ap);
	one_line(warning->text);
}

void host_warn_more(struct mb_error *warning, const char *fmt, ...)
{
	size_t used = warning ? strlen(warning->text) : 0;
	va_list ap;

	if (!warning || used + 3 >= sizeof(warning->text))
		return;
	if (used) {
		memcpy(warning->text + used, "; ", 3);
		used += 2;
	}
	va_start(ap, fmt);
	vsnprintf(warning->text + used, sizeof(warning->text) - used, fmt, ap);
	va_end(ap);
	one_line(warning->text);
}

void host_clear(struct mb_error *err)
{
	if (err)
		memset(err, 0, sizeof(*err));
}
