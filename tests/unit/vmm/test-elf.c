/* SPDX-License-Identifier: MIT */
/*
 * test-elf.c - the loader, on a small image that is right, and on images that lie: each field at its
 * extremes, each truncation, and random damage. Whatever comes, it answers with an error or loads within the
 * guest's memory.
 */
#include "machine/elf.h"
#include "machine/pvh.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MEMORY     (UINT64_C(4) << 20)
#define LOAD_GPA   0x100000
#define ENTRY      0x100020
#define IMAGE_SIZE 512

struct elf_file {
	Elf64_Ehdr header;
	Elf64_Phdr load;
	Elf64_Phdr note;
	struct {
		Elf64_Nhdr header;
		char name[4];
		uint32_t entry;
	} pvh;
	unsigned char code[64];
};
_Static_assert(sizeof(struct elf_file) <= IMAGE_SIZE, "it fits");

struct fixture {
	struct mb_pool *pool;
	struct mb_space *space;
	struct guestmem mem;
	char path[64];
};

static struct elf_file good_image(void)
{
	struct elf_file i = {0};
	memcpy(i.header.e_ident, ELFMAG, SELFMAG);
	i.header.e_ident[EI_CLASS] = ELFCLASS64;
	i.header.e_ident[EI_DATA] = ELFDATA2LSB;
	i.header.e_machine = EM_X86_64;
	i.header.e_phoff = offsetof(struct elf_file, load);
	i.header.e_phentsize = sizeof(Elf64_Phdr);
	i.header.e_phnum = 2;
	i.load = (Elf64_Phdr){.p_type = PT_LOAD,
			      .p_offset = offsetof(struct elf_file, code),
			      .p_paddr = LOAD_GPA,
			      .p_filesz = sizeof(i.code),
			      .p_memsz = 8192};
	i.note = (Elf64_Phdr){.p_type = PT_NOTE,
			      .p_offset = offsetof(struct elf_file, pvh),
			      .p_filesz = sizeof(i.pvh),
			      .p_memsz = sizeof(i.pvh)};
	i.pvh.header = (Elf64_Nhdr){.n_namesz = 4, .n_descsz = 4, .n_type = 18};
	memcpy(i.pvh.name, "Xen", 4);
	i.pvh.entry = ENTRY;
	memset(i.code, 0x90, sizeof(i.code));
	return i;
}

static void write_image(const struct fixture *f, const void *bytes, size_t size)
{
	FILE *file = fopen(f->path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, size, file), size);
	assert_int_equal(fclose(file), 0);
}

/* Opens and loads; 0 or the error, which must then be told in one line that names the file. */
static int try_image(struct fixture *f, const void *bytes, size_t size)
{
	struct mb_error err = {0};
	struct elf *elf = NULL;
	struct image file;
	struct mb_region used;
	write_image(f, bytes, size);
	int rc = image_open(&file, "kernel", f->path, &err);
	if (rc == 0)
		rc = elf_open(&file, &elf, &err);
	if (rc == 0)
		rc = elf_load(elf, &f->mem, &used, &err);
	if (rc != 0) {
		assert_int_equal(err.code, rc);
		assert_non_null(strstr(err.text, f->path));
		assert_null(strchr(err.text, '\n'));
	}
	elf_close(elf);
	image_close(&file);
	return rc;
}

static void test_loads(void **state)
{
	struct fixture *f = *state;
	struct elf_file i = good_image();
	struct mb_region used;
	struct image file;
	struct mb_error err;
	struct elf *elf;
	unsigned char got[65];
	write_image(f, &i, sizeof(i));
	assert_int_equal(image_open(&file, "kernel", f->path, &err), 0);
	assert_int_equal(elf_open(&file, &elf, &err), 0);
	assert_int_equal(elf_entry(elf), ENTRY);
	assert_int_equal(elf_load(elf, &f->mem, &used, &err), 0);
	assert_int_equal(used.gpa, LOAD_GPA);
	assert_int_equal(used.size, i.load.p_memsz);
	elf_close(elf);
	image_close(&file);
	assert_int_equal(guestmem_read(&f->mem, LOAD_GPA, got, sizeof(got)), 0);
	assert_memory_equal(got, i.code, sizeof(i.code));
	assert_int_equal(got[64], 0);
}

