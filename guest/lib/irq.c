/* SPDX-License-Identifier: MIT */
/*
 * irq.c - local APIC (x2APIC where there is one, its registers in memory otherwise), IOAPIC, timer.
 */
#include "irq.h"

#include "cpu.h"
#include "layout.h"

#define MSR_APIC_BASE    0x1b
#define APIC_BASE_ENABLE (1u << 11)
#define APIC_BASE_X2     (1u << 10)
#define XAPIC            0xfee00000ull
#define X2APIC_MSR       0x800

/* Registers, by their xAPIC offsets; the x2APIC MSR is offset / 16. */
#define LAPIC_ID       0x020
#define LAPIC_TPR      0x080
#define LAPIC_SPURIOUS 0x0f0
#define LAPIC_ICR      0x300
#define LAPIC_ICR_HIGH 0x310
#define LAPIC_TIMER    0x320
#define LAPIC_LINT0    0x350
#define LAPIC_INITIAL  0x380
#define LAPIC_CURRENT  0x390
#define LAPIC_DIVIDE   0x3e0
#define LVT_MASKED     0x10000

#define IOAPIC_SELECT 0xfec00000ull
#define IOAPIC_WINDOW 0xfec00010ull
#define IOAPIC_ENTRY  0x10
#define GSIS          24

#define TIMER_HZ     1000000000ull
#define CALIBRATE_NS 10000000u

/* Set by the entries in start.S. */
volatile uint8_t irq_pending[VECTORS - VECTOR_GSI];
volatile uint8_t irq_any;
uint8_t irq_x2apic;

static uint64_t tsc_hz;

static uint32_t lapic_read(uint32_t reg)
{
	return irq_x2apic ? (uint32_t)cpu_rdmsr(X2APIC_MSR + reg / 16) : mmio_read32(XAPIC + reg);
}

static void lapic_write(uint32_t reg, uint32_t value)
{
	if (irq_x2apic)
		cpu_wrmsr(X2APIC_MSR + reg / 16, value);
	else
		mmio_write32(XAPIC + reg, value);
}

void irq_init_cpu(void)
{
	if (irq_x2apic)
		cpu_wrmsr(MSR_APIC_BASE, cpu_rdmsr(MSR_APIC_BASE) | APIC_BASE_ENABLE | APIC_BASE_X2);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LINT0, LVT_MASKED);
	lapic_write(LAPIC_SPURIOUS, 0x100 | VECTOR_SPURIOUS);
	lapic_write(LAPIC_DIVIDE, 0xb); /* by 1 */
	lapic_write(LAPIC_TIMER, VECTOR_TIMER);
}

void irq_init(void)
{
	/* The old interrupt controllers stay silent. */
	cpu_outb(0x21, 0xff);
	cpu_outb(0xa1, 0xff);
	irq_x2apic = cpu_id(1, 0).c >> 21 & 1;
	irq_init_cpu();
}

static void ioapic_write(uint32_t reg, uint32_t value)
{
	mmio_write32(IOAPIC_SELECT, reg);
	mmio_write32(IOAPIC_WINDOW, value);
}

void irq_enable(unsigned gsi)
{
	if (gsi >= GSIS)
		return;
	ioapic_write(IOAPIC_ENTRY + 2 * gsi + 1, irq_apic_id() << 24);
	ioapic_write(IOAPIC_ENTRY + 2 * gsi, VECTOR_GSI + gsi); /* fixed, physical, high, edge, not masked */
}

bool irq_take(unsigned gsi)
{
	if (!irq_pending[gsi])
		return false;
	irq_pending[gsi] = 0;
	return true;
}

/* Ends of sleep lie at most four seconds off: the timer has 32 bits of nanoseconds. */
static bool arm_timer(uint64_t deadline)
{
	uint64_t now = cpu_tsc(), ns;

	if (now >= deadline)
		return false;
	ns = deadline - now > 4 * irq_tsc_hz() ? 4 * TIMER_HZ
					       : (deadline - now) * 1000 / (irq_tsc_hz() / 1000000);
	lapic_write(LAPIC_INITIAL, ns ? (uint32_t)ns : 1);
	return true;
}

void irq_wait(uint64_t deadline)
{
	if (irq_any || !deadline || arm_timer(deadline))
		cpu_call0(cpl0_wait, (uint64_t)(uintptr_t)&irq_any, 0);
	irq_any = 0;
}

uint64_t irq_tsc_hz(void)
{
	uint32_t start, passed;
	uint64_t tsc;

	if (tsc_hz)
		return tsc_hz;
	lapic_write(LAPIC_TIMER, LVT_MASKED | VECTOR_TIMER);
	lapic_write(LAPIC_INITIAL, 0xffffffff);
	start = lapic_read(LAPIC_CURRENT);
	tsc = cpu_tsc();
	do
		passed = start - lapic_read(LAPIC_CURRENT);
	while (passed < CALIBRATE_NS);
	tsc_hz = (cpu_tsc() - tsc) * (TIMER_HZ / 1000) / passed * 1000;
	lapic_write(LAPIC_INITIAL, 0);
	lapic_write(LAPIC_TIMER, VECTOR_TIMER);
	if (tsc_hz < 1000000)
		tsc_hz = 1000000;
	return tsc_hz;
}

uint64_t irq_deadline_ms(uint64_t ms)
{
	return cpu_tsc() + irq_tsc_hz() / 1000 * ms;
}

uint32_t irq_apic_id(void)
{
	return irq_x2apic ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
}

void irq_command(uint32_t apic_id, uint32_t command)
{
	if (irq_x2apic) {
		cpu_wrmsr(X2APIC_MSR + LAPIC_ICR / 16, (uint64_t)apic_id << 32 | command);
		return;
	}
	mmio_write32(XAPIC + LAPIC_ICR_HIGH, apic_id << 24);
	mmio_write32(XAPIC + LAPIC_ICR, command);
}
