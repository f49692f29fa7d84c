/* SPDX-License-Identifier: MIT */
/*
 * test-core-property.c - random operations on frames of all levels, while ranges leave and come back, against
 * two oracles: a shadow map that knows of each base frame whether it is free, in use or offline, and the
 * reference allocator (tests/model), in which each base frame in use or offline is taken. Every answer of the
 * core must be the one that follows from the shadow: what it hands out was free, what it refuses was not there.
 *
 *   test-core-property [--seed N] [--ops N] [--giants N] [--trace]
 *
 * The seed is printed, and the number of the operation that failed: --seed and --ops of these do it again, and
 * no longer history of that seed is needed; --trace writes each operation.
 */
#include "pool.h"
#include "reference.h"

#include <getopt.h>
#include <stdbool.h>

#define SLOTS 4u
#define LIVE  100000u

enum { FREE, USED, OFFLINE };

struct held {
	uint64_t first;
	uint64_t count;
	unsigned level; /* or PART */
};
#define PART MB_LEVELS

static struct {
	uint64_t seed, ops, giants;
	bool trace;
} option = {.ops = 300000, .giants = 3};

struct run {
	struct test_pool p;
	struct ref *ref;
	mb_slot slot[SLOTS];
	uint64_t x, frames, step;
	unsigned char *shadow;
	uint64_t free;
	struct held *held;
	unsigned count;
};

