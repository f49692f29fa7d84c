/* SPDX-License-Identifier: MIT */
/*
 * smp.c - INIT and SIPI through the interrupt command register, one CPU at a time; then work by IPI.
 */
#include "smp.h"

#include "boot.h"
#include "console.h"
#include "cpu.h"
#include "irq.h"
#include "layout.h"
#include "machine.h"
#include "text.h"

#define ICR_INIT  0x4500 /* INIT, assert */
#define ICR_SIPI  0x4600
#define ICR_FIXED 0x4000

struct cpu {
	volatile uint8_t kicked; /* cpl0_wait() looks at it */
	uint32_t up;             /* released by the CPU itself when it runs */
	uint32_t done;           /* released by the CPU when its work is through */
	uint32_t apic_id;
};

/* start.S */
extern char trampoline_begin[], trampoline_end[];
extern char cpu_kstacks[], cpu_stacks[], cpu_tss[];
extern uint64_t cpu_gdt[], start_kstack, start_stack, start_entry;
extern uint32_t start_tss_selector;

static struct cpu cpus[CPUS_MAX];
static unsigned starting; /* the CPU that is being started */
static struct {
	void (*fn)(void *arg, unsigned index);
	void *arg;
} work;

static _Noreturn void smp_main(void)
{
	unsigned index = starting;
	struct cpu *cpu = &cpus[index];

	irq_init_cpu();
	cpu->apic_id = irq_apic_id();
	/* release: the first CPU sees the id when it sees this */
	__atomic_store_n(&cpu->up, 1, __ATOMIC_RELEASE);
	for (;;) {
		cpu_call0(cpl0_wait, (uint64_t)(uintptr_t)&cpu->kicked, 0);
		/* acquire: pairs with the release in smp_run(); the work is visible */
		if (!__atomic_exchange_n(&cpu->kicked, 0, __ATOMIC_ACQUIRE))
			continue;
		work.fn(work.arg, index);
		__atomic_store_n(&cpu->done, 1, __ATOMIC_RELEASE);
	}
}

static void set_tss(unsigned index)
{
	uint64_t tss = (uint64_t)(uintptr_t)(cpu_tss + index * TSS_BYTES);
	uint64_t rsp0 = (uint64_t)(uintptr_t)(cpu_kstacks + (index + 1) * KSTACK_BYTES);
	uint64_t *descriptor = &cpu_gdt[SEL_TSS / 8 + 2 * index];

	memcpy(cpu_tss + index * TSS_BYTES, cpu_tss, TSS_BYTES);
	memcpy(cpu_tss + index * TSS_BYTES + 4, &rsp0, sizeof(rsp0));
	descriptor[0] =
	    0x0000890000000000 | (TSS_BYTES - 1) | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
	descriptor[1] = tss >> 32;
	start_kstack = rsp0;
	start_stack = (uint64_t)(uintptr_t)(cpu_stacks + (index + 1) * STACK_BYTES);
	start_tss_selector = SEL_TSS + 16 * index;
}

static bool wait_for(const uint32_t *flag, uint64_t ms)
{
	uint64_t deadline = irq_deadline_ms(ms);

	/* acquire: pairs with the release of the other CPU */
	while (!__atomic_load_n(flag, __ATOMIC_ACQUIRE)) {
		if (cpu_tsc() > deadline)
			return false;
		cpu_pause();
	}
	return true;
}

static bool start_cpu(unsigned index)
{
	starting = index;
	start_entry = (uint64_t)(uintptr_t)smp_main;
	set_tss(index);
	irq_command(index, ICR_INIT);
	wait_for(&cpus[index].up, 10);
	irq_command(index, ICR_SIPI | TRAMPOLINE >> 12);
	if (wait_for(&cpus[index].up, 200))
		return true;
	irq_command(index, ICR_SIPI | TRAMPOLINE >> 12);
	return wait_for(&cpus[index].up, 10000);
}

unsigned smp_start(void)
{
	uint64_t wanted = boot_option_number("cpus", 1);
	unsigned count = 1;

	cpus[0].apic_id = irq_apic_id();
	if (wanted <= 1)
		return 1;
	if (!boot_is_ram(TRAMPOLINE, PAGE_SIZE)) {
		print("smp: no memory at 0x%x to start CPUs from\n", TRAMPOLINE);
		return 1;
	}
	memcpy((void *)TRAMPOLINE, trampoline_begin, (size_t)(trampoline_end - trampoline_begin));
	while (count < wanted && count < CPUS_MAX) {
		if (!start_cpu(count)) {
			print("smp: cpu %u does not start\n", count);
			break;
		}
		count++;
	}
	if (count == CPUS_MAX && wanted > CPUS_MAX)
		print("smp: this guest uses no more than %u of its %u CPUs\n", CPUS_MAX, (unsigned)wanted);
	return count;
}

void smp_run(unsigned count, void (*fn)(void *arg, unsigned index), void *arg)
{
	work.fn = fn;
	work.arg = arg;
	for (unsigned i = 1; i < count; i++) {
		__atomic_store_n(&cpus[i].done, 0, __ATOMIC_RELAXED);
		/* release: the CPU that sees the kick sees the work */
		__atomic_store_n(&cpus[i].kicked, 1, __ATOMIC_RELEASE);
		irq_command(cpus[i].apic_id, ICR_FIXED | VECTOR_KICK);
	}
	fn(arg, 0);
	for (unsigned i = 1; i < count; i++)
		/* acquire: pairs with the release at the end of the work */
		while (!__atomic_load_n(&cpus[i].done, __ATOMIC_ACQUIRE))
			cpu_pause();
}

uint32_t smp_apic_id(unsigned index)
{
	return cpus[index].apic_id;
}
