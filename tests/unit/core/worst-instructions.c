/* SPDX-License-Identifier: MIT */
/*
 * worst-instructions.c - A7: the most instructions that one call takes, searched for in histories at random.
 *
 *     worst-instructions [--seed N] [--histories N]
 *
 * A history fills pools of a few giant frames with random mixtures of frames, frees at random, opens and closes
 * slots; then single calls are counted, instruction by instruction, by the processor's trap flag. Only the seed
 * decides what happens, so that what is found can be found again.
 *
 * What A7 calls "about a thousand" are the usual ways off the common path (count-instructions.c): a split of both
 * levels, a merge, a line of the ring. The worst found here are those of rings full of lines that have become empty
 * (each is looked at, word by word, before a larger frame is split, on both levels), and of a free that merges a
 * line and then its giant frame. A call for a giant frame that takes lines away from other slots grows with their
 * number. These are bounded as well: LIMITS, somewhat above the worst that some hundred histories showed.
 */
#include <memback/frames.h>

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GIANT  (UINT64_C(1) << 18)
#define SLOTS  3u
#define FRAMES (1u << 20)

struct got {
	uint64_t n;
	unsigned level;
};

struct history {
	uint64_t random;
	struct mb_frames *f;
	size_t bytes;
	mb_slot slot[SLOTS];
	struct got *got; /* what is allocated */
	unsigned held;
};

enum kind { ALLOC_BASE, ALLOC_HUGE, ALLOC_GIANT, FREE_BASE, FREE_HUGE, FREE_GIANT, ALLOC_NONE, KINDS };

static const char *const names[KINDS] = {"alloc 4 KiB", "alloc 2 MiB", "alloc 1 GiB",   "free 4 KiB",
					 "free 2 MiB",  "free 1 GiB",  "alloc, refused"};

/* LIMITS: with three slots. */
static const unsigned limits[KINDS] = {2500, 2500, 6000, 2000, 1500, 1000, 9000};

static struct {
	unsigned worst[KINDS];
	uint64_t seed[KINDS], calls[KINDS];
} found;

static volatile unsigned steps;

static void stepped(int signal)
{
	(void)signal;
	steps++;
}

