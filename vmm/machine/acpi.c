/* SPDX-License-Identifier: MIT */
/* acpi.c - see acpi.h. */
#include "machine/acpi.h"

#include "error.h"
#include "machine/aml.h"
#include "machine/memmap.h"

#include <errno.h>
#include <platform.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES   36
#define RSDP_BYTES     36
#define CHECKSUM_AT    9
#define LAPIC_ADDRESS  0xfee00000u
#define IOAPIC_ADDRESS 0xfec00000u
#define XAPIC_IDS      255 /* ids from here on need an entry for an x2APIC */

/* FADT: offsets of what is not zero. */
enum {
	FADT_DSDT = 40,
	FADT_BOOT_ARCH = 109,
	FADT_FLAGS = 112,
	FADT_RESET_REG = 116,
	FADT_RESET_VALUE = 128,
	FADT_MINOR = 131,
	FADT_X_DSDT = 140,
	FADT_SLEEP_CONTROL = 244,
	FADT_SLEEP_STATUS = 256,
	FADT_HYPERVISOR = 268,
	FADT_BYTES = 276
};

#define FADT_REVISION   6
#define ARCH_NO_VGA     (1u << 2)
#define ARCH_NO_RTC     (1u << 5)
#define FLAG_WBINVD     (1u << 0)
#define FLAG_NO_PWR_BTN (1u << 4) /* not a fixed one, that is: it is a device */
#define FLAG_NO_SLP_BTN (1u << 5)
#define FLAG_RESET_REG  (1u << 10)
#define FLAG_HW_REDUCED (1u << 20)

/* All tables are made in one piece, which then goes to MEMMAP_ACPI as it is. */
struct tables {
	struct aml out;
	uint64_t fadt, madt, dsdt, srat; /* guest physical addresses; srat 0: none */
};

static void sum_up(uint8_t *table, size_t length, size_t at)
{
	uint8_t sum = 0;
	table[at] = 0;
	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + table[i]);
	table[at] = (uint8_t)-sum;
}

/* Returns where the table begins, as an offset. */
static size_t open_table(struct aml *a, const char *signature, uint8_t revision)
{
	while (a->used % 8 != 0)
		aml_byte(a, 0);
	size_t at = a->used;
	aml_bytes(a, signature, 4);
	aml_number(a, 0, 4); /* length: close_table() */
	aml_byte(a, revision);
	aml_byte(a, 0); /* checksum */
	aml_bytes(a, "MEMBCKMEMBCKVM", 14);
	aml_number(a, 1, 4);
	aml_bytes(a, "MBCK", 4);
	aml_number(a, 1, 4);
	return at;
}

static uint64_t close_table(struct aml *a, size_t at)
{
	if (a->failed)
		return 0;
	for (unsigned i = 0; i < 4; i++)
		a->bytes[at + 4 + i] = (uint8_t)((a->used - at) >> 8 * i);
	sum_up(a->bytes + at, a->used - at, CHECKSUM_AT);
	return MEMMAP_ACPI + at;
}

/* ---- DSDT --------------------------------------------------------------------------------------------- */

static void add_serial(struct aml *a)
{
	size_t device = aml_open_device(a, "COM1");
	aml_define(a, "_HID");
	aml_eisa_id(a, "PNP0501");
	aml_define(a, "_UID");
	aml_integer(a, 0);
	struct aml_resources r = aml_open_resources(a);
	aml_resource_ports(a, PLATFORM_SERIAL_PORT, 8);
	aml_resource_interrupt(a, PLATFORM_SERIAL_GSI);
	aml_close_resources(a, &r);
	aml_close(a, device);
}

static void add_virtio(struct aml *a, unsigned number, const struct acpi_virtio *v)
{
	char name[16];
	snprintf(name, sizeof(name), "VR%02u", number % 100);
	size_t device = aml_open_device(a, name);
	aml_define(a, "_HID");
	aml_string(a, "LNRO0005");
	aml_define(a, "_UID");
	aml_integer(a, number);
	aml_define(a, "_CCA");
	aml_integer(a, 1); /* its accesses to memory are coherent */
	struct aml_resources r = aml_open_resources(a);
	aml_resource_memory(a, v->base, v->size);
	aml_resource_interrupt(a, v->gsi);
	aml_close_resources(a, &r);
	aml_close(a, device);
}

/* The power button, and the event device whose only event is that it was pressed. */
static void add_power_button(struct aml *a)
{
	size_t button = aml_open_device(a, "PWRB");
	aml_define(a, "_HID");
	aml_eisa_id(a, "PNP0C0C");
	aml_close(a, button);
	size_t events = aml_open_device(a, "GED_");
	aml_define(a, "_HID");
	aml_string(a, "ACPI0013");
	struct aml_resources r = aml_open_resources(a);
	aml_resource_interrupt(a, PLATFORM_POWER_GSI);
	aml_close_resources(a, &r);
	size_t method = aml_open_method(a, "_EVT", 1);
	aml_notify(a, "PWRB", 0x80);
	aml_close(a, method);
	aml_close(a, events);
}

