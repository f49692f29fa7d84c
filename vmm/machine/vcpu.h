/* SPDX-License-Identifier: MIT */
/*
 * vcpu.h - one vCPU and its thread. Internal to machine/.
 *
 * A vCPU thread is in one of two places: parked (it waits for the machine to run), or between two looks at
 * the machine's wish, which includes all time in the guest and in devices. machine_pause() changes the wish,
 * kicks every vCPU and waits until all are parked.
 */
#ifndef VMM_MACHINE_VCPU_H
#define VMM_MACHINE_VCPU_H

#include "machine/boot.h"
#include "machine/machine.h"

#include <linux/kvm.h>
#include <pthread.h>

struct vcpu {
	struct machine *machine;
	unsigned id;
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool started; /* the thread exists */
	bool parked;  /* protected by the machine's lock */
};

/* What the machine's vCPUs share; protected by lock. */
struct vcpu_control {
	pthread_mutex_t lock;
	pthread_cond_t changed; /* of any of the below, and of vcpu.parked */
	bool run;               /* the wish: vCPUs shall be in the guest */
	bool quit;              /* threads shall end */
	bool ended;             /* a vCPU has ended the VM: told once */
};

MB_MUST_CHECK int vcpu_create(struct machine *m, int kvm, int vm, unsigned id, struct vcpu *out,
			      struct mb_error *err);
void vcpu_destroy(struct vcpu *v);
/* Points the vCPU at the guest's entry: 32-bit protected mode without paging, or 64-bit mode. */
MB_MUST_CHECK int vcpu_set_entry(struct vcpu *v, const struct boot_entry *entry, struct mb_error *err);
MB_MUST_CHECK int vcpu_start(struct vcpu *v, struct mb_error *err);
/* Makes it look at the machine's wish, wherever it is. Call with the lock held, after the wish changed. */
void vcpu_kick(struct vcpu *v);
/* Says where the vCPU is, for a message: rip, CPL, instruction bytes. On its own thread, or while it
 * is parked. */
void vcpu_describe(struct vcpu *v, char *text, size_t size);

/* machine.c: */
struct vcpu_control *machine_control(struct machine *m);
/* Tells the machine's owner that a vCPU ended the VM. */
void machine_ended(struct machine *m, enum machine_end end, const char *text);
/* cpuid.c: what the host supports, made into this vCPU's. */
MB_MUST_CHECK int cpuid_set(int kvm, int vcpu, unsigned id, unsigned cpus, const struct cpu_mask *without,
			    struct mb_error *err);
struct cpuid_facts {
	unsigned id, cpus;
	bool deadline; /* KVM has a timer of the TSC-deadline kind */
	const struct cpu_mask *without;
};
/* cpuid.c: the part of it that asks nobody. The list has room for so many entries, and may grow up to that. */
void cpuid_personalise(struct kvm_cpuid2 *list, unsigned room, const struct cpuid_facts *facts);
/* cpuid.c: bits of guest physical addresses. */
unsigned cpuid_address_bits(int kvm);
/* Does that CPUID name AMD, or Hygon, which builds the same? */
bool cpuid_is_amd(int kvm);
unsigned machine_cpus(const struct machine *m);
const struct cpu_mask *machine_cpu_mask(const struct machine *m);

#endif