#define must(run, condition, ...)                                                                              \
	do {                                                                                                   \
		if (!(condition))                                                                              \
			broken(run, #condition, __VA_ARGS__);                                                  \
	} while (0)

static void broken(const struct run *r, const char *what, const char *op, uint64_t frame, uint64_t count,
		   long rc)
{
	printf("seed %llu, operation %llu: %s of frame %llu, %llu: %ld; expected %s\n",
	       (unsigned long long)option.seed, (unsigned long long)r->step, op, (unsigned long long)frame,
	       (unsigned long long)count, rc, what);
	printf("again: --seed %llu --ops %llu --giants %llu --trace\n", (unsigned long long)option.seed,
	       (unsigned long long)r->step + 1, (unsigned long long)option.giants);
	exit(1);
}

static uint64_t draw(struct run *r, uint64_t below)
{
	return test_random(&r->x) % below;
}

static bool all(const struct run *r, uint64_t first, uint64_t count, unsigned char state)
{
	for (uint64_t n = first; n < first + count; n++)
		if (r->shadow[n] != state)
			return false;
	return true;
}

/* What becomes of the frames, in the shadow and in the reference. */
static void turn(struct run *r, const char *op, uint64_t first, uint64_t count, unsigned char from,
		 unsigned char to)
{
	if (option.trace)
		printf("%llu %s %llu %llu\n", (unsigned long long)r->step, op, (unsigned long long)first,
		       (unsigned long long)count);
	must(r, first + count <= r->frames && all(r, first, count, from), op, first, count, r->shadow[first]);
	memset(r->shadow + first, to, count);
	r->free += to == FREE ? count : 0;
	r->free -= from == FREE ? count : 0;
	for (uint64_t n = first; n < first + count && (from == FREE) != (to == FREE); n++) {
		int rc = from == FREE ? ref_take(r->ref, n) : ref_free(r->ref, n);

		must(r, rc == 0, "the reference's turn", n, 1, rc);
	}
}

static void got(struct run *r, const char *op, uint64_t first, unsigned level)
{
	uint64_t size = mb_level_frames((enum mb_level)level);

	must(r, first % size == 0, op, first, size, 0);
	turn(r, op, first, size, FREE, USED);
	r->held[r->count++] = (struct held){first, size, level};
}

static unsigned some_level(struct run *r)
{
	uint64_t n = draw(r, 1000);

	return n < 4 ? MB_GIANT : n < 60 ? MB_HUGE : MB_BASE;
}

/* One thread alone: what is free can be had, unless it is spread too thinly for a larger frame. */
static void do_alloc(struct run *r, mb_slot slot)
{
	unsigned level = some_level(r), want = draw(r, 4) ? 1 : 1 + (unsigned)draw(r, 600);
	mb_frame out[600];
	int rc;

	if (level != MB_BASE && want > 3)
		want = 3;
	rc = want == 1 ? mb_frame_alloc(r->p.f, slot, (enum mb_level)level, out)
		       : mb_frame_alloc_batch(r->p.f, slot, (enum mb_level)level, out, want);
	if (want == 1 && rc == 0)
		rc = 1;
	must(r, rc == -ENOMEM || (rc > 0 && rc <= (int)want), "alloc", level, want, rc);
	if (level == MB_BASE)
		must(r, rc == -ENOMEM ? r->free == 0 : (uint64_t)rc == (r->free < want ? r->free : want),
		     "alloc", level, want, rc);
	for (int n = 0; n < rc; n++)
		got(r, "alloc", out[n].n, level);
}

static void do_take(struct run *r, mb_slot slot)
{
	unsigned level = draw(r, 8) ? some_level(r) : MB_HUGE;
	uint64_t size = mb_level_frames((enum mb_level)level), first = draw(r, r->frames / size + 1) * size;
	bool there = first + size <= r->frames && all(r, first, size, FREE);
	int rc = mb_frame_take(r->p.f, slot, (enum mb_level)level, (mb_frame){first});

	must(r, there == (rc == 0), "take", first, size, rc);
	must(r, rc == 0 || rc == -EBUSY || rc == -ENXIO || rc == -ERANGE, "take", first, size, rc);
	if (rc == 0)
		got(r, "take", first, level);
}

static void do_free_part(struct run *r, mb_slot slot, struct held *h)
{
	uint64_t cut = h->count == 1 ? 1 : 1 + draw(r, h->count), first = h->first;
	int rc = mb_frame_free_part(r->p.f, slot, (mb_frame){first}, cut);

	must(r, rc == 0, "free_part", first, cut, rc);
	turn(r, "free_part", first, cut, USED, FREE);
	*h = (struct held){first + cut, h->count - cut, PART};
	if (!h->count)
		*h = r->held[--r->count];
}

static void do_free(struct run *r, mb_slot slot)
{
	struct held *h = &r->held[draw(r, r->count)], was = *h;
	int rc;

	if (h->level == PART || (h->level != MB_BASE && draw(r, 3) == 0)) {
		do_free_part(r, slot, h);
		return;
	}
	rc = mb_frame_free(r->p.f, slot, (enum mb_level)was.level, (mb_frame){was.first});
	must(r, rc == 0, "free", was.first, was.count, rc);
	turn(r, "free", was.first, was.count, USED, FREE);
	*h = r->held[--r->count];
}

/* A call that must be refused, and change nothing. */
static void do_wrong(struct run *r, mb_slot slot)
{
	uint64_t n = draw(r, r->frames);
	static const int answer[] = {[FREE] = -EALREADY, [OFFLINE] = -ENXIO};
	int rc;

	if (r->shadow[n] == USED)
		return;
	rc = mb_frame_free(r->p.f, slot, MB_BASE, (mb_frame){n});
	must(r, rc == answer[r->shadow[n]], "free of what is not in use", n, 1, rc);
	rc = mb_frame_free_part(r->p.f, slot, (mb_frame){n}, 1);
	must(r, rc == answer[r->shadow[n]], "free_part of what is not in use", n, 1, rc);
}

/* A range leaves, at once or as far as it can; and comes back. */
static void do_remove(struct run *r)
{
	static const uint64_t most[] = {64, 2000, GIANT};
	uint64_t first = draw(r, r->frames), count = 1 + draw(r, most[draw(r, 3)]);
	mb_frame busy = {0};
	int rc;

	if (draw(r, 2)) {
		first -= first % HUGE;
		count = (count + HUGE - 1) / HUGE * HUGE;
	}
	count = count < r->frames - first ? count : r->frames - first;
	rc = mb_range_remove(r->p.f, (mb_frame){first}, count, &busy);
	if (rc == 0)
		turn(r, "remove", first, count, FREE, OFFLINE);
	else if (rc == -EBUSY)
		must(r, r->shadow[busy.n] == USED && busy.n >= first && busy.n < first + count, "remove: busy",
		     busy.n, count, rc);
	else if (rc == -ENXIO)
		must(r, memchr(r->shadow + first, OFFLINE, count), "remove: offline", first, count, rc);
	else
		must(r, rc == -ENOSPC, "remove", first, count, rc);
}

static void do_add(struct run *r)
{
	uint64_t n = draw(r, r->frames), end;
	unsigned char *at = memchr(r->shadow + n, OFFLINE, r->frames - n);
	int rc;

	if (!at)
		return;
	n = (uint64_t)(at - r->shadow);
	for (end = n; end < r->frames && r->shadow[end] == OFFLINE;)
		end++;
	if (draw(r, 4) == 0)
		end = n + 1 + draw(r, end - n);
	rc = mb_range_add(r->p.f, (mb_frame){n}, end - n);
	must(r, rc == 0 || rc == -ENOSPC, "add", n, end - n, rc);
	if (rc == 0)
		turn(r, "add", n, end - n, OFFLINE, FREE);
}

/* Nothing is in use in the end of a drain that says so; here one ends by freeing what it waits for. */
static void do_drain(struct run *r, mb_slot slot)
{
	uint64_t first = draw(r, r->frames / HUGE) * HUGE, count = HUGE, left = 1, used = 0;
	int rc = mb_range_drain(r->p.f, (mb_frame){first}, count, &left);

	must(r, rc == 0 || rc == -EBUSY || rc == -ENOSPC, "drain", first, count, rc);
	if (rc)
		return;
	for (uint64_t n = first; n < first + count; n++)
		used += r->shadow[n] == USED;
	must(r, (left == 0) == (used == 0) && left >= used, "drain: left", first, used, (long)left);
	for (unsigned n = r->count; n-- > 0;) {
		struct held h = r->held[n];

		if (h.first >= first + count || first >= h.first + h.count)
			continue;
		rc = h.level == PART ? mb_frame_free_part(r->p.f, slot, (mb_frame){h.first}, h.count)
				     : mb_frame_free(r->p.f, slot, (enum mb_level)h.level, (mb_frame){h.first});
		must(r, rc == 0, "free of what leaves", h.first, h.count, rc);
		turn(r, "free of what leaves", h.first, h.count, USED, FREE);
		r->held[n] = r->held[--r->count];
	}
	rc = mb_range_drain(r->p.f, (mb_frame){first}, count, &left);
	must(r, rc == 0 && left == 0, "drain: the end", first, left, rc);
	for (uint64_t n = first; n < first + count; n++)
		if (r->shadow[n] == FREE)
			turn(r, "drain", n, 1, FREE, OFFLINE);
}

static void check(struct run *r)
{
	struct mb_frames_count c = test_count(&r->p);
	struct mb_flaw flaw;
	uint64_t offline = 0;

	if (mb_frames_validate(r->p.f, MB_VALIDATE_FULL, &flaw))
		broken(r, flaw.what, "validate", flaw.frame.n, 0, 0);
	must(r, c.free == r->free && c.free == ref_count_free(r->ref), "count", c.free, r->free, 0);
	for (uint64_t n = 0; n < r->frames; n++)
		offline += r->shadow[n] == OFFLINE;
	must(r, c.offline == offline && c.used + c.free + c.offline == r->frames, "count", c.offline, offline,
	     0);
	for (uint64_t n = 0; n < r->frames; n += 1 + draw(r, 5000)) {
		static const enum mb_state state[] = {MB_FREE, MB_USED, MB_OFFLINE};

		must(r, mb_frame_state(r->p.f, (mb_frame){n}) == state[r->shadow[n]], "state", n, r->shadow[n],
		     0);
	}
}

static void step(struct run *r)
{
	uint64_t n = draw(r, 2000), fill = r->step / 20000 % 2 ? 800 : 1150;
	mb_slot slot = r->slot[draw(r, SLOTS)];

	if (n < 4)
		do_remove(r);
	else if (n < 9)
		do_add(r);
	else if (n == 9)
		do_drain(r, slot);
	else if (n < 20)
		do_wrong(r, slot);
	else if (n < 60)
		do_take(r, slot);
	else if (n < fill && r->count < LIVE - 700)
		do_alloc(r, slot);
	else if (r->count)
		do_free(r, slot);
}

static void make(struct run *r)
{
	*r = (struct run){.x = option.seed, .frames = option.giants * GIANT + 7 * HUGE + 33};
	r->p = test_pool_make(r->frames, SLOTS, 0);
	r->ref = ref_create(r->frames);
	r->free = r->frames;
	r->shadow = calloc(1, r->frames);
	r->held = calloc(LIVE, sizeof(*r->held));
	if (!r->ref || !r->shadow || !r->held)
		abort();
	for (unsigned n = 0; n < SLOTS; n++)
		r->slot[n] = test_slot(&r->p);
}

static int end(struct run *r)
{
	check(r);
	while (r->count)
		do_free(r, r->slot[0]);
	for (unsigned n = 0; n < SLOTS; n++)
		if (mb_slot_close(r->p.f, r->slot[n]))
			abort();
	check(r);
	printf("%llu operations, seed %llu: the core, the shadow and the reference agree\n",
	       (unsigned long long)option.ops, (unsigned long long)option.seed);
	ref_destroy(r->ref);
	free(r->shadow);
	free(r->held);
	munmap(r->p.area, r->p.bytes);
	return 0;
}

static int usage(FILE *to)
{
	fputs("usage: test-core-property [--seed N] [--ops N] [--giants N] [--trace]\n", to);
	return to == stderr ? 2 : 0;
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
	    {"seed", required_argument, NULL, 's'},   {"ops", required_argument, NULL, 'n'},
	    {"giants", required_argument, NULL, 'g'}, {"trace", no_argument, NULL, 't'},
	    {"help", no_argument, NULL, 'h'},         {0},
	};
	struct run r;
	int c;

	option.seed = test_seed();
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		if (c == 's')
			option.seed = strtoull(optarg, NULL, 0);
		else if (c == 'n')
			option.ops = strtoull(optarg, NULL, 0);
		else if (c == 'g')
			option.giants = strtoull(optarg, NULL, 0);
		else if (c == 't')
			option.trace = true;
		else
			return usage(c == 'h' ? stdout : stderr);
	}
	if (!option.seed || !option.giants)
		return usage(stderr);
	make(&r);
	for (; r.step < option.ops; r.step++) {
		step(&r);
		if (r.step % 50000 == 49999)
			check(&r);
	}
	return end(&r);
}