/* Where the guest's kernel says that it has panicked. */
static void add_panic(struct aml *a)
{
	size_t device = aml_open_device(a, "PEVT");
	aml_define(a, "_HID");
	aml_string(a, "QEMU0001");
	struct aml_resources r = aml_open_resources(a);
	aml_resource_ports(a, PLATFORM_PANIC_PORT, 1);
	aml_close_resources(a, &r);
	aml_close(a, device);
}

static void add_dsdt(struct tables *t, const struct acpi_config *config)
{
	struct aml *a = &t->out;
	size_t table = open_table(a, "DSDT", 2);
	size_t scope = aml_open_scope(a, "\\_SB_");
	add_serial(a);
	for (unsigned i = 0; i < config->virtio_count; i++)
		add_virtio(a, i, &config->virtio[i]);
	add_power_button(a);
	add_panic(a);
	aml_close(a, scope);
	aml_define(a, "\\_S5_");
	size_t package = aml_open_package(a, 4);
	aml_integer(a, PLATFORM_SLEEP_S5);
	for (unsigned i = 1; i < 4; i++)
		aml_integer(a, 0);
	aml_close(a, package);
	t->dsdt = close_table(a, table);
}

/* ---- the other tables --------------------------------------------------------------------------------- */

static void put(uint8_t *at, uint64_t value, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		at[i] = (uint8_t)(value >> 8 * i);
}

/* A generic address: an 8-bit port. */
static void put_port(uint8_t *at, uint16_t port)
{
	at[0] = 1; /* system I/O */
	at[1] = 8; /* bits */
	at[3] = 1; /* byte access */
	put(at + 4, port, 8);
}

static void add_fadt(struct tables *t)
{
	uint8_t f[FADT_BYTES] = {0};
	put(f + FADT_DSDT, t->dsdt, 4);
	put(f + FADT_X_DSDT, t->dsdt, 8);
	put(f + FADT_BOOT_ARCH, ARCH_NO_VGA | ARCH_NO_RTC, 2);
	put(f + FADT_FLAGS, FLAG_WBINVD | FLAG_NO_PWR_BTN | FLAG_NO_SLP_BTN | FLAG_RESET_REG | FLAG_HW_REDUCED,
	    4);
	put_port(f + FADT_RESET_REG, PLATFORM_RESET_PORT);
	f[FADT_RESET_VALUE] = PLATFORM_RESET_VALUE;
	f[FADT_MINOR] = 5;
	put_port(f + FADT_SLEEP_CONTROL, PLATFORM_SLEEP_PORT);
	put_port(f + FADT_SLEEP_STATUS, PLATFORM_SLEEP_PORT + 1);
	memcpy(f + FADT_HYPERVISOR, "MEMBACK", 7);
	size_t table = open_table(&t->out, "FACP", FADT_REVISION);
	aml_bytes(&t->out, f + HEADER_BYTES, sizeof(f) - HEADER_BYTES);
	t->fadt = close_table(&t->out, table);
}

static void add_cpu(struct aml *a, unsigned id)
{
	enum { LOCAL_APIC = 0, LOCAL_X2APIC = 9, ENABLED = 1 };
	if (id < XAPIC_IDS) {
		const uint8_t entry[] = {LOCAL_APIC, 8, (uint8_t)id, (uint8_t)id, ENABLED, 0, 0, 0};
		aml_bytes(a, entry, sizeof(entry));
		return;
	}
	const uint8_t head[] = {LOCAL_X2APIC, 16, 0, 0};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, id, 4);
	aml_number(a, ENABLED, 4);
	aml_number(a, id, 4);
}

static void add_madt(struct tables *t, unsigned cpus)
{
	enum { IOAPIC = 1, LOCAL_NMI = 4, ALL_CPUS = 0xff };
	struct aml *a = &t->out;
	size_t table = open_table(a, "APIC", 5);
	aml_number(a, LAPIC_ADDRESS, 4);
	aml_number(a, 0, 4); /* no old interrupt controllers that must be masked */
	for (unsigned i = 0; i < cpus; i++)
		add_cpu(a, i);
	const uint8_t ioapic[] = {IOAPIC, 12, 0, 0};
	aml_bytes(a, ioapic, sizeof(ioapic));
	aml_number(a, IOAPIC_ADDRESS, 4);
	aml_number(a, 0, 4); /* its first line is GSI 0 */
	const uint8_t nmi[] = {LOCAL_NMI, 6, ALL_CPUS, 0, 0, 1};
	aml_bytes(a, nmi, sizeof(nmi));
	t->madt = close_table(a, table);
}

