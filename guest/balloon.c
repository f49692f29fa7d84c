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
#include "lib/balloon_driver.h"
#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/machine.h"
#include "lib/pages.h"
#include "lib/pattern.h"
#include "lib/text.h"
#include <platform.h>
#include <stddef.h>

#define VERIFY_STEP  1024  /* pages between two looks at the device */
#define ACTUAL_STEP  65536 /* pages between two reports while much is going on */
#define WAITING_MS   1000
#define PFNS_DEFAULT 4096
#define PFNS_BENCH   32768
#define PFNS_MAX     65536

enum fill { FILL_PATTERN, FILL_TOUCH, FILL_NONE };

/* One direction, from the first buffer sent until all is quiet. */
struct stretch {
	uint64_t pages, begin, last, refill; /* all but pages in TSC ticks; refill: our own work in between */
};

struct guest {
	struct balloon_driver driver;
	bool huge, scatter, verify;
	enum fill fill;
	uint64_t pace, rounds_wanted, end; /* end: TSC, 0: never */

	uint64_t *inside; /* one bit a page: it is in the balloon, or on its way in or out */
	uint64_t inside_words;
	uint64_t take_at; /* where the search for a page to be deflated goes on */
	uint64_t scatter_at;
	uint64_t total;   /* pages in the balloon; those on their way in are, those on their way out too */
	uint64_t leaving; /* pages of total that are on their way out */
	uint64_t oom;     /* pages that were taken in spite of the target */
	uint64_t target, reported;
	struct stretch in, out;
	bool told_short, told_waiting, quit;
	uint64_t refill_pages, refill_ticks;

	uint64_t verify_at, verify_pages, rounds, next_round; /* next_round: TSC */
	bool round_open;
};

static uint64_t to_us(uint64_t ticks)
{
	return ticks / (irq_tsc_hz() / 1000000);
}

/* ---- the pages ----------------------------------------------------------------------------------------- */

static _Noreturn void fail(uint64_t page, int word, uint64_t is, uint64_t expected)
{
	print("balloon: verify FAILED page=0x%lx word=%d is=0x%lx expected=0x%lx\n", page, word, is, expected);
	machine_exit(EXIT_FAIL);
}

static void fill_pages(const struct guest *g, uint64_t first, uint64_t count)
{
	if (g->fill == FILL_NONE)
		return;
	for (uint64_t page = first; page < first + count; page++) {
		if (g->fill == FILL_PATTERN)
			pattern_fill(page);
		else
			*pattern_page(page) = pattern_word(page, 0);
	}
}

static void check_zero(const struct guest *g, uint64_t first, uint64_t count)
{
	for (uint64_t page = first; g->verify && page < first + count; page++) {
		int word = pattern_check_zero(page);

		if (word >= 0)
			fail(page, word, pattern_page(page)[word], 0);
	}
}

static void fill_all(const struct guest *g)
{
	struct pages_run run;

	for (uint64_t at = 0; pages_next_free(at, &run); at = run.first + run.count)
		fill_pages(g, run.first, run.count);
}

/* Verifies some pages; true: the round is through. */
static bool verify_some(struct guest *g)
{
	uint64_t end = g->verify_pages + VERIFY_STEP;
	struct pages_run run;

	while (g->verify_pages < end) {
		if (!pages_next_free(g->verify_at, &run))
			return true;
		for (uint64_t page = run.first; page < run.first + run.count; page++) {
			int word = pattern_check(page);

			if (word >= 0)
				fail(page, word, pattern_page(page)[word], pattern_word(page, (unsigned)word));
		}
		g->verify_at = run.first + run.count;
		g->verify_pages += run.count;
	}
	return false;
}

static void begin_round(struct guest *g)
{
	g->verify_at = g->verify_pages = 0;
	g->round_open = true;
	g->next_round = irq_deadline_ms(g->pace);
}

static void end_round(struct guest *g)
{
	g->round_open = false;
	g->rounds++;
	print("balloon: verify ok rounds=%lu pages=%lu\n", g->rounds, g->verify_pages);
	if (g->rounds == g->rounds_wanted)
		g->quit = true;
}

/* ---- inflating ----------------------------------------------------------------------------------------- */

