/* SPDX-License-Identifier: MIT */
/* test-cpuid.c - what a vCPU is told about itself and the others, made of what KVM gives. */
#include "machine/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define ROOM 16

static struct kvm_cpuid2 *make_list(void)
{
	struct kvm_cpuid2 *list = calloc(1, sizeof(*list) + ROOM * sizeof(list->entries[0]));
	assert_non_null(list);
	return list;
}

static struct kvm_cpuid_entry2 *add(struct kvm_cpuid2 *list, unsigned function, unsigned index)
{
	struct kvm_cpuid_entry2 *e = &list->entries[list->nent++];
	*e = (struct kvm_cpuid_entry2){.function = function, .index = index};
	return e;
}

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *list, unsigned function, unsigned index)
{
	for (unsigned i = 0; i < list->nent; i++) {
		if (list->entries[i].function == function && list->entries[i].index == index)
			return &list->entries[i];
	}
	return NULL;
}

/* Bits of an APIC id that name a thread in its core, and a core in its package; numbers of threads and cores. */
static void check_topology(const struct kvm_cpuid2 *list, unsigned leaf, unsigned id, unsigned bits,
			   unsigned cpus)
{
	const struct kvm_cpuid_entry2 *thread = find(list, leaf, 0), *core = find(list, leaf, 1),
				      *end = find(list, leaf, 2);
	assert_non_null(thread);
	assert_non_null(core);
	assert_non_null(end);
	assert_int_equal(thread->eax, 0);
	assert_int_equal(thread->ebx, 1);
	assert_int_equal(thread->ecx, 0x100);
	assert_int_equal(core->eax, bits);
	assert_int_equal(core->ebx, cpus);
	assert_int_equal(core->ecx, 0x201);
	assert_true(core->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	assert_int_equal(end->ebx, 0);
	assert_int_equal(end->ecx, 2);
	assert_int_equal(thread->edx, id);
	assert_int_equal(core->edx, id);
	assert_int_equal(end->edx, id);
}

/* KVM gives subleaf 0 only; others give all. Both leaves, or one. */
static void test_cores_of_one_package(void **state)
{
	static const struct cpu_mask nothing;
	const struct cpuid_facts facts = {.id = 2, .cpus = 3, .without = &nothing};
	(void)state;
	struct kvm_cpuid2 *list = make_list();
	add(list, 0xb, 0)->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
	cpuid_personalise(list, ROOM, &facts);
	assert_int_equal(list->nent, 3);
	check_topology(list, 0xb, 2, 2, 3);
	add(list, 0x1f, 0);
	cpuid_personalise(list, ROOM, &facts);
	assert_int_equal(list->nent, 6);
	check_topology(list, 0xb, 2, 2, 3);
	check_topology(list, 0x1f, 2, 2, 3);
	cpuid_personalise(list, ROOM, &facts);
	assert_int_equal(list->nent, 6);
	free(list);
}

static void test_no_leaf_and_no_room(void **state)
{
	static const struct cpu_mask nothing;
	const struct cpuid_facts facts = {.id = 0, .cpus = 1, .without = &nothing};
	(void)state;
	struct kvm_cpuid2 *list = make_list();
	add(list, 1, 0);
	cpuid_personalise(list, ROOM, &facts);
	assert_int_equal(list->nent, 1);
	add(list, 0xb, 0);
	cpuid_personalise(list, 3, &facts);
	assert_int_equal(list->nent, 3);
	assert_non_null(find(list, 0xb, 1));
	cpuid_personalise(list, 3, &facts);
	assert_int_equal(list->nent, 3);
	cpuid_personalise(list, ROOM, &facts);
	check_topology(list, 0xb, 0, 0, 1);
	free(list);
}

/* Names in each word, and that only their bits go, from their own leaf. */
static void test_features_taken_away(void **state)
{
	struct cpu_mask mask = {0};
	struct mb_error err;
	(void)state;
	assert_int_equal(cpu_mask_add(&mask, "xsave,avx512vl,gfni,amx_tile,avx_vnni,xsaves,rtm,nx", &err), 0);
	struct kvm_cpuid_entry2 all = {
	    .eax = UINT32_MAX, .ebx = UINT32_MAX, .ecx = UINT32_MAX, .edx = UINT32_MAX};
	struct kvm_cpuid_entry2 leaf_1 = all, leaf_7 = all, leaf_7_1 = all, leaf_d = all, leaf_d_1 = all;
	leaf_1.function = 1;
	leaf_7.function = leaf_7_1.function = 7;
	leaf_d.function = leaf_d_1.function = 0xd;
	leaf_7_1.index = leaf_d_1.index = 1;
	cpu_mask_apply(&mask, &leaf_1);
	assert_int_equal(leaf_1.ecx, ~(1u << 26));
	assert_int_equal(leaf_1.edx, UINT32_MAX);
	cpu_mask_apply(&mask, &leaf_7);
	assert_int_equal(leaf_7.eax, UINT32_MAX);
	assert_int_equal(leaf_7.ebx, ~(1u << 31 | 1u << 11));
	assert_int_equal(leaf_7.ecx, ~(1u << 8));
	assert_int_equal(leaf_7.edx, ~(1u << 24));
	cpu_mask_apply(&mask, &leaf_7_1);
	assert_int_equal(leaf_7_1.eax, ~(1u << 4));
	assert_int_equal(leaf_7_1.edx, UINT32_MAX);
	cpu_mask_apply(&mask, &leaf_d);
	assert_int_equal(leaf_d.eax, UINT32_MAX);
	cpu_mask_apply(&mask, &leaf_d_1);
	assert_int_equal(leaf_d_1.eax, ~(1u << 3));
	assert_int_equal(cpu_mask_add(&mask, "nx,frob", &err), -EINVAL);
	assert_non_null(strstr(err.text, "'frob'"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_cores_of_one_package),
	    cmocka_unit_test(test_no_leaf_and_no_room),
	    cmocka_unit_test(test_features_taken_away),
	};
	return cmocka_run_group_tests_name("cpuid", tests, NULL, NULL);
}