static void test_what_is_no_image(void **state)
{
	struct fixture *f = *state;
	struct mb_error err;
	struct image file;
	struct elf_file i = good_image();
	assert_int_equal(image_open(&file, "kernel", "/nowhere/at/all", &err), -ENOENT);
	assert_int_equal(image_open(&file, "kernel", "/", &err), -ENOEXEC);
	assert_int_equal(image_open(&file, "kernel", "/dev/null", &err), -ENOEXEC);
	i.header.e_machine = EM_AARCH64;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.pvh.header.n_type = 17;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_memsz = MEMORY;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_paddr = UINT64_MAX - 100;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_paddr = PVH_INFO_GPA - 4096; /* its zeros reach into the start information */
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_paddr = MEMMAP_ACPI + 8192;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_filesz = i.load.p_memsz + 1;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.load.p_offset = UINT64_MAX - 10;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
	i = good_image();
	i.header.e_phnum = 0;
	assert_int_equal(try_image(f, &i, sizeof(i)), -ENOEXEC);
}

/* The file ends with the code, so that every shorter one lacks something. */
static void test_truncated_anywhere(void **state)
{
	struct fixture *f = *state;
	struct elf_file i = good_image();
	for (size_t size = 0; size < offsetof(struct elf_file, code) + sizeof(i.code); size++)
		assert_int_equal(try_image(f, &i, size), -ENOEXEC);
	assert_int_equal(try_image(f, &i, sizeof(i)), 0);
}

static void test_random_damage(void **state)
{
	struct fixture *f = *state;
	unsigned refused = 0;
	srand(7);
	for (unsigned round = 0; round < 2000; round++) {
		struct elf_file i = good_image();
		for (int flips = rand() % 4 + 1; flips > 0; flips--)
			((unsigned char *)&i)[(size_t)rand() % offsetof(struct elf_file, code)] =
			    (unsigned char)rand();
		refused += try_image(f, &i, sizeof(i)) != 0;
	}
	/* some of the damage is where it does not matter, most is where it does */
	assert_in_range(refused, 1, 1999);
}

static void test_start_info(void **state)
{
	struct fixture *f = *state;
	const struct mb_region regions[] = {{0, MEMORY}, {UINT64_C(4) << 30, UINT64_C(2) << 20}};
	struct boot_facts facts = {.regions = regions,
				   .region_count = 2,
				   .rsdp = 0xe0000,
				   .initrd = {UINT64_C(1) << 20, 5000}};
	uint32_t magic, entries, modules;
	uint64_t at, module[2], rsdp;
	struct mb_error err;
	assert_int_equal(pvh_write(&f->mem, &facts, &err), 0);
	assert_int_equal(guestmem_read(&f->mem, PVH_INFO_GPA, &magic, 4), 0);
	assert_int_equal(magic, 0x336ec578);
	assert_int_equal(guestmem_read(&f->mem, PVH_INFO_GPA + 12, &modules, 4), 0);
	assert_int_equal(modules, 1);
	assert_int_equal(guestmem_read(&f->mem, PVH_INFO_GPA + 16, &at, 8), 0);
	assert_int_equal(guestmem_read(&f->mem, at, module, sizeof(module)), 0);
	assert_int_equal(module[0], facts.initrd.gpa);
	assert_int_equal(module[1], facts.initrd.size);
	assert_int_equal(guestmem_read(&f->mem, PVH_INFO_GPA + 32, &rsdp, 8), 0);
	assert_int_equal(rsdp, facts.rsdp);
	assert_int_equal(guestmem_read(&f->mem, PVH_INFO_GPA + 48, &entries, 4), 0);
	assert_int_equal(entries, 4); /* below the legacy hole, it, above it, above 4 GiB */
}

static int setup(void **state)
{
	static struct fixture f;
	const struct mb_pool_config pool = {.backing = MB_BACKING_ANON, .size = MEMORY};
	const struct mb_region region = {0, MEMORY};
	const struct mb_space_config space = {.name = "elf", .regions = &region, .region_count = 1};
	struct mb_error warning, err;
	strcpy(f.path, "/tmp/memback-test-elf-XXXXXX");
	int fd = mkstemp(f.path);
	if (fd < 0)
		return -1;
	close(fd);
	if (mb_pool_create_private(&pool, &f.pool, &warning, &err) != 0 ||
	    mb_space_create(f.pool, &space, &f.space, &err) != 0)
		return -1;
	f.mem.space = f.space;
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	mb_space_destroy(f->space);
	mb_pool_close(f->pool);
	unlink(f->path);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_loads),
	    cmocka_unit_test(test_what_is_no_image),
	    cmocka_unit_test(test_truncated_anywhere),
	    cmocka_unit_test(test_random_damage),
	    cmocka_unit_test(test_start_info),
	};
	return cmocka_run_group_tests_name("elf", tests, setup, teardown);
}