static void mark_inside(struct guest *g, uint64_t page, uint64_t count)
{
	for (; count; page++, count--) {
		if (page % 64 == 0 && count >= 64) {
			g->inside[page / 64] = ~(uint64_t)0;
			page += 63;
			count -= 63;
		} else {
			g->inside[page / 64] |= (uint64_t)1 << page % 64;
		}
	}
}

static void add_to_buffer(struct guest *g, struct balloon_buffer *buffer, uint64_t page, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		buffer->pfns[buffer->count++] = (uint32_t)(page + i);
	mark_inside(g, page, count);
}

static uint64_t take_scattered(struct guest *g)
{
	struct pages_run run;

	while (pages_next_free(g->scatter_at, &run)) {
		uint64_t page = run.first + (run.first & 1);

		g->scatter_at = page + 1;
		if (page < run.first + run.count && pages_take_at(page))
			return page;
	}
	g->scatter_at = 0;
	return PAGES_NONE;
}

/* Takes pages off the guest into the buffer, wanted at most. */
static void gather(struct guest *g, struct balloon_buffer *buffer, uint64_t wanted)
{
	uint64_t room = wanted < g->driver.pfns_max ? wanted : g->driver.pfns_max;
	bool huge = g->huge;

	while (buffer->count < room) {
		uint64_t page = PAGES_NONE;

		if (g->scatter) {
			page = take_scattered(g);
			huge = false;
		} else {
			huge = huge && room - buffer->count >= PAGES_HUGE;
			if (huge)
				page = pages_take(true);
			if (page == PAGES_NONE) {
				huge = false;
				page = pages_take(false);
			}
		}
		if (page == PAGES_NONE)
			return;
		add_to_buffer(g, buffer, page, huge ? PAGES_HUGE : 1);
	}
}

static void stretch_add(struct stretch *s, uint64_t pages)
{
	if (!s->pages)
		s->begin = cpu_tsc();
	s->pages += pages;
	s->last = cpu_tsc();
}

/* One buffer of pages into the balloon. false: no buffer or no page. */
static bool inflate_some(struct guest *g, uint64_t wanted)
{
	struct balloon_buffer *buffer = balloon_driver_buffer(&g->driver);

	if (!buffer)
		return false;
	gather(g, buffer, wanted);
	if (!buffer->count) {
		if (!g->told_short)
			print("balloon: short pages=%lu\n", wanted);
		g->told_short = true;
		return false;
	}
	stretch_add(&g->in, buffer->count);
	g->total += buffer->count;
	balloon_driver_send(&g->driver, buffer, BALLOON_INFLATING);
	return true;
}

/* ---- deflating ----------------------------------------------------------------------------------------- */

/* The next page of the balloon that is not on its way out. Leaving pages lose their bit. */
static uint64_t next_inside(struct guest *g)
{
	for (uint64_t n = 0; n <= g->inside_words; n++) {
		uint64_t at = g->take_at / 64, word = g->inside[at] & ~(uint64_t)0 << g->take_at % 64;

		if (word)
			return at * 64 + (unsigned)__builtin_ctzll(word);
		g->take_at = (at + 1) % g->inside_words * 64;
	}
	return PAGES_NONE;
}

static bool deflate_some(struct guest *g, uint64_t wanted)
{
	struct balloon_buffer *buffer = balloon_driver_buffer(&g->driver);
	uint64_t room = wanted < g->driver.pfns_max ? wanted : g->driver.pfns_max;

	if (!buffer)
		return false;
	while (buffer->count < room) {
		uint64_t page = next_inside(g);

		if (page == PAGES_NONE)
			break;
		g->inside[page / 64] &= ~((uint64_t)1 << page % 64);
		g->take_at = page;
		buffer->pfns[buffer->count++] = (uint32_t)page;
	}
	if (!buffer->count)
		return false;
	stretch_add(&g->out, buffer->count);
	g->leaving += buffer->count;
	balloon_driver_send(&g->driver, buffer, BALLOON_DEFLATING);
	return true;
}

