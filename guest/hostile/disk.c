/* SPDX-License-Identifier: MIT */
/*
 * disk.c - hostile cases: the disk and the source of random numbers, if the machine has them. What the file
 * holds does not matter; the test gives an empty one.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

#define RNG_DEVICE_ID 4
#define HEADER        16

static bool has_disk(struct hostile *h)
{
	const char *error;

	if (h->disk.frames)
		return true;
	error = blk_driver_open(&h->disk, 0);
	if (error)
		print("hostile: skipped: %s\n", error);
	return !error;
}

static _Noreturn void lost(const char *what, unsigned n)
{
	print("hostile: FAILED: %s (%u)\n", what, n);
	machine_exit(EXIT_FAIL);
}

/* A reset, and a disk that works. */
static void restart(struct hostile *h)
{
	const char *error = blk_driver_start(&h->disk);
	uint8_t *data = (uint8_t *)(uintptr_t)h->area;

	if (error)
		lost(error, 0);
	if (blk_driver_do(&h->disk, BLK_T_IN, 0, data, BLK_SECTOR, true) != BLK_S_OK)
		lost("the disk does not work after a reset", 0);
}

static uint8_t ask(struct hostile *h, uint32_t type, uint64_t sector, uint32_t len, bool in)
{
	uint8_t status = blk_driver_do(&h->disk, type, sector, (void *)(uintptr_t)h->area, len, in);

	if (virtio_needs_reset(&h->disk.dev)) {
		print("hostile: the disk asks for a reset\n");
		restart(h);
	}
	return status;
}

static void sectors(struct hostile *h)
{
	const uint64_t bad[] = {h->disk.sectors,           h->disk.sectors - 1, ~(uint64_t)0,
				~(uint64_t)0 / BLK_SECTOR, (uint64_t)1 << 55,   (uint64_t)1 << 63};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (ask(h, BLK_T_IN, bad[i], 4096, true) == BLK_S_OK ||
		    ask(h, BLK_T_OUT, bad[i], 4096, false) == BLK_S_OK)
			lost("sectors that do not exist were read or written", i);
	}
	for (uint32_t len = 1; len < 2048; len += 97)
		if (len % BLK_SECTOR && ask(h, BLK_T_IN, 0, len, true) == BLK_S_OK)
			lost("a part of a sector was read", len);
}

static void types(struct hostile *h)
{
	for (uint32_t type = 0; type < 64; type++) {
		uint8_t status = ask(h, type, 0, BLK_SECTOR, type % 2 == 0);

		if (type > BLK_T_WRITE_ZEROES && status != BLK_S_UNSUPP)
			lost("a request that does not exist", type);
	}
	ask(h, ~(uint32_t)0, ~(uint64_t)0, 4096, true);
}

static void ranges(struct hostile *h)
{
	struct blk_range *range = (struct blk_range *)(uintptr_t)h->area;

	for (unsigned i = 0; i < 400; i++) {
		uint64_t random = hostile_random(h);
		uint32_t type = random & 1 ? BLK_T_DISCARD : BLK_T_WRITE_ZEROES, n = random >> 1 & 31;

		for (uint32_t r = 0; r < n; r++)
			range[r] = (struct blk_range){hostile_random(h) >> (random >> 8 & 63),
						      (uint32_t)hostile_random(h) >> (random >> 16 & 31),
						      (uint32_t)(random >> 24 & 3)};
		ask(h, type, 0, n * (uint32_t)sizeof(*range) + (random >> 32 & 7 ? 0 : 5), false);
	}
}

static void link(struct virtq *q, unsigned d, uint64_t gpa, uint32_t len, unsigned flags, unsigned next)
{
	q->desc[d] = (struct virtq_desc){gpa, len, (uint16_t)flags, (uint16_t)next};
}

static void send_off(struct hostile *h, uint16_t head)
{
	virtq_post_chain(&h->disk.q, head);
	virtq_kick(&h->disk.q);
	hostile_answer_of(&h->disk.dev, &h->disk.q);
}

/* No room for a status, none for a header, nothing at all. */
static void layouts(struct hostile *h)
{
	struct virtq *q = &h->disk.q;

	link(q, 0, h->area, HEADER, 0, 0);
	send_off(h, 0);
	restart(h);
	link(q, 0, h->area, 1, VIRTQ_DESC_WRITE, 0);
	send_off(h, 0);
	restart(h);
	link(q, 0, h->area, 0, 0, 0);
	send_off(h, 0);
	restart(h);
	link(q, 0, h->area, 7, VIRTQ_DESC_NEXT, 1);
	link(q, 1, h->area + 4096, 1, VIRTQ_DESC_WRITE, 0);
	send_off(h, 0);
	restart(h);
	/* The status before the data, all in one buffer, the header in it too. */
	memset((void *)(uintptr_t)h->area, 0, 4096);
	link(q, 0, h->area, HEADER, VIRTQ_DESC_NEXT, 1);
	link(q, 1, h->area, 513, VIRTQ_DESC_WRITE, 0);
	send_off(h, 0);
	restart(h);
	link(q, 0, h->area, 1, VIRTQ_DESC_WRITE | VIRTQ_DESC_NEXT, 1);
	link(q, 1, h->area, HEADER, 0, 0);
	send_off(h, 0);
	restart(h);
}

