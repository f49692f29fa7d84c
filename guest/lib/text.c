/* SPDX-License-Identifier: MIT */
/*
 * text.c - memory and string functions, formatting, parsing of numbers.
 */
#include "text.h"

void *memcpy(void *to, const void *from, size_t n)
{
	void *start = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return start;
}

void *memset(void *to, int byte, size_t n)
{
	void *start = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return start;
}

void *memmove(void *to, const void *from, size_t n)
{
	unsigned char *t = to;
	const unsigned char *f = from;

	if (t <= f || t >= f + n)
		return memcpy(to, from, n);
	while (n--)
		__asm__ volatile("movb %1, %0" : "=m"(t[n]) : "q"(f[n]));
	return to;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const unsigned char *x = a, *y = b;

	for (size_t i = 0; i < n; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

size_t strlen(const char *s)
{
	const char *end = s;

	while (*(const volatile char *)end)
		end++;
	return (size_t)(end - s);
}

int strcmp(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return (unsigned char)*a - (unsigned char)*b;
}

int strncmp(const char *a, const char *b, size_t n)
{
	for (; n; a++, b++, n--)
		if (*a != *b || !*a)
			return (unsigned char)*a - (unsigned char)*b;
	return 0;
}

/* Where formatted characters go. */
struct sink {
	char *out;
	size_t size, used;
};

static void sink_put(struct sink *s, char c)
{
	if (s->used + 1 < s->size)
		s->out[s->used++] = c;
}

struct spec {
	unsigned width;
	bool zero, left, is_long;
};

static void sink_put_padded(struct sink *s, const struct spec *spec, const char *text, size_t len)
{
	size_t pad = spec->width > len ? spec->width - len : 0;
	bool negative = spec->zero && len && text[0] == '-';

	if (negative) {
		sink_put(s, *text++);
		len--;
	}
	for (; pad && !spec->left; pad--)
		sink_put(s, spec->zero ? '0' : ' ');
	for (size_t i = 0; i < len; i++)
		sink_put(s, text[i]);
	for (; pad; pad--)
		sink_put(s, ' ');
}

static void sink_put_number(struct sink *s, const struct spec *spec, uint64_t n, unsigned base, bool negative)
{
	char digits[24];
	size_t at = sizeof(digits);

	do {
		digits[--at] = "0123456789abcdef"[n % base];
		n /= base;
	} while (n);
	if (negative)
		digits[--at] = '-';
	sink_put_padded(s, spec, digits + at, sizeof(digits) - at);
}

static const char *parse_spec(const char *f, struct spec *spec)
{
	*spec = (struct spec){0};
	for (; *f == '0' || *f == '-'; f++) {
		spec->zero |= *f == '0';
		spec->left |= *f == '-';
	}
	for (; *f >= '0' && *f <= '9'; f++)
		spec->width = spec->width * 10 + (unsigned)(*f - '0');
	for (; *f == 'l' || *f == 'z'; f++)
		spec->is_long = true;
	return f;
}

size_t text_format(char *out, size_t size, const char *format, va_list args)
{
	struct sink s = {out, size, 0};

	for (const char *f = format; *f; f++) {
		struct spec spec;
		const char *text;
		char one;
		int64_t i;

		if (*f != '%') {
			sink_put(&s, *f);
			continue;
		}
		f = parse_spec(f + 1, &spec);
		switch (*f) {
		case 's':
			text = va_arg(args, const char *);
			sink_put_padded(&s, &spec, text, strlen(text));
			break;
		case 'c':
			one = (char)va_arg(args, int);
			sink_put_padded(&s, &spec, &one, 1);
			break;
		case 'd':
			i = spec.is_long ? va_arg(args, long) : va_arg(args, int);
			sink_put_number(&s, &spec, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, 10, i < 0);
			break;
		case 'u':
		case 'x':
			sink_put_number(&s, &spec,
					spec.is_long ? va_arg(args, unsigned long) : va_arg(args, unsigned int),
					*f == 'x' ? 16 : 10, false);
			break;
		case 'p':
			sink_put_number(&s, &spec, (uintptr_t)va_arg(args, void *), 16, false);
			break;
		case '\0':
			f--;
			break;
		default:
			sink_put(&s, *f);
		}
	}
	out[s.used] = '\0';
	return s.used;
}

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

static unsigned suffix_shift(char c)
{
	switch (c) {
	case 'K':
	case 'k':
		return 10;
	case 'M':
	case 'm':
		return 20;
	case 'G':
	case 'g':
		return 30;
	case 'T':
	case 't':
		return 40;
	default:
		return 0;
	}
}

bool text_parse_size(const char *s, uint64_t *out, const char **end)
{
	unsigned base = 10, shift;
	uint64_t n = 0;
	const char *first;

	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X')) {
		base = 16;
		s += 2;
	}
	for (first = s; digit_value(*s) < (int)base; s++)
		if (__builtin_mul_overflow(n, (uint64_t)base, &n) ||
		    __builtin_add_overflow(n, (uint64_t)digit_value(*s), &n))
			return false;
	if (s == first)
		return false;
	shift = suffix_shift(*s);
	if (shift) {
		if (n > UINT64_MAX >> shift)
			return false;
		n <<= shift;
		s++;
	}
	if (end)
		*end = s;
	else if (*s)
		return false;
	*out = n;
	return true;
}
