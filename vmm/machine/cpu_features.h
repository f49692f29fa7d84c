/* SPDX-License-Identifier: MIT */
/*
 * cpu_features.h - names of CPU features, as Linux has them in /proc/cpuinfo, and taking features from a CPUID.
 *
 * Sources: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E.
 */
#ifndef VMM_MACHINE_CPU_FEATURES_H
#define VMM_MACHINE_CPU_FEATURES_H

#include <memback/pool.h>
#include <stdint.h>

/* The registers that hold features. */
enum cpu_word {
	CPU_1_ECX,
	CPU_1_EDX,
	CPU_7_EBX,
	CPU_7_ECX,
	CPU_7_EDX,
	CPU_7_1_EAX,   /* subleaf 1 */
	CPU_XSAVE_EAX, /* 0xd, subleaf 1 */
	CPU_EXT_ECX,   /* 0x80000001 */
	CPU_EXT_EDX,
	CPU_KVM_EAX, /* 0x40000001 */
	CPU_WORDS
};

/* Features to take away: a set bit is one. Start with {0}. */
struct cpu_mask {
	uint32_t words[CPU_WORDS];
};

/* Adds the features of a list "a,b,c". -EINVAL: it names what is not known; err says so. */
MB_MUST_CHECK int cpu_mask_add(struct cpu_mask *mask, const char *list, struct mb_error *err);

struct kvm_cpuid_entry2;
/* Takes them from an entry; does nothing to one that holds no features. */
void cpu_mask_apply(const struct cpu_mask *mask, struct kvm_cpuid_entry2 *entry);

#endif
