/* SPDX-License-Identifier: MIT */
/*
 * irq.h - interrupts, time and sleep.
 *
 * An interrupt only leaves a mark; irq_take() asks for it and clears it. Nothing ever runs "in" an
 * interrupt, so guests need no locks against themselves.
 */
#ifndef GUEST_IRQ_H
#define GUEST_IRQ_H

#include <stdbool.h>
#include <stdint.h>

/* Local APIC and IOAPIC of the first CPU. */
void irq_init(void);
/* Local APIC of a further CPU. */
void irq_init_cpu(void);

/* Lets this line (GSI) interrupt the first CPU, edge-triggered. */
void irq_enable(unsigned gsi);
/* Has this line interrupted since the last call? */
bool irq_take(unsigned gsi);

/* Sleeps until an interrupt comes or has come since the last irq_wait(), or until the TSC reaches deadline
 * (0: no deadline). First CPU only. */
void irq_wait(uint64_t deadline);

/* TSC ticks a second, measured against the local APIC's timer (1 GHz on KVM and QEMU). */
uint64_t irq_tsc_hz(void);
/* The TSC so many milliseconds from now. */
uint64_t irq_deadline_ms(uint64_t ms);

/* This CPU's local APIC id. */
uint32_t irq_apic_id(void);
/* Writes the interrupt command register: INIT, SIPI, IPI. */
void irq_command(uint32_t apic_id, uint32_t command);

#endif
