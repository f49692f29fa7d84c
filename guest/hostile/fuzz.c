/* SPDX-License-Identifier: MIT */
/*
 * fuzz.c - hostile cases: noise, the same for the same seed.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include <stddef.h>

/* Addresses that are now and then good ones. */
static uint64_t random_address(struct hostile *h)
{
	uint64_t random = hostile_random(h);

	switch (random % 4) {
	case 0:
		return h->area + (random >> 8) % (AREA_PAGES * PAGE_SIZE);
	case 1:
		return (random >> 8) % (boot_ram_end() + GIANT_SIZE);
	case 2:
		return (uint64_t)(uintptr_t)h->numbers;
	default:
		return hostile_random(h);
	}
}

static uint32_t random_length(struct hostile *h)
{
	uint64_t random = hostile_random(h);

	return random & 1 ? (uint32_t)(random >> 8) % 8192 : (uint32_t)(random >> 8);
}

/* Only the area's page numbers are ever valid: noise must not take the guest's own memory away. */
static void random_numbers(struct hostile *h)
{
	uint32_t first = (uint32_t)(h->area / PAGE_SIZE), end = (uint32_t)(boot_ram_end() / PAGE_SIZE);

	for (unsigned i = 0; i < NUMBERS_MAX; i++) {
		uint64_t random = hostile_random(h);

		h->numbers[i] = random & 7 ? first + (uint32_t)(random >> 8) % AREA_PAGES
					   : end + (uint32_t)(random >> 8) % 0x100000;
	}
}

static void numbers(struct hostile *h)
{
	for (unsigned i = 0; i < 200; i++) {
		struct virtq *q = hostile_random(h) & 1 ? &h->b.inflate : &h->b.deflate;

		random_numbers(h);
		hostile_post_numbers(h, q, 1 + (unsigned)(hostile_random(h) % NUMBERS_MAX));
		for (uint64_t wait = hostile_random(h) % 10000; wait; wait--)
			cpu_pause();
		if (hostile_random(h) % 32 == 0 || virtio_needs_reset(&h->b.dev))
			hostile_restart(h);
	}
}

static void rings(struct hostile *h)
{
	unsigned resets = 0;

	for (unsigned i = 0; i < 300; i++) {
		struct virtq *q = hostile_random(h) & 1 ? &h->b.inflate : &h->b.deflate;

		hostile_fill_area(h);
		for (unsigned n = 0; n < q->size; n++) {
			uint64_t random = hostile_random(h), gpa = random_address(h);

			/* Not the rest of memory: what it holds might be numbers of pages that we live in. */
			if (boot_is_ram(gpa, 1) && (gpa < h->area || gpa >= h->area + AREA_PAGES * PAGE_SIZE))
				gpa = h->area;
			q->desc[n] = (struct virtq_desc){gpa, random_length(h) % (1 << 20), random & 7,
							 (uint16_t)((random >> 16) % (q->size + 2))};
			q->avail->ring[n] = (uint16_t)((random >> 32) % (q->size + 1));
		}
		q->next_avail = (uint16_t)(q->next_avail + hostile_random(h) % (q->size + 2));
		__atomic_store_n(&q->avail->idx, q->next_avail, __ATOMIC_RELEASE);
		virtio_write(&h->b.dev, VIRTIO_REG_NOTIFY, q->index);
		for (uint64_t wait = hostile_random(h) % 10000; wait; wait--)
			cpu_pause();
		if (virtio_needs_reset(&h->b.dev)) {
			resets++;
			hostile_restart(h);
		}
	}
	print("hostile: the device asked for a reset %u times\n", resets);
}

static void registers(struct hostile *h)
{
	for (unsigned i = 0; i < 3000; i++) {
		uint64_t random = hostile_random(h), at = h->b.dev.base + random % 0x200;
		uint64_t value = random_address(h);

		switch (random >> 32 & 7) {
		case 0:
			mmio_write8(at, (uint8_t)value);
			break;
		case 1:
			mmio_write16(at, (uint16_t)value);
			break;
		case 2:
			mmio_write64(at, value);
			break;
		case 3:
			mmio_read8(at);
			break;
		case 4:
			mmio_read32(at & ~(uint64_t)3);
			break;
		default:
			mmio_write32(at & ~(uint64_t)3, (uint32_t)(value % 64));
		}
		if (i % 300 == 299)
			hostile_restart(h);
	}
}

const struct hostile_case hostile_fuzz_cases[] = {
    {"fuzz-numbers", "random page numbers and resets", numbers, CASE_SURVIVES},
    {"fuzz-rings", "random descriptors and rings", rings, CASE_SURVIVES},
    {"fuzz-registers", "random accesses to the device's registers", registers, CASE_SURVIVES},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