/* The device has given these pages back. */
static void take_back(struct guest *g, const struct balloon_buffer *buffer)
{
	uint64_t begin = cpu_tsc();

	for (uint32_t i = 0, n; i < buffer->count; i += n) {
		uint64_t first = buffer->pfns[i];

		for (n = 1; i + n < buffer->count && buffer->pfns[i + n] == first + n;)
			n++;
		check_zero(g, first, n);
		fill_pages(g, first, n);
		pages_give(first, n);
	}
	g->refill_pages += buffer->count;
	g->refill_ticks += cpu_tsc() - begin;
}

/* ---- what goes on -------------------------------------------------------------------------------------- */

static void serve_used(struct guest *g)
{
	struct balloon_buffer *buffer;

	while ((buffer = balloon_driver_used(&g->driver))) {
		if (buffer->use == BALLOON_INFLATING) {
			g->in.last = cpu_tsc();
		} else {
			g->out.last = cpu_tsc();
			g->out.refill = g->refill_ticks;
			g->total -= buffer->count;
			g->leaving -= buffer->count;
			g->told_waiting = g->told_short = false;
			take_back(g, buffer);
		}
		balloon_driver_done(buffer);
	}
}

static void serve_stats(struct guest *g)
{
	uint64_t free_bytes = pages_free() * PAGE_SIZE;

	if (!balloon_driver_stats_wanted(&g->driver))
		return;
	balloon_driver_set_stat(&g->driver, BALLOON_S_MEMFREE, free_bytes);
	balloon_driver_set_stat(&g->driver, BALLOON_S_MEMTOT, boot_ram_bytes());
	balloon_driver_set_stat(&g->driver, BALLOON_S_AVAIL, free_bytes);
	balloon_driver_send_stats(&g->driver);
}

static void report(struct guest *g, bool settled)
{
	uint64_t far = g->total > g->reported ? g->total - g->reported : g->reported - g->total;

	if (!far || (!settled && far < ACTUAL_STEP))
		return;
	balloon_driver_set_actual(&g->driver, (uint32_t)g->total);
	g->reported = g->total;
}

/* All buffers are back: says what happened since the last time. */
static void settle(struct guest *g)
{
	report(g, true);
	if (g->in.pages)
		print("balloon: inflated pages=%lu total=%lu us=%lu\n", g->in.pages, g->total,
		      to_us(g->in.last - g->in.begin));
	if (g->out.pages)
		print("balloon: deflated pages=%lu total=%lu us=%lu\n", g->out.pages, g->total,
		      to_us(g->out.last - g->out.begin - g->out.refill));
	if (g->refill_pages)
		print("balloon: refilled pages=%lu us=%lu\n", g->refill_pages, to_us(g->refill_ticks));
	g->in = g->out = (struct stretch){0};
	g->refill_pages = g->refill_ticks = 0;
}

/* Moves the balloon towards the target as far as buffers allow. true: something was sent. */
static bool move(struct guest *g)
{
	uint64_t target = g->target > g->oom ? g->target - g->oom : 0, will_be = g->total - g->leaving;
	bool sent = false;

	while (will_be < target && inflate_some(g, target - will_be)) {
		will_be = g->total - g->leaving;
		sent = true;
	}
	while (will_be > target && deflate_some(g, will_be - target)) {
		will_be = g->total - g->leaving;
		sent = true;
	}
	return sent;
}

static bool in_flight(const struct guest *g)
{
	for (unsigned i = 0; i < BALLOON_BUFFERS; i++)
		if (g->driver.buffers[i].use != BALLOON_IDLE)
			return true;
	return false;
}

static void serve_device(struct guest *g)
{
	if (irq_take(g->driver.dev.gsi) && virtio_take_causes(&g->driver.dev) & VIRTIO_ISR_CONFIG) {
		g->target = balloon_driver_target(&g->driver);
		g->oom = 0;
		g->told_short = false;
	}
	if (g->leaving && !g->told_waiting && to_us(cpu_tsc() - g->out.last) > WAITING_MS * 1000) {
		print("balloon: waiting pages=%lu\n", g->leaving);
		g->told_waiting = true;
	}
	serve_used(g);
	serve_stats(g);
	move(g);
	report(g, false);
	if ((g->in.pages || g->out.pages) && !in_flight(g))
		settle(g);
}

