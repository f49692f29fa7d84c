/* SPDX-License-Identifier: MIT */
/*
 * cpuid.c - the CPUID that guests see: what the host's KVM supports, with each vCPU's own number in it.
 *
 * Sources: Intel SDM vol. 2A, CPUID; AMD APM vol. 3, appendix E; KVM API, KVM_GET_SUPPORTED_CPUID.
 */
#include "error.h"
#include "machine/vcpu.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define ENTRIES_FIRST 128
#define ENTRIES_MAX   4096
#define ENTRIES_TAKEN 256 /* by KVM_SET_CPUID2 (KVM_MAX_CPUID_ENTRIES) */

#define LEAF1_ECX_TSC_DEADLINE (1u << 24)
#define LEAF1_ECX_HYPERVISOR   (1u << 31)
#define LEAF1_EDX_HTT          (1u << 28) /* its count of CPUs in ebx is valid */

/* Leaves and subleaves that tell how CPUs are numbered, beside subleaf 0. */
static const unsigned topology_leaves[] = {0xb, 0x1f};
#define TOPOLOGY_LAST  2 /* thread, core, and the end of the list */
#define TOPOLOGY_EXTRA (2 * TOPOLOGY_LAST)

/* What the host supports, with room for TOPOLOGY_EXTRA more; the caller frees it. NULL: errno says why. */
static struct kvm_cpuid2 *get_supported(int kvm)
{
	for (unsigned n = ENTRIES_FIRST; n <= ENTRIES_MAX; n *= 2) {
		struct kvm_cpuid2 *list =
		    calloc(1, sizeof(*list) + (n + TOPOLOGY_EXTRA) * sizeof(list->entries[0]));
		if (list == NULL)
			return NULL;
		list->nent = n;
		if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, list) == 0)
			return list;
		int why = errno;
		free(list);
		errno = why;
		if (why != E2BIG)
			return NULL;
	}
	return NULL;
}

static unsigned bits_for(unsigned count)
{
	unsigned bits = 0;
	while ((1u << bits) < count)
		bits++;
	return bits;
}

/* Leaves 0xb and 0x1f: one thread a core, all cores in one package. */
static void set_topology(struct kvm_cpuid_entry2 *e, unsigned id, unsigned cpus)
{
	enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };
	e->edx = id;
	if (e->index == 0) {
		e->eax = 0;
		e->ebx = 1;
		e->ecx = LEVEL_THREAD << 8;
	} else if (e->index == 1) {
		e->eax = bits_for(cpus);
		e->ebx = cpus;
		e->ecx = 1 | LEVEL_CORE << 8;
	} else {
		e->eax = 0;
		e->ebx = 0;
		e->ecx = e->index;
	}
}

static unsigned at_most(unsigned value, unsigned most)
{
	return value < most ? value : most;
}

/*
 * A cache of leaf 4 or 0x8000001d: the last level is everybody's, the others are each core's own. Only
 * Intel's counts the cores of the package, in bits 31 to 26.
 */
static void set_cache(struct kvm_cpuid_entry2 *e, unsigned cpus)
{
	enum { LAST_LEVEL = 3 };
	unsigned level = e->eax >> 5 & 7;
	unsigned sharing = level == LAST_LEVEL ? at_most(cpus - 1, 0xfff) : 0;
	e->eax = (e->eax & 0x3fff) | sharing << 14;
	if (e->function == 4 && level != 0)
		e->eax |= at_most(cpus - 1, 0x3f) << 26;
}

static bool has_leaf(const struct kvm_cpuid2 *list, unsigned function, unsigned index)
{
	for (unsigned i = 0; i < list->nent; i++) {
		if (list->entries[i].function == function && list->entries[i].index == index)
			return true;
	}
	return false;
}

/*
 * KVM has no topology of its own to tell and gives subleaf 0 only. A guest that does not find its cores in
 * subleaf 1 takes each of them for a package.
 */
