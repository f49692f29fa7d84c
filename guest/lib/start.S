/* SPDX-License-Identifier: MIT */
/*
 * start.S - how a test guest starts, and all of it that runs at CPL0.
 *
 *   PVH entry, 32 bit ──► long mode ──► iretq to CPL3 ──► start_main()          first CPU
 *   SIPI ──► real mode ──► 32 bit ──► long mode ──► iretq to CPL3 ──► smp_main()  the others
 *
 * All work is done at CPL3; port I/O is open to it through the bitmap in the TSS (IOPL would do as well, but
 * there is a KVM whose iretq loses it). Some hosts emulate CPL0 instruction by instruction, at microseconds
 * each and with gaps in what they know, so what is here is short and uses plain instructions only:
 *
 *   - int3 from CPL3 calls a function at CPL0 (cpu_call0); no other system call exists,
 *   - an interrupt sets a byte, tells the local APIC, and returns; CPL3 looks at the byte when it likes,
 *   - an exception is handed to CPL3: its frame is copied to the user stack, where upcall goes on.
 *
 * Interrupts are off at CPL0 (interrupt gates), but for cpl0_wait.
 */
#include "layout.h"

/* The PVH note: name "Xen", type XEN_ELFNOTE_PHYS32_ENTRY. */
	.section .note.pvh, "a", @note
	.balign	4
	.long	4, 4, 18
	.asciz	"Xen"
	.long	start_pvh

	.section .text.start, "ax"

/* ---- 32 bit -------------------------------------------------------------------------------------------- */

	.code32
	.globl	start_pvh
/* Flat 32-bit segments, paging off, %ebx: start info. */
start_pvh:
	cli
	cld
	movl	%ebx, start_info
	movl	$start_pml4, start_cr3
	/* The first CPU's TSS goes into the GDT: the one address that no relocation can split for us. */
	movl	$cpu_tss, %eax
	movw	%ax, cpu_gdt + SEL_TSS + 2
	shrl	$16, %eax
	movb	%al, cpu_gdt + SEL_TSS + 4
	movb	%ah, cpu_gdt + SEL_TSS + 7
/* Every CPU: page tables at start_cr3, stacks and entry as start_* say. */
start_long:
	movl	start_cr3, %eax
	movl	%eax, %cr3
	movl	%cr4, %eax
	orl	$0x20, %eax		/* PAE */
	movl	%eax, %cr4
	movl	$0xc0000080, %ecx	/* EFER.LME */
	rdmsr
	orl	$0x100, %eax
	wrmsr
	movl	%cr0, %eax
	orl	$0x80010001, %eax	/* PG, WP, PE */
	movl	%eax, %cr0
	lgdt	start_gdtr
	ljmpl	$SEL_KERNEL_CODE, $start64

/* ---- 64 bit -------------------------------------------------------------------------------------------- */

	.code64
start64:
	movl	$SEL_USER_DATA, %eax
	movl	%eax, %ds
	movl	%eax, %es
	xorl	%eax, %eax
	movl	%eax, %fs
	movl	%eax, %gs
	movl	%eax, %ss
	lidt	start_idtr
	movl	start_tss_selector, %eax
	ltr	%ax
	movq	start_kstack, %rsp
	pushq	$SEL_USER_DATA
	pushq	start_stack
	pushq	$USER_RFLAGS
	pushq	$SEL_USER_CODE
	pushq	start_entry
	xorl	%ebp, %ebp
	iretq

/* ---- secondary CPUs ------------------------------------------------------------------------------------ */

/* Copied to TRAMPOLINE; %cs is TRAMPOLINE >> 4, %ip 0. */
	.code16
	.globl	trampoline_begin, trampoline_end
trampoline_begin:
	cli
	cld
	movw	%cs, %ax
	movw	%ax, %ds
	lgdtl	trampoline_gdtr - trampoline_begin
	movl	%cr0, %eax
	orl	$1, %eax
	movl	%eax, %cr0
	ljmpl	$0x08, $trampoline32
	.balign	4
trampoline_gdtr:
	.word	3 * 8 - 1
	.long	trampoline_gdt
trampoline_end:

	.code32
trampoline32:
	movl	$0x10, %eax
	movl	%eax, %ds
	movl	%eax, %es
	movl	%eax, %ss
	jmp	start_long
	.code64

