/* SPDX-License-Identifier: MIT */
/*
 * test-machine.c - the machine on KVM, with guests of a few bytes: how they start, what reaches the bus, how
 * they end, and that pausing loses and doubles nothing. Skips where there is no /dev/kvm.
 */
#include "machine/boot.h"
#include "machine/machine.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MEMORY    (UINT64_C(4) << 20)
#define CODE      0x100000 /* where the guest's bytes go, and where it starts */
#define DATA      0x101000 /* zero at first */
#define PORT      0x500
#define MMIO      0xfeb00000
#define PROBE_MAX 64
#define WAIT_S    60 /* only what hangs for good fails by this */

/* Addresses as bytes of an instruction. */
#define LE32(x) (uint8_t)(x), (uint8_t)((x) >> 8), (uint8_t)((x) >> 16), (uint8_t)((x) >> 24)

struct access {
	uint64_t offset;
	unsigned len;
	uint32_t value;
};

/* A device that keeps what is written to it; a byte read from it is a letter of the alphabet, in turn, and a
 * word is always the same. */
struct probe {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct access writes[PROBE_MAX];
	unsigned count;
	unsigned letters;
	uint32_t last;
	bool gap; /* a value was not the one after the last */
	bool ended;
	enum machine_end end;
	char text[400];
};

struct fixture {
	struct mb_pool *pool;
	struct mb_space *space;
	struct machine *machine;
	struct probe probe;
	char path[64];
};

static void probe_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	static const uint8_t answer[] = {LE32(0x01020304)};
	struct probe *p = dev;
	(void)offset;
	memcpy(data, answer, len < sizeof(answer) ? len : sizeof(answer));
	if (len == 1)
		*(uint8_t *)data = (uint8_t)('a' + p->letters++ % 26);
}

static void probe_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	struct probe *p = dev;
	uint32_t value = 0;
	memcpy(&value, data, len < sizeof(value) ? len : sizeof(value));
	pthread_mutex_lock(&p->lock);
	p->gap |= value != p->last + 1;
	p->last = value;
	if (p->count < PROBE_MAX)
		p->writes[p->count] = (struct access){offset, len, value};
	p->count++;
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static const struct bus_ops ops = {.read = probe_read, .write = probe_write};

static void on_end(void *arg, enum machine_end end, const char *text)
{
	struct probe *p = arg;
	pthread_mutex_lock(&p->lock);
	assert_false(p->ended);
	p->ended = true;
	p->end = end;
	snprintf(p->text, sizeof(p->text), "%s", text);
	pthread_cond_broadcast(&p->changed);
	pthread_mutex_unlock(&p->lock);
}

static struct timespec deadline(void)
{
	struct timespec at;
	clock_gettime(CLOCK_REALTIME, &at);
	at.tv_sec += WAIT_S;
	return at;
}

/* Waits until the guest has written count times. */
static void await_writes(struct probe *p, unsigned count)
{
	struct timespec at = deadline();
	int rc = 0;
	pthread_mutex_lock(&p->lock);
	while (p->count < count && !p->ended && rc == 0)
		rc = pthread_cond_timedwait(&p->changed, &p->lock, &at);
	unsigned got = p->count;
	pthread_mutex_unlock(&p->lock);
	if (got < count)
		fail_msg("%u of %u writes; the guest says: %s", got, count, p->ended ? p->text : "nothing");
}

static void await_end(struct probe *p)
{
	struct timespec at = deadline();
	int rc = 0;
	pthread_mutex_lock(&p->lock);
	while (!p->ended && rc == 0)
		rc = pthread_cond_timedwait(&p->changed, &p->lock, &at);
	pthread_mutex_unlock(&p->lock);
	assert_true(p->ended);
}

static void expect_write(const struct probe *p, unsigned i, uint64_t offset, unsigned len, uint32_t value)
{
	assert_int_equal(p->writes[i].offset, offset);
	assert_int_equal(p->writes[i].len, len);
	assert_int_equal(p->writes[i].value, value);
}

