/* SPDX-License-Identifier: MIT */
/*
 * hostmem.h - how much memory the host has left, as its kernel says. Thread-safe.
 */
#ifndef VMM_MACHINE_HOSTMEM_H
#define VMM_MACHINE_HOSTMEM_H

#include <stdint.h>

/* Bytes; UINT64_MAX: not known. */
struct hostmem {
	uint64_t available; /* that could be had without swapping (MemAvailable), or less: what the cgroup has
			       left */
	uint64_t
	    vmalloc;   /* that the kernel holds in its vmalloc area: where KVM's tables of a large slot are */
	uint64_t slab; /* that it holds in its slabs: where those of a small slot are */
};

void hostmem_read(struct hostmem *out);

/* The value of "KEY: N kB" in text of that form (as /proc/meminfo), in bytes; UINT64_MAX: it is not there. */
uint64_t hostmem_field(const char *text, const char *key);

#endif
