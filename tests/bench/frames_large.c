/* SPDX-License-Identifier: MIT */
/*
 * frames_large.c - bench-frames: huge and giant frames, and pools of up to 16 TiB: filling, the last 0.5 % of
 * it, emptying, and frees and allocations at random in full memory.
 */
#include "frames.h"

#include <stdlib.h>
#include <sys/mman.h>

#define RANDOM_PAIRS (UINT64_C(1) << 16)
#define FILLED       65536u /* at least so many frames are got in all: a small pool is filled several times */

struct large {
	struct mb_frames *gib16, *tib1, *tib16;
	struct mb_frames *gib64; /* full of base frames */
	mb_slot slot64;
	mb_frame *frames;
	mb_frame *live; /* of gib64 */
	uint64_t seed;
};

struct times {
	double fill, last, empty;
};

/* Fills the pool but for the last 0.5 %, then that; empties it again. Sums of ns. */
static void fill_and_empty(struct mb_frames *f, mb_slot slot, enum mb_level level, uint64_t count,
			   mb_frame *frames, struct times *sum)
{
	uint64_t most = count - count / 200, n = 0;
	double t = now_ns();

	for (; n < most; n++)
		need(mb_frame_alloc(f, slot, level, &frames[n]) == 0, "alloc failed");
	sum->fill += now_ns() - t;
	t = now_ns();
	for (; n < count; n++)
		need(mb_frame_alloc(f, slot, level, &frames[n]) == 0, "alloc failed");
	sum->last += now_ns() - t;
	t = now_ns();
	for (n = 0; n < count; n++)
		need(mb_frame_free(f, slot, level, frames[n]) == 0, "free failed");
	sum->empty += now_ns() - t;
}

static struct times run_large(struct large *b, struct mb_frames *f, enum mb_level level)
{
	struct mb_frames_config c;
	struct times sum = {0};
	uint64_t count, times;
	mb_slot slot;

	mb_frames_get_config(f, &c);
	count = c.capacity / mb_level_frames(level);
	times = count < FILLED ? FILLED / count : 1;
	need(mb_slot_open(f, &slot) == 0, "no slot");
	for (uint64_t n = 0; n < times; n++)
		fill_and_empty(f, slot, level, count, b->frames, &sum);
	need(mb_slot_close(f, slot) == 0, "close failed");
	sum.fill /= (double)(times * (count - count / 200));
	sum.last = count / 200 ? sum.last / (double)(times * (count / 200)) : 0;
	sum.empty /= (double)(times * count);
	return sum;
}

static double random_pairs(struct large *b, struct mb_frames *f, mb_slot slot, enum mb_level level,
			   mb_frame *live, uint64_t count)
{
	double t = now_ns();

	for (uint64_t n = 0; n < RANDOM_PAIRS; n += PICKED) {
		mb_frame *picked[PICKED];

		pick(&b->seed, live, count, picked);
		for (unsigned k = 0; k < PICKED; k++)
			need(mb_frame_free(f, slot, level, *picked[k]) == 0 &&
				 mb_frame_alloc(f, slot, level, picked[k]) == 0,
			     "a random pair failed");
	}
	return (now_ns() - t) / (double)RANDOM_PAIRS;
}

static double run_huge_random(struct large *b)
{
	uint64_t count = TIB_FRAMES / mb_level_frames(MB_HUGE);
	mb_slot slot;
	double ns;

	need(mb_slot_open(b->tib1, &slot) == 0, "no slot");
	for (uint64_t n = 0; n < count; n++)
		need(mb_frame_alloc(b->tib1, slot, MB_HUGE, &b->frames[n]) == 0, "alloc failed");
	ns = random_pairs(b, b->tib1, slot, MB_HUGE, b->frames, count);
	for (uint64_t n = 0; n < count; n++)
		need(mb_frame_free(b->tib1, slot, MB_HUGE, b->frames[n]) == 0, "free failed");
	need(mb_slot_close(b->tib1, slot) == 0, "close failed");
	return ns;
}

static double run_giant_pair(struct large *b)
{
	mb_frame frame;
	mb_slot slot;
	double t;

	need(mb_slot_open(b->tib16, &slot) == 0, "no slot");
	t = now_ns();
	for (unsigned n = 0; n < FILLED; n++)
		need(mb_frame_alloc(b->tib16, slot, MB_GIANT, &frame) == 0 &&
			 mb_frame_free(b->tib16, slot, MB_GIANT, frame) == 0,
		     "pair failed");
	t = (now_ns() - t) / FILLED;
	need(mb_slot_close(b->tib16, slot) == 0, "close failed");
	return t;
}

static double run_init(uint64_t capacity)
{
	struct mb_frames_config c = {.capacity = capacity, .base_shift = 12, .slots = 64};
	size_t bytes = mb_frames_meta_bytes(&c);
	void *meta = reserve(bytes);
	struct mb_frames *f;
	double t = now_ns();

	need(mb_frames_init(meta, bytes, &c, &f) == 0 && mb_range_add(f, (mb_frame){0}, capacity) == 0,
	     "init failed");
	t = now_ns() - t;
	munmap(meta, bytes);
	return t / 1000;
}

void large_round(struct large *b, double *ns)
{
	struct mb_frames *const pool[] = {b->gib16, b->tib1, b->tib16};

	for (int n = 0; n < 3; n++) {
		struct times huge = run_large(b, pool[n], MB_HUGE);
		struct times giant = run_large(b, pool[n], MB_GIANT);

		ns[HUGE_FILL_16G + n] = huge.fill;
		ns[HUGE_LAST_16G + n] = huge.last;
		ns[HUGE_EMPTY_16G + n] = huge.empty;
		ns[GIANT_FILL_16G + n] = giant.fill;
		ns[GIANT_EMPTY_16G + n] = giant.empty;
	}
	ns[HUGE_RANDOM_1T] = run_huge_random(b);
	ns[GIANT_PAIR_16T] = run_giant_pair(b);
	ns[BASE_RANDOM_64G] = random_pairs(b, b->gib64, b->slot64, MB_BASE, b->live, 64 * GIB_FRAMES);
	ns[INIT_1T] = run_init(TIB_FRAMES);
	ns[INIT_16T] = run_init(16 * TIB_FRAMES);
}

struct large *large_create(void)
{
	struct large *b = calloc(1, sizeof(*b));
	uint64_t count = 64 * GIB_FRAMES;

	need(b != NULL, "out of memory");
	b->seed = 88172645463325252u;
	b->gib16 = make(16 * GIB_FRAMES, NULL);
	b->tib1 = make(TIB_FRAMES, NULL);
	b->tib16 = make(16 * TIB_FRAMES, NULL);
	b->gib64 = make(count, NULL);
	b->frames = malloc(16 * TIB_FRAMES / mb_level_frames(MB_HUGE) * sizeof(*b->frames));
	b->live = malloc(count * sizeof(*b->live));
	need(b->frames && b->live && mb_slot_open(b->gib64, &b->slot64) == 0, "out of memory");
	for (uint64_t n = 0; n < count;) {
		uint64_t left = count - n;
		int rc = mb_frame_alloc_batch(b->gib64, b->slot64, MB_BASE, b->live + n,
					      left < 512 ? (unsigned)left : 512);

		need(rc > 0, "batch alloc failed");
		n += (unsigned)rc;
	}
	return b;
}
