/* SPDX-License-Identifier: MIT */
/*
 * fuzz-rng.c - a guest that does anything to its source of random numbers, see virtio_guest.h.
 *
 * Whatever it does, a driver that resets the device and does everything right is served.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/rng.h"
#include "virtio_guest.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What there is of its own: many buffers at once, so that the allowance is used up. */
static void own_step(struct guest *g, unsigned kind)
{
	uint32_t len = guest_take(g, 1) << (kind % 4 * 4);

	for (unsigned i = 0; i < GUEST_QSIZE; i++) {
		rig_desc(&g->q[0], i, RIG_BUFFERS + 0x8000, len, VRING_DESC_F_WRITE, 0);
		rig_offer(&g->q[0], (uint16_t)i);
	}
}

static void check(struct guest *g)
{
	unsigned char *to = mb_space_hva(g->r.space, RIG_BUFFERS, 64);
	unsigned same = 0;
	uint32_t len;

	guest_bring_up(g, 0);
	memset(to, 0xaa, 64);
	rig_desc(&g->q[0], 0, RIG_BUFFERS, 64, VRING_DESC_F_WRITE, 0);
	rig_offer(&g->q[0], 0);
	len = guest_answer(g);
	guest_must(len >= 1 && len <= 64, "not as many random bytes as there may be");
	for (unsigned i = 0; i < len; i++)
		same += to[i] == 0xaa;
	guest_must(same < 32, "these are not random");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest g;
	struct rng *rng;

	guest_begin(&g, data, size, 1, 0);
	guest_must(!rng_create(&g.r.host, 0, &rng), "no rng");
	g.own_step = own_step;
	guest_run(&g);
	check(&g);
	rng_destroy(rng);
	guest_end(&g);
	return 0;
}
