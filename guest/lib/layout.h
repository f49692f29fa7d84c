/* SPDX-License-Identifier: MIT */
/*
 * layout.h - numbers that the assembler start-up code and the C code of the guests must agree on.
 */
#ifndef GUEST_LAYOUT_H
#define GUEST_LAYOUT_H

#define CPUS_MAX 32

/* Segment selectors; the user ones are Linux's, for hosts that run CPL3 code under their own GDT. */
#define SEL_KERNEL_CODE 0x10
#define SEL_KERNEL_DATA 0x18
#define SEL_USER_DATA   0x2b
#define SEL_USER_CODE   0x33
#define SEL_TSS         0x40 /* and 16 more for each further CPU */
#define GDT_ENTRIES     (8 + 2 * CPUS_MAX)

/* Interrupt vectors. Line (GSI) n is VECTOR_GSI + n. */
#define VECTOR_CPL0     3
#define VECTOR_GSI      32
#define VECTOR_TIMER    0x38
#define VECTOR_KICK     0x39
#define VECTOR_SPURIOUS 0x3f
#define VECTORS         64
#define VECTOR_BYTES    32 /* each entry is padded to this */

/* CPL3 flags: interrupts on. */
#define USER_RFLAGS 0x202

#define TSS_BYTES    256 /* 104, and an I/O bitmap for the lower thousand ports */
#define KSTACK_BYTES 4096
#define STACK_BYTES  16384 /* a secondary CPU's; the first has four times that */

/* Where secondary CPUs start in real mode: a page below 1 MiB. */
#define TRAMPOLINE 0x8000

#endif