/* An ELF image with these bytes at CODE, which is its entry, too. */
static void write_image(const struct fixture *f, const uint8_t *code, size_t size)
{
	struct {
		Elf32_Ehdr header;
		Elf32_Phdr load, note;
		Elf32_Nhdr pvh;
		char name[4];
		uint32_t entry;
		uint8_t code[256];
	} i = {.pvh = {4, 4, 18}, .name = "Xen", .entry = CODE};
	memcpy(i.header.e_ident, ELFMAG, SELFMAG);
	i.header.e_ident[EI_CLASS] = ELFCLASS32;
	i.header.e_ident[EI_DATA] = ELFDATA2LSB;
	i.header.e_machine = EM_386;
	i.header.e_phoff = (uint32_t)((char *)&i.load - (char *)&i);
	i.header.e_phentsize = sizeof(Elf32_Phdr);
	i.header.e_phnum = 2;
	i.load.p_type = PT_LOAD;
	i.load.p_offset = (uint32_t)((char *)i.code - (char *)&i);
	i.load.p_paddr = CODE;
	i.load.p_filesz = (uint32_t)size;
	i.load.p_memsz = 2 * 4096;
	i.note.p_type = PT_NOTE;
	i.note.p_offset = (uint32_t)((char *)&i.pvh - (char *)&i);
	i.note.p_filesz = sizeof(i.pvh) + 8;
	assert_true(size <= sizeof(i.code));
	memcpy(i.code, code, size);
	FILE *file = fopen(f->path, "wb");
	assert_non_null(file);
	assert_int_equal(fwrite(&i, sizeof(i), 1, file), 1);
	assert_int_equal(fclose(file), 0);
}

static void load(struct fixture *f, const uint8_t *code, size_t size)
{
	struct mb_error err = {0};
	struct boot *boot;
	write_image(f, code, size);
	if (boot_open(f->path, NULL, &boot, &err) != 0 || machine_load(f->machine, boot, "quiet", 0, &err) != 0)
		fail_msg("%s", err.text);
	boot_close(boot);
}

static void start(struct fixture *f, const uint8_t *code, size_t size)
{
	struct mb_error err = {0};
	load(f, code, size);
	if (machine_start(f->machine, &err) != 0)
		fail_msg("%s", err.text);
}

/* ---- the tests -------------------------------------------------------------------------------------- */

static void test_ports_and_start_info(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {
	    0xba, LE32(PORT),      /* mov $PORT, %edx */
	    0xbe, LE32(CODE + 24), /* mov $text, %esi */
	    0xb9, LE32(5),         /* mov $5, %ecx */
	    0xf3, 0x6e,            /* rep outsb */
	    0x8b, 0x03,            /* mov (%ebx), %eax: the start info's magic */
	    0xef,                  /* out %eax, (%dx) */
	    0xed,                  /* in (%dx), %eax */
	    0x40,                  /* inc %eax */
	    0xef,                  /* out %eax, (%dx) */
	    0xf4,                  /* hlt */
	    'h',  'e',
	    'l',  'l',
	    'o',
	};
	_Static_assert(sizeof(code) == 24 + 5, "text is where the code says");
	start(f, code, sizeof(code));
	await_writes(&f->probe, 7);
	for (unsigned i = 0; i < 5; i++)
		expect_write(&f->probe, i, 0, 1, (uint8_t) "hello"[i]);
	expect_write(&f->probe, 5, 0, 4, 0x336ec578);
	expect_write(&f->probe, 6, 0, 4, 0x01020305);
}

/* KVM asks for many of a string's elements in one exit. */
static void test_string_input(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {
	    0xba, LE32(PORT), /* mov $PORT, %edx */
	    0xbf, LE32(DATA), /* mov $DATA, %edi */
	    0xb9, LE32(40),   /* mov $40, %ecx */
	    0xf3, 0x6c,       /* rep insb */
	    0xef,             /* out %eax, (%dx) */
	    0xf4,             /* hlt */
	};
	char got[40];
	start(f, code, sizeof(code));
	await_writes(&f->probe, 1);
	assert_int_equal(guestmem_read(machine_mem(f->machine), DATA, got, sizeof(got)), 0);
	assert_memory_equal(got, "abcdefghijklmnopqrstuvwxyzabcdefghijklmn", sizeof(got));
}

