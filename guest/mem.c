/* SPDX-License-Identifier: MIT */
/*
 * mem.c - a guest with memory that is plugged while it runs (virtio-mem).
 *
 * It plugs and unplugs blocks as the device requests, from the lowest up and from the highest down. Each page
 * of what is plugged must read as zero and gets a pattern by its address; before a block goes, that is
 * verified.
 *
 * Options:
 *   batch=N          blocks in one request at most (default 64)
 *   from=top         plug from the highest block down, and unplug from the lowest up
 *   stride=BYTES     distance between the words that are written and verified (default 4096)
 *   blind            do not negotiate that what is not plugged is inaccessible
 *
 * Typed on the console:
 *   quit             end with status 0
 *   verify           verify all that is plugged
 *   state ADDR N     what the device says of N blocks at ADDR
 *   plug ADDR N, unplug ADDR N, unplug-all      ask for it, whatever the device wants
 *   touch ADDR       read a word there, plugged or not
 *   rules            ask for what no driver should, case by case
 *
 * Prints:
 *   mem: ready gpa=0xN bytes=N block=N requested=N plugged=N
 *   mem: plugged bytes=N of=N us=N            what is plugged now, of what is requested
 *   mem: verify ok words=N                    or mem: verify FAILED gpa=0xN is=0xN expected=0xN, and status 1
 *   mem: answer NAME [state=NAME]
 *   mem: rule NAME ok|FAILED                  and at the end: mem: rules ok, or status 1
 */
#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/machine.h"
#include "lib/mem_driver.h"
#include "lib/paging.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

#define PATTERN  0x9e3779b97f4a7c15ull
#define RETRY_MS 100 /* after the device said that it is busy */

struct guest {
	struct mem_driver driver;
	uint64_t batch, stride;
	bool top;
	uint64_t first, count; /* blocks that are plugged: a run that grows and shrinks at one end */
	uint64_t words;        /* verified since the last time that it was said */
};

static const char *const answers[] = {"ack", "nack", "busy", "error", "silence"};
static const char *const states[] = {"plugged", "unplugged", "mixed", "?"};

static uint64_t block_gpa(const struct guest *g, uint64_t block)
{
	return g->driver.gpa + block * g->driver.block;
}

/* ---- contents -------------------------------------------------------------------------------------------- */

static void check_word(struct guest *g, uint64_t gpa, uint64_t expected)
{
	uint64_t is = *(volatile uint64_t *)(uintptr_t)gpa;

	g->words++;
	if (is == expected)
		return;
	print("mem: verify FAILED gpa=0x%lx is=0x%lx expected=0x%lx\n", gpa, is, expected);
	machine_exit(EXIT_FAIL);
}

static void fill(struct guest *g, uint64_t block, uint64_t count)
{
	for (uint64_t gpa = block_gpa(g, block); gpa < block_gpa(g, block + count); gpa += g->stride) {
		check_word(g, gpa, 0);
		*(volatile uint64_t *)(uintptr_t)gpa = gpa * PATTERN + 1;
	}
}

static void verify(struct guest *g, uint64_t block, uint64_t count)
{
	for (uint64_t gpa = block_gpa(g, block); gpa < block_gpa(g, block + count); gpa += g->stride)
		check_word(g, gpa, gpa * PATTERN + 1);
}

/* ---- following the device ----------------------------------------------------------------------------------
 */

static bool grow(struct guest *g, uint64_t wanted)
{
	uint64_t n = wanted - g->count < g->batch ? wanted - g->count : g->batch, at;

	at = g->top ? g->first - n : g->first + g->count;
	if (mem_driver_ask(&g->driver, MEM_PLUG, block_gpa(g, at), (uint16_t)n) != MEM_ACK)
		return false;
	fill(g, at, n);
	g->first = g->top ? at : g->first;
	g->count += n;
	return true;
}

static bool shrink(struct guest *g, uint64_t wanted)
{
	uint64_t n = g->count - wanted < g->batch ? g->count - wanted : g->batch, at;

	at = g->top ? g->first : g->first + g->count - n;
	verify(g, at, n);
	if (mem_driver_ask(&g->driver, MEM_UNPLUG, block_gpa(g, at), (uint16_t)n) != MEM_ACK)
		return false;
	g->first = g->top ? at + n : g->first;
	g->count -= n;
	return true;
}

