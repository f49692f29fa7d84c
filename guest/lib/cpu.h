/* SPDX-License-Identifier: MIT */
/*
 * cpu.h - the instructions that C has no words for, and the one way from CPL3 to CPL0.
 */
#ifndef GUEST_CPU_H
#define GUEST_CPU_H

#include <stdint.h>

/* Calls an assembler function of start.S at CPL0 with two arguments. Costs microseconds on some hosts. */
typedef void cpl0_fn(void);
cpl0_fn cpl0_rdmsr, cpl0_wrmsr, cpl0_write_cr3, cpl0_wait, cpl0_hang, cpl0_ud2, cpl0_rare, cpl0_triple_fault;

static inline uint64_t cpu_call0(cpl0_fn *fn, uint64_t a, uint64_t b)
{
	uint64_t result = (uint64_t)(uintptr_t)fn;

	__asm__ volatile("int3" : "+a"(result) : "D"(a), "S"(b) : "rcx", "rdx", "memory", "cc");
	return result;
}

static inline uint64_t cpu_rdmsr(uint32_t msr)
{
	return cpu_call0(cpl0_rdmsr, msr, 0);
}

static inline void cpu_wrmsr(uint32_t msr, uint64_t value)
{
	cpu_call0(cpl0_wrmsr, msr, value);
}

static inline void cpu_outb(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port) : "memory");
}

static inline uint8_t cpu_inb(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port) : "memory");
	return value;
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause" : : : "memory");
}

/* Serialised enough for intervals of microseconds. */
static inline uint64_t cpu_tsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

struct cpuid {
	uint32_t a, b, c, d;
};

static inline struct cpuid cpu_id(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid id;

	__asm__ volatile("cpuid" : "=a"(id.a), "=b"(id.b), "=c"(id.c), "=d"(id.d) : "a"(leaf), "c"(subleaf));
	return id;
}

/* Device registers: exactly one plain mov each, which every host's emulation knows. */
static inline uint32_t mmio_read32(uint64_t gpa)
{
	uint32_t value;

	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(gpa) : "memory");
	return value;
}

static inline void mmio_write32(uint64_t gpa, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

static inline uint8_t mmio_read8(uint64_t gpa)
{
	uint8_t value;

	__asm__ volatile("movb (%1), %0" : "=q"(value) : "r"(gpa) : "memory");
	return value;
}

static inline void mmio_write8(uint64_t gpa, uint8_t value)
{
	__asm__ volatile("movb %0, (%1)" : : "q"(value), "r"(gpa) : "memory");
}

static inline void mmio_write16(uint64_t gpa, uint16_t value)
{
	__asm__ volatile("movw %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

static inline void mmio_write64(uint64_t gpa, uint64_t value)
{
	__asm__ volatile("movq %0, (%1)" : : "r"(value), "r"(gpa) : "memory");
}

/* A lock for what several CPUs do rarely. */
struct cpu_lock {
	uint32_t taken;
};

static inline void cpu_lock(struct cpu_lock *lock)
{
	/* acquire: pairs with the release in cpu_unlock */
	while (__atomic_exchange_n(&lock->taken, 1, __ATOMIC_ACQUIRE))
		cpu_pause();
}

static inline void cpu_unlock(struct cpu_lock *lock)
{
	/* release: what was done under the lock is seen by the next holder */
	__atomic_store_n(&lock->taken, 0, __ATOMIC_RELEASE);
}

#endif
