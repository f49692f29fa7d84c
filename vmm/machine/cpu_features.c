/* SPDX-License-Identifier: MIT */
/* cpu_features.c - see cpu_features.h. */
#include "machine/cpu_features.h"

#include "error.h"

#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

struct feature {
	const char *name;
	enum cpu_word word;
	unsigned bit;
};

static const struct feature features[] = {
    {"pni", CPU_1_ECX, 0},
    {"pclmulqdq", CPU_1_ECX, 1},
    {"monitor", CPU_1_ECX, 3},
    {"vmx", CPU_1_ECX, 5},
    {"ssse3", CPU_1_ECX, 9},
    {"fma", CPU_1_ECX, 12},
    {"cx16", CPU_1_ECX, 13},
    {"pcid", CPU_1_ECX, 17},
    {"sse4_1", CPU_1_ECX, 19},
    {"sse4_2", CPU_1_ECX, 20},
    {"x2apic", CPU_1_ECX, 21},
    {"movbe", CPU_1_ECX, 22},
    {"popcnt", CPU_1_ECX, 23},
    {"tsc_deadline_timer", CPU_1_ECX, 24},
    {"aes", CPU_1_ECX, 25},
    {"xsave", CPU_1_ECX, 26},
    {"avx", CPU_1_ECX, 28},
    {"f16c", CPU_1_ECX, 29},
    {"rdrand", CPU_1_ECX, 30},
    {"hypervisor", CPU_1_ECX, 31},
    {"pse", CPU_1_EDX, 3},
    {"mtrr", CPU_1_EDX, 12},
    {"pge", CPU_1_EDX, 13},
    {"mca", CPU_1_EDX, 14},
    {"pat", CPU_1_EDX, 16},
    {"clflush", CPU_1_EDX, 19},
    {"fsgsbase", CPU_7_EBX, 0},
    {"tsc_adjust", CPU_7_EBX, 1},
    {"bmi1", CPU_7_EBX, 3},
    {"hle", CPU_7_EBX, 4},
    {"avx2", CPU_7_EBX, 5},
    {"smep", CPU_7_EBX, 7},
    {"bmi2", CPU_7_EBX, 8},
    {"erms", CPU_7_EBX, 9},
    {"invpcid", CPU_7_EBX, 10},
    {"rtm", CPU_7_EBX, 11},
    {"mpx", CPU_7_EBX, 14},
    {"avx512f", CPU_7_EBX, 16},
    {"avx512dq", CPU_7_EBX, 17},
    {"rdseed", CPU_7_EBX, 18},
    {"adx", CPU_7_EBX, 19},
    {"smap", CPU_7_EBX, 20},
    {"avx512ifma", CPU_7_EBX, 21},
    {"clflushopt", CPU_7_EBX, 23},
    {"clwb", CPU_7_EBX, 24},
    {"avx512cd", CPU_7_EBX, 28},
    {"sha_ni", CPU_7_EBX, 29},
    {"avx512bw", CPU_7_EBX, 30},
    {"avx512vl", CPU_7_EBX, 31},
    {"avx512vbmi", CPU_7_ECX, 1},
    {"umip", CPU_7_ECX, 2},
    {"pku", CPU_7_ECX, 3},
    {"waitpkg", CPU_7_ECX, 5},
    {"avx512_vbmi2", CPU_7_ECX, 6},
    {"gfni", CPU_7_ECX, 8},
    {"vaes", CPU_7_ECX, 9},
    {"vpclmulqdq", CPU_7_ECX, 10},
    {"avx512_vnni", CPU_7_ECX, 11},
    {"avx512_bitalg", CPU_7_ECX, 12},
    {"avx512_vpopcntdq", CPU_7_ECX, 14},
    {"la57", CPU_7_ECX, 16},
    {"rdpid", CPU_7_ECX, 22},
    {"cldemote", CPU_7_ECX, 25},
    {"movdiri", CPU_7_ECX, 27},
    {"movdir64b", CPU_7_ECX, 28},
    {"fsrm", CPU_7_EDX, 4},
    {"avx512_vp2intersect", CPU_7_EDX, 8},
    {"serialize", CPU_7_EDX, 14},
    {"amx_bf16", CPU_7_EDX, 22},
    {"avx512_fp16", CPU_7_EDX, 23},
    {"amx_tile", CPU_7_EDX, 24},
    {"amx_int8", CPU_7_EDX, 25},
    {"spec_ctrl", CPU_7_EDX, 26},
    {"arch_capabilities", CPU_7_EDX, 29},
    {"avx_vnni", CPU_7_1_EAX, 4},
    {"avx512_bf16", CPU_7_1_EAX, 5},
    {"xsaveopt", CPU_XSAVE_EAX, 0},
    {"xsavec", CPU_XSAVE_EAX, 1},
    {"xgetbv1", CPU_XSAVE_EAX, 2},
    {"xsaves", CPU_XSAVE_EAX, 3},
    {"svm", CPU_EXT_ECX, 2},
    {"abm", CPU_EXT_ECX, 5},
    {"sse4a", CPU_EXT_ECX, 6},
    {"misalignsse", CPU_EXT_ECX, 7},
    {"3dnowprefetch", CPU_EXT_ECX, 8},
    {"xop", CPU_EXT_ECX, 11},
    {"fma4", CPU_EXT_ECX, 16},
    {"tbm", CPU_EXT_ECX, 21},
    {"topoext", CPU_EXT_ECX, 22},
    {"nx", CPU_EXT_EDX, 20},
    {"pdpe1gb", CPU_EXT_EDX, 26},
    {"rdtscp", CPU_EXT_EDX, 27},
    {"kvmclock", CPU_KVM_EAX, 0},
    {"kvm_clocksource2", CPU_KVM_EAX, 3},
    {"kvm_asyncpf", CPU_KVM_EAX, 4},
    {"kvm_steal_time", CPU_KVM_EAX, 5},
    {"kvm_pv_eoi", CPU_KVM_EAX, 6},
    {"kvm_pv_unhalt", CPU_KVM_EAX, 7},
};