/* Data that is no memory, or only partly, or all of it, or the rings. */
static void addresses(struct hostile *h)
{
	const uint64_t bad[] = {boot_ram_end() + GIANT_SIZE,
				PLATFORM_HOLE_START + HUGE_SIZE,
				~(uint64_t)0 - 4095,
				(uint64_t)1 << 63,
				h->disk.dev.base,
				boot_ram_end() - 256};
	struct virtq *q = &h->disk.q;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (unsigned part = 0; part < 3; part++) {
			memset((void *)(uintptr_t)h->area, 0, 4096);
			link(q, 0, part == 0 ? bad[i] : h->area, HEADER, VIRTQ_DESC_NEXT, 1);
			link(q, 1, part == 1 ? bad[i] : h->area + 4096, 512, VIRTQ_DESC_WRITE | VIRTQ_DESC_NEXT,
			     2);
			link(q, 2, part == 2 ? bad[i] + 255 : h->area, 1, VIRTQ_DESC_WRITE, 0);
			send_off(h, 0);
			restart(h);
		}
	}
	memset((void *)(uintptr_t)h->area, 0, 4096);
	link(q, 0, h->area, HEADER, VIRTQ_DESC_NEXT, 1);
	link(q, 1, h->area + 4096, 0xfffffe00, VIRTQ_DESC_WRITE | VIRTQ_DESC_NEXT, 2);
	link(q, 2, h->area, 1, VIRTQ_DESC_WRITE, 0);
	send_off(h, 0);
	restart(h);
}

/* The disk's contents become the disk's rings. */
static void rings_as_data(struct hostile *h)
{
	struct blk_driver *d = &h->disk;

	blk_driver_send(d, 0, BLK_T_IN, 0, d->q.used, 4096, true);
	hostile_answer_of(&d->dev, &d->q);
	restart(h);
	blk_driver_send(d, 0, BLK_T_IN, 0, d->q.desc, 4096, true);
	blk_driver_send(d, 1, BLK_T_IN, 0, d->q.avail, 512, true);
	hostile_answer_of(&d->dev, &d->q);
	restart(h);
	blk_driver_send(d, 0, BLK_T_IN, 0, d->frames, 512, true);
	hostile_answer_of(&d->dev, &d->q);
	restart(h);
}

/* The same chain again and again, and all at once, while resets come in between. */
static void storm(struct hostile *h)
{
	struct blk_driver *d = &h->disk;

	for (unsigned i = 0; i < 60; i++) {
		for (unsigned s = 0; s < BLK_SLOTS; s++)
			blk_driver_send(d, s, s & 1 ? BLK_T_OUT : BLK_T_IN, s, (void *)(uintptr_t)h->area,
					0x20000, !(s & 1));
		for (unsigned n = 0; n < 200; n++)
			virtq_post_chain(&d->q, (uint16_t)(3 * (n % BLK_SLOTS)));
		virtq_kick(&d->q);
		for (uint64_t wait = hostile_random(h) % 20000; wait; wait--)
			cpu_pause();
		if (i & 1)
			virtio_write(&d->dev, VIRTIO_REG_QUEUE_READY, 0);
		restart(h);
	}
}

/* Data in pages that are in the balloon, and that come and go while it is on its way. */
static void balloon_as_data(struct hostile *h)
{
	struct blk_driver *d = &h->disk;

	for (unsigned i = 0; i < 20; i++) {
		hostile_fill_numbers(h, AREA_PAGES);
		hostile_post_numbers(h, i & 1 ? &h->b.deflate : &h->b.inflate, AREA_PAGES);
		for (unsigned s = 0; s < BLK_SLOTS; s++)
			blk_driver_send(d, s, s & 1 ? BLK_T_OUT : BLK_T_IN, 0,
					(void *)(uintptr_t)(h->area + s * 0x20000), 0x20000, !(s & 1));
		hostile_answer(h, i & 1 ? &h->b.deflate : &h->b.inflate);
		hostile_answer_of(&d->dev, &d->q);
		/* The frame of a request in the balloon, too: header and status. */
		link(&d->q, 0, h->area, HEADER, VIRTQ_DESC_NEXT, 1);
		link(&d->q, 1, h->area + 4096, 513, VIRTQ_DESC_WRITE, 0);
		send_off(h, 0);
		restart(h);
	}
}

