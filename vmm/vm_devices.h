/* SPDX-License-Identifier: MIT */
/*
 * vm_devices.h - which virtio-mmio transports a VM has: the table that devices are made from, and that the
 * guest is told of, on the command line and in ACPI.
 */
#ifndef VMM_VM_DEVICES_H
#define VMM_VM_DEVICES_H

#include <memback/pool.h>
#include <platform.h>
#include <stddef.h>
#include <stdint.h>

enum vm_device_kind { VM_DEVICE_BALLOON, VM_DEVICE_BLK, VM_DEVICE_RNG, VM_DEVICE_MEM };

/* One virtio-mmio transport. */
struct vm_device {
	enum vm_device_kind kind;
	unsigned index; /* of the transport, as virtio_mmio_create() has it */
	uint64_t base;  /* guest physical address of its registers */
	uint32_t size;  /* bytes of them */
	unsigned gsi;   /* its line: edge-triggered, active high */
};

/* All of a VM, in the order of their indices. Start with {0}. */
struct vm_devices {
	unsigned count;
	struct vm_device list[PLATFORM_VIRTIO_COUNT];
};

/* The next transport is this kind's; *out (may be NULL) is where. -ENOSPC: there are PLATFORM_VIRTIO_COUNT. */
MB_MUST_CHECK int vm_devices_add(struct vm_devices *devices, enum vm_device_kind kind,
				 const struct vm_device **out);

/* Room that vm_devices_cmdline() needs at most, with the NUL. */
#define VM_DEVICES_CMDLINE ((size_t)PLATFORM_VIRTIO_COUNT * 64 + 1)
/* Writes one word " virtio_mmio.device=SIZE@BASE:GSI" for each, as Linux has it; cuts at size. */
void vm_devices_cmdline(const struct vm_devices *devices, char *out, size_t size);

#endif
