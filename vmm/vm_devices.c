/* SPDX-License-Identifier: MIT */
/* vm_devices.c - see vm_devices.h. */
#include "vm_devices.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

int vm_devices_add(struct vm_devices *devices, enum vm_device_kind kind, const struct vm_device **out)
{
	unsigned index = devices->count;
	if (index >= PLATFORM_VIRTIO_COUNT)
		return -ENOSPC;
	devices->list[index] = (struct vm_device){
	    .kind = kind,
	    .index = index,
	    .base = PLATFORM_VIRTIO_BASE + (uint64_t)index * PLATFORM_VIRTIO_STRIDE,
	    .size = PLATFORM_VIRTIO_STRIDE,
	    .gsi = PLATFORM_VIRTIO_GSI + index,
	};
	devices->count++;
	if (out != NULL)
		*out = &devices->list[index];
	return 0;
}

void vm_devices_cmdline(const struct vm_devices *devices, char *out, size_t size)
{
	size_t used = 0;
	out[0] = '\0';
	for (unsigned i = 0; i < devices->count && used < size; i++) {
		const struct vm_device *d = &devices->list[i];
		int n = snprintf(out + used, size - used, " virtio_mmio.device=%" PRIu32 "@%#" PRIx64 ":%u",
				 d->size, d->base, d->gsi);
		if (n < 0)
			return;
		used += (size_t)n;
	}
}
