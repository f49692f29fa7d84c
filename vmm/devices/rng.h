/* SPDX-License-Identifier: MIT */
/*
 * rng.h - virtio-rng, the entropy device (virtio 1.2, 5.4), on virtio-mmio: the host kernel's random numbers,
 * at a bounded rate.
 */
#ifndef VMM_DEVICES_RNG_H
#define VMM_DEVICES_RNG_H

#include "devices/device.h"

struct rng;

#define RNG_PERIOD_MS    100
#define RNG_PERIOD_BYTES 65536 /* in each period, at most: the rest waits for the next one */

/* index: of its virtio-mmio transport. 0 or a negative errno. */
int rng_create(const struct device_host *host, unsigned index, struct rng **out);
/* The vCPUs must be gone. NULL is fine. */
void rng_destroy(struct rng *r);

#endif
