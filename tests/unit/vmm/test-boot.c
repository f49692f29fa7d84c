/* SPDX-License-Identifier: MIT */
/*
 * test-boot.c - bzImages and initial RAM disks, on a small image that is right and on images that lie: what is
 * told to the kernel lies where the protocol has it, and whatever comes, it is refused or loaded within the
 * guest's memory, apart from each other. The ACPI tables are checked by their sums and lengths.
 */
#include "machine/acpi.h"
#include "machine/boot.h"
#include "machine/bzimage.h"
#include "machine/memmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB    (UINT64_C(1) << 20)
#define MEMORY (8 * MIB)
#define PREF   (4 * MIB)
#define SETUP  1024u /* one setup sector */
#define SIZE   (SETUP + 0x300)
#define INITRD 5000u

struct fixture {
	struct mb_pool *pool;
	struct mb_space *space;
	struct guestmem mem;
	char kernel[64], initrd[64];
	unsigned char image[SIZE];
};

static const struct mb_region region = {0, MEMORY};

static void put(unsigned char *at, uint64_t value, unsigned width)
{
	for (unsigned i = 0; i < width; i++)
		at[i] = (unsigned char)(value >> 8 * i);
}

static uint64_t get(const unsigned char *at, unsigned width)
{
	uint64_t value = 0;
	for (unsigned i = width; i-- > 0;)
		value = value << 8 | at[i];
	return value;
}