static void serve_oom(struct guest *g, const char *text)
{
	uint64_t pages;

	if (!(g->driver.dev.features >> BALLOON_F_DEFLATE_ON_OOM & 1))
		print("balloon: oom: the device does not offer it\n");
	else if (!text_parse_size(text, &pages, NULL))
		print("balloon: oom: '%s' is no number\n", text);
	else
		g->oom = pages < g->target ? pages : g->target;
}

static void poke(struct guest *g, const char *text)
{
	uint64_t pages = 0, done = 0;

	text_parse_size(text, &pages, NULL);
	for (uint64_t page = 0; done < pages && page < g->inside_words * 64; page++) {
		if (!(g->inside[page / 64] >> page % 64 & 1))
			continue;
		*pattern_page(page) = pattern_word(page, 0);
		if (!done++)
			print("balloon: poked first=0x%lx\n", page);
	}
	print("balloon: poked pages=%lu\n", done);
}

static void spoil(void)
{
	struct pages_run run;

	if (!pages_next_free(0, &run))
		return;
	print("balloon: spoilt page=0x%lx\n", run.first);
	pattern_page(run.first)[PATTERN_WORDS - 1] ^= 1;
}

static void verify_now(struct guest *g)
{
	const char *flaw;

	if (!g->verify) {
		print("balloon: verify is off\n");
		return;
	}
	if (!pages_check(&flaw)) {
		print("balloon: verify FAILED allocator: %s\n", flaw);
		machine_exit(EXIT_FAIL);
	}
	begin_round(g);
	while (!verify_some(g))
		;
	end_round(g);
}

static void serve_console(struct guest *g)
{
	char line[CONSOLE_LINE];

	if (!irq_take(PLATFORM_SERIAL_GSI))
		return;
	while (console_read_line(line)) {
		if (!strcmp(line, "quit"))
			g->quit = true;
		else if (!strcmp(line, "verify"))
			verify_now(g);
		else if (!strcmp(line, "status"))
			print("balloon: status free=%lu total=%lu target=%lu\n", pages_free(), g->total,
			      g->target);
		else if (!strncmp(line, "oom ", 4))
			serve_oom(g, line + 4);
		else if (!strncmp(line, "poke ", 5))
			poke(g, line + 5);
		else if (!strcmp(line, "spoil"))
			spoil();
		else
			print("balloon: unknown command '%s'\n", line);
	}
}

/* The next moment at which there is something to do without being asked; 0: none. */
static uint64_t next_deadline(const struct guest *g)
{
	uint64_t next = g->end, waiting;

	if (g->verify && (!next || g->next_round < next))
		next = g->next_round;
	waiting = g->out.last + irq_tsc_hz() / 1000 * (WAITING_MS + 1);
	if (g->leaving && !g->told_waiting && (!next || waiting < next))
		next = waiting;
	return next;
}

static void serve(struct guest *g)
{
	while (!g->quit && !(g->end && cpu_tsc() >= g->end)) {
		serve_device(g);
		serve_console(g);
		if (g->quit)
			break;
		if (g->verify && !g->round_open && cpu_tsc() >= g->next_round)
			begin_round(g);
		if (!g->round_open)
			balloon_driver_sleep(&g->driver, next_deadline(g));
		else if (verify_some(g))
			end_round(g);
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
	uint64_t begin, seconds = boot_option_number("exit-after", 0);
	const char *error;

	parse_options(&g);
	error = balloon_driver_open(&g.driver, parse_pfns());
	if (error)
		machine_die("balloon: %s", error);
	g.inside_words = boot_ram_end() / PAGE_SIZE / 64 + 1;
	g.inside = boot_reserve(g.inside_words * sizeof(*g.inside), PAGE_SIZE);
	pages_init();
	irq_enable(PLATFORM_SERIAL_GSI);
	begin = cpu_tsc();
	if (seconds)
		g.end = irq_deadline_ms(seconds * 1000);
	fill_all(&g);
	g.target = balloon_driver_target(&g.driver);
	print("balloon: ready pages=%lu target=%lu features=0x%lx us=%lu\n", pages_free(), g.target,
	      g.driver.dev.features, to_us(cpu_tsc() - begin));
	g.next_round = irq_deadline_ms(g.pace);
	serve(&g);
	print("balloon: bye\n");
	return EXIT_OK;
}
