/* SPDX-License-Identifier: MIT */
/*
 * fake-vm.h - a VM without a machine, for tests of what controls one: it has a control socket on an event
 * loop in a thread of its own, and a guest that gives and takes memory as its script says.
 */
#ifndef TESTS_FAKE_VM_H
#define TESTS_FAKE_VM_H

#include "control/commands.h"

struct fake_config {
	uint64_t maximum;       /* bytes */
	uint64_t step;          /* bytes that the guest moves in 5 ms; 0: it has no driver */
	uint64_t floor;         /* the guest gives nothing more below this */
	uint64_t ceiling;       /* the budget lets it grow to this at first... */
	uint64_t ceiling_later; /* ...and to this once it waits for ceiling_after 5 ms; 0: never */
	unsigned ceiling_after;
	unsigned discrepancies; /* that a check finds */
	uint64_t
	    pluggable; /* bytes, in blocks of 2 MiB; the guest plugs half of what is asked, then the rest */
	const char *pool_path;
	bool fails; /* the pool and the space answer no question */
};

struct fake_vm;

/* Serves at path until fake_stop() or quit. NULL: it failed, and said why on stderr. */
struct fake_vm *fake_start(const struct fake_config *config, const char *path);
/* Waits until a client has ended the VM. */
void fake_wait(struct fake_vm *f);
void fake_stop(struct fake_vm *f);
/* Runs fn(arg, vm, qmp) on the loop's thread, and returns when it has. */
void fake_call(struct fake_vm *f, void (*fn)(void *arg, struct vm *vm, struct qmp *qmp), void *arg);
/* Sets the statistics that the guest has sent; known: bit i is tag i. */
void fake_set_stats(struct vm *vm, uint64_t last_update_s, unsigned known, const uint64_t *values);
/* What vm_end() was told; -1: nothing. */
int fake_end_reason(const struct fake_vm *f);

#endif