/* ---- vectors ------------------------------------------------------------------------------------------- */

	.globl	vector_entries
	.balign	VECTOR_BYTES
vector_entries:
	.set	vector, 0
	.rept	VECTORS
	.balign	VECTOR_BYTES
	.if	vector == VECTOR_CPL0
	jmp	cpl0_gate
	.elseif	vector == VECTOR_SPURIOUS
	iretq
	.elseif	vector >= VECTOR_GSI
	movb	$1, irq_pending + vector - VECTOR_GSI
	jmp	interrupt
	.else
	/* Of the exceptions only 8, 10 to 14, 17, 21, 29, 30 push an error code. */
	.if	(0x60227d00 >> vector) & 1 == 0
	pushq	$0
	.endif
	pushq	$vector
	jmp	exception
	.endif
	.set	vector, vector + 1
	.endr
	.balign	VECTOR_BYTES

cpl0_gate:
	call	*%rax
	iretq

interrupt:
	movb	$1, irq_any
	pushq	%rax
	pushq	%rcx
	pushq	%rdx
	cmpb	$0, irq_x2apic
	je	1f
	movl	$0x80b, %ecx		/* x2APIC end of interrupt */
	xorl	%eax, %eax
	xorl	%edx, %edx
	wrmsr
	jmp	2f
1:	movl	$0xfee000b0, %eax	/* the same in xAPIC mode */
	movl	$0, (%rax)
2:	popq	%rdx
	popq	%rcx
	popq	%rax
	iretq

/*
 * %rsp: vector, error code, rip, cs, rflags, rsp, ss. The user stack gets, downwards: rip, rflags, error
 * code, vector, cs, cr2, rax, rcx (struct trap_frame). An exception at CPL0 gets there too, on a stack of
 * its own, and does not return.
 */
exception:
	pushq	%rax
	pushq	%rcx
	movq	56(%rsp), %rcx
	testb	$3, 40(%rsp)
	jnz	1f
	movq	$panic_stack_top, %rcx
1:	movq	32(%rsp), %rax
	movq	%rax, -8(%rcx)
	movq	48(%rsp), %rax
	movq	%rax, -16(%rcx)
	movq	24(%rsp), %rax
	movq	%rax, -24(%rcx)
	movq	16(%rsp), %rax
	movq	%rax, -32(%rcx)
	movq	40(%rsp), %rax
	movq	%rax, -40(%rcx)
	movq	%cr2, %rax
	movq	%rax, -48(%rcx)
	movq	8(%rsp), %rax
	movq	%rax, -56(%rcx)
	movq	(%rsp), %rax
	movq	%rax, -64(%rcx)
	subq	$64, %rcx
	movq	%rcx, 56(%rsp)
	movq	$upcall, 32(%rsp)
	movq	$SEL_USER_CODE, 40(%rsp)
	movq	$SEL_USER_DATA, 64(%rsp)
	movq	$USER_RFLAGS, 48(%rsp)
	popq	%rcx
	popq	%rax
	addq	$16, %rsp
	iretq

/* At CPL3. Returns without iretq: only arithmetic flags need to come back, and the stack is our own. */
upcall:
	pushq	%rdx
	pushq	%rbx
	pushq	%rsi
	pushq	%rdi
	pushq	%r8
	pushq	%r9
	pushq	%r10
	pushq	%r11
	pushq	%rbp
	cld
	movq	%rsp, %rdi
	movq	%rsp, %rbp
	andq	$-16, %rsp
	call	trap_handle
	movq	%rbp, %rsp
	popq	%rbp
	popq	%r11
	popq	%r10
	popq	%r9
	popq	%r8
	popq	%rdi
	popq	%rsi
	popq	%rbx
	popq	%rdx
	popq	%rcx
	popq	%rax
	leaq	32(%rsp), %rsp
	popfq
	ret

/* ---- functions for cpu_call0: arguments in %rdi, %rsi; result in %rax; they keep all but %rcx, %rdx ---- */

	.globl	cpl0_rdmsr, cpl0_wrmsr, cpl0_write_cr3, cpl0_wait, cpl0_hang, cpl0_ud2, cpl0_rare
	.globl	cpl0_triple_fault
