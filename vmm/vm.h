/* SPDX-License-Identifier: MIT */
/*
 * vm.h - one virtual machine put together: pool, space, machine, devices, control; and what the control
 * socket may ask of it. Loop thread only, unless stated otherwise.
 */
#ifndef VMM_VM_H
#define VMM_VM_H

#include "console.h"
#include "control/loop.h"
#include "devices/balloon.h"
#include "devices/mem.h"
#include "machine/cpu_features.h"
#include "vm_disks.h"

#include <memback/pool.h>

/* Strings stay the caller's and must outlive the VM. */
struct vm_config {
	const char *name;
	uint64_t memory; /* bytes; a multiple of 2 MiB */
	unsigned cpus;
	struct cpu_mask cpu_disable; /* features that they shall not have */
	const char *pool_path;       /* attach to this pool, or NULL: a private one of this backing */
	enum mb_backing backing;
	const char *backing_path; /* MB_BACKING_FILE: its file */
	uint64_t budget;          /* private pool: bytes; 0: as much as memory needs */
	const char *kernel;
	const char *initrd;   /* initial RAM disk; may be NULL */
	const char *append;   /* command line; may be NULL */
	const char *qmp_path; /* NULL: no control socket */
	enum console_kind serial;
	const char *serial_path;
	uint64_t balloon; /* bytes in the balloon at first */
	bool prealloc;
	struct vm_disk_config disks[VM_DISKS_MAX];
	unsigned disk_count;
	bool rng;              /* a virtio-rng */
	uint64_t max_memory;   /* bytes: what lies above memory can be plugged later; 0: nothing */
	bool overcommit;       /* bytes are taken when they are touched */
	uint64_t memory_min;   /* with overcommit: bytes that are the VM's own, touched or not */
	uint64_t memory_block; /* bytes in which it is plugged; a power of two from 2 MiB to 1 GiB */
};

enum vm_state { VM_PRELAUNCH, VM_RUNNING, VM_PAUSED, VM_SHUTDOWN, VM_CRASHED };

struct vm;

/* Cheap things that can fail come first, memory after them; on failure nothing is left. */
MB_MUST_CHECK int vm_create(struct loop *loop, const struct vm_config *config, struct vm **out,
			    struct mb_error *err);
MB_MUST_CHECK int vm_start(struct vm *vm, struct mb_error *err);
/* Stops the vCPUs, says SHUTDOWN, and gives all back. After loop_run() has returned. */
void vm_destroy(struct vm *vm);

const char *vm_name(const struct vm *vm);
enum vm_state vm_get_state(const struct vm *vm);
const struct vm_config *vm_get_config(const struct vm *vm);
struct mb_pool *vm_pool(struct vm *vm);
struct mb_space *vm_space(struct vm *vm);
struct balloon *vm_balloon(struct vm *vm);
/* Its pluggable memory; NULL: it has none. */
struct mem *vm_get_mem(struct vm *vm);
/* It waits for memory that the pool lacks. */
bool vm_is_starved(const struct vm *vm);

/* Both are idempotent and send STOP or RESUME when something changed; -EINVAL once the VM is ending. */
int vm_stop(struct vm *vm);
int vm_cont(struct vm *vm);

/* Why the VM ends, in QMP's words (the SHUTDOWN event's reason). */
enum vm_reason {
	VM_HOST_QMP_QUIT,
	VM_HOST_SIGNAL,
	VM_HOST_UI,
	VM_GUEST_SHUTDOWN,
	VM_GUEST_RESET,
	VM_GUEST_PANIC,
};

/* The exit status of a VM that its guest has reset. */
#define VM_STATUS_RESET 3

/* Ends the VM with this exit status: the loop stops, vm_destroy() does the rest. The first call counts. Any
 * thread. */
void vm_end(struct vm *vm, enum vm_reason reason, int status);
/* Presses the power button. False: the guest does not listen to it. */
bool vm_press_power(struct vm *vm);
/* The exit status it ended with. */
int vm_exit_status(const struct vm *vm);

#endif
