/* SPDX-License-Identifier: MIT */
/*
 * frame.c - hostile cases: page numbers, and what may be done with pages that are in the balloon.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/pattern.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

static void send_numbers(struct hostile *h, struct virtq *q, unsigned count)
{
	hostile_post_numbers(h, q, count);
	hostile_answer(h, q);
}

static void out_of_range(struct hostile *h)
{
	h->numbers[0] = (uint32_t)(boot_ram_end() / PAGE_SIZE);
	h->numbers[1] = 0xffffffff;
	h->numbers[2] = PLATFORM_HOLE_START / PAGE_SIZE;
	h->numbers[3] = (uint32_t)(h->b.dev.base / PAGE_SIZE);
	h->numbers[4] = 0x80000000;
	h->numbers[5] = 0xfee00;
	send_numbers(h, &h->b.inflate, 6);
	send_numbers(h, &h->b.deflate, 6);
}

static void twice(struct hostile *h)
{
	for (unsigned i = 0; i < 64; i++)
		h->numbers[i] = (uint32_t)(h->area / PAGE_SIZE + i / 2);
	send_numbers(h, &h->b.inflate, 64);
	send_numbers(h, &h->b.inflate, 64);
	send_numbers(h, &h->b.deflate, 64);
	send_numbers(h, &h->b.deflate, 64);
}

static void never_inflated(struct hostile *h)
{
	hostile_fill_numbers(h, AREA_PAGES);
	send_numbers(h, &h->b.deflate, AREA_PAGES);
}

static void own_rings(struct hostile *h)
{
	struct virtq *q = &h->b.inflate;

	h->numbers[0] = (uint32_t)((uintptr_t)q->desc / PAGE_SIZE);
	h->numbers[1] = (uint32_t)((uintptr_t)q->avail / PAGE_SIZE);
	h->numbers[2] = (uint32_t)((uintptr_t)q->used / PAGE_SIZE);
	send_numbers(h, q, 3);
	hostile_restart(h);
	h->numbers[0] = (uint32_t)((uintptr_t)h->b.deflate.used / PAGE_SIZE);
	send_numbers(h, &h->b.inflate, 1);
	h->numbers[0] = (uint32_t)((uintptr_t)h->numbers / PAGE_SIZE);
	send_numbers(h, &h->b.inflate, 1);
}

static void descending(struct hostile *h)
{
	for (unsigned i = 0; i < AREA_PAGES; i++)
		h->numbers[i] = (uint32_t)(h->area / PAGE_SIZE + AREA_PAGES - 1 - i);
	send_numbers(h, &h->b.inflate, AREA_PAGES);
	send_numbers(h, &h->b.deflate, AREA_PAGES);
}

static void touch_inside(struct hostile *h)
{
	uint64_t first = h->area / PAGE_SIZE;
	unsigned zero = 0;

	hostile_fill_numbers(h, AREA_PAGES);
	send_numbers(h, &h->b.inflate, AREA_PAGES);
	for (uint64_t page = first; page < first + AREA_PAGES; page++) {
		zero += !*pattern_page(page);
		*pattern_page(page) = page;
	}
	print("hostile: of %u pages in the balloon %u read as zero; all are written now\n", AREA_PAGES, zero);
	send_numbers(h, &h->b.deflate, AREA_PAGES);
}

static void buffer_inside(struct hostile *h)
{
	uint32_t *inside = (uint32_t *)(uintptr_t)h->area;

	hostile_fill_numbers(h, AREA_PAGES);
	send_numbers(h, &h->b.inflate, AREA_PAGES);
	/* The page numbers themselves lie in a page that is in the balloon. */
	inside[0] = (uint32_t)(h->area / PAGE_SIZE);
	inside[1] = (uint32_t)(h->area / PAGE_SIZE + 1);
	virtq_post(&h->b.deflate, 0, inside, 8, 0);
	virtq_kick(&h->b.deflate);
	hostile_answer(h, &h->b.deflate);
}

static void low_memory(struct hostile *h)
{
	for (unsigned i = 0; i < 0x100; i++)
		h->numbers[i] = i;
	send_numbers(h, &h->b.inflate, 0x100);
}

static void reset_in_between(struct hostile *h)
{
	for (unsigned i = 0; i < 50; i++) {
		hostile_fill_numbers(h, AREA_PAGES);
		hostile_post_numbers(h, i & 1 ? &h->b.deflate : &h->b.inflate, AREA_PAGES);
		for (uint64_t wait = hostile_random(h) % 20000; wait; wait--)
			cpu_pause();
		hostile_restart(h);
	}
}

