/* SPDX-License-Identifier: MIT */
/*
 * machine.h - the KVM side of a VM: vm, in-kernel irqchip, memory slots, vCPUs and their threads, boot.
 *
 * Life: machine_create() (checks /dev/kvm before any memory is taken), machine_set_memory(), devices
 * register on the bus and take their irqfd and ioeventfds, machine_load(), machine_start(), then pause and
 * resume as often as wanted, machine_destroy(). All from the main thread.
 */
#ifndef VMM_MACHINE_MACHINE_H
#define VMM_MACHINE_MACHINE_H

#include "machine/bus.h"
#include "machine/cpu_features.h"
#include "machine/guestmem.h"
#include <memback/pool.h>
#include <stdbool.h>

struct machine;

/* Why a vCPU ended the VM. */
enum machine_end {
	MACHINE_END_SHUTDOWN, /* triple fault */
	MACHINE_END_CRASH, /* KVM_EXIT_INTERNAL_ERROR, EFAULT, entry failure...: text names rip, bytes, CPL */
};

struct machine_config {
	unsigned cpus;
	struct cpu_mask without; /* features that its CPUs shall not have */
	/* Called on a vCPU thread, at most once for the machine; the VM is as good as paused then. */
	void (*on_end)(void *arg, enum machine_end end, const char *text);
	void *arg;
};

MB_MUST_CHECK int machine_create(const struct machine_config *config, struct machine **out,
				 struct mb_error *err);
/*
 * Has the host memory for KVM's slots of so many bytes of guest memory? -ENOMEM with text. To be called before
 * memory is taken.
 */
MB_MUST_CHECK int machine_check_memory(struct machine *m, uint64_t bytes, struct mb_error *err);
/* Gives KVM a slot for each region; the space must outlive the machine. */
MB_MUST_CHECK int machine_set_memory(struct machine *m, struct mb_space *space, const struct mb_region *regions,
				     unsigned count, struct mb_error *err);
struct boot;
/* Loads the kernel and what it is told, and points vCPU 0 at it. rsdp: of acpi_write(), or 0. The other vCPUs
 * wait for INIT and SIPI. */
MB_MUST_CHECK int machine_load(struct machine *m, const struct boot *boot, const char *cmdline, uint64_t rsdp,
			       struct mb_error *err);
MB_MUST_CHECK int machine_start(struct machine *m, struct mb_error *err);
/* Returns when no vCPU is in the guest any more, but for those that wait in the kernel for memory which the
 * space lacks: they do not go on either, until machine_resume(). Both are idempotent. */
void machine_pause(struct machine *m);
void machine_resume(struct machine *m);
/* Says where a vCPU of a paused machine is, for a message. */
void machine_describe(struct machine *m, unsigned cpu, char *text, size_t size);
void machine_destroy(struct machine *m);

/* Whether this host's KVM runs guest ring 0 in its instruction emulator, and not on the processor. */
bool machine_emulates_ring0(void);
/* Guest physical addresses have so many bits on this host. */
unsigned machine_address_bits(const struct machine *m);
/* Do guests see a processor of AMD's kind (whose physical address space has a hole, see layout.h)? */
bool machine_is_amd(const struct machine *m);
/*
 * Maps [gpa, gpa + size) of the space for the guest, as a slot of its own: the nth of those that come and go,
 * counted from 0; size 0 takes it away. Any thread. 0 or a negative errno. After machine_set_memory().
 */
MB_MUST_CHECK int machine_put_slot(struct machine *m, unsigned n, uint64_t gpa, uint64_t size);
/* Lets the host's mapping of [gpa, gpa + len) be touched, or not; KVM_RUN fails where a guest touches what is
 * not. */
MB_MUST_CHECK int machine_open_memory(struct machine *m, uint64_t gpa, uint64_t len, bool open);
/* What of the memory comes and goes; NULL: nothing. The map must live until that is said. Before the vCPUs run.
 */
void machine_set_plugmap(struct machine *m, const struct plugmap *map);
/* On a vCPU thread, in a device: the guest did what ends it. It does not go on; on_end() gets the text. */
void machine_stop_guest(struct machine *m, const char *text);
/* How many of those there can be. */
unsigned machine_slots_left(const struct machine *m);

struct bus *machine_bus(struct machine *m);
const struct guestmem *machine_mem(struct machine *m);
/* The guest is loaded from now on: see guestmem.h. NULL: it is loaded. */
void machine_set_loading(struct machine *m, bool *lacking);
/* A new eventfd: writing it pulls the line (edge). The caller closes it. */
MB_MUST_CHECK int machine_irqfd(struct machine *m, unsigned gsi, int *fd);
/* Whether the guest has unmasked this line of its I/O APIC. */
bool machine_line_enabled(const struct machine *m, unsigned gsi);
/* A new eventfd that is signalled, without an exit to us, when the guest writes value (len bytes) at gpa. */
MB_MUST_CHECK int machine_ioeventfd(struct machine *m, uint64_t gpa, unsigned len, uint32_t value, int *fd);

#endif
