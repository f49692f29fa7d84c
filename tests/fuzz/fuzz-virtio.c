/* SPDX-License-Identifier: MIT */
/*
 * fuzz-virtio.c - a guest that does anything to its balloon: an input is a program of register writes, ring
 * writes, notifications and turns of the loop.
 *
 * Whatever it does, in the end the device's books agree with the address space, and a driver that resets the
 * device and does everything right is served. Built with clang it is a libFuzzer target; with replay.c it
 * runs on seeded random programs, or on the files that it is given.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon.h"
#include "log.h"
#include "virtio_rig.h"

#include <endian.h>
#include <linux/virtio_balloon.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define QUEUES  3
#define QSIZE   16
#define OPS_MAX 400 /* an input is not to last for ever */
#define PAGE    UINT64_C(4096)
#define MAXIMUM (2 * FAKE_HALF)
#define FEATURES                                                                                               \
	(UINT64_C(1) << VIRTIO_F_VERSION_1 | UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST |                  \
	 UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct guest {
	struct rig r;
	struct rig_queue q[QUEUES];
	struct balloon *b;
	const uint8_t *data;
	size_t left;
};

/* The next bytes of the program; zeros after its end. */
static uint32_t take(struct guest *g, unsigned bytes)
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

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "fuzz-virtio: %s\n", what);
	abort();
}

static void bring_up(struct guest *g, uint64_t features)
{
	rig_negotiate(&g->r, features);
	for (unsigned n = 0; n < QUEUES; n++) {
		rig_queue_init(&g->r, &g->q[n], n, QSIZE);
		rig_queue_start(&g->q[n]);
	}
	rig_driver_ok(&g->r);
}

/* An address that is interesting: mostly a buffer, at times a ring, an edge, or anything. */
static uint64_t address(struct guest *g)
{
	uint32_t kind = take(g, 1), low = take(g, 2);

	switch (kind % 8) {
	case 0:
		return RIG_RINGS + low * 2;
	case 1:
		return FAKE_HALF - low % 64;
	case 2:
		return UINT64_MAX - low;
	case 3:
		return (uint64_t)low << 32 | take(g, 4);
	case 4:
		return FAKE_HIGH + low * 16;
	default:
		return RIG_BUFFERS + low * 16;
	}
}

/* Page numbers into a buffer: a run, a comb, or noise. */
static void write_numbers(struct guest *g)
{
	uint32_t place = RIG_BUFFERS + take(g, 1) * 0x1000, first = take(g, 2), count = take(g, 1) + 1;
	uint32_t kind = take(g, 1), n, *to = mb_space_hva(g->r.space, place, count * 4);

	for (uint32_t i = 0; i < count; i++) {
		switch (kind % 6) {
		case 0:
			n = first + 2 * i;
			break;
		case 1:
			n = first - i;
			break;
		case 2:
			n = first ^ (i * 2654435761u) >> 20;
			break;
		case 3:
			n = (uint32_t)(FAKE_HIGH >> 12) + first % 0x2100 + i;
			break;
		default:
			n = first % 0x2100 + i;
		}
		to[i] = htole32(n);
	}
}

static void write_ring(struct guest *g)
{
	uint64_t at = RIG_RINGS + take(g, 1) % QUEUES * UINT64_C(0x10000);
	uint32_t area = take(g, 1) % 3, offset = take(g, 1);

	rig_store16(&g->r,
		    at +
			(area == 0   ? 0
			 : area == 1 ? 0x8000
				     : 0xa000) +
			offset * 2,
		    (uint16_t)take(g, 2));
}

static void write_desc(struct guest *g)
{
	struct rig_queue *q = &g->q[take(g, 1) % QUEUES];
	uint32_t i = take(g, 1) % QSIZE, flags = take(g, 1), len = take(g, 1);
	uint64_t at = address(g);

	/* Lengths: small, up to a MiB, or anything. */
	len = flags & 0x80 ? take(g, 4) : flags & 0x40 ? len << 12 : len * 4;
	rig_desc(q, i, at, len, flags & 7, (uint16_t)(take(g, 1) % (QSIZE + 1)));
}

