/* SPDX-License-Identifier: MIT */
/* world.c - pools to run on, set back to where a run begins. See world.h. */
#include "world.h"

#include "layout.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static void add_piece(struct world *w, uint64_t page)
{
	if (w->pieces == WORLD_PIECES || (page + 1) * MBC_PAGE > w->bytes) {
		sched_fail("the pool is too large for this test");
		return;
	}
	w->piece[w->pieces++] = (struct piece){.at = w->mem + page * MBC_PAGE};
}

static void map(struct world *w, size_t bytes)
{
	w->bytes = bytes;
	w->mem = (unsigned char *)mmap(NULL, bytes, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (w->mem == MAP_FAILED) {
		perror("mmap");
		exit(1);
	}
}

static void open_slots(struct world *w)
{
	for (unsigned t = 0; t < WORLD_OWNERS; t++)
		do_slot_open(w, t);
	mb_frames_count(w->f, &w->pristine);
	w->capacity = w->pristine.capacity;
	w->now.offline = w->pristine.offline;
}

void world_make(struct world *w, uint64_t giants, uint32_t flags)
{
	struct mb_frames_config c = {
	    .capacity = giants * GIANT, .base_shift = 12, .slots = WORLD_OWNERS, .flags = flags};

	memset(w, 0, sizeof(*w));
	w->flags = flags;
	map(w, mb_frames_meta_bytes(&c));
	if (mb_frames_init(w->mem, w->bytes, &c, &w->f) || mb_range_add(w->f, (mb_frame){0}, c.capacity))
		sched_fail("no pool could be made");
	for (uint64_t page = 0; page < w->bytes / MBC_PAGE; page++)
		add_piece(w, page);
	open_slots(w);
}

void world_make_in_band(struct world *w, uint64_t frames)
{
	struct mb_frames_config c = {.base_shift = 12, .slots = WORLD_OWNERS};

	memset(w, 0, sizeof(*w));
	w->in_band = true;
	map(w, (size_t)frames * MBC_PAGE);
	if (mb_frames_init_in_band(w->mem, w->bytes, &c, &w->f)) {
		sched_fail("no pool could be made");
		return;
	}
	for (uint64_t page = 0; page < w->f->reserved; page++)
		add_piece(w, page);
	/* where blocks come to lie; the other pages hold nobody's data */
	for (uint64_t huge = 1; huge < frames / HUGE; huge++)
		for (unsigned n = 0; n < WORLD_HOMES; n++)
			add_piece(w, huge * HUGE + n);
	open_slots(w);
}

void world_keep(struct world *w)
{
	w->then = w->now;
	for (unsigned n = 0; n < w->pieces; n++) {
		if (!w->piece[n].copy)
			w->piece[n].copy = (unsigned char *)malloc(MBC_PAGE);
		if (!w->piece[n].copy)
			abort();
		memcpy(w->piece[n].copy, w->piece[n].at, MBC_PAGE);
	}
}

/* Which pieces are not as they were? */
static void find_dirty(struct world *w)
{
	for (unsigned n = 0; n < w->pieces; n++)
		w->piece[n].dirty = memcmp(w->piece[n].at, w->piece[n].copy, MBC_PAGE) != 0;
}

void world_reset(struct world *w)
{
	find_dirty(w);
	for (unsigned n = 0; n < w->pieces; n++)
		if (w->piece[n].dirty)
			memcpy(w->piece[n].at, w->piece[n].copy, MBC_PAGE);
	memcpy(&w->now, &w->then, offsetof(struct shadow, held_at));
	memcpy(w->now.held_at, w->then.held_at, w->then.held * sizeof(struct extent));
	memcpy(w->now.hole_at, w->then.hole_at, w->then.holes * sizeof(struct extent));
	memcpy(w->now.slot, w->then.slot, sizeof(w->now.slot));
	if (w->records)
		memcpy(w->now.record, w->then.record, sizeof(w->now.record));
	w->now.dead = w->then.dead;
	w->now.change.what = CHANGE_NONE;
	memcpy(w->now.note, w->then.note, sizeof(w->now.note));
}

void world_destroy(struct world *w)
{
	for (unsigned n = 0; n < w->pieces; n++)
		free(w->piece[n].copy);
	munmap(w->mem, w->bytes);
}

static uint64_t mix(uint64_t h, const unsigned char *at, size_t bytes)
{
	uint64_t v;

	for (size_t n = 0; n + sizeof(v) <= bytes; n += sizeof(v)) {
		memcpy(&v, at + n, sizeof(v));
		h = (h ^ v) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h;
}

uint64_t world_hash(struct world *w)
{
	uint64_t h = 1;

	find_dirty(w);
	for (unsigned n = 0; n < w->pieces; n++)
		if (w->piece[n].dirty) {
			h = mix(h, (const unsigned char *)&n, sizeof(n)) + n;
			h = mix(h, w->piece[n].at, MBC_PAGE);
		}
	for (unsigned n = 0; n < w->now.held; n++) {
		const struct extent *e = &w->now.held_at[n];

		h = (h ^ e->first ^ e->count << 20 ^ (uint64_t)e->owner << 50) * UINT64_C(0x9e3779b97f4a7c15);
		h ^= h >> 29;
	}
	return h ? h : 1;
}
