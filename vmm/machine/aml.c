/* SPDX-License-Identifier: MIT */
/* aml.c - see aml.h. */
#include "machine/aml.h"

#include <string.h>

enum {
	OP_ZERO = 0x00,
	OP_ONE = 0x01,
	OP_NAME = 0x08,
	OP_BYTE = 0x0a,
	OP_WORD = 0x0b,
	OP_DWORD = 0x0c,
	OP_STRING = 0x0d,
	OP_SCOPE = 0x10,
	OP_BUFFER = 0x11,
	OP_PACKAGE = 0x12,
	OP_METHOD = 0x14,
	OP_EXTENDED = 0x5b,
	OP_DEVICE = 0x82, /* after OP_EXTENDED */
	OP_NOTIFY = 0x86
};

#define METHOD_SERIALIZED 0x08

/* A package length of three bytes: four bits of it in the first one, which says that two follow. */
#define LENGTH_BYTES 3
#define LENGTH_MAX   ((1u << 20) - 1)

void aml_bytes(struct aml *a, const void *bytes, size_t count)
{
	if (a->failed || count > a->size - a->used) {
		a->failed = true;
		return;
	}
	memcpy(a->bytes + a->used, bytes, count);
	a->used += count;
}

void aml_byte(struct aml *a, uint8_t value)
{
	aml_bytes(a, &value, 1);
}

void aml_number(struct aml *a, uint64_t value, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		aml_byte(a, (uint8_t)(value >> 8 * i));
}

/* Four characters; or "\\_S5_", with the root in front. */
static void put_name(struct aml *a, const char *name)
{
	aml_bytes(a, name, strlen(name));
}

void aml_integer(struct aml *a, uint32_t value)
{
	unsigned width = value <= 0xff ? 1 : value <= 0xffff ? 2 : 4;
	if (value <= 1) {
		aml_byte(a, value == 0 ? OP_ZERO : OP_ONE);
		return;
	}
	aml_byte(a, width == 1 ? OP_BYTE : width == 2 ? OP_WORD : OP_DWORD);
	aml_number(a, value, width);
}

void aml_string(struct aml *a, const char *text)
{
	aml_byte(a, OP_STRING);
	aml_bytes(a, text, strlen(text) + 1);
}

static unsigned hex_digit(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'A' + 10);
}

/* Three letters of five bits, four digits of four; stored with the high byte first. */
void aml_eisa_id(struct aml *a, const char *id)
{
	uint32_t value = 0;
	for (unsigned i = 0; i < 3; i++)
		value = value << 5 | (unsigned)(id[i] - '@');
	for (unsigned i = 3; i < 7; i++)
		value = value << 4 | hex_digit(id[i]);
	aml_byte(a, OP_DWORD);
	for (unsigned shift = 32; shift > 0; shift -= 8)
		aml_byte(a, (uint8_t)(value >> (shift - 8)));
}

static size_t open_length(struct aml *a)
{
	size_t at = a->used;
	aml_bytes(a, "\0\0\0", LENGTH_BYTES);
	return at;
}

void aml_close(struct aml *a, size_t opened)
{
	size_t length = a->used - opened;
	if (a->failed || length > LENGTH_MAX) {
		a->failed = true;
		return;
	}
	a->bytes[opened] = (uint8_t)((LENGTH_BYTES - 1) << 6 | (length & 0xf));
	a->bytes[opened + 1] = (uint8_t)(length >> 4);
	a->bytes[opened + 2] = (uint8_t)(length >> 12);
}

size_t aml_open_scope(struct aml *a, const char *name)
{
	aml_byte(a, OP_SCOPE);
	size_t opened = open_length(a);
	put_name(a, name);
	return opened;
}

size_t aml_open_device(struct aml *a, const char *name)
{
	aml_byte(a, OP_EXTENDED);
	aml_byte(a, OP_DEVICE);
	size_t opened = open_length(a);
	put_name(a, name);
	return opened;
}

size_t aml_open_method(struct aml *a, const char *name, unsigned arguments)
{
	aml_byte(a, OP_METHOD);
	size_t opened = open_length(a);
	put_name(a, name);
	aml_byte(a, (uint8_t)(METHOD_SERIALIZED | arguments));
	return opened;
}

size_t aml_open_package(struct aml *a, unsigned elements)
{
	aml_byte(a, OP_PACKAGE);
	size_t opened = open_length(a);
	aml_byte(a, (uint8_t)elements);
	return opened;
}

void aml_define(struct aml *a, const char *name)
{
	aml_byte(a, OP_NAME);
	put_name(a, name);
}

void aml_notify(struct aml *a, const char *object, uint8_t value)
{
	aml_byte(a, OP_NOTIFY);
	put_name(a, object);
	aml_integer(a, value);
}

/* ---- resources ---------------------------------------------------------------------------------------- */

struct aml_resources aml_open_resources(struct aml *a)
{
	struct aml_resources r;
	aml_define(a, "_CRS");
	aml_byte(a, OP_BUFFER);
	r.package = open_length(a);
	aml_byte(a, OP_WORD);
	r.length = a->used;
	aml_number(a, 0, 2);
	r.start = a->used;
	return r;
}

void aml_close_resources(struct aml *a, const struct aml_resources *r)
{
	const uint8_t end_tag[] = {0x79, 0}; /* 0: no checksum */
	aml_bytes(a, end_tag, sizeof(end_tag));
	if (!a->failed) {
		size_t length = a->used - r->start;
		a->bytes[r->length] = (uint8_t)length;
		a->bytes[r->length + 1] = (uint8_t)(length >> 8);
	}
	aml_close(a, r->package);
}

/* 32-bit fixed memory range descriptor, read and write */
void aml_resource_memory(struct aml *a, uint32_t base, uint32_t size)
{
	const uint8_t head[] = {0x86, 9, 0, 1};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, base, 4);
	aml_number(a, size, 4);
}

/* I/O port descriptor, all 16 address bits decoded */
void aml_resource_ports(struct aml *a, uint16_t base, uint8_t count)
{
	const uint8_t head[] = {0x47, 1};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, base, 2);
	aml_number(a, base, 2);
	aml_byte(a, 1);
	aml_byte(a, count);
}

/* extended interrupt descriptor: consumer, edge, active high, exclusive */
void aml_resource_interrupt(struct aml *a, uint32_t gsi)
{
	const uint8_t head[] = {0x89, 6, 0, 0x03, 1};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, gsi, 4);
}
