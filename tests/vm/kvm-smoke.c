// SPDX-License-Identifier: MIT
/*
 * kvm-smoke.c - the first VM test: is there a KVM that runs guests at all, with no part of ours involved?
 *
 * A virtual machine of one page of code adds up 1 to 100 in 64-bit mode, at privilege level 0, stores the sum
 * in its memory, writes it to a port and halts. Exit status 77 where there is no usable /dev/kvm.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define SKIP        77
#define MEMORY_SIZE 0x200000
#define CODE        0x1000
#define RESULT      0x2000 /* where the guest stores its sum */
#define STACK       0x4000
#define PML4        0x10000
#define PDPT        0x11000
#define PD          0x12000
#define PORT        0x80
#define EXPECTED    5050

/* Plain instructions that KVM's emulator knows too: some kinds of KVM run privilege level 0 in it. */
static const uint8_t code[] = {
    0x31, 0xc0,                               /*	xor eax, eax */
    0xb9, 0x64, 0x00, 0x00, 0x00,             /*	mov ecx, 100 */
    0x01, 0xc8,                               /* 1:	add eax, ecx */
    0xff, 0xc9,                               /*	dec ecx */
    0x75, 0xfa,                               /*	jnz 1b */
    0x89, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, /*	mov [RESULT], eax */
    0xe7, PORT,                               /*	out PORT, eax */
    0xf4,                                     /*	hlt */
};

struct smoke {
	int kvm, vm, vcpu;
	uint8_t *memory;
	struct kvm_run *run;
	int run_size;
};

static int fail(const char *what)
{
	fprintf(stderr, "kvm-smoke: %s: %s\n", what, strerror(errno));
	return 1;
}

/* 0, or the exit status. */
static int open_kvm(struct smoke *s)
{
	s->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (s->kvm < 0) {
		printf("/dev/kvm: %s\n", strerror(errno));
		return SKIP;
	}
	int version = ioctl(s->kvm, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION) {
		printf("/dev/kvm is not a KVM of API version 12\n");
		return SKIP;
	}
	s->vm = ioctl(s->kvm, KVM_CREATE_VM, 0);
	if (s->vm < 0) {
		printf("/dev/kvm makes no virtual machine: %s\n", strerror(errno));
		return SKIP;
	}
	return 0;
}

static void put64(struct smoke *s, size_t at, uint64_t value)
{
	memcpy(s->memory + at, &value, sizeof(value));
}

static int make_memory(struct smoke *s)
{
	s->memory = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s->memory == MAP_FAILED)
		return fail("mmap");
	memcpy(s->memory + CODE, code, sizeof(code));
	put64(s, PML4, PDPT | 3);
	put64(s, PDPT, PD | 3);
	put64(s, PD, 0x83); /* one page of 2 MiB, all of the memory */

	struct kvm_userspace_memory_region region = {
	    .memory_size = MEMORY_SIZE,
	    .userspace_addr = (uintptr_t)s->memory,
	};
	if (ioctl(s->vm, KVM_SET_USER_MEMORY_REGION, &region))
		return fail("KVM_SET_USER_MEMORY_REGION");
	return 0;
}

static int set_cpuid(struct smoke *s)
{
	const unsigned count = 128;
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + count * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return fail("calloc");
	cpuid->nent = count;
	int error = ioctl(s->kvm, KVM_GET_SUPPORTED_CPUID, cpuid) || ioctl(s->vcpu, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return error ? fail("KVM_SET_CPUID2") : 0;
}

static int set_long_mode(struct smoke *s)
{
	struct kvm_sregs sregs;
	struct kvm_segment code_segment = {
	    .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
	struct kvm_segment data_segment = {
	    .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1};

	if (ioctl(s->vcpu, KVM_GET_SREGS, &sregs))
		return fail("KVM_GET_SREGS");
	sregs.cr3 = PML4;
	sregs.cr4 = 0x20;       /* PAE */
	sregs.cr0 = 0x80000033; /* PG, NE, ET, MP, PE */
	sregs.efer = 0x500;     /* LMA, LME */
	sregs.cs = code_segment;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data_segment;
	if (ioctl(s->vcpu, KVM_SET_SREGS, &sregs))
		return fail("KVM_SET_SREGS");

	struct kvm_regs regs = {.rip = CODE, .rsp = STACK, .rflags = 2};
	if (ioctl(s->vcpu, KVM_SET_REGS, &regs))
		return fail("KVM_SET_REGS");
	return 0;
}

static int make_vcpu(struct smoke *s)
{
	s->vcpu = ioctl(s->vm, KVM_CREATE_VCPU, 0);
	if (s->vcpu < 0)
		return fail("KVM_CREATE_VCPU");
	s->run_size = ioctl(s->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (s->run_size < (int)sizeof(*s->run))
		return fail("KVM_GET_VCPU_MMAP_SIZE");
	s->run = mmap(NULL, (size_t)s->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, s->vcpu, 0);
	if (s->run == MAP_FAILED)
		return fail("mmap of the vCPU");
	int status = set_cpuid(s);
	return status ? status : set_long_mode(s);
}

/* The value written to the port, or why there is none. */
static int check_out(struct smoke *s, bool *seen)
{
	uint32_t value;
	const struct kvm_run *run = s->run;

	if (run->io.direction != KVM_EXIT_IO_OUT || run->io.port != PORT || run->io.size != 4) {
		fprintf(stderr, "kvm-smoke: an exit for port 0x%x, size %u\n", run->io.port, run->io.size);
		return 1;
	}
	memcpy(&value, (const uint8_t *)run + run->io.data_offset, sizeof(value));
	if (value != EXPECTED) {
		fprintf(stderr, "kvm-smoke: the guest says %u, not %d\n", value, EXPECTED);
		return 1;
	}
	*seen = true;
	return 0;
}

static int run_guest(struct smoke *s)
{
	bool seen = false;

	for (int exits = 0; exits < 10; exits++) {
		if (ioctl(s->vcpu, KVM_RUN, 0)) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return fail("KVM_RUN");
		}
		if (s->run->exit_reason == KVM_EXIT_IO) {
			if (check_out(s, &seen))
				return 1;
		} else if (s->run->exit_reason == KVM_EXIT_HLT) {
			uint32_t sum;
			memcpy(&sum, s->memory + RESULT, sizeof(sum));
			if (seen && sum == EXPECTED)
				return 0;
			fprintf(stderr, "kvm-smoke: halted with %u in memory, port write %s\n", sum,
				seen ? "seen" : "missing");
			return 1;
		} else {
			fprintf(stderr, "kvm-smoke: unexpected exit %u\n", s->run->exit_reason);
			return 1;
		}
	}
	fprintf(stderr, "kvm-smoke: the guest does not halt\n");
	return 1;
}

int main(void)
{
	struct smoke s = {.kvm = -1, .vm = -1, .vcpu = -1};
	int status = open_kvm(&s);

	if (!status)
		status = make_memory(&s);
	if (!status)
		status = make_vcpu(&s);
	if (!status)
		status = run_guest(&s);
	if (!status)
		printf("kvm-smoke: a guest added up 1 to 100\n");
	return status;
}