/* As far as it goes; when to try again, TSC, or 0: there is nothing to do. */
static uint64_t follow(struct guest *g)
{
	uint64_t requested = mem_driver_requested(&g->driver), wanted = requested / g->driver.block;
	uint64_t begin = cpu_tsc(), before = g->count;
	bool good = true;

	while (g->count != wanted && good)
		good = g->count < wanted ? grow(g, wanted) : shrink(g, wanted);
	if (g->count != before)
		print("mem: plugged bytes=%lu of=%lu us=%lu\n", g->count * g->driver.block, requested,
		      (cpu_tsc() - begin) / (irq_tsc_hz() / 1000000));
	return good ? 0 : irq_deadline_ms(RETRY_MS);
}

/* ---- what no driver should ask for --------------------------------------------------------------------------
 */

static bool rule(struct guest *g, const char *name, enum mem_answer expected, unsigned type, uint64_t gpa,
		 uint16_t blocks)
{
	uint64_t before = mem_driver_plugged(&g->driver), after;
	enum mem_answer is = mem_driver_ask(&g->driver, type, gpa, blocks);
	bool same;

	after = mem_driver_plugged(&g->driver);
	same = expected == MEM_ACK || before == after;
	print("mem: rule %s %s: %s%s\n", name, is == expected && same ? "ok" : "FAILED", answers[is],
	      same ? "" : ", and the size changed");
	return is == expected && same;
}

/* With two blocks or more requested and all of them plugged. */
static bool rules(struct guest *g)
{
	struct mem_driver *d = &g->driver;
	uint64_t last = g->driver.gpa + g->driver.bytes, in = block_gpa(g, g->first);
	uint64_t out = block_gpa(g, g->top ? g->first - 1 : g->first + g->count);
	bool ok = true;

	ok &= rule(g, "plug-twice", MEM_ERROR, MEM_PLUG, in, 1);
	ok &= rule(g, "plug-half-plugged", MEM_ERROR, MEM_PLUG, g->top ? in - d->block : out - d->block, 2);
	ok &= rule(g, "plug-beyond-request", MEM_NACK, MEM_PLUG, out, 1);
	ok &= rule(g, "plug-unaligned", MEM_ERROR, MEM_PLUG, out + 4096, 1);
	ok &= rule(g, "plug-nothing", MEM_ERROR, MEM_PLUG, out, 0);
	ok &= rule(g, "plug-below", MEM_ERROR, MEM_PLUG, d->gpa - d->block, 1);
	ok &= rule(g, "plug-at-zero", MEM_ERROR, MEM_PLUG, 0, 1);
	ok &= rule(g, "plug-above", MEM_ERROR, MEM_PLUG, last, 1);
	ok &= rule(g, "plug-over-the-end", MEM_ERROR, MEM_PLUG, last - d->block, 65535);
	ok &= rule(g, "plug-wraps", MEM_ERROR, MEM_PLUG, 0 - d->block, 65535);
	ok &= rule(g, "unplug-unplugged", MEM_ERROR, MEM_UNPLUG, out, 1);
	ok &= rule(g, "unplug-half", MEM_ERROR, MEM_UNPLUG, g->top ? in - d->block : out - d->block, 2);
	ok &= rule(g, "unplug-unaligned", MEM_ERROR, MEM_UNPLUG, in + 4096, 1);
	ok &= rule(g, "unplug-nothing", MEM_ERROR, MEM_UNPLUG, in, 0);
	ok &= rule(g, "unplug-wraps", MEM_ERROR, MEM_UNPLUG, 0 - d->block, 2);
	ok &= rule(g, "state-outside", MEM_ERROR, MEM_STATE, last, 1);
	ok &= rule(g, "state-wraps", MEM_ERROR, MEM_STATE, 0 - d->block, 65535);
	ok &= rule(g, "no-such-request", MEM_ERROR, 4, in, 1);
	ok &= rule(g, "no-such-request-at-all", MEM_ERROR, 65535, in, 1);
	ok &= rule(g, "state-plugged", MEM_ACK, MEM_STATE, in, 1) && d->state == MEM_PLUGGED;
	ok &= rule(g, "state-unplugged", MEM_ACK, MEM_STATE, out, 1) && d->state == MEM_UNPLUGGED;
	ok &= rule(g, "state-mixed", MEM_ACK, MEM_STATE, g->top ? in - d->block : out - d->block, 2) &&
	      d->state == MEM_MIXED;
	verify(g, g->first, g->count);
	return ok;
}

