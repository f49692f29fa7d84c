/* SPDX-License-Identifier: MIT */
/*
 * paging.h - the address space of a guest: virtual = physical, RAM mapped by 2 MiB pages when first touched.
 *
 * Nothing is laid out in advance: a page directory is made for a whole GiB at the first fault in it, so a
 * guest with a terabyte pays for what it touches.
 */
#ifndef GUEST_PAGING_H
#define GUEST_PAGING_H

#include <stdbool.h>
#include <stdint.h>

/* Leaves the start-up page tables. Reserves the room for all page tables that RAM can need. */
void paging_init(void);

/* A fault at this address: true if the access may be tried again. Any CPU. */
bool paging_fault(uint64_t address);

/*
 * Memory that the loader did not name, and that comes and goes: it is mapped like RAM when it is touched.
 * Reserves the room for its page tables. Once, before the guest gives boot.free to an allocator.
 */
void paging_add(uint64_t gpa, uint64_t bytes);

/* Maps the GiB of an address even though it is no RAM: for device registers and for guests that look for
 * trouble. */
void paging_map_anyway(uint64_t address);

#endif
