/* SPDX-License-Identifier: MIT */
/*
 * slots.h - KVM's memory slots of a VM: what they cost the host, and making them.
 *
 * For each slot KVM makes tables of its own, in kernel memory that no limit of ours covers. How large they are
 * depends on how it maps guest memory (arch/x86/include/asm/kvm_host.h: rmap, lpage_info, gfn_write_track):
 *
 *   kind                            bytes a 4 KiB page        a terabyte, at most
 *   shadow paging, or nested
 *   paging without the TDP MMU      8 (rmap) + 2 (tracking)   2.5 GiB, at once
 *   the TDP MMU                     0 to 2 (tracking)         0.5 GiB; mostly some MiB
 *
 * and 8 to 16 bytes for each 2 MiB. So the cost is estimated, and compared with what the host has, before any
 * of it is spent.
 *
 * Not thread-safe, but for slots_put().
 */
#ifndef VMM_MACHINE_SLOTS_H
#define VMM_MACHINE_SLOTS_H

#include <memback/pool.h>
#include <stdbool.h>

enum slots_kind {
	SLOTS_SHADOW,  /* no nested paging: KVM shadows the guest's page tables */
	SLOTS_TDP,     /* nested paging, with tables for all of a slot */
	SLOTS_TDP_MMU, /* nested paging, tables as they are used */
};

/* KVM takes at most 2^31 - 1 pages in a slot; ours end where large pages do. */
#define SLOTS_BYTES_MAX (UINT64_C(4) << 40)

struct slots {
	int vm; /* KVM's descriptor of the VM; not owned */
	enum slots_kind kind;
	unsigned limit; /* slots that KVM takes */
	unsigned count; /* made by slots_add(); the next one's number */
};

/* kvm: /dev/kvm. */
void slots_init(struct slots *s, int kvm, int vm);

const char *slots_kind_text(enum slots_kind kind);
/* What slots for so many bytes of guest memory cost the host at most, in bytes. */
uint64_t slots_price(enum slots_kind kind, uint64_t bytes);
/* The reverse: the most guest memory, in whole GiB, whose slots cost at most so much. */
uint64_t slots_afford(enum slots_kind kind, uint64_t price);

/*
 * Has the host room for slots of so many bytes of guest memory? -ENOMEM with text: the reason, and the most
 * that would work. Nothing is spent, but for a moment where only a trial can tell.
 */
MB_MUST_CHECK int slots_check(struct slots *s, uint64_t bytes, struct mb_error *err);

/* Adds slots for [gpa, gpa + size), which is mapped at hva; cut at multiples of SLOTS_BYTES_MAX. */
MB_MUST_CHECK int slots_add(struct slots *s, uint64_t gpa, uint64_t size, void *hva, struct mb_error *err);
/*
 * Makes slot number n, or with size 0 removes it; for numbers from count on, each a slot of its own. 0 or a
 * negative errno. Any thread; guests that touch what is removed see no memory there when it returns.
 */
int slots_put(const struct slots *s, unsigned n, uint64_t gpa, uint64_t size, void *hva);

#endif
