/* SPDX-License-Identifier: MIT */
/*
 * hostile.c - a guest that breaks every rule it knows, one case at a time. The VMM has to survive each, with
 * a clear message where it has something to say.
 *
 * Options:
 *   case=list          print number, name, kind and description of each case; status 0
 *   case=N|NAME        do it. A case of the kind "survives" ends with status 0 when the guest is still alive
 *                      and the device works after a reset, else 1; a case of the kind "ends" ends the VM
 *   case=all           all cases that survive, one after the other
 *   seed=N             for the random cases (default 1)
 *
 * Prints "hostile: case=N NAME: ...", what the device answered, and "hostile: recovered" for each case.
 */
#include "hostile.h"

#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/pattern.h"
#include "lib/text.h"
#include <stddef.h>

#define RECOVER_PAGES 16
#define RECOVER_MS    3000

static const struct hostile_case *const tables[] = {
    hostile_queue_cases,   hostile_frame_cases, hostile_register_cases,
    hostile_machine_cases, hostile_fuzz_cases,  hostile_disk_cases,
};

/* Case number n, from 1; NULL: none. */
static const struct hostile_case *find_case(unsigned n)
{
	for (unsigned t = 0; t < sizeof(tables) / sizeof(tables[0]); t++)
		for (const struct hostile_case *c = tables[t]; c->name; c++)
			if (!--n)
				return c;
	return NULL;
}

uint64_t hostile_random(struct hostile *h)
{
	h->random ^= h->random >> 12;
	h->random ^= h->random << 25;
	h->random ^= h->random >> 27;
	return h->random * 0x2545f4914f6cdd1d;
}

void hostile_fill_numbers(struct hostile *h, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		h->numbers[i] = (uint32_t)(h->area / PAGE_SIZE + i % AREA_PAGES);
}

void hostile_fill_area(struct hostile *h)
{
	uint32_t *words = (uint32_t *)(uintptr_t)h->area;

	for (unsigned i = 0; i < AREA_PAGES * PAGE_SIZE / sizeof(*words); i++)
		words[i] = (uint32_t)(h->area / PAGE_SIZE) + i % AREA_PAGES;
}

void hostile_post_numbers(struct hostile *h, struct virtq *q, unsigned count)
{
	virtq_post(q, 0, h->numbers, count * (uint32_t)sizeof(uint32_t), 0);
	virtq_kick(q);
}

bool hostile_answer_of(const struct virtio *dev, struct virtq *q)
{
	uint64_t end = irq_deadline_ms(ANSWER_MS);
	uint32_t id, len;

	while (cpu_tsc() < end) {
		if (virtq_take_used(q, &id, &len)) {
			print("hostile: the device used buffer %u, %u bytes\n", id, len);
			return true;
		}
		if (virtio_needs_reset(dev)) {
			print("hostile: the device asks for a reset\n");
			return false;
		}
		for (unsigned i = 0; i < 1000; i++)
			cpu_pause();
	}
	print("hostile: the device does not answer\n");
	return false;
}

bool hostile_answer(struct hostile *h, struct virtq *q)
{
	return hostile_answer_of(&h->b.dev, q);
}

void hostile_restart(struct hostile *h)
{
	const char *error = balloon_driver_start(&h->b);

	if (!error)
		return;
	print("hostile: FAILED: %s\n", error);
	machine_exit(EXIT_FAIL);
}

static _Noreturn void not_recovered(const char *what)
{
	print("hostile: FAILED to recover: %s\n", what);
	machine_exit(EXIT_FAIL);
}

/* A buffer on this queue, used within a few seconds. */
static void proper_turn(struct hostile *h, enum balloon_use use)
{
	struct balloon_buffer *buffer = balloon_driver_buffer(&h->b);
	uint64_t end = irq_deadline_ms(RECOVER_MS);

	for (; buffer->count < RECOVER_PAGES; buffer->count++)
		buffer->pfns[buffer->count] = (uint32_t)(h->area / PAGE_SIZE + buffer->count);
	balloon_driver_send(&h->b, buffer, use);
	while (!(buffer = balloon_driver_used(&h->b)))
		if (cpu_tsc() > end)
			not_recovered(use == BALLOON_INFLATING ? "inflating" : "deflating");
	balloon_driver_done(buffer);
}

void hostile_recover(struct hostile *h)
{
	uint64_t first = h->area / PAGE_SIZE;

	hostile_restart(h);
	for (uint64_t page = first; page < first + AREA_PAGES; page++)
		pattern_fill(page);
	proper_turn(h, BALLOON_INFLATING);
	proper_turn(h, BALLOON_DEFLATING);
	for (uint64_t page = first; page < first + RECOVER_PAGES; page++)
		if (pattern_check_zero(page) >= 0)
			not_recovered("a page that came back is not zero");
	for (uint64_t page = first + RECOVER_PAGES; page < first + AREA_PAGES; page++)
		if (pattern_check(page) >= 0)
			not_recovered("a page that was not inflated has changed");
	print("hostile: recovered\n");
}

static void run_case(struct hostile *h, unsigned n)
{
	const struct hostile_case *c = find_case(n);

	if (!c)
		machine_die("hostile: no case %u; case=list lists them", n);
	print("hostile: case=%u %s: %s\n", n, c->name, c->what);
	hostile_restart(h);
	c->run(h);
	if (c->kind == CASE_ENDS)
		print("hostile: still alive\n");
	hostile_recover(h);
}

static void list_cases(void)
{
	const struct hostile_case *c;

	for (unsigned n = 1; (c = find_case(n)); n++)
		print("hostile: %u %s (%s): %s\n", n, c->name, c->kind == CASE_ENDS ? "ends" : "survives",
		      c->what);
}

static unsigned case_number(const char *text)
{
	const struct hostile_case *c;
	uint64_t number;

	if (text_parse_size(text, &number, NULL))
		return number < 1000 ? (unsigned)number : 1000;
	for (unsigned n = 1; (c = find_case(n)); n++)
		if (!strcmp(c->name, text))
			return n;
	return 1000;
}

static void prepare(struct hostile *h)
{
	const char *error;

	h->random = boot_option_number("seed", 1) * 2 + 1;
	error = balloon_driver_open(&h->b, AREA_PAGES);
	if (error)
		machine_die("hostile: %s", error);
	h->numbers = boot_reserve(NUMBERS_MAX * sizeof(uint32_t), PAGE_SIZE);
	h->area = (uint64_t)(uintptr_t)boot_reserve(AREA_PAGES * PAGE_SIZE, HUGE_SIZE);
	for (uint64_t page = h->area / PAGE_SIZE; page < h->area / PAGE_SIZE + AREA_PAGES; page++)
		pattern_fill(page);
}

int guest_main(void)
{
	static struct hostile h;
	const char *which = boot_option("case");
	const struct hostile_case *c;

	if (!which || !strcmp(which, "list")) {
		list_cases();
		return which ? EXIT_OK : EXIT_USAGE;
	}
	prepare(&h);
	if (strcmp(which, "all")) {
		run_case(&h, case_number(which));
		return EXIT_OK;
	}
	for (unsigned n = 1; (c = find_case(n)); n++)
		if (c->kind == CASE_SURVIVES)
			run_case(&h, n);
	print("hostile: all survived\n");
	return EXIT_OK;
}
