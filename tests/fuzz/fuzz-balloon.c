/* SPDX-License-Identifier: MIT */
/*
 * fuzz-balloon.c - a guest that does anything to its balloon, see virtio_guest.h.
 *
 * Whatever it does, in the end the device's books agree with the address space, and a driver that resets the
 * device and does everything right is served. Built with clang it is a libFuzzer target; with replay.c it
 * runs on seeded random programs, or on the files that it is given.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon.h"
#include "virtio_guest.h"

#include <endian.h>
#include <linux/virtio_balloon.h>

#define PAGE      UINT64_C(4096)
#define MAXIMUM   (2 * FAKE_HALF)
#define REPORTING (UINT64_C(1) << VIRTIO_BALLOON_F_REPORTING)
#define FEATURES                                                                                               \
	(UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST | UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ |           \
	 UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON | REPORTING)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Page numbers into a buffer: a run, a comb, or noise. */
static void write_numbers(struct guest *g)
{
	uint32_t place = RIG_BUFFERS + guest_take(g, 1) * 0x1000, first = guest_take(g, 2);
	uint32_t count = guest_take(g, 1) + 1, kind = guest_take(g, 1), n;
	uint32_t *to = mb_space_hva(g->r.space, place, count * 4);

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

static void own_step(struct guest *g, unsigned kind)
{
	struct balloon *b = g->device;

	switch (kind) {
	case 0:
	case 1:
		write_numbers(g);
		break;
	case 2:
		fake_space_set_budget(g->r.space, guest_take(g, 2) * PAGE);
		break;
	default:
		(void)!balloon_set_target(b, guest_take(g, 3) * PAGE);
		(void)!balloon_set_stats_interval(b, guest_take(g, 1) % 2);
	}
}

static bool is_home(void *arg)
{
	struct guest *g = arg;

	return fake_space_inflated(g->r.space) == 0;
}

/* A driver that does all right, after all that. */
static void check(struct guest *g, struct balloon *b)
{
	uint32_t *to = mb_space_hva(g->r.space, RIG_BUFFERS, 4);
	struct balloon_stats stats;
	struct balloon_status s;

	balloon_get_status(b, &s);
	guest_must(MAXIMUM - s.actual == fake_space_inflated(g->r.space) * PAGE, "the books do not agree");
	guest_must(s.inflated_total - s.deflated_total == MAXIMUM - s.actual, "the totals do not agree");
	guest_must(s.reported_total == fake_space_calls(g->r.space)->discarded * PAGE, "reports do not agree");
	balloon_get_stats(b, &stats);
	fake_space_set_budget(g->r.space, UINT64_MAX / 2);
	guest_bring_up(g, 0);
	guest_must(rig_until(&g->r, is_home, g), "a reset does not empty the balloon");
	*to = htole32((uint32_t)RIG_PAGES);
	rig_desc(&g->q[0], 0, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&g->q[0], 0);
	guest_answer(g);
	guest_must(fake_space_inflated(g->r.space) == 1, "a good driver's page is not taken");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct balloon_config config = {.maximum = MAXIMUM,
					.memory_end = FAKE_HIGH + FAKE_HALF,
					.initial_target = MAXIMUM,
					.deflate_on_oom = true};
	struct balloon *b;
	struct guest g;

	/* A driver that fills its free pages takes both, older ones no reporting. */
	guest_begin(&g, data, size, 4, size && data[size - 1] % 4 == 0 ? FEATURES & ~REPORTING : FEATURES);
	config.space = g.r.space;
	guest_must(!balloon_create(&g.r.host, &config, &b), "no balloon");
	g.own_step = own_step;
	g.device = b;
	guest_run(&g);
	check(&g, b);
	balloon_destroy(b);
	guest_end(&g);
	return 0;
}