cpl0_rdmsr:
	movl	%edi, %ecx
	rdmsr
	shlq	$32, %rdx
	orq	%rdx, %rax
	ret

cpl0_wrmsr:
	movl	%edi, %ecx
	movl	%esi, %eax
	movq	%rsi, %rdx
	shrq	$32, %rdx
	wrmsr
	ret

cpl0_write_cr3:
	movq	%rdi, %cr3
	ret

/* Sleeps unless the byte at %rdi is set already; sti takes effect after hlt has begun, so none is lost. */
cpl0_wait:
	cmpb	$0, (%rdi)
	jne	1f
	sti
	hlt
	cli
1:	ret

/* For guests that misbehave on purpose. */
cpl0_hang:
	cli
1:	jmp	1b

cpl0_ud2:
	ud2

cpl0_rare:
	popcnt	%rax, %rax
	fwait
	ret

cpl0_triple_fault:
	lidt	no_idtr
	ud2

/* ---- data ---------------------------------------------------------------------------------------------- */

	.data
	.globl	start_info, start_cr3, start_tss_selector, start_kstack, start_stack, start_entry
	.balign	8
start_kstack:		.quad	cpu_kstacks + KSTACK_BYTES
start_stack:		.quad	first_stack_top
start_entry:		.quad	start_main
start_info:		.long	0
start_cr3:		.long	0
start_tss_selector:	.long	SEL_TSS

	.balign	8
	.word	0, 0, 0
start_gdtr:
	.word	GDT_ENTRIES * 8 - 1
	.quad	cpu_gdt
	.balign	8
	.word	0, 0, 0
start_idtr:
	.word	VECTORS * 16 - 1
	.quad	cpu_idt
	.balign	8
	.word	0, 0, 0
no_idtr:
	.word	0
	.quad	0

	.balign	8
trampoline_gdt:
	.quad	0
	.quad	0x00cf9b000000ffff
	.quad	0x00cf93000000ffff

	.globl	cpu_gdt, cpu_idt, cpu_tss
	.balign	64
cpu_gdt:
	.quad	0, 0
	.quad	0x00af9b000000ffff	/* 0x10 CPL0 code, 64 bit */
	.quad	0x00cf93000000ffff	/* 0x18 CPL0 data */
	.quad	0x00cffb000000ffff	/* 0x23 CPL3 code, 32 bit: unused */
	.quad	0x00cff3000000ffff	/* 0x2b CPL3 data */
	.quad	0x00affb000000ffff	/* 0x33 CPL3 code, 64 bit */
	.quad	0
	.quad	0x0000890000000000 + TSS_BYTES - 1, 0	/* first TSS, base filled in above; the rest by smp.c */
	.fill	2 * (CPUS_MAX - 1), 8, 0

	.balign	64
cpu_tss:
	.long	0
	.quad	cpu_kstacks + KSTACK_BYTES
	.fill	90, 1, 0
	.word	104			/* the I/O bitmap follows: ports up to 0x3ff are CPL3's */
	.fill	TSS_BYTES - 104 - 1, 1, 0
	.byte	0xff
	.fill	TSS_BYTES * (CPUS_MAX - 1), 1, 0

/* Page tables to start with: 4 GiB as they are, for everybody; from 3 GiB on not cached. */
	.balign	4096
start_pml4:
	.quad	start_pdpt + 7
	.fill	511, 8, 0
start_pdpt:
	.quad	start_pd + 7, start_pd + 4096 + 7, start_pd + 8192 + 7, start_pd + 12288 + 7
	.fill	508, 8, 0
start_pd:
	.set	address, 0
	.rept	2048
	.if	address < 0xc0000000
	.quad	address + 0xe7
	.else
	.quad	address + 0xff
	.endif
	.set	address, address + 0x200000
	.endr

	.bss
	.globl	cpu_kstacks, cpu_stacks, start_pml4
	.balign	4096
cpu_idt:
	.skip	VECTORS * 16
	.balign	4096
cpu_kstacks:
	.skip	KSTACK_BYTES * CPUS_MAX
cpu_stacks:
	.skip	STACK_BYTES * CPUS_MAX
	.skip	STACK_BYTES * 4
first_stack_top:
	.skip	STACK_BYTES
panic_stack_top:

	.section .note.GNU-stack, "", @progbits
