/* SPDX-License-Identifier: MIT */
/*
 * guestmem.h - the one gate to guest memory.
 *
 * Every access of the VMM to guest memory names (gpa, len) and passes here: overflow, holes in the guest's
 * address space and the end of a region are checked in one place. What is read is copied once and checked
 * afterwards, since the guest may change it at any time. Thread-safe, but for one thing: blocks are unplugged
 * on the loop's thread, so that only there an address that guestmem_hva() gave may be used; others copy.
 */
#ifndef VMM_MACHINE_GUESTMEM_H
#define VMM_MACHINE_GUESTMEM_H

#include <memback/pool.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct plugmap;

struct guestmem {
	struct mb_space *space; /* not owned */
	/* What of it comes and goes: only what is plugged is memory. NULL: nothing does. */
	const struct plugmap *plug;
	/*
	 * While the guest is loaded: what is written is made real before, and this is set where the host has no
	 * memory for it, rather than that a signal ends us. NULL: the guest runs.
	 */
	bool *lacking;
};

/*
 * Host address of [gpa, gpa + len), valid while the space lives; NULL unless all of it is guest memory. Who
 * touches what has this address may wait for memory, when that is overcommitted: it is for who only asks.
 */
void *guestmem_hva(const struct guestmem *mem, uint64_t gpa, uint64_t len);
/* The same for who touches it now and cannot wait; NULL also where the host has no memory for it. */
void *guestmem_touch(const struct guestmem *mem, uint64_t gpa, uint64_t len);
/* The same for who reads; NULL also where it was never written: then it is all zeros. Takes no memory. */
const void *guestmem_peek(const struct guestmem *mem, uint64_t gpa, uint64_t len);
/* For who can wait: 0: it may be touched now; -EAGAIN: the host has no memory for it yet, which is asked for, so
 * that who tries again later finds it there; -EFAULT: not all of it is guest memory. */
int guestmem_ready(const struct guestmem *mem, uint64_t gpa, uint64_t len);
/* Copies; -EFAULT unless all of it is guest memory; writing, also where the host has no memory for it (then
 * nothing was copied). */
int guestmem_read(const struct guestmem *mem, uint64_t gpa, void *to, size_t len);
int guestmem_write(const struct guestmem *mem, uint64_t gpa, const void *from, size_t len);

#endif
