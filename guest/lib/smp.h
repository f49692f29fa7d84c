/* SPDX-License-Identifier: MIT */
/*
 * smp.h - further CPUs: starting them, giving them work.
 */
#ifndef GUEST_SMP_H
#define GUEST_SMP_H

#include <stdint.h>

/*
 * Starts the CPUs that the command line names (cpus=N), one after the other, with local APIC ids 1, 2, ...
 * Returns how many CPUs run now, the first included. A CPU that does not come up within a second is left out.
 */
unsigned smp_start(void);

/* Runs fn(arg, index) on CPUs 0 (the caller) to count - 1, and returns when all are through. */
void smp_run(unsigned count, void (*fn)(void *arg, unsigned index), void *arg);

/* The local APIC id that a CPU itself reported. */
uint32_t smp_apic_id(unsigned index);

#endif
