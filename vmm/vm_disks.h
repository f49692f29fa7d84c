/* SPDX-License-Identifier: MIT */
/*
 * vm_disks.h - the disks of a VM: opened before its memory is taken, made into devices after, and still while
 * it is paused. Loop thread only.
 */
#ifndef VMM_VM_DISKS_H
#define VMM_VM_DISKS_H

#include "devices/blk.h"

/* The other transports are the balloon's, the random numbers' and the hotplugged memory's. */
#define VM_DISKS_MAX 5

struct vm_devices;

/* Strings stay the caller's. */
struct vm_disk_config {
	const char *path;
	const char *id; /* serial number; may be NULL */
	bool readonly;
};

/* Start with {0}. */
struct vm_disks {
	unsigned opened, count;
	struct disk disk[VM_DISKS_MAX]; /* [count, opened): not a device's yet */
	struct blk *blk[VM_DISKS_MAX];
};

/* Opens and locks them all; on failure none is left. */
MB_MUST_CHECK int vm_disks_open(struct vm_disks *disks, const struct vm_disk_config *config, unsigned count,
				struct mb_error *err);
/* Makes devices of them. */
MB_MUST_CHECK int vm_disks_create(struct vm_disks *disks, const struct device_host *host,
				  struct vm_devices *devices);
void vm_disks_pause(struct vm_disks *disks);
void vm_disks_resume(struct vm_disks *disks);
/* From wherever it came to. The vCPUs must be gone. */
void vm_disks_destroy(struct vm_disks *disks);

#endif
