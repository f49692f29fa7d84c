/* SPDX-License-Identifier: MIT */
/* vm_disks.c - see vm_disks.h. */
#include "vm_disks.h"

#include "vm_devices.h"

int vm_disks_open(struct vm_disks *disks, const struct vm_disk_config *config, unsigned count,
		  struct mb_error *err)
{
	int rc = 0;
	for (unsigned i = 0; i < count && rc == 0; i++) {
		rc = disk_open(config[i].path, config[i].readonly, config[i].id, &disks->disk[i], err);
		if (rc == 0)
			disks->opened++;
	}
	if (rc != 0)
		vm_disks_destroy(disks);
	return rc;
}

int vm_disks_create(struct vm_disks *disks, const struct device_host *host, struct vm_devices *devices)
{
	struct mb_overcommit_status ignored;
	bool overcommit = mb_space_get_overcommit(host->mem->space, &ignored);
	while (disks->count < disks->opened) {
		const struct vm_device *place;
		int rc = vm_devices_add(devices, VM_DEVICE_BLK, &place);
		if (rc != 0)
			return rc;
		unsigned i = disks->count++;
		struct blk_config config = {
		    .index = place->index,
		    .elsewhere = overcommit,
		    .disk = disks->disk[i],
		};
		rc = blk_create(host, &config, &disks->blk[i]);
		if (rc != 0)
			return rc;
	}
	return 0;
}

void vm_disks_pause(struct vm_disks *disks)
{
	for (unsigned i = 0; i < disks->count; i++)
		blk_pause(disks->blk[i]);
}

void vm_disks_resume(struct vm_disks *disks)
{
	for (unsigned i = 0; i < disks->count; i++)
		blk_resume(disks->blk[i]);
}

void vm_disks_destroy(struct vm_disks *disks)
{
	for (unsigned i = 0; i < disks->opened; i++) {
		if (i < disks->count)
			blk_destroy(disks->blk[i]);
		else
			disk_close(&disks->disk[i]);
	}
	*disks = (struct vm_disks){0};
}
