/* SPDX-License-Identifier: MIT */
/*
 * trap.h - interrupt vectors, and exceptions as upcalls to CPL3.
 */
#ifndef GUEST_TRAP_H
#define GUEST_TRAP_H

#include <stdint.h>

/* What start.S leaves on the stack of whoever trapped, lowest address first. */
struct trap_frame {
	uint64_t rbp, r11, r10, r9, r8, rdi, rsi, rbx, rdx, rcx, rax;
	uint64_t cr2, cs, vector, error, rflags, rip;
};

/* Makes the vectors valid. The first thing to do: before it any exception is a triple fault. */
void trap_init(void);

#define TRAP_NONE 256
#define TRAP_ANY  257

/* From now on this exception (or any), wherever it comes, ends the VM with EXIT_OK. */
void trap_expect(uint64_t vector);

/* From start.S, at CPL3: resolves page faults, ends the VM at anything else. */
void trap_handle(struct trap_frame *frame);

#endif