static void write_file(const char *path, const void *bytes, size_t size)
{
	FILE *file = fopen(path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

/* An image as the protocol wants it: Documentation/arch/x86/boot.rst has the offsets. */
static void make_good(struct fixture *f)
{
	unsigned char *h = f->image;
	memset(h, 0, SIZE);
	h[0x1f1] = 1;                           /* setup sectors */
	put(h + 0x1f4, (SIZE - SETUP) / 16, 4); /* what is loaded, in paragraphs */
	put(h + 0x1fe, 0xaa55, 2);
	h[0x200] = 0xeb;
	h[0x201] = 0x6a; /* the header ends at 0x26c */
	memcpy(h + 0x202, "HdrS", 4);
	put(h + 0x206, 0x020f, 2);
	h[0x211] = 1;                  /* loaded high */
	put(h + 0x22c, 0x7fffffff, 4); /* last address of an initrd */
	put(h + 0x230, 2 * MIB, 4);    /* alignment */
	h[0x234] = 1;                  /* relocatable */
	put(h + 0x236, 1, 2);          /* has a 64-bit entry */
	put(h + 0x238, 2047, 4);       /* command line */
	put(h + 0x258, PREF, 8);
	put(h + 0x260, MIB, 4); /* what it needs until it runs */
	memset(h + SETUP, 0x90, SIZE - SETUP);
}

/* Opens and loads; 0 or the error, which must then be told in one line. */
static int try_boot(struct fixture *f, const void *bytes, size_t size, bool initrd, struct boot_facts *facts,
		    struct boot_entry *entry)
{
	struct mb_error err = {0};
	struct boot *boot = NULL;
	*facts =
	    (struct boot_facts){.regions = &region, .region_count = 1, .cmdline = "quiet", .rsdp = MEMMAP_ACPI};
	write_file(f->kernel, bytes, size);
	int rc = boot_open(f->kernel, initrd ? f->initrd : NULL, &boot, &err);
	if (rc == 0)
		rc = boot_load(boot, &f->mem, facts, entry, &err);
	if (rc != 0) {
		assert_int_equal(err.code, rc);
		assert_true(err.text[0] != '\0');
		assert_null(strchr(err.text, '\n'));
	}
	boot_close(boot);
	return rc;
}

static int try_image(struct fixture *f)
{
	struct boot_facts facts;
	struct boot_entry entry;
	return try_boot(f, f->image, SIZE, true, &facts, &entry);
}

static void test_loads(void **state)
{
	struct fixture *f = *state;
	struct boot_facts facts;
	struct boot_entry entry;
	unsigned char zero[4096], got[INITRD + 1], cmdline[6];
	make_good(f);
	assert_int_equal(try_boot(f, f->image, SIZE, true, &facts, &entry), 0);
	assert_true(entry.wide);
	assert_int_equal(entry.rip, PREF + 0x200);
	assert_int_equal(guestmem_read(&f->mem, PREF, got, SIZE - SETUP + 1), 0);
	assert_memory_equal(got, f->image + SETUP, SIZE - SETUP);
	assert_int_equal(guestmem_read(&f->mem, entry.info, zero, sizeof(zero)), 0);
	assert_memory_equal(zero + 0x202, "HdrS", 4);
	assert_int_equal(zero[0x210], 0xff); /* a loader without a number */
	assert_int_equal(get(zero + 0x70, 8), MEMMAP_ACPI);
	assert_int_equal(get(zero + 0x218, 4), facts.initrd.gpa);
	assert_int_equal(get(zero + 0x21c, 4), INITRD);
	assert_int_equal(guestmem_read(&f->mem, get(zero + 0x228, 4), cmdline, sizeof(cmdline)), 0);
	assert_string_equal((char *)cmdline, "quiet");
	assert_int_equal(zero[0x1e8], 3); /* below the legacy hole, it, above it */
	assert_int_equal(get(zero + 0x2d0 + 2 * 20, 8), MIB);
	assert_int_equal(get(zero + 0x2d0 + 2 * 20 + 8, 8), MEMORY - MIB);
	assert_true(facts.initrd.gpa >= PREF + MIB && facts.initrd.gpa + INITRD <= MEMORY);
	assert_int_equal(guestmem_read(&f->mem, facts.initrd.gpa, got, INITRD), 0);
	assert_int_equal(got[0], 'i');
	assert_int_equal(got[INITRD - 1], 'i');
}

/* Where it prefers to lie there is no memory, but it can be moved. */
static void test_moves(void **state)
{
	struct fixture *f = *state;
	struct boot_facts facts;
	struct boot_entry entry;
	make_good(f);
	put(f->image + 0x258, 100 * MIB, 8);
	assert_int_equal(try_boot(f, f->image, SIZE, false, &facts, &entry), 0);
	assert_int_equal(entry.rip, 2 * MIB + 0x200);
	f->image[0x234] = 0;
	assert_int_equal(try_image(f), -ENOEXEC);
}

static void test_refused(void **state)
{
	static const struct {
		unsigned at, width;
		uint64_t value;
	} lies[] = {
	    {0x206, 2, 0x020b},                             /* too old */
	    {0x236, 2, 0},                                  /* no 64-bit entry */
	    {0x211, 1, 0},                                  /* below 1 MiB */
	    {0x1f1, 1, 255},                                /* its setup is longer than the file */
	    {0x230, 4, 3 * MIB},                            /* no power of two */
	    {0x230, 4, UINT32_MAX}, {0x260, 4, UINT32_MAX}, /* wants more than there is */
	    {0x202, 4, 0},                                  /* no bzImage, and no ELF image */
	    {0x22c, 4, MIB},                                /* no place for the initrd */
	    {0x22c, 4, 0},          {0x238, 4, 3},          /* the command line is too long for it */
	};
	struct fixture *f = *state;
	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		make_good(f);
		put(f->image + lies[i].at, lies[i].value, lies[i].width);
		if (try_image(f) == 0)
			fail_msg("lie %u was taken", i);
	}
	make_good(f);
	assert_int_equal(try_image(f), 0);
}

static void test_truncated_anywhere(void **state)
{
	struct fixture *f = *state;
	struct boot_facts facts;
	struct boot_entry entry;
	make_good(f);
	for (size_t size = 0; size <= SETUP + 0x200; size += size < 0x290 ? 13 : 1)
		assert_int_equal(try_boot(f, f->image, size, false, &facts, &entry), -ENOEXEC);
}

/* Its header says how long it is: memtest86+'s up to a paragraph too much, Debian's vmlinuz has more behind it. */
static void test_cut_off(void **state)
{
	struct fixture *f = *state;
	struct boot_facts facts;
	struct boot_entry entry;
	struct mb_error err;
	struct boot *boot;
	make_good(f);
	assert_int_equal(try_boot(f, f->image, SIZE - 15, false, &facts, &entry), 0);
	assert_int_equal(try_boot(f, f->image, SIZE - 16, false, &facts, &entry), -ENOEXEC);
	assert_int_equal(boot_open(f->kernel, NULL, &boot, &err), -ENOEXEC);
	assert_non_null(strstr(err.text, "cut off"));
	put(f->image + 0x1f4, (SIZE - SETUP) / 16 - 10, 4);
	assert_int_equal(try_image(f), 0);
	put(f->image + 0x1f4, UINT32_MAX, 4);
	assert_int_equal(try_image(f), -ENOEXEC);
}

/* What is neither is told of both kinds that there are, whether it has room for a header or not. */
static void test_neither(void **state)
{
	static const size_t sizes[] = {20, 600, SIZE};
	struct fixture *f = *state;
	struct mb_error err;
	struct boot *boot;
	memset(f->image, '#', SIZE);
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		write_file(f->kernel, f->image, sizes[i]);
		assert_int_equal(boot_open(f->kernel, NULL, &boot, &err), -ENOEXEC);
		assert_non_null(strstr(err.text, "bzImage for x86-64"));
		assert_non_null(strstr(err.text, "ELF image"));
	}
}

/* Whatever it says: what was loaded lies in memory, and apart from the initial RAM disk. */
static void test_random_damage(void **state)
{
	struct fixture *f = *state;
	unsigned refused = 0;
	srand(11);
	for (unsigned round = 0; round < 2000; round++) {
		struct boot_facts facts;
		struct boot_entry entry;
		make_good(f);
		for (int flips = rand() % 4 + 1; flips > 0; flips--)
			f->image[0x1f1 + rand() % 0x80] = (unsigned char)rand();
		if (try_boot(f, f->image, SIZE, true, &facts, &entry) != 0) {
			refused++;
			continue;
		}
		assert_true(entry.rip >= MIB && entry.rip < MEMORY);
		assert_true(facts.initrd.gpa >= MIB && facts.initrd.gpa + INITRD <= MEMORY);
		assert_true(facts.initrd.gpa >= entry.rip || facts.initrd.gpa + INITRD <= entry.rip - 0x200);
	}
	assert_in_range(refused, 1, 1999);
}

