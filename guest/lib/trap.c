/* SPDX-License-Identifier: MIT */
/*
 * trap.c - the interrupt descriptor table, and what becomes of exceptions.
 */
#include "trap.h"

#include "console.h"
#include "layout.h"
#include "machine.h"
#include "paging.h"

#define VECTOR_PAGE_FAULT 14
#define ERROR_PRESENT     1

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_middle;
	uint32_t offset_high, reserved;
};

extern struct gate cpu_idt[VECTORS]; /* start.S */
extern const char vector_entries[];    /* start.S: VECTOR_BYTES each */

void trap_init(void)
{
	for (unsigned v = 0; v < VECTORS; v++) {
		uint64_t at = (uint64_t)(uintptr_t)vector_entries + v * VECTOR_BYTES;

		cpu_idt[v] = (struct gate){
		    .offset_low = (uint16_t)at,
		    .selector = SEL_KERNEL_CODE,
		    .type = v == VECTOR_CPL0 ? 0xee : 0x8e, /* 64-bit interrupt gate; int3 from CPL3 too */
		    .offset_middle = (uint16_t)(at >> 16),
		};
	}
}

static uint64_t expected = TRAP_NONE;

void trap_expect(uint64_t vector)
{
	expected = vector;
}

void trap_handle(struct trap_frame *f)
{
	static struct trap_frame *first;

	if (f->vector == VECTOR_PAGE_FAULT && !(f->error & ERROR_PRESENT) && paging_fault(f->cr2))
		return;
	if (f->vector == expected || expected == TRAP_ANY) {
		print("trap: vector %lu at rip 0x%lx cpl %lu, as expected\n", f->vector, f->rip, f->cs & 3);
		machine_exit(EXIT_OK);
	}
	if (first)
		machine_exit(EXIT_TRAP);
	first = f;
	print("trap: vector %lu error 0x%lx at rip 0x%lx cpl %lu address 0x%lx\n", f->vector, f->error, f->rip,
	      f->cs & 3, f->cr2);
	print("trap: rax 0x%lx rbx 0x%lx rcx 0x%lx rdx 0x%lx rsi 0x%lx rdi 0x%lx\n", f->rax, f->rbx, f->rcx,
	      f->rdx, f->rsi, f->rdi);
	machine_exit(EXIT_TRAP);
}
