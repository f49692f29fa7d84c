/* SPDX-License-Identifier: MIT */
/*
 * ranges.c - the disk guest's other words: discard, zeroes, refusals, resets, random numbers.
 */
#include "guest.h"

#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/text.h"
#include <stddef.h>

#define RNG_DEVICE_ID 4
#define RANDOM_MAX    0x10000u
#define ANSWER_MS     20000

/* START+COUNT, in sectors. */
static struct blk_range parse_range(const char *text)
{
	const char *rest;
	uint64_t start = number_of(text, &rest);

	return (struct blk_range){.sector = start, .count = (uint32_t)number_of(*rest ? rest + 1 : rest, NULL)};
}

static uint8_t do_range(struct guest *g, uint32_t type, struct blk_range range)
{
	struct blk_range *copy = (struct blk_range *)(uintptr_t)g->buffer;

	*copy = range;
	return blk_driver_do(g->b, type, 0, copy, sizeof(*copy), false);
}

void ranges_discard(struct guest *g, const char *value)
{
	uint8_t status = do_range(g, BLK_T_DISCARD, parse_range(value));

	if (status != BLK_S_OK)
		fail(g, "discard", status);
	print("disk: discard=%s: ok\n", value);
}

void ranges_zero(struct guest *g, const char *value)
{
	uint8_t status = do_range(g, BLK_T_WRITE_ZEROES, parse_range(value));

	if (status != BLK_S_OK)
		fail(g, "write zeroes", status);
	print("disk: zero=%s: ok\n", value);
}

void ranges_check(struct guest *g, const char *value)
{
	struct blk_range r = parse_range(value);
	uint32_t most = BUFFER_BYTES / BLK_SECTOR, n;

	for (uint64_t at = r.sector; at < r.sector + r.count; at += n) {
		n = r.sector + r.count - at > most ? most : (uint32_t)(r.sector + r.count - at);
		memset(g->buffer, 0xa5, n * BLK_SECTOR);
		if (blk_driver_do(g->b, BLK_T_IN, at, g->buffer, n * BLK_SECTOR, true) != BLK_S_OK)
			fail(g, "a read fails", at);
		for (uint32_t i = 0; i < n * BLK_SECTOR; i++)
			if (g->buffer[i])
				fail(g, "a sector is not zero", at + i / BLK_SECTOR);
	}
	print("disk: zeros=%s: ok\n", value);
}

void ranges_refuse(struct guest *g, const char *value)
{
	struct blk_range all = {.count = 8};

	(void)value;
	if (!g->b->readonly)
		fail(g, "it does not say that it is read-only", 0);
	if (g->b->can_discard || g->b->can_zero)
		fail(g, "it offers what a read-only disk cannot do", 0);
	memset(g->buffer, 0xa5, BLK_SECTOR);
	if (blk_driver_do(g->b, BLK_T_OUT, 0, g->buffer, BLK_SECTOR, false) != BLK_S_IOERR)
		fail(g, "a write is not refused", 0);
	if (do_range(g, BLK_T_DISCARD, all) == BLK_S_OK || do_range(g, BLK_T_WRITE_ZEROES, all) == BLK_S_OK)
		fail(g, "discard or write zeroes is not refused", 0);
	print("disk: refuse: ok\n");
}

/* Reads that are in flight when the device is reset do not come out of the blue after it. */
void reset_rounds(struct guest *g, const char *value)
{
	uint64_t rounds = number_of(value, NULL), deadline;
	uint32_t len = BUFFER_BYTES / BLK_SECTOR > g->b->sectors ? BLK_SECTOR : BUFFER_BYTES;
	const char *error;

	for (uint64_t round = 0; round < rounds; round++) {
		for (unsigned i = 0; i < BLK_SLOTS; i++)
			blk_driver_send(g->b, i, BLK_T_IN, 0, g->buffer + i * BUFFER_BYTES, len, true);
		for (uint64_t wait = round * 1000; wait; wait--)
			cpu_pause();
		error = blk_driver_start(g->b);
		if (error)
			fail(g, error, round);
		memset(g->buffer, 0x5a, BLK_SLOTS * BUFFER_BYTES);
		deadline = irq_deadline_ms(5);
		while (cpu_tsc() < deadline)
			cpu_pause();
		for (uint32_t i = 0; i < BLK_SLOTS * BUFFER_BYTES; i++)
			if (g->buffer[i] != 0x5a)
				fail(g, "memory was written to after a reset", i);
	}
	if (blk_driver_do(g->b, BLK_T_IN, 0, g->buffer, BLK_SECTOR, true) != BLK_S_OK)
		fail(g, "it does not work after resets", rounds);
	print("disk: reset=%s: ok\n", value);
}

/* ---- virtio-rng ------------------------------------------------------------------------------------------ */

static uint32_t fetch(struct guest *g, struct virtq *q, uint8_t *to, uint32_t want)
{
	uint64_t deadline = irq_deadline_ms(ANSWER_MS);
	uint32_t id, len;

	virtq_post(q, 0, to, want, VIRTQ_DESC_WRITE);
	virtq_kick(q);
	while (!virtq_take_used(q, &id, &len)) {
		if (cpu_tsc() > deadline)
			fail(g, "no random numbers come", want);
		cpu_pause();
	}
	if (!len || len > want)
		fail(g, "so many random bytes were not asked for", len);
	return len;
}

/* Every byte value comes about as often as every other. */
static bool look_random(const uint8_t *bytes, uint32_t count)
{
	static uint32_t times[256];

	memset(times, 0, sizeof(times));
	for (uint32_t i = 0; i < count; i++)
		times[bytes[i]]++;
	for (unsigned v = 0; v < 256; v++)
		if (times[v] > count / 256 * 2 + 32 || (count >= 8192 && times[v] < count / 512))
			return false;
	return true;
}

void random_bytes(struct guest *g, const char *value)
{
	static struct virtio dev;
	static struct virtq q;
	uint64_t count = number_of(value, NULL);

	if (count > RANDOM_MAX)
		count = RANDOM_MAX;
	if (!virtio_find(RNG_DEVICE_ID, &dev) || !virtio_negotiate(&dev, 0) || !virtq_start(&q, &dev, 0))
		fail(g, "no source of random numbers", 0);
	virtio_driver_ok(&dev);
	memset(g->buffer, 0, RANDOM_MAX);
	for (uint32_t done = 0; done < count;)
		done += fetch(g, &q, g->buffer + done, (uint32_t)count - done);
	if (!look_random(g->buffer, (uint32_t)count))
		fail(g, "these do not look random", count);
	print("disk: random=%s: ok\n", value);
}