static void add_topology(struct kvm_cpuid2 *list, unsigned room)
{
	for (unsigned i = 0; i < sizeof(topology_leaves) / sizeof(topology_leaves[0]); i++) {
		unsigned leaf = topology_leaves[i];
		for (unsigned index = 1; has_leaf(list, leaf, 0) && index <= TOPOLOGY_LAST; index++) {
			if (has_leaf(list, leaf, index) || list->nent >= room)
				continue;
			list->entries[list->nent++] = (struct kvm_cpuid_entry2){
			    .function = leaf, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX};
		}
	}
}

void cpuid_personalise(struct kvm_cpuid2 *list, unsigned room, const struct cpuid_facts *facts)
{
	unsigned id = facts->id, cpus = facts->cpus;
	add_topology(list, room);
	for (unsigned i = 0; i < list->nent; i++) {
		struct kvm_cpuid_entry2 *e = &list->entries[i];
		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0xffff) | at_most(cpus, 0xff) << 16 | id << 24;
			e->ecx |= LEAF1_ECX_HYPERVISOR | (facts->deadline ? LEAF1_ECX_TSC_DEADLINE : 0);
			e->edx = cpus > 1 ? e->edx | LEAF1_EDX_HTT : e->edx & ~LEAF1_EDX_HTT;
			break;
		case 4:
		case 0x8000001d:
			set_cache(e, cpus);
			break;
		case 0xb:
		case 0x1f:
			set_topology(e, id, cpus);
			break;
		case 0x80000008: /* AMD: how many cores, and how many bits of an APIC id name them */
			e->ecx = (e->ecx & ~0xf0ffu) | at_most(cpus - 1, 0xff) | bits_for(cpus) << 12;
			break;
		case 0x8000001e: /* AMD: APIC id, core without a second thread, the only node */
			e->eax = id;
			e->ebx = id & 0xff;
			e->ecx = 0;
			break;
		}
		cpu_mask_apply(facts->without, e);
	}
}

/* How many entries a list of get_supported() may grow to. */
static unsigned room_of(const struct kvm_cpuid2 *list)
{
	unsigned room = list->nent + TOPOLOGY_EXTRA;
	return room < ENTRIES_TAKEN ? room : ENTRIES_TAKEN;
}

int cpuid_set(int kvm, int vcpu, unsigned id, unsigned cpus, const struct cpu_mask *without,
	      struct mb_error *err)
{
	struct kvm_cpuid2 *list = get_supported(kvm);
	if (list == NULL)
		return error_set(err, -errno, "KVM does not tell the CPUID that it supports: %s",
				 strerror(errno));
	struct cpuid_facts facts = {
	    .id = id,
	    .cpus = cpus,
	    .deadline = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0,
	    .without = without,
	};
	cpuid_personalise(list, room_of(list), &facts);
	int rc = ioctl(vcpu, KVM_SET_CPUID2, list) == 0 ? 0 : -errno;
	free(list);
	return rc == 0 ? 0 : error_set(err, rc, "KVM refuses the CPUID of vCPU %u: %s", id, strerror(-rc));
}

unsigned cpuid_address_bits(int kvm)
{
	unsigned bits = 36, mapped; /* what every x86-64 has */
	struct kvm_cpuid2 *list = get_supported(kvm);
	for (unsigned i = 0; list != NULL && i < list->nent; i++) {
		if (list->entries[i].function != 0x80000008)
			continue;
		/* the processor's own, unless nested paging reaches less far: then KVM says so beside it */
		bits = list->entries[i].eax & 0xff;
		mapped = list->entries[i].eax >> 16 & 0xff;
		if (mapped != 0 && mapped < bits)
			bits = mapped;
	}
	free(list);
	return bits;
}

bool cpuid_is_amd(int kvm)
{
	bool amd = false;
	struct kvm_cpuid2 *list = get_supported(kvm);
	for (unsigned i = 0; list != NULL && i < list->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &list->entries[i];
		char vendor[12];
		if (e->function != 0)
			continue;
		memcpy(vendor, &e->ebx, 4);
		memcpy(vendor + 4, &e->edx, 4);
		memcpy(vendor + 8, &e->ecx, 4);
		amd = memcmp(vendor, "AuthenticAMD", 12) == 0 || memcmp(vendor, "HygonGenuine", 12) == 0;
	}
	free(list);
	return amd;
}