static void test_mmio_and_ioeventfd(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {
	    0xa1, LE32(MMIO),                                 /* mov MMIO, %eax */
	    0x40,                                             /* inc %eax */
	    0xa3, LE32(MMIO + 4),                             /* mov %eax, MMIO + 4 */
	    0xb8, LE32(2),                                    /* mov $2, %eax */
	    0xa3, LE32(MMIO + 0x50),                          /* not the value that is waited for */
	    0xb8, LE32(1),           0xa3, LE32(MMIO + 0x50), /* this one is */
	    0xb8, LE32(3),           0xa3, LE32(MMIO + 0x54), 0xf4,
	};
	uint64_t count = 0;
	int fd = -1;
	assert_int_equal(machine_ioeventfd(f->machine, MMIO + 0x50, 4, 1, &fd), 0);
	start(f, code, sizeof(code));
	await_writes(&f->probe, 3);
	expect_write(&f->probe, 0, 4, 4, 0x01020305);
	expect_write(&f->probe, 1, 0x50, 4, 2);
	expect_write(&f->probe, 2, 0x54, 4, 3);
	assert_int_equal(read(fd, &count, sizeof(count)), sizeof(count));
	assert_int_equal(count, 1);
	close(fd);
}

/* Nobody is there: reads give ones, writes go nowhere, and the guest goes on. */
static void test_empty_bus(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {
	    0xba, LE32(0x600), /* mov $0x600, %edx */
	    0xed,              /* in (%dx), %eax */
	    0xef,              /* out %eax, (%dx) */
	    0x66, 0xba,
	    0x00, 0x05,
	    0xef, /* to the probe */
	    0xa1, LE32(0xfea00000),
	    0xa3, LE32(0xfea00000),
	    0xef, 0xf4,
	};
	start(f, code, sizeof(code));
	await_writes(&f->probe, 2);
	expect_write(&f->probe, 0, 0, 4, 0xffffffff);
	expect_write(&f->probe, 1, 0, 4, 0xffffffff);
}

static void test_sees_a_hypervisor(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {
	    0xb8, LE32(1),    0x0f, 0xa2, /* cpuid leaf 1 */
	    0x89, 0xc8,                   /* mov %ecx, %eax */
	    0xba, LE32(PORT), 0xef,       /* out %eax, (%dx) */
	    0x89, 0xd8,       0xef, 0xf4, /* mov %ebx, %eax; out */
	};
	start(f, code, sizeof(code));
	await_writes(&f->probe, 2);
	assert_true(f->probe.writes[0].value >> 31);
	assert_int_equal(f->probe.writes[1].value >> 24, 0);        /* APIC id */
	assert_int_equal(f->probe.writes[1].value >> 16 & 0xff, 1); /* CPUs */
}

static void test_triple_fault(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {0x0f, 0x01, 0x1d, LE32(DATA) /* lidt of nothing */, 0x0f, 0x0b};
	start(f, code, sizeof(code));
	await_end(&f->probe);
	assert_int_equal(f->probe.end, MACHINE_END_SHUTDOWN);
	assert_non_null(strstr(f->probe.text, "triple fault"));
	/* where it was, or that the processor forgot (AMD's do) */
	assert_non_null(strstr(f->probe.text, "vCPU 0, rip"));
	if (strstr(f->probe.text, "forgets") == NULL)
		assert_non_null(strstr(f->probe.text, "CPL 0, instruction bytes 0f 0b"));
}

/* Code where no memory is. */
static void test_what_cannot_be_emulated(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {0xb8, LE32(0xd0000000), 0xff, 0xe0 /* jmp *%eax */};
	start(f, code, sizeof(code));
	await_end(&f->probe);
	assert_int_equal(f->probe.end, MACHINE_END_CRASH);
	assert_non_null(strstr(f->probe.text, "cannot emulate"));
	assert_non_null(strstr(f->probe.text, "rip 0xd0000000, CPL 0, instruction bytes unreadable"));
}

static uint32_t counter(struct fixture *f)
{
	uint32_t value;
	assert_int_equal(guestmem_read(machine_mem(f->machine), DATA, &value, sizeof(value)), 0);
	return value;
}

static void test_pause_and_resume(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {0xff, 0x05, LE32(DATA) /* incl DATA */, 0xeb, 0xf8 /* again */};
	start(f, code, sizeof(code));
	for (unsigned round = 0; round < 20; round++) {
		uint32_t before = counter(f);
		for (unsigned i = 0; counter(f) == before && i < WAIT_S * 1000; i++)
			poll(NULL, 0, 1);
		assert_int_not_equal(counter(f), before);
		machine_pause(f->machine);
		machine_pause(f->machine);
		before = counter(f);
		poll(NULL, 0, 2);
		assert_int_equal(counter(f), before);
		machine_resume(f->machine);
		machine_resume(f->machine);
	}
}