/* ---- commands ----------------------------------------------------------------------------------------------
 */

static void tell_answer(const struct guest *g, unsigned type, enum mem_answer answer)
{
	if (type == MEM_STATE && answer == MEM_ACK)
		print("mem: answer %s state=%s\n", answers[answer], states[g->driver.state & 3]);
	else
		print("mem: answer %s\n", answers[answer]);
}

static void ask(struct guest *g, unsigned type, const char *text)
{
	uint64_t gpa, blocks;

	if (!text_parse_size(text, &gpa, &text) || *text != ' ' || !text_parse_size(text + 1, &blocks, NULL)) {
		print("mem: an address and a number of blocks are wanted\n");
		return;
	}
	tell_answer(g, type, mem_driver_ask(&g->driver, type, gpa, (uint16_t)blocks));
}

static void touch(const char *text)
{
	uint64_t gpa;

	if (!text_parse_size(text, &gpa, NULL))
		return;
	paging_map_anyway(gpa);
	print("mem: touching 0x%lx\n", gpa);
	print("mem: touched 0x%lx, it is 0x%lx\n", gpa, *(volatile uint64_t *)(uintptr_t)gpa);
}

static bool run_command(struct guest *g, const char *line)
{
	if (!strcmp(line, "quit"))
		return false;
	if (!strcmp(line, "verify")) {
		g->words = 0;
		verify(g, g->first, g->count);
		print("mem: verify ok words=%lu\n", g->words);
	} else if (!strncmp(line, "state ", 6)) {
		ask(g, MEM_STATE, line + 6);
	} else if (!strncmp(line, "plug ", 5)) {
		ask(g, MEM_PLUG, line + 5);
	} else if (!strncmp(line, "unplug ", 7)) {
		ask(g, MEM_UNPLUG, line + 7);
	} else if (!strcmp(line, "unplug-all")) {
		tell_answer(g, MEM_UNPLUG_ALL, mem_driver_ask(&g->driver, MEM_UNPLUG_ALL, 0, 0));
		g->first = g->top ? g->driver.bytes / g->driver.block : 0;
		g->count = 0;
	} else if (!strncmp(line, "touch ", 6)) {
		touch(line + 6);
	} else if (!strcmp(line, "rules")) {
		if (!rules(g))
			machine_exit(EXIT_FAIL);
		print("mem: rules ok\n");
	} else if (*line) {
		print("mem: '%s' is no command\n", line);
	}
	return true;
}

static void begin(struct guest *g)
{
	const char *from = boot_option("from"), *why;

	g->batch = boot_option_number("batch", 64);
	g->stride = boot_option_number("stride", PAGE_SIZE);
	if (!g->batch || g->batch > 65535 || !g->stride || g->stride % 8)
		machine_die("mem: batch is from 1 to 65535, stride a multiple of 8");
	why = mem_driver_open(&g->driver, boot_option("blind") ? 0 : virtio_bit(MEM_F_UNPLUGGED_INACCESSIBLE));
	if (why)
		machine_die("mem: %s", why);
	g->top = from && !strcmp(from, "top");
	g->first = g->top ? g->driver.bytes / g->driver.block : 0;
	paging_add(g->driver.gpa, g->driver.bytes);
	print("mem: ready gpa=0x%lx bytes=%lu block=%lu requested=%lu plugged=%lu\n", g->driver.gpa,
	      g->driver.bytes, g->driver.block, mem_driver_requested(&g->driver),
	      mem_driver_plugged(&g->driver));
}

int guest_main(void)
{
	static struct guest g;
	char line[CONSOLE_LINE];
	uint64_t deadline;
	bool ran;

	begin(&g);
	irq_enable(PLATFORM_SERIAL_GSI);
	for (;;) {
		irq_take(g.driver.dev.gsi);
		virtio_take_causes(&g.driver.dev);
		deadline = boot_option("blind") ? 0 : follow(&g);
		ran = false;
		while (console_read_line(line)) {
			if (!run_command(&g, line))
				return EXIT_OK;
			ran = true;
		}
		/* a command may have undone what the device wants */
		if (!ran)
			irq_wait(deadline);
	}
}