static const struct feature *find(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof(features) / sizeof(features[0]); i++) {
		if (strlen(features[i].name) == length && memcmp(features[i].name, name, length) == 0)
			return &features[i];
	}
	return NULL;
}

int cpu_mask_add(struct cpu_mask *mask, const char *list, struct mb_error *err)
{
	for (const char *at = list;; at++) {
		size_t length = strcspn(at, ",");
		const struct feature *f = find(at, length);
		if (f == NULL)
			return error_set(
			    err, -EINVAL,
			    "--cpu-disable: '%.*s' is no feature that can be taken away; memback-vmm(1) "
			    "lists those that can, by their names in /proc/cpuinfo",
			    length > 40 ? 40 : (int)length, at);
		mask->words[f->word] |= UINT32_C(1) << f->bit;
		at += length;
		if (*at == '\0')
			return 0;
	}
}

void cpu_mask_apply(const struct cpu_mask *mask, struct kvm_cpuid_entry2 *e)
{
	const uint32_t *w = mask->words;
	if (e->function == 1) {
		e->ecx &= ~w[CPU_1_ECX];
		e->edx &= ~w[CPU_1_EDX];
	} else if (e->function == 7 && e->index == 0) {
		e->ebx &= ~w[CPU_7_EBX];
		e->ecx &= ~w[CPU_7_ECX];
		e->edx &= ~w[CPU_7_EDX];
	} else if (e->function == 7 && e->index == 1) {
		e->eax &= ~w[CPU_7_1_EAX];
	} else if (e->function == 0xd && e->index == 1) {
		e->eax &= ~w[CPU_XSAVE_EAX];
	} else if (e->function == 0x80000001) {
		e->ecx &= ~w[CPU_EXT_ECX];
		e->edx &= ~w[CPU_EXT_EDX];
	} else if (e->function == 0x40000001) {
		e->eax &= ~w[CPU_KVM_EAX];
	}
}
