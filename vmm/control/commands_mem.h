/* SPDX-License-Identifier: MIT */
/*
 * commands_mem.h - a VM's pluggable memory as clients see it: QEMU's query-memory-devices, its object
 * /machine/peripheral/vmem0, its event MEMORY_DEVICE_SIZE_CHANGE, and numbers for memback-status.
 *
 * Loop thread only.
 */
#ifndef VMM_CONTROL_COMMANDS_MEM_H
#define VMM_CONTROL_COMMANDS_MEM_H

#include "control/qmp.h"
#include "vm.h"

#define COMMANDS_MEM_ID   "vmem0"
#define COMMANDS_MEM_PATH "/machine/peripheral/" COMMANDS_MEM_ID
#define COMMANDS_MEM_TYPE "virtio-mem-device"

/* [] where there is none. */
json_t *commands_query_memory_devices(struct vm *vm, const json_t *args, struct qmp_error *err);
/* The object's properties, for qom-list, qom-get and qom-set: there is a device. NULL: no such property. */
void commands_mem_list(json_t *list);
bool commands_mem_has(const char *property);
json_t *commands_mem_get(struct mem *mem, const char *property);
json_t *commands_mem_set(struct mem *mem, const char *property, const json_t *value, struct qmp_error *err);

/* Adds "pluggable", "requested", "plugged" and "mem-driver" where there is a device. */
void commands_mem_status(struct vm *vm, json_t *status);
/* Bytes that are plugged, and that can be; 0 without a device. */
uint64_t commands_mem_plugged(struct vm *vm);
uint64_t commands_mem_pluggable(struct vm *vm);

/* Sends MEMORY_DEVICE_SIZE_CHANGE; a VM without a control socket passes NULL. */
void commands_mem_event(struct qmp *qmp, struct vm *vm);

#endif
