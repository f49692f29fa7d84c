/* SPDX-License-Identifier: MIT */
/*
 * commands_memory.h - the memback-* commands: a VM's memory in numbers, as a map, and checked.
 *
 * Each is a qmp_command's run function without its first argument's disguise. Loop thread only.
 */
#ifndef VMM_CONTROL_COMMANDS_MEMORY_H
#define VMM_CONTROL_COMMANDS_MEMORY_H

#include "control/qmp.h"
#include "vm.h"

/* Cells that a map may have, so that its answer and the time for it are bounded. */
#define COMMANDS_MAP_CELLS 8192
/* Discrepancies that a check lists; it counts them all. */
#define COMMANDS_CHECK_LIST 1000

json_t *commands_memback_status(struct vm *vm, const json_t *args, struct qmp_error *err);
json_t *commands_memback_map(struct vm *vm, const json_t *args, struct qmp_error *err);
json_t *commands_memback_check(struct vm *vm, const json_t *args, struct qmp_error *err);

/* An integer for JSON, whose integers end at 2^63 - 1: NULL (and so left out) beyond. */
json_t *commands_u64(uint64_t value);
/* Adds one to an object; what does not fit is left out, and the object keeps all else. */
void commands_put(json_t *object, const char *name, uint64_t value);
/* The run state in QEMU's words. */
const char *commands_state_name(enum vm_state state);

#endif