static void write_register(struct guest *g)
{
	uint32_t reg = take(g, 1) * 4 % 0x200, value = take(g, 1);

	rig_set(&g->r, reg, value & 0x80 ? take(g, 4) : value);
	rig_get(&g->r, reg);
}

static void step(struct guest *g)
{
	switch (take(g, 1) % 12) {
	case 0:
		write_register(g);
		break;
	case 1:
		write_ring(g);
		break;
	case 2:
	case 3:
		write_desc(g);
		break;
	case 4:
	case 5:
		write_numbers(g);
		break;
	case 6:
	case 7:
		rig_offer(&g->q[take(g, 1) % QUEUES], (uint16_t)(take(g, 1) % (QSIZE + 1)));
		break;
	case 8:
		rig_notify(&g->r, take(g, 1) % QUEUES);
		rig_turns(&g->r, 1 + take(g, 1) % 4);
		break;
	case 9:
		fake_space_set_budget(g->r.space, take(g, 2) * PAGE);
		break;
	case 10:
		(void)!balloon_set_target(g->b, take(g, 3) * PAGE);
		(void)!balloon_set_stats_interval(g->b, take(g, 1) % 2);
		break;
	default:
		if (take(g, 1) % 4 == 0)
			bring_up(g, FEATURES | (uint64_t)take(g, 1) << 28);
		else
			rig_turns(&g->r, 2);
	}
}

static bool is_home(void *arg)
{
	struct guest *g = arg;

	return fake_space_inflated(g->r.space) == 0;
}

static bool is_used(void *arg)
{
	uint32_t id, len;

	return rig_used(arg, &id, &len);
}

/* A driver that does all right, after all that. */
static void check(struct guest *g)
{
	uint32_t *to = mb_space_hva(g->r.space, RIG_BUFFERS, 4);
	struct balloon_stats stats;
	struct balloon_status s;

	balloon_get_status(g->b, &s);
	must(MAXIMUM - s.actual == fake_space_inflated(g->r.space) * PAGE, "the books do not agree");
	must(s.inflated_total - s.deflated_total == MAXIMUM - s.actual, "the totals do not agree");
	balloon_get_stats(g->b, &stats);
	fake_space_set_budget(g->r.space, UINT64_MAX / 2);
	bring_up(g, FEATURES);
	must(rig_until(&g->r, is_home, g), "a reset does not empty the balloon");
	*to = htole32((uint32_t)RIG_PAGES);
	rig_desc(&g->q[0], 0, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&g->q[0], 0);
	rig_notify(&g->r, 0);
	must(rig_until(&g->r, is_used, &g->q[0]), "a good driver is not served");
	must(fake_space_inflated(g->r.space) == 1, "a good driver's page is not taken");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct guest g = {.data = data, .left = size};
	struct balloon_config config = {.maximum = MAXIMUM, .initial_target = MAXIMUM, .deflate_on_oom = true};

	log_init("fuzz", LOG_ERROR);
	rig_setup(&g.r);
	config.space = g.r.space;
	must(!balloon_create(&g.r.host, &config, &g.b), "no balloon");
	for (unsigned n = 0; n < QUEUES; n++)
		rig_queue_init(&g.r, &g.q[n], n, QSIZE);
	/* Most programs start where the interesting things are. */
	if (take(&g, 1) % 8)
		bring_up(&g, FEATURES | (uint64_t)take(&g, 1) << 28);
	for (unsigned i = 0; i < OPS_MAX && g.left; i++)
		step(&g);
	rig_turns(&g.r, 8);
	check(&g);
	balloon_destroy(g.b);
	rig_teardown(&g.r);
	return 0;
}
