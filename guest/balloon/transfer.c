/* SPDX-License-Identifier: MIT */
/*
 * transfer.c - the balloon guest: pages on their way into the balloon and out of it.
 */
#include "guest.h"

#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/pages.h"
#include <stddef.h>

#define ACTUAL_STEP 65536 /* pages between two reports while much is going on */
#define WAITING_MS  1000

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
		contents_take_back(g, first, n);
		pages_give(first, n);
	}
	g->refill_pages += buffer->count;
	g->refill_ticks += cpu_tsc() - begin;
}

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
		      guest_us(g->in.last - g->in.begin));
	if (g->out.pages)
		print("balloon: deflated pages=%lu total=%lu us=%lu\n", g->out.pages, g->total,
		      guest_us(g->out.last - g->out.begin - g->out.refill));
	if (g->refill_pages)
		print("balloon: refilled pages=%lu us=%lu\n", g->refill_pages, guest_us(g->refill_ticks));
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

void transfer_serve(struct guest *g)
{
	if (irq_take(g->driver.dev.gsi) && virtio_take_causes(&g->driver.dev) & VIRTIO_ISR_CONFIG) {
		g->target = balloon_driver_target(&g->driver);
		g->oom = 0;
		g->told_short = false;
	}
	if (g->leaving && !g->told_waiting && guest_us(cpu_tsc() - g->out.last) > WAITING_MS * 1000) {
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

void transfer_oom(struct guest *g, uint64_t pages)
{
	if (!(g->driver.dev.features >> BALLOON_F_DEFLATE_ON_OOM & 1))
		print("balloon: oom: the device does not offer it\n");
	else
		g->oom = pages < g->target ? pages : g->target;
}

uint64_t transfer_deadline(const struct guest *g)
{
	return g->leaving && !g->told_waiting ? g->out.last + irq_tsc_hz() / 1000 * (WAITING_MS + 1) : 0;
}