/* Memory of the one node that there is (ACPI 6.5, 5.2.16.2). */
static void add_memory_affinity(struct aml *a, const struct mb_region *r, bool pluggable)
{
	enum { MEMORY_AFFINITY = 1, ENABLED = 1, HOT_PLUGGABLE = 2 };
	const uint8_t head[] = {MEMORY_AFFINITY, 40, 0, 0, 0, 0, 0, 0};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, r->gpa, 8);
	aml_number(a, r->size, 8);
	aml_number(a, 0, 4);
	aml_number(a, ENABLED | (pluggable ? HOT_PLUGGABLE : 0), 4);
	aml_number(a, 0, 8);
}

/* A processor of that node, as an x2APIC (5.2.16.3): good for all ids. */
static void add_cpu_affinity(struct aml *a, unsigned id)
{
	enum { X2APIC_AFFINITY = 2, ENABLED = 1 };
	const uint8_t head[] = {X2APIC_AFFINITY, 24, 0, 0};
	aml_bytes(a, head, sizeof(head));
	aml_number(a, 0, 4); /* node */
	aml_number(a, id, 4);
	aml_number(a, ENABLED, 4);
	aml_number(a, 0, 8); /* clock domain, reserved */
}

static void add_srat(struct tables *t, const struct acpi_config *config)
{
	struct aml *a = &t->out;
	size_t table = open_table(a, "SRAT", 3);
	aml_number(a, 1, 4); /* reserved, 1 for compatibility */
	aml_number(a, 0, 8);
	for (unsigned i = 0; i < config->cpus; i++)
		add_cpu_affinity(a, i);
	for (unsigned i = 0; i < config->region_count; i++)
		add_memory_affinity(a, &config->regions[i], i + 1 == config->region_count);
	t->srat = close_table(a, table);
}

static uint64_t add_xsdt(struct tables *t)
{
	size_t table = open_table(&t->out, "XSDT", 1);
	aml_number(&t->out, t->fadt, 8);
	aml_number(&t->out, t->madt, 8);
	if (t->srat != 0)
		aml_number(&t->out, t->srat, 8);
	return close_table(&t->out, table);
}

/* It comes first, but can only be written last. */
static void fill_rsdp(uint8_t rsdp[RSDP_BYTES], uint64_t xsdt)
{
	enum { CHECKSUM_1 = 8, LENGTH_1 = 20, CHECKSUM_2 = 32 };
	memset(rsdp, 0, RSDP_BYTES);
	memcpy(rsdp, "RSD PTR ", 8);
	memcpy(rsdp + 9, "MEMBCK", 6);
	rsdp[15] = 2; /* revision */
	put(rsdp + 20, RSDP_BYTES, 4);
	put(rsdp + 24, xsdt, 8);
	sum_up(rsdp, LENGTH_1, CHECKSUM_1);
	sum_up(rsdp, RSDP_BYTES, CHECKSUM_2);
}

/*
 * Linux resets a hardware-reduced machine through EFI, and without EFI by a jump to the BIOS' entry, in real
 * mode, although there is a reset register: efi_reboot_required() in its sources. So there is code at that
 * place, which does what the jump was meant to.
 */
static int write_reset_code(const struct guestmem *mem)
{
	static const uint8_t code[] = {
	    0xb0, 0xfe,                   /* mov $0xfe, %al */
	    0xe6, PLATFORM_KEYBOARD_PORT, /* out %al, $0x64 */
	    0xf4,                         /* hlt */
	    0xeb, 0xf9,                   /* jmp to the first */
	};
	return guestmem_write(mem, MEMMAP_RESET, code, sizeof(code));
}

int acpi_write(const struct guestmem *mem, const struct acpi_config *config, uint64_t *rsdp,
	       struct mb_error *err)
{
	const size_t room = MEMMAP_ACPI_END - MEMMAP_ACPI;
	uint8_t first[RSDP_BYTES] = {0};
	struct tables t = {.out = {.bytes = malloc(room), .size = room}};
	if (t.out.bytes == NULL)
		return error_set(err, -ENOMEM, "out of memory");
	aml_bytes(&t.out, first, sizeof(first));
	add_dsdt(&t, config);
	add_fadt(&t);
	add_madt(&t, config->cpus);
	if (config->pluggable)
		add_srat(&t, config);
	uint64_t xsdt = add_xsdt(&t);
	fill_rsdp(t.out.bytes, xsdt);
	int rc = t.out.failed ? -ENOSPC : guestmem_write(mem, MEMMAP_ACPI, t.out.bytes, t.out.used);
	if (rc == 0)
		rc = write_reset_code(mem);
	free(t.out.bytes);
	if (rc != 0)
		return error_set(err, rc,
				 "the guest's memory has no room for its ACPI tables; give it 2M at least");
	*rsdp = MEMMAP_ACPI;
	return 0;
}
