/* SPDX-License-Identifier: MIT */
/*
 * balloon.c - a guest that fills its memory, serves the balloon, and keeps verifying.
 *
 * All free memory holds a pattern by page number. Pages go into the balloon and come back as the device
 * asks; a page that comes back must read as zero, and gets its pattern again. What the guest has is verified
 * all the while.
 *
 * Options:
 *   order=2m|4k        inflate by 2 MiB neighbours where there are any (default), or page by page
 *   scatter            inflate every second page only
 *   pfns=N             page numbers in one buffer at most (default 4096, at most 65536)
 *   fill=pattern|touch|none  what becomes of free memory at start and of pages that come back:
 *                      the whole pattern (default), one word a page, nothing (not even zero is checked)
 *   verify=on|off      off: free memory is not verified; on needs fill=pattern
 *   bench              the same as fill=touch verify=off pfns=32768
 *   pace=MS            time between the starts of two rounds of verification (default 1000)
 *   rounds=N           end with status 0 after so many rounds
 *   exit-after=SECONDS end with status 0 after so long
 *
 * Typed on the console:
 *   quit               end with status 0
 *   verify             verify all at once, the allocator's state too
 *   status             print a line
 *   oom N              take N pages out of the balloon although the device wants them there
 *                      (VIRTIO_BALLOON_F_DEFLATE_ON_OOM), until the device's target changes
 *   poke N             write to N pages that are in the balloon, as no guest should; when they come back they
 *                      are zero only if the VMM has thrown them away again
 *   spoil              damage a page of our own: the next verification fails, with status 1
 *
 * Prints, each with us=MICROSECONDS where it took time:
 *   balloon: ready pages=N target=N features=0xN     free pages after start; the balloon's target
 *   balloon: inflated pages=N total=N                this many pages went in; so many are in now
 *   balloon: deflated pages=N total=N                this many came back
 *   balloon: refilled pages=N                        and were made the guest's own again (fill=)
 *   balloon: short pages=N                           the target cannot be reached: nothing is free
 *   balloon: waiting pages=N                         a deflation has been held back for a second
 *   balloon: verify ok rounds=N pages=N
 *   balloon: verify FAILED page=0xN word=N is=0xN expected=0xN     and status 1
 *   balloon: status free=N total=N target=N
 *   balloon: bye
 */
#include "guest.h"

#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/machine.h"
#include "lib/pages.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

#define PFNS_DEFAULT 4096
#define PFNS_BENCH   32768
#define PFNS_MAX     65536

/* The number after a command's name. */
static uint64_t parse_number(const char *text)
{
	uint64_t n;

	if (text_parse_size(text, &n, NULL))
		return n;
	print("balloon: '%s' is no number\n", text);
	return 0;
}

static void run_command(struct guest *g, const char *line)
{
	if (!strcmp(line, "quit"))
		g->quit = true;
	else if (!strcmp(line, "verify"))
		contents_verify_now(g);
	else if (!strcmp(line, "status"))
		print("balloon: status free=%lu total=%lu target=%lu\n", pages_free(), g->total, g->target);
	else if (!strncmp(line, "oom ", 4))
		transfer_oom(g, parse_number(line + 4));
	else if (!strncmp(line, "poke ", 5))
		contents_poke(g, parse_number(line + 5));
	else if (!strcmp(line, "spoil"))
		contents_spoil();
	else
		print("balloon: unknown command '%s'\n", line);
}

static void serve_console(struct guest *g)
{
	char line[CONSOLE_LINE];

	if (!irq_take(PLATFORM_SERIAL_GSI))
		return;
	while (console_read_line(line))
		run_command(g, line);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return a && (!b || a < b) ? a : b;
}

/* Sleeps until there is something to do. */
static void rest(struct guest *g)
{
	uint64_t deadline = earlier(g->end, transfer_deadline(g));

	balloon_driver_sleep(&g->driver, g->verify ? earlier(deadline, g->next_round) : deadline);
}

static void end_of_fill(struct guest *g)
{
	g->filling = false;
	g->next_round = irq_deadline_ms(g->pace);
	print("balloon: ready pages=%lu target=%lu features=0x%lx us=%lu\n", pages_free(), g->target,
	      g->driver.dev.features, guest_us(cpu_tsc() - g->begin));
}

/* What the guest does for itself, a little of it at a time. */
static void work(struct guest *g)
{
	if (g->filling) {
		if (contents_fill_some(g))
			end_of_fill(g);
		return;
	}
	if (g->verify && !g->round_open && cpu_tsc() >= g->next_round)
		contents_begin_round(g);
	if (!g->round_open)
		rest(g);
	else if (contents_verify_some(g))
		contents_end_round(g);
}

static void serve(struct guest *g)
{
	while (!(g->end && cpu_tsc() >= g->end)) {
		transfer_serve(g);
		serve_console(g);
		if (g->quit)
			return;
		work(g);
	}
}

static void parse_options(struct guest *g)
{
	const char *order = boot_option("order"), *fill = boot_option("fill"), *verify = boot_option("verify");
	bool bench = boot_option("bench");

	if (order && strcmp(order, "2m") && strcmp(order, "4k"))
		machine_die("option order: '%s' is neither 2m nor 4k", order);
	g->huge = !order || !strcmp(order, "2m");
	g->scatter = boot_option("scatter");
	g->fill = bench ? FILL_TOUCH : FILL_PATTERN;
	if (fill && !strcmp(fill, "touch"))
		g->fill = FILL_TOUCH;
	else if (fill && !strcmp(fill, "none"))
		g->fill = FILL_NONE;
	else if (fill && !strcmp(fill, "pattern"))
		g->fill = FILL_PATTERN;
	else if (fill)
		machine_die("option fill: '%s' is not pattern, touch or none", fill);
	g->verify = g->fill == FILL_PATTERN && !bench && !(verify && !strcmp(verify, "off"));
	g->pace = boot_option_number("pace", 1000);
	g->rounds_wanted = boot_option_number("rounds", 0);
}

static uint32_t parse_pfns(void)
{
	uint64_t pfns = boot_option_number("pfns", boot_option("bench") ? PFNS_BENCH : PFNS_DEFAULT);

	if (!pfns || pfns > PFNS_MAX)
		machine_die("option pfns: 1 to %u", PFNS_MAX);
	return (uint32_t)pfns;
}

int guest_main(void)
{
	static struct guest g;
	uint64_t seconds = boot_option_number("exit-after", 0);
	const char *error;

	parse_options(&g);
	/* virtio 1.2, 5.5.6: page numbers have 32 bits. */
	if (boot_ram_end() / PAGE_SIZE > UINT32_MAX)
		machine_die("balloon: memory ends at 0x%lx, beyond what page numbers reach", boot_ram_end());
	error = balloon_driver_open(&g.driver, parse_pfns());
	if (error)
		machine_die("balloon: %s", error);
	g.inside_words = boot_ram_end() / PAGE_SIZE / 64 + 1;
	g.inside = boot_reserve(g.inside_words * sizeof(*g.inside), PAGE_SIZE);
	pages_init();
	irq_enable(PLATFORM_SERIAL_GSI);
	g.begin = cpu_tsc();
	if (seconds)
		g.end = irq_deadline_ms(seconds * 1000);
	g.target = balloon_driver_target(&g.driver);
	g.filling = g.fill != FILL_NONE;
	if (!g.filling)
		end_of_fill(&g);
	serve(&g);
	print("balloon: bye\n");
	return EXIT_OK;
}