/* The same around each call, and around none: what is counted besides is taken off. */
static void trap_begin(void)
{
	__asm__ volatile("pushfq\n\torq $0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static void trap_end(void)
{
	__asm__ volatile("pushfq\n\tandq $~0x100, (%%rsp)\n\tpopfq" ::: "memory", "cc");
}

static unsigned count_nothing(void)
{
	steps = 0;
	trap_begin();
	trap_end();
	return steps;
}

static uint64_t draw(struct history *h, uint64_t below)
{
	h->random ^= h->random << 13;
	h->random ^= h->random >> 7;
	h->random ^= h->random << 17;
	return (h->random >> 11) % below;
}

/* ---- the history -------------------------------------------------------------------------------------- */

static void keep(struct history *h, uint64_t n, unsigned level)
{
	if (h->held < FRAMES)
		h->got[h->held++] = (struct got){n, level};
}

static struct got forget(struct history *h, unsigned k)
{
	struct got g = h->got[k];

	h->got[k] = h->got[--h->held];
	return g;
}

static mb_slot some_slot(struct history *h)
{
	return h->slot[draw(h, 8) < 6 ? 0 : draw(h, SLOTS)];
}

static void alloc_some(struct history *h, unsigned level, unsigned count)
{
	static mb_frame out[512];
	mb_slot slot = some_slot(h);
	int rc = mb_frame_alloc_batch(h->f, slot, (enum mb_level)level, out, count < 512 ? count : 512);

	for (int n = 0; n < rc; n++)
		keep(h, out[n].n, level);
}

static void free_one(struct history *h, unsigned k)
{
	struct got g = forget(h, k);

	if (mb_frame_free(h->f, some_slot(h), (enum mb_level)g.level, (mb_frame){g.n}))
		abort();
}

/* Those that were got last, so that lines become whole; or any. */
static void free_some(struct history *h, unsigned count)
{
	bool last = draw(h, 2);

	while (count-- && h->held)
		free_one(h, last ? h->held - 1 : (unsigned)draw(h, h->held));
}

static void reopen(struct history *h)
{
	unsigned n = (unsigned)draw(h, SLOTS);

	if (mb_slot_close(h->f, h->slot[n]) || mb_slot_open(h->f, &h->slot[n]))
		abort();
}

static void act(struct history *h)
{
	uint64_t n = draw(h, 32);

	if (n < 8)
		alloc_some(h, MB_BASE, 1 + (unsigned)draw(h, 700));
	else if (n < 14)
		alloc_some(h, MB_HUGE, 1 + (unsigned)draw(h, 80));
	else if (n == 14)
		alloc_some(h, MB_GIANT, 1);
	else if (n == 15)
		reopen(h);
	else if (n == 16)
		for (unsigned k = 0; k < 600; k++)
			alloc_some(h, MB_HUGE, 512);
	else if (n == 17)
		free_some(h, h->held);
	else if (n < 25)
		free_some(h, 1 + (unsigned)draw(h, 10));
	else
		free_some(h, 1 + (unsigned)draw(h, 600));
}

/* ---- counting ----------------------------------------------------------------------------------------- */

static void note(enum kind kind, unsigned count, uint64_t seed)
{
	static unsigned nothing;

	if (!nothing)
		nothing = count_nothing();
	count -= nothing;
	found.calls[kind]++;
	if (count > found.worst[kind]) {
		found.worst[kind] = count;
		found.seed[kind] = seed;
	}
}

static void count_alloc(struct history *h, unsigned level, uint64_t seed)
{
	mb_frame out;
	int rc;

	steps = 0;
	trap_begin();
	rc = mb_frame_alloc(h->f, h->slot[0], (enum mb_level)level, &out);
	trap_end();
	note(rc ? ALLOC_NONE : (enum kind)(ALLOC_BASE + level), steps, seed);
	if (!rc)
		keep(h, out.n, level);
}

static void count_free(struct history *h, uint64_t seed)
{
	struct got g;
	int rc;

	if (!h->held)
		return;
	g = forget(h, draw(h, 2) ? h->held - 1 : (unsigned)draw(h, h->held));
	steps = 0;
	trap_begin();
	rc = mb_frame_free(h->f, h->slot[0], (enum mb_level)g.level, (mb_frame){g.n});
	trap_end();
	if (rc)
		abort();
	note((enum kind)(FREE_BASE + g.level), steps, seed);
}

static void one_history(uint64_t seed)
{
	struct history h = {.random = seed * UINT64_C(0x9e3779b97f4a7c15) + 1};
	struct mb_frames_config c = {.capacity = (1 + seed % 3) * GIANT, .base_shift = 12, .slots = SLOTS};
	void *meta;

	h.bytes = mb_frames_meta_bytes(&c);
	meta = mmap(NULL, h.bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	h.got = (struct got *)malloc(FRAMES * sizeof(*h.got));
	if (meta == MAP_FAILED || !h.got || mb_frames_init(meta, h.bytes, &c, &h.f) ||
	    mb_range_add(h.f, (mb_frame){0}, c.capacity))
		abort();
	for (unsigned n = 0; n < SLOTS; n++)
		if (mb_slot_open(h.f, &h.slot[n]))
			abort();
	for (unsigned round = 0; round < 30; round++) {
		for (uint64_t n = draw(&h, 6) + 1; n--;)
			act(&h);
		for (unsigned n = 0; n < 3; n++) {
			uint64_t kind = draw(&h, 8);

			if (kind < 5)
				count_alloc(&h, kind < 3 ? MB_BASE : kind == 3 ? MB_HUGE : MB_GIANT, seed);
			else
				count_free(&h, seed);
		}
	}
	free(h.got);
	munmap(meta, h.bytes);
}

static int report(void)
{
	int rc = 0;

	for (unsigned k = 0; k < KINDS; k++) {
		printf("%-15s %8" PRIu64 " calls, at most %6u instructions (history %" PRIu64 ")\n", names[k],
		       found.calls[k], found.worst[k], found.seed[k]);
		rc |= found.worst[k] > limits[k];
	}
	return rc;
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout, "usage: worst-instructions [--seed N] [--histories N]\n");
	return status;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = stepped};
	uint64_t seed = 1, histories = 40;

	for (int n = 1; n < argc; n += 2) {
		if (n + 1 == argc)
			return usage(!strcmp(argv[n], "--help") ? 0 : 2);
		if (!strcmp(argv[n], "--seed"))
			seed = strtoull(argv[n + 1], NULL, 0);
		else if (!strcmp(argv[n], "--histories"))
			histories = strtoull(argv[n + 1], NULL, 0);
		else
			return usage(2);
	}
	if (sigaction(SIGTRAP, &action, NULL))
		return 1;
	printf("histories %" PRIu64 " to %" PRIu64 "\n", seed, seed + histories - 1);
	for (uint64_t n = 0; n < histories; n++)
		one_history(seed + n);
	return report();
}