static void noise(struct hostile *h)
{
	struct virtq *q = &h->disk.q;

	for (unsigned i = 0; i < 200; i++) {
		uint32_t *words = (uint32_t *)(uintptr_t)h->area;

		for (unsigned n = 0; n < 1024; n++)
			words[n] = (uint32_t)hostile_random(h) % 20;
		for (unsigned n = 0; n < q->size; n++) {
			uint64_t random = hostile_random(h);

			link(q, n, h->area + random % (AREA_PAGES * PAGE_SIZE - 0x20000),
			     random >> 24 & 0x1ffff, random >> 48 & 7, (random >> 52) % (q->size + 2));
			q->avail->ring[n] = (uint16_t)((random >> 40) % (q->size + 1));
		}
		q->next_avail = (uint16_t)(q->next_avail + hostile_random(h) % (q->size + 2));
		__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
		virtio_write(&h->disk.dev, VIRTIO_REG_NOTIFY, 0);
		for (uint64_t wait = hostile_random(h) % 10000; wait; wait--)
			cpu_pause();
		if (virtio_needs_reset(&h->disk.dev) || i % 16 == 0)
			restart(h);
	}
}

/* Each of the above, if there is a disk; and the disk works after it. */
#define WITH_DISK(name)                                                                                        \
	static void disk_##name(struct hostile *h)                                                             \
	{                                                                                                      \
		if (!has_disk(h))                                                                              \
			return;                                                                                \
		restart(h);                                                                                    \
		name(h);                                                                                       \
		restart(h);                                                                                    \
	}

WITH_DISK(sectors)
WITH_DISK(types)
WITH_DISK(ranges)
WITH_DISK(layouts)
WITH_DISK(addresses)
WITH_DISK(rings_as_data)
WITH_DISK(storm)
WITH_DISK(balloon_as_data)
WITH_DISK(noise)

/* ---- random numbers ---------------------------------------------------------------------------------------
 */

static bool start_rng(struct virtio *dev, struct virtq *q)
{
	return virtio_negotiate(dev, 0) && virtq_start(q, dev, 0) && (virtio_driver_ok(dev), true);
}

static void random_greed(struct hostile *h)
{
	static struct virtio dev;
	static struct virtq q;

	if (!virtio_find(RNG_DEVICE_ID, &dev)) {
		print("hostile: skipped: no source of random numbers\n");
		return;
	}
	for (unsigned round = 0; round < 6; round++) {
		unsigned flags = round == 4 ? 0 : VIRTQ_DESC_WRITE;
		uint32_t len = round == 3 ? 0 : round == 5 ? 0xfffffff0 : AREA_PAGES * PAGE_SIZE;

		if (!start_rng(&dev, &q))
			lost("the source of random numbers does not start", round);
		for (unsigned i = 0; i < q.size; i++)
			virtq_post(&q, (uint16_t)i, (void *)(uintptr_t)h->area, len, (uint16_t)flags);
		virtq_kick(&q);
		hostile_answer_of(&dev, &q);
	}
	if (!start_rng(&dev, &q))
		lost("the source of random numbers does not start", 0);
	virtq_post(&q, 0, (void *)(uintptr_t)h->area, 16, VIRTQ_DESC_WRITE);
	virtq_kick(&q);
	if (!hostile_answer_of(&dev, &q))
		lost("no random numbers come", 0);
}

const struct hostile_case hostile_disk_cases[] = {
    {"disk-sectors", "sectors beyond the end, and parts of them", disk_sectors, CASE_SURVIVES},
    {"disk-types", "requests that do not exist", disk_types, CASE_SURVIVES},
    {"disk-ranges", "random ranges to discard and to zero", disk_ranges, CASE_SURVIVES},
    {"disk-layouts", "requests without header, without status, with all in one place", disk_layouts,
     CASE_SURVIVES},
    {"disk-addresses", "headers, data and statuses that are no memory", disk_addresses, CASE_SURVIVES},
    {"disk-rings", "the disk's own rings as data", disk_rings_as_data, CASE_SURVIVES},
    {"disk-storm", "the same requests again and again, and resets in between", disk_storm, CASE_SURVIVES},
    {"disk-balloon", "data in pages that are in the balloon", disk_balloon_as_data, CASE_SURVIVES},
    {"disk-fuzz", "random descriptors and rings", disk_noise, CASE_SURVIVES},
    {"random-greed", "more random numbers than there are", random_greed, CASE_SURVIVES},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
