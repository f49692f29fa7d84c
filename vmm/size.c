/* SPDX-License-Identifier: MIT */
/* size.c - see size.h. */
#include "size.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGTPE";

/* The power of 1024 that a unit stands for; -1: it is no unit. */
static int unit_power(const char *text)
{
	while (*text == ' ')
		text++;
	if (*text == '\0' || strcasecmp(text, "B") == 0)
		return 0;
	const char *at = strchr(units, toupper((unsigned char)*text));
	if (at == NULL)
		return -1;
	text++;
	if (*text != '\0' && strcasecmp(text, "B") != 0 && strcasecmp(text, "iB") != 0)
		return -1;
	return (int)(at - units) + 1;
}

/* *value = *value * 10 + digit, or false. */
static bool append_digit(uint64_t *value, char digit)
{
	uint64_t next;
	if (__builtin_mul_overflow(*value, UINT64_C(10), &next) ||
	    __builtin_add_overflow(next, (uint64_t)(digit - '0'), &next))
		return false;
	*value = next;
	return true;
}

/* fraction / scale of a unit of 2^shift bytes, in bytes; false: not whole bytes. */
static bool fraction_bytes(uint64_t fraction, uint64_t scale, unsigned shift, uint64_t *out)
{
	/* by long division, bit by bit, so that nothing overflows: fraction < scale <= 10^9 */
	uint64_t result = 0, rest = fraction;
	for (unsigned i = 0; i < shift; i++) {
		rest <<= 1;
		result <<= 1;
		if (rest >= scale) {
			rest -= scale;
			result |= 1;
		}
	}
	*out = result;
	return rest == 0;
}

int size_parse(const char *text, uint64_t *out)
{
	uint64_t whole = 0, fraction = 0, scale = 1, extra;
	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	bool fits = true;
	for (; isdigit((unsigned char)*text); text++)
		fits = append_digit(&whole, *text) && fits;
	if (*text == '.') {
		text++;
		if (!isdigit((unsigned char)*text))
			return -EINVAL;
		for (; isdigit((unsigned char)*text); text++, scale *= 10) {
			if (scale == 1000000000)
				return -EINVAL;
			(void)append_digit(&fraction, *text);
		}
	}
	int power = unit_power(text);
	if (power < 0)
		return -EINVAL;
	unsigned shift = (unsigned)power * 10;
	if (!fits || (shift > 0 && whole >> (64 - shift) != 0))
		return -ERANGE;
	if (!fraction_bytes(fraction, scale, shift, &extra))
		return -EDOM;
	*out = (whole << shift) + extra;
	return 0;
}

const char *size_format(uint64_t bytes, char buf[SIZE_TEXT])
{
	unsigned power = 0;
	while (power < sizeof(units) - 1 && bytes >> (10 * power) >= 1024)
		power++;
	if (power == 0) {
		snprintf(buf, SIZE_TEXT, "%" PRIu64 " B", bytes);
		return buf;
	}
	uint64_t unit = UINT64_C(1) << (10 * power);
	uint64_t whole = bytes / unit, rest = bytes % unit;
	/* hundredths, rounded to the nearest */
	uint64_t hundredths = (rest / (unit / 1024) * 100 + 512) / 1024;
	if (hundredths == 100) {
		whole++;
		hundredths = 0;
	}
	if (hundredths == 0)
		snprintf(buf, SIZE_TEXT, "%" PRIu64 " %ciB", whole, units[power - 1]);
	else if (hundredths % 10 == 0)
		snprintf(buf, SIZE_TEXT, "%" PRIu64 ".%u %ciB", whole, (unsigned)hundredths / 10,
			 units[power - 1]);
	else
		snprintf(buf, SIZE_TEXT, "%" PRIu64 ".%02u %ciB", whole, (unsigned)hundredths,
			 units[power - 1]);
	return buf;
}

const char *size_exact(uint64_t bytes, char buf[SIZE_TEXT])
{
	unsigned power = 0;
	while (bytes != 0 && power < sizeof(units) - 1 && bytes % 1024 == 0) {
		bytes /= 1024;
		power++;
	}
	snprintf(buf, SIZE_TEXT, "%" PRIu64 "%.*s", bytes, power > 0, power > 0 ? &units[power - 1] : "");
	return buf;
}
