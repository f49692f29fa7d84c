/* SPDX-License-Identifier: MIT */
/* bench_vm.h - a VM with the `balloon` guest, for the benchmarks: launched, inflated and deflated as users do. */
#ifndef TESTS_BENCH_VM_H
#define TESTS_BENCH_VM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENCH_VM_NAMES 200

struct bench_vm_config {
	const char *vmm, *guest; /* the programs */
	const char *append;      /* the guest's options */
	const char *name;
	uint64_t memory;                  /* bytes, a multiple of 2 MiB */
	const char *memory_option, *from; /* "--backing" and a kind, or "--pool" and a path */
	bool prealloc;
};

struct bench_vm {
	pid_t pid;
	char dir[64], socket[BENCH_VM_NAMES], serial[BENCH_VM_NAMES];
	struct qmp_client *client;
	long seen; /* bytes of the serial log that were read */
};

/* What does not work ends the benchmark, with a line that says so. */
_Noreturn void bench_die(const char *what, const char *why);

/* Until the guest is ready. False: it does not come up. */
bool bench_vm_start(struct bench_vm *vm, const struct bench_vm_config *config);
void bench_vm_end(struct bench_vm *vm);
/* Sets the VM's size; ns until the event says that it has it. */
int64_t bench_vm_set_size(struct bench_vm *vm, uint64_t bytes);
/* Its size now, bytes. */
uint64_t bench_vm_memory(struct bench_vm *vm);
/* The value of key in the next line that the guest prints with these words; -1 if none comes. */
int64_t bench_vm_wait_line(struct bench_vm *vm, const char *words, const char *key);

#endif
