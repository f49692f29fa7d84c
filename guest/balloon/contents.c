/* SPDX-License-Identifier: MIT */
/*
 * contents.c - the balloon guest: what its pages hold, and whether they still do.
 */
#include "guest.h"

#include "lib/console.h"
#include "lib/machine.h"
#include "lib/pages.h"
#include "lib/pattern.h"
#include <stddef.h>

#define FILL_STEP   4096 /* pages between two looks at the device */
#define VERIFY_STEP 1024

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

bool contents_fill_some(struct guest *g)
{
	struct pages_run run;

	for (uint64_t done = 0; done < FILL_STEP; done += run.count) {
		if (!pages_next_free(g->fill_at, &run))
			return true;
		fill_pages(g, run.first, run.count);
		g->fill_at = run.first + run.count;
	}
	return false;
}

void contents_take_back(const struct guest *g, uint64_t first, uint64_t count)
{
	check_zero(g, first, count);
	fill_pages(g, first, count);
}

bool contents_verify_some(struct guest *g)
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

void contents_begin_round(struct guest *g)
{
	g->verify_at = g->verify_pages = 0;
	g->round_open = true;
	g->next_round = irq_deadline_ms(g->pace);
}

void contents_end_round(struct guest *g)
{
	g->round_open = false;
	g->rounds++;
	print("balloon: verify ok rounds=%lu pages=%lu\n", g->rounds, g->verify_pages);
	if (g->rounds == g->rounds_wanted)
		g->quit = true;
}

void contents_poke(const struct guest *g, uint64_t pages)
{
	uint64_t done = 0;

	for (uint64_t page = 0; done < pages && page < g->inside_words * 64; page++) {
		if (!(g->inside[page / 64] >> page % 64 & 1))
			continue;
		*pattern_page(page) = pattern_word(page, 0);
		if (!done++)
			print("balloon: poked first=0x%lx\n", page);
	}
	print("balloon: poked pages=%lu\n", done);
}

void contents_spoil(void)
{
	struct pages_run run;

	if (!pages_next_free(0, &run))
		return;
	print("balloon: spoilt page=0x%lx\n", run.first);
	pattern_page(run.first)[PATTERN_WORDS - 1] ^= 1;
}

void contents_verify_now(struct guest *g)
{
	const char *flaw;

	if (!g->verify) {
		print("balloon: verify is off\n");
		return;
	}
	while (g->filling && !contents_fill_some(g))
		;
	if (!pages_check(&flaw)) {
		print("balloon: verify FAILED allocator: %s\n", flaw);
		machine_exit(EXIT_FAIL);
	}
	contents_begin_round(g);
	while (!contents_verify_some(g))
		;
	contents_end_round(g);
}