/* After a reset the balloon is empty, and what was in it is ours to use, at once. */
static void used_after_reset(struct hostile *h)
{
	uint64_t first = h->area / PAGE_SIZE, end = first + AREA_PAGES, deadline;

	for (unsigned round = 0; round < 20; round++) {
		hostile_fill_numbers(h, AREA_PAGES);
		hostile_post_numbers(h, &h->b.inflate, AREA_PAGES);
		if (round & 1)
			hostile_answer(h, &h->b.inflate);
		hostile_restart(h);
		for (uint64_t page = first; page < end; page++)
			pattern_fill(page);
		deadline = irq_deadline_ms(20);
		while (cpu_tsc() < deadline)
			irq_wait(deadline);
		for (uint64_t page = first; page < end; page++)
			if (pattern_check(page) >= 0) {
				print("hostile: FAILED: page 0x%lx was taken after a reset (round %u)\n", page,
				      round);
				machine_exit(EXIT_FAIL);
			}
	}
}

/* Numbers that change while the device reads them. */
static void changing_numbers(struct hostile *h)
{
	hostile_fill_numbers(h, NUMBERS_MAX);
	for (unsigned round = 0; round < 20; round++) {
		hostile_post_numbers(h, round & 1 ? &h->b.deflate : &h->b.inflate, NUMBERS_MAX);
		for (unsigned i = 0; i < 4 * NUMBERS_MAX; i++)
			h->numbers[hostile_random(h) % NUMBERS_MAX] =
			    i & 1 ? (uint32_t)hostile_random(h) | 0x80000000
				  : (uint32_t)(h->area / PAGE_SIZE + i % AREA_PAGES);
		hostile_restart(h);
	}
}

static void all_at_once(struct hostile *h)
{
	hostile_fill_numbers(h, AREA_PAGES);
	for (unsigned i = 0; i < h->b.inflate.size; i++) {
		uint32_t *numbers = h->numbers + i * 4 % AREA_PAGES;

		virtq_post(&h->b.inflate, (uint16_t)i, numbers, 16, 0);
		virtq_post(&h->b.deflate, (uint16_t)i, numbers, 16, 0);
	}
	virtq_kick(&h->b.inflate);
	virtq_kick(&h->b.deflate);
	hostile_answer(h, &h->b.inflate);
	hostile_answer(h, &h->b.deflate);
}

static void actual_lies(struct hostile *h)
{
	balloon_driver_set_actual(&h->b, 0xffffffff);
	balloon_driver_set_actual(&h->b, (uint32_t)(boot_ram_end() / PAGE_SIZE * 2));
	balloon_driver_set_actual(&h->b, 0);
}

/* Page tables in the balloon: the next instruction is the last. */
static void own_page_tables(struct hostile *h)
{
	extern uint32_t start_cr3;
	unsigned count = 8;

	for (unsigned i = 0; i < count; i++)
		h->numbers[i] = start_cr3 / (uint32_t)PAGE_SIZE + i;
	send_numbers(h, &h->b.inflate, count);
	cpu_call0(cpl0_write_cr3, start_cr3, 0);
}

const struct hostile_case hostile_frame_cases[] = {
    {"frame-out-of-range", "page numbers that are no memory, both ways", out_of_range, CASE_SURVIVES},
    {"frame-twice", "each page number twice, and all of them again, both ways", twice, CASE_SURVIVES},
    {"frame-never-inflated", "deflating what was never inflated", never_inflated, CASE_SURVIVES},
    {"frame-own-rings", "inflating the queue's own rings and buffers", own_rings, CASE_SURVIVES},
    {"frame-descending", "page numbers from the highest down (which is allowed)", descending, CASE_SURVIVES},
    {"frame-touch-inside", "reading and writing pages that are in the balloon", touch_inside, CASE_SURVIVES},
    {"frame-buffer-inside", "a buffer that lies in the balloon itself", buffer_inside, CASE_SURVIVES},
    {"frame-low-memory", "inflating the first MiB", low_memory, CASE_SURVIVES},
    {"frame-reset-in-between", "resets in the middle of inflating and deflating", reset_in_between,
     CASE_SURVIVES},
    {"frame-used-after-reset", "pages that were in the balloon, used at once after a reset", used_after_reset,
     CASE_SURVIVES},
    {"frame-changing-numbers", "page numbers that change while the device reads them", changing_numbers,
     CASE_SURVIVES},
    {"frame-all-at-once", "the same pages on both queues at once, all descriptors", all_at_once, CASE_SURVIVES},
    {"frame-actual-lies", "telling the device sizes that are not true", actual_lies, CASE_SURVIVES},
    {"frame-own-page-tables", "inflating the page tables that are in use", own_page_tables, CASE_ENDS},
    {NULL, NULL, NULL, CASE_SURVIVES},
};
