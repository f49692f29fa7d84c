/* SPDX-License-Identifier: MIT */
/* virtio_guest.c - see virtio_guest.h. */
#include "virtio_guest.h"

#include "log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OPS_MAX   400 /* an input is not to last for ever */
#define OWN_KINDS 4   /* of 12 steps, so many are the device's own */

uint32_t guest_take(struct guest *g, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes--) {
		v <<= 8;
		if (g->left) {
			v |= *g->data++;
			g->left--;
		}
	}
	return v;
}

void guest_must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

static uint64_t offered(struct guest *g)
{
	uint64_t low;

	rig_set(&g->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 0);
	low = rig_get(&g->r, VIRTIO_MMIO_DEVICE_FEATURES);
	rig_set(&g->r, VIRTIO_MMIO_DEVICE_FEATURES_SEL, 1);
	return low | (uint64_t)rig_get(&g->r, VIRTIO_MMIO_DEVICE_FEATURES) << 32;
}

void guest_bring_up(struct guest *g, uint64_t more)
{
	rig_negotiate(&g->r, (g->features & offered(g)) | more);
	for (unsigned n = 0; n < g->queues; n++) {
		rig_queue_init(&g->r, &g->q[n], n, GUEST_QSIZE);
		rig_queue_start(&g->q[n]);
	}
	rig_driver_ok(&g->r);
}

uint64_t guest_address(struct guest *g)
{
	uint32_t kind = guest_take(g, 1), low = guest_take(g, 2);

	switch (kind % 8) {
	case 0:
		return RIG_RINGS + low * 2;
	case 1:
		return FAKE_HALF - low % 64;
	case 2:
		return UINT64_MAX - low;
	case 3:
		return (uint64_t)low << 32 | guest_take(g, 4);
	case 4:
		return FAKE_HIGH + low * 16;
	default:
		return RIG_BUFFERS + low * 16;
	}
}

static void write_ring(struct guest *g)
{
	static const uint64_t areas[] = {0, 0x8000, 0xa000};
	uint64_t at = RIG_RINGS + guest_take(g, 1) % g->queues * UINT64_C(0x10000);

	at += areas[guest_take(g, 1) % 3];
	at += guest_take(g, 1) * UINT64_C(2);
	rig_store16(&g->r, at, (uint16_t)guest_take(g, 2));
}

static void write_desc(struct guest *g)
{
	struct rig_queue *q = &g->q[guest_take(g, 1) % g->queues];
	uint32_t i = guest_take(g, 1) % GUEST_QSIZE, flags = guest_take(g, 1), len = guest_take(g, 1);
	uint64_t at = guest_address(g);

	/* Lengths: small, up to a MiB, or anything. */
	len = flags & 0x80 ? guest_take(g, 4) : flags & 0x40 ? len << 12 : len * 4;
	rig_desc(q, i, at, len, flags & 7, (uint16_t)(guest_take(g, 1) % (GUEST_QSIZE + 1)));
}

static void write_register(struct guest *g)
{
	uint32_t reg = guest_take(g, 1) * 4 % 0x200, value = guest_take(g, 1);

	rig_set(&g->r, reg, value & 0x80 ? guest_take(g, 4) : value);
	rig_get(&g->r, reg);
}

static void step(struct guest *g)
{
	unsigned kind = guest_take(g, 1) % 12;

	if (kind < OWN_KINDS) {
		g->own_step(g, kind);
		return;
	}
	switch (kind) {
	case 4:
		write_register(g);
		break;
	case 5:
		write_ring(g);
		break;
	case 6:
	case 7:
		write_desc(g);
		break;
	case 8:
	case 9:
		rig_offer(&g->q[guest_take(g, 1) % g->queues],
			  (uint16_t)(guest_take(g, 1) % (GUEST_QSIZE + 1)));
		break;
	case 10:
		rig_notify(&g->r, guest_take(g, 1) % g->queues);
		rig_turns(&g->r, 1 + guest_take(g, 1) % 4);
		break;
	default:
		if (guest_take(g, 1) % 4 == 0)
			guest_bring_up(g, (uint64_t)guest_take(g, 1) << 28);
		else
			rig_turns(&g->r, 2);
	}
}

void guest_begin(struct guest *g, const uint8_t *data, size_t size, unsigned queues, uint64_t features)
{
	log_init("fuzz", LOG_ERROR);
	*g = (struct guest){.queues = queues, .features = features | GUEST_VERSION_1};
	rig_setup(&g->r);
	g->data = data;
	g->left = size;
	for (unsigned n = 0; n < queues; n++)
		rig_queue_init(&g->r, &g->q[n], n, GUEST_QSIZE);
}

void guest_run(struct guest *g)
{
	if (guest_take(g, 1) % 8)
		guest_bring_up(g, (uint64_t)guest_take(g, 1) << 28);
	for (unsigned i = 0; i < OPS_MAX && g->left; i++)
		step(g);
	rig_turns(&g->r, 8);
}

void guest_end(struct guest *g)
{
	rig_teardown(&g->r);
}

struct used {
	struct rig_queue *q;
	uint32_t id, len;
};

static bool is_used(void *arg)
{
	struct used *u = arg;

	return rig_used(u->q, &u->id, &u->len);
}

uint32_t guest_answer(struct guest *g)
{
	struct used u = {.q = &g->q[0]};

	rig_notify(&g->r, 0);
	guest_must(rig_until(&g->r, is_used, &u), "a good driver is not served");
	return u.len;
}
