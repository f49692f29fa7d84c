/* SPDX-License-Identifier: MIT */
/*
 * mem.h - virtio-mem (virtio 1.2, 5.15) on virtio-mmio: memory that is plugged and unplugged in blocks, as the
 * guest asks for it within what control has requested.
 *
 * All functions are called from the loop's thread, unless stated otherwise.
 */
#ifndef VMM_DEVICES_MEM_H
#define VMM_DEVICES_MEM_H

#include "devices/device.h"
#include "machine/plugmap.h"

struct mem;

/*
 * The machine's part. A stretch is MEM_STRETCH bytes of the region (more where the region is so large that
 * slots would run out; the last one may be shorter): the guest can reach it, as far as it is plugged, while it
 * is shown.
 */
struct mem_machine {
	/* Lets the host's mapping of [gpa, gpa + len) be touched, or not. 0 or a negative errno. */
	int (*open)(void *arg, uint64_t gpa, uint64_t len, bool open);
	/* Shows stretch number n to the guest, or hides it. 0 or a negative errno. */
	int (*show)(void *arg, unsigned n, uint64_t gpa, uint64_t len, bool show);
	unsigned stretches_max;
	void *arg;
};

#define MEM_STRETCH (UINT64_C(1) << 30)

struct mem_config {
	unsigned index;         /* of its virtio-mmio transport */
	struct mb_space *space; /* not owned; the region begins inflated in it */
	struct plugmap *map;    /* not owned: the region, its blocks, and which are plugged */
	struct mem_machine machine;
	/* The plugged size has changed. Bounded in rate; the last change is never lost. */
	void (*on_change)(void *arg);
	void *change_arg;
	/* On a vCPU thread: the guest touched what is not plugged. It must not go on. */
	void (*on_touch)(void *arg, uint64_t gpa);
	void *touch_arg;
};

int mem_create(const struct device_host *host, const struct mem_config *config, struct mem **out);
/* The vCPUs must be gone. NULL is fine. */
void mem_destroy(struct mem *m);

/* The guest shall have so much: a multiple of the block size, at most the region. -EINVAL, -ERANGE. */
int mem_request(struct mem *m, uint64_t bytes);

struct mem_status {
	bool driver_ok;     /* the guest runs a driver */
	bool broken;        /* the guest broke the protocol: the device needs a reset */
	uint64_t gpa;       /* of the region */
	uint64_t size;      /* bytes of the region */
	uint64_t block;     /* bytes */
	uint64_t requested; /* bytes */
	uint64_t plugged;   /* bytes */
	uint64_t stretches; /* that the guest can reach now */
	uint64_t refused;   /* requests that no driver should make, since start */
	uint64_t busy;      /* requests for which the budget or the host lacked something, since start */
};
void mem_get_status(struct mem *m, struct mem_status *out);

#endif
