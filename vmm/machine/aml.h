/* SPDX-License-Identifier: MIT */
/*
 * aml.h - writes the few words of ACPI's machine language that our tables need.
 *
 * Source: ACPI 6.5, 20.2 (AML grammar) and 6.4 (resource data types). A writer that runs out of room notes it
 * and writes no more: see failed.
 */
#ifndef VMM_MACHINE_AML_H
#define VMM_MACHINE_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *bytes;
	size_t size, used;
	bool failed;
};

void aml_bytes(struct aml *a, const void *bytes, size_t count);
void aml_byte(struct aml *a, uint8_t value);
/* Little-endian, width 1, 2, 4 or 8 bytes. */
void aml_number(struct aml *a, uint64_t value, unsigned width);

/* Data objects. */
void aml_integer(struct aml *a, uint32_t value);
void aml_string(struct aml *a, const char *text);
/* A compressed EISA id, as "PNP0501". */
void aml_eisa_id(struct aml *a, const char *id);

/* Each opens something whose length is known only at its end: pass what it returned to aml_close(). */
size_t aml_open_scope(struct aml *a, const char *name);
size_t aml_open_device(struct aml *a, const char *name);
size_t aml_open_method(struct aml *a, const char *name, unsigned arguments);
size_t aml_open_package(struct aml *a, unsigned elements);
void aml_close(struct aml *a, size_t opened);

/* Name (name, ...): one of the data objects follows. */
void aml_define(struct aml *a, const char *name);
/* Notify (object, value) */
void aml_notify(struct aml *a, const char *object, uint8_t value);

/* Name (_CRS, ResourceTemplate () {...}): the resources follow, then aml_close_resources(). */
struct aml_resources {
	size_t package, length, start;
};
struct aml_resources aml_open_resources(struct aml *a);
void aml_close_resources(struct aml *a, const struct aml_resources *r);
void aml_resource_memory(struct aml *a, uint32_t base, uint32_t size);
void aml_resource_ports(struct aml *a, uint16_t base, uint8_t count);
/* Edge-triggered, active high, not shared. */
void aml_resource_interrupt(struct aml *a, uint32_t gsi);

#endif
