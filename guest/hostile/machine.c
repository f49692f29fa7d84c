/* SPDX-License-Identifier: MIT */
/*
 * machine.c - hostile cases: memory that is not there, ports, CPU states.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/paging.h"
#include "lib/text.h"
#include "lib/trap.h"
#include <platform.h>
#include <stddef.h>

static void touch_hole(uint64_t gpa)
{
	paging_map_anyway(gpa);
	mmio_write8(gpa, 1);
	mmio_write16(gpa, 2);
	mmio_write32(gpa, 3);
	mmio_write64(gpa, 4);
	print("hostile: at 0x%lx: 0x%x, 0x%x\n", gpa, mmio_read8(gpa), mmio_read32(gpa));
}

static void memory_hole(struct hostile *h)
{
	(void)h;
	touch_hole(PLATFORM_HOLE_START);
	touch_hole(PLATFORM_VIRTIO_BASE - 8);
	touch_hole(PLATFORM_VIRTIO_BASE + PLATFORM_VIRTIO_COUNT * PLATFORM_VIRTIO_STRIDE);
	touch_hole((boot_ram_end() | (HUGE_SIZE - 1)) + 1);
	touch_hole((boot_ram_end() | (GIANT_SIZE - 1)) + 1 + 16 * GIANT_SIZE);
	/* One access, half memory and half not; and a locked one. */
	paging_map_anyway(boot_ram_end() - 4);
	paging_map_anyway(boot_ram_end());
	mmio_write64(boot_ram_end() - 4, ~(uint64_t)0);
	__atomic_fetch_add((volatile uint32_t *)(uintptr_t)PLATFORM_HOLE_START, 1, __ATOMIC_SEQ_CST);
}

static void ports(struct hostile *h)
{
	(void)h;
	/* The keyboard controller and the exit port end VMs, and the data port of a VMM may do anything. */
	for (uint16_t port = 0; port < 0x400; port++)
		if (port != PLATFORM_EXIT_PORT)
			cpu_inb(port);
	for (uint16_t port = 0x280; port < 0x2e0; port++)
		cpu_outb(port, 0x5a);
}

static void serial_noise(struct hostile *h)
{
	for (unsigned i = 0; i < 500; i++) {
		uint64_t random = hostile_random(h);

		/* The divisor latch, loopback and interrupts that nobody takes included; nothing to the data
		 * port. */
		cpu_outb((uint16_t)(PLATFORM_SERIAL_PORT + 1 + random % 7), (uint8_t)(random >> 8));
		cpu_inb((uint16_t)(PLATFORM_SERIAL_PORT + (random >> 16) % 8));
	}
	console_init();
}

static void no_such_cpu(struct hostile *h)
{
	(void)h;
	irq_command(200, 0x4500);
	irq_command(200, 0x4608);
	irq_command(0x7fffffff, 0x4600);
	irq_command(200, 0x4000 | 0x39);
}

static void undefined_opcode(struct hostile *h)
{
	(void)h;
	trap_expect(6);
	cpu_call0(cpl0_ud2, 0, 0);
}

static void no_such_msr(struct hostile *h)
{
	(void)h;
	trap_expect(13);
	print("hostile: MSR 0xdeadbeef reads 0x%lx\n", cpu_rdmsr(0xdeadbeef));
}

static void rare_opcode(struct hostile *h)
{
	(void)h;
	cpu_call0(cpl0_rare, 0, 0);
}

static void triple_fault(struct hostile *h)
{
	(void)h;
	cpu_call0(cpl0_triple_fault, 0, 0);
}

static void run_in_hole(struct hostile *h)
{
	void (*nowhere)(void) = (void (*)(void))(uintptr_t)(PLATFORM_HOLE_START + HUGE_SIZE);

	(void)h;
	trap_expect(TRAP_ANY);
	paging_map_anyway(PLATFORM_HOLE_START);
	nowhere();
}

static void hang(struct hostile *h)
{
	(void)h;
	cpu_call0(cpl0_hang, 0, 0);
}

const struct hostile_case hostile_machine_cases[] = {
    {"memory-hole", "accesses of all widths to addresses that are no memory", memory_hole, CASE_SURVIVES},
    {"ports", "reads of all ports up to 0x3ff, writes to some that nobody has", ports, CASE_SURVIVES},
    {"serial-noise", "noise in the serial port's registers", serial_noise, CASE_SURVIVES},
    {"no-such-cpu", "interrupts to CPUs that are not there", no_such_cpu, CASE_SURVIVES},
    {"undefined-opcode", "ud2 at CPL0; the guest takes the exception and ends with status 0", undefined_opcode,
     CASE_ENDS},
    {"no-such-msr", "reading a register that is not there; #GP and status 0, or a value", no_such_msr,
     CASE_ENDS},
    {"rare-opcode", "popcnt and fwait at CPL0, which some hosts cannot emulate", rare_opcode, CASE_ENDS},
    {"triple-fault", "an exception without an interrupt table", triple_fault, CASE_ENDS},
    {"run-in-hole", "a jump to an address that is no memory", run_in_hole, CASE_ENDS},
    {"hang", "an endless loop with interrupts off", hang, CASE_ENDS},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