/* The kick may come at any moment of an exit: each write is seen once, in order. */
static void test_pauses_lose_no_write(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {0x31, 0xc0, 0xba, LE32(PORT), 0x40, 0xef, 0xeb, 0xfc};
	start(f, code, sizeof(code));
	for (unsigned round = 0; round < 300; round++) {
		await_writes(&f->probe, round);
		machine_pause(f->machine);
		unsigned count = f->probe.count;
		machine_resume(f->machine);
		await_writes(&f->probe, count + round % 3);
	}
	machine_pause(f->machine);
	assert_false(f->probe.gap);
	assert_int_equal(f->probe.last, f->probe.count);
}

/* Never started, or started and not yet run: it can be ended. */
static void test_end_at_once(void **state)
{
	struct fixture *f = *state;
	static const uint8_t code[] = {0xeb, 0xfe};
	machine_pause(f->machine);
	load(f, code, sizeof(code));
	machine_pause(f->machine);
}

static void test_too_many_cpus(void **state)
{
	struct machine_config config = {.cpus = 1000000};
	struct machine *m = NULL;
	struct mb_error err;
	(void)state;
	assert_int_equal(machine_create(&config, &m, &err), -EINVAL);
	assert_null(m);
	assert_non_null(strstr(err.text, "--cpus 1000000"));
}

static void test_memory_that_kvm_refuses(void **state)
{
	struct fixture *f = *state;
	const struct mb_region overlapping[] = {{0, MEMORY}, {MEMORY / 2, MEMORY / 2}};
	struct machine_config config = {.cpus = 1, .on_end = on_end, .arg = &f->probe};
	struct mb_error err;
	struct machine *m;
	assert_int_equal(machine_create(&config, &m, &err), 0);
	assert_in_range(machine_address_bits(m), 32, 57);
	assert_int_equal(machine_set_memory(m, f->space, overlapping, 2, &err), -EEXIST);
	assert_non_null(strstr(err.text, "--memory"));
	machine_destroy(m);
}

static int setup(void **state)
{
	const struct mb_pool_config pool = {.backing = MB_BACKING_ANON, .size = MEMORY};
	const struct mb_region region = {0, MEMORY};
	const struct mb_space_config space = {.name = "machine", .regions = &region, .region_count = 1};
	struct fixture *f = calloc(1, sizeof(*f));
	struct mb_error warning, err;
	if (f == NULL)
		return -1;
	const struct machine_config config = {.cpus = 1, .on_end = on_end, .arg = &f->probe};
	pthread_mutex_init(&f->probe.lock, NULL);
	pthread_cond_init(&f->probe.changed, NULL);
	strcpy(f->path, "/tmp/memback-test-machine-XXXXXX");
	int fd = mkstemp(f->path);
	if (fd < 0)
		return -1;
	close(fd);
	*state = f;
	if (mb_pool_create_private(&pool, &f->pool, &warning, &err) != 0 ||
	    mb_space_create(f->pool, &space, &f->space, &err) != 0 ||
	    machine_create(&config, &f->machine, &err) != 0 ||
	    machine_set_memory(f->machine, f->space, &region, 1, &err) != 0) {
		print_error("%s\n", err.text);
		return -1;
	}
	return bus_add(machine_bus(f->machine), BUS_PIO, PORT, 8, &ops, &f->probe, "port") |
	       bus_add(machine_bus(f->machine), BUS_MMIO, MMIO, 0x200, &ops, &f->probe, "mmio");
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	machine_destroy(f->machine);
	mb_space_destroy(f->space);
	mb_pool_close(f->pool);
	unlink(f->path);
	free(f);
	return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    TEST(test_ports_and_start_info),      TEST(test_string_input),
	    TEST(test_mmio_and_ioeventfd),        TEST(test_empty_bus),
	    TEST(test_sees_a_hypervisor),         TEST(test_triple_fault),
	    TEST(test_what_cannot_be_emulated),   TEST(test_pause_and_resume),
	    TEST(test_pauses_lose_no_write),      TEST(test_end_at_once),
	    cmocka_unit_test(test_too_many_cpus), TEST(test_memory_that_kvm_refuses),
	};
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (fd < 0) {
		printf("skipped: /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests_name("machine", tests, NULL, NULL);
}