static void test_initrd(void **state)
{
	struct fixture *f = *state;
	struct mb_error err = {0};
	struct boot *boot;
	make_good(f);
	write_file(f->kernel, f->image, SIZE);
	assert_int_equal(boot_open(f->kernel, "/nowhere/at/all", &boot, &err), -ENOENT);
	assert_non_null(strstr(err.text, "initrd"));
	assert_int_equal(boot_open(f->kernel, "/", &boot, &err), -ENOEXEC);
	write_file(f->initrd, "", 0);
	assert_int_equal(try_image(f), -ENOEXEC);
	assert_int_equal(truncate(f->initrd, (off_t)MEMORY), 0);
	assert_int_equal(try_image(f), -ENOEXEC);
}

/* ---- ACPI ------------------------------------------------------------------------------------------- */

/* Reads a table, whose bytes must sum up to 0; returns its length. */
static size_t read_table(struct fixture *f, uint64_t at, const char *signature, unsigned char *out, size_t room)
{
	unsigned char sum = 0;
	assert_int_equal(guestmem_read(&f->mem, at, out, 36), 0);
	assert_memory_equal(out, signature, 4);
	size_t length = get(out + 4, 4);
	assert_in_range(length, 36, room);
	assert_int_equal(guestmem_read(&f->mem, at, out, length), 0);
	for (size_t i = 0; i < length; i++)
		sum = (unsigned char)(sum + out[i]);
	assert_int_equal(sum, 0);
	return length;
}

static void test_acpi(void **state)
{
	static unsigned char table[65536];
	static const struct acpi_virtio virtio[] = {{0xfeb00000, 0x200, 5}, {0xfeb00200, 0x200, 6}};
	const struct acpi_config config = {.cpus = 300, .virtio = virtio, .virtio_count = 2};
	struct fixture *f = *state;
	struct mb_error err;
	unsigned char rsdp[36], sum = 0;
	uint64_t at, fadt, madt;
	assert_int_equal(acpi_write(&f->mem, &config, &at, &err), 0);
	assert_int_equal(guestmem_read(&f->mem, at, rsdp, sizeof(rsdp)), 0);
	assert_memory_equal(rsdp, "RSD PTR ", 8);
	for (size_t i = 0; i < sizeof(rsdp); i++) {
		sum = (unsigned char)(sum + rsdp[i]);
		if (i == 19 || i == 35)
			assert_int_equal(sum, 0);
	}
	assert_int_equal(read_table(f, get(rsdp + 24, 8), "XSDT", table, sizeof(table)), 36 + 2 * 8);
	fadt = get(table + 36, 8);
	madt = get(table + 44, 8);
	/* 255 CPUs with an xAPIC entry, 45 with one for an x2APIC, the I/O APIC and the NMI */
	assert_int_equal(read_table(f, madt, "APIC", table, sizeof(table)), 44 + 255 * 8 + 45 * 16 + 12 + 6);
	assert_int_equal(read_table(f, fadt, "FACP", table, sizeof(table)), 276);
	assert_int_equal(get(table + 40, 4), get(table + 140, 8));
	size_t length = read_table(f, get(table + 140, 8), "DSDT", table, sizeof(table));
	unsigned found = 0;
	for (size_t i = 0; i + 8 < length; i++)
		found += memcmp(table + i, "LNRO0005", 8) == 0;
	assert_int_equal(found, 2);
}

/* ---- set-up ----------------------------------------------------------------------------------------- */

static int setup(void **state)
{
	static struct fixture f;
	struct mb_error warning, err;
	struct mb_pool_config pool = {.backing = MB_BACKING_ANON, .size = MEMORY};
	struct mb_space_config space = {.name = "boot", .regions = &region, .region_count = 1};
	char bytes[INITRD];
	memset(bytes, 'i', sizeof(bytes));
	if (mb_pool_create_private(&pool, &f.pool, &warning, &err) != 0 ||
	    mb_space_create(f.pool, &space, &f.space, &err) != 0)
		return -1;
	f.mem.space = f.space;
	strcpy(f.kernel, "/tmp/memback-boot-XXXXXX");
	strcpy(f.initrd, "/tmp/memback-initrd-XXXXXX");
	int a = mkstemp(f.kernel), b = mkstemp(f.initrd);
	if (a < 0 || b < 0)
		return -1;
	close(a);
	close(b);
	write_file(f.initrd, bytes, sizeof(bytes));
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	unlink(f->kernel);
	unlink(f->initrd);
	mb_space_destroy(f->space);
	mb_pool_close(f->pool);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_loads, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_moves, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_refused, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_truncated_anywhere, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_cut_off, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_neither, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_random_damage, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_initrd, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_acpi, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
