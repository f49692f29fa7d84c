/* SPDX-License-Identifier: MIT */
/*
 * bench-frames - what a frame costs, beside the floor (one locked operation on a cache line of one's own) and
 * beside the literal protocol (tests/model). All of it in one run, in interleaved rounds; medians are quoted.
 *
 *   bench-frames [--json] [--rounds N]
 */
#include "reference.h"

#include <memback/frames.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define GIB_FRAMES (UINT64_C(1) << 18)
#define FRAMES     (4 * GIB_FRAMES)
#define BULK       (UINT64_C(1) << 14)
#define PAIRS      (UINT64_C(1) << 17)
#define LIVE       65536u
#define BATCH      16u
#define BIG_FRAMES (UINT64_C(16384) * GIB_FRAMES) /* 16 TiB */
#define MAX_ROUNDS 101u

enum key {
	FLOOR_RMW,
	REFERENCE_PAIR,
	ALLOC,
	FREE,
	PAIR,
	CHURN,
	BATCH16,
	BATCH16_ALLOC,
	BATCH16_FREE,
	PAIR_2THREADS,
	HUGE_16G,
	HUGE_16T,
	GIANT_16T,
	INIT_16T,
	KEYS
};

static const char *const names[KEYS] = {
    "floor_rmw_ns",  "reference_pair_ns", "alloc_ns",         "free_ns",         "pair_ns",
    "churn_ns",      "batch16_ns",        "batch16_alloc_ns", "batch16_free_ns", "pair_2threads_ns",
    "huge_16gib_ns", "huge_16tib_ns",     "giant_16tib_ns",   "init_16tib_ns",
};

struct bench {
	struct mb_frames *f;
	struct mb_frames *small; /* 16 GiB */
	struct mb_frames *big;   /* 16 TiB */
	mb_slot slot;
	struct ref *ref;
	mb_frame *frames;
	double ns[KEYS][MAX_ROUNDS];
};

static double now_ns(void)
{
	struct timespec t;

	/* the thread's own time: on a machine that others use too, their turns are not ours */
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what)
{
	fprintf(stderr, "bench-frames: %s\n", what);
	exit(1);
}

static void need(bool ok, const char *what)
{
	if (!ok)
		die(what);
}

static void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	need(p != MAP_FAILED, "cannot reserve memory for the metadata");
	return p;
}

static struct mb_frames *make(uint64_t capacity)
{
	struct mb_frames_config c = {.capacity = capacity, .base_shift = 12, .slots = 4};
	size_t bytes = mb_frames_meta_bytes(&c);
	struct mb_frames *f;

	need(mb_frames_init(reserve(bytes), bytes, &c, &f) == 0, "init failed");
	need(mb_range_add(f, (mb_frame){0}, capacity) == 0, "adding the range failed");
	return f;
}

static double run_floor(void)
{
	static _Alignas(64) _Atomic uint64_t word[8];
	double t = now_ns();

	for (uint64_t n = 0; n < PAIRS; n++)
		atomic_fetch_add(&word[0], 1);
	return (now_ns() - t) / (double)PAIRS;
}

static double run_reference(struct bench *b)
{
	uint64_t frame;
	double t = now_ns();

	for (uint64_t n = 0; n < PAIRS; n++)
		need(ref_alloc(b->ref, &frame) == 0 && ref_free(b->ref, frame) == 0, "the reference failed");
	return (now_ns() - t) / (double)PAIRS;
}

static void run_bulk(struct bench *b, unsigned round)
{
	double t = now_ns();

	for (uint64_t n = 0; n < BULK; n++)
		need(mb_frame_alloc(b->f, b->slot, MB_BASE, &b->frames[n]) == 0, "alloc failed");
	b->ns[ALLOC][round] = (now_ns() - t) / (double)BULK;
	t = now_ns();
	for (uint64_t n = 0; n < BULK; n++)
		need(mb_frame_free(b->f, b->slot, MB_BASE, b->frames[n]) == 0, "free failed");
	b->ns[FREE][round] = (now_ns() - t) / (double)BULK;
}

static void pairs(struct mb_frames *f, mb_slot slot, uint64_t count)
{
	mb_frame frame;

	for (uint64_t n = 0; n < count; n++)
		need(mb_frame_alloc(f, slot, MB_BASE, &frame) == 0 &&
			 mb_frame_free(f, slot, MB_BASE, frame) == 0,
		     "pair failed");
}

static double run_pairs(struct bench *b)
{
	double t = now_ns();

	pairs(b->f, b->slot, PAIRS);
	return (now_ns() - t) / (double)PAIRS;
}

static double run_churn(struct bench *b)
{
	uint64_t x = 88172645463325252u;
	double t;

	for (unsigned n = 0; n < LIVE; n++)
		need(mb_frame_alloc(b->f, b->slot, MB_BASE, &b->frames[n]) == 0, "alloc failed");
	t = now_ns();
	for (uint64_t n = 0; n < PAIRS; n++) {
		mb_frame *one;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		one = &b->frames[x % LIVE];
		need(mb_frame_free(b->f, b->slot, MB_BASE, *one) == 0 &&
			 mb_frame_alloc(b->f, b->slot, MB_BASE, one) == 0,
		     "churn failed");
	}
	t = (now_ns() - t) / (double)PAIRS;
	for (unsigned n = 0; n < LIVE; n++)
		need(mb_frame_free(b->f, b->slot, MB_BASE, b->frames[n]) == 0, "free failed");
	return t;
}

static void run_batches(struct bench *b, unsigned round)
{
	double t = now_ns(), half;

	for (uint64_t n = 0; n < BULK; n += BATCH)
		for (unsigned got = 0; got < BATCH;) {
			int rc = mb_frame_alloc_batch(b->f, b->slot, MB_BASE, b->frames + n + got, BATCH - got);

			need(rc > 0, "batch alloc failed");
			got += (unsigned)rc;
		}
	half = now_ns();
	for (uint64_t n = 0; n < BULK; n += BATCH)
		need(mb_frame_free_batch(b->f, b->slot, MB_BASE, b->frames + n, BATCH) == (int)BATCH,
		     "batch free failed");
	b->ns[BATCH16_ALLOC][round] = (half - t) / (double)BULK;
	b->ns[BATCH16_FREE][round] = (now_ns() - half) / (double)BULK;
	b->ns[BATCH16][round] = (b->ns[BATCH16_ALLOC][round] + b->ns[BATCH16_FREE][round]) / 2;
}

struct worker {
	struct mb_frames *f;
	pthread_barrier_t *start;
	double ns;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	mb_slot slot;
	double t;

	need(mb_slot_open(w->f, &slot) == 0, "no slot");
	pthread_barrier_wait(w->start);
	t = now_ns();
	pairs(w->f, slot, PAIRS);
	w->ns = (now_ns() - t) / (double)PAIRS;
	mb_slot_close(w->f, slot);
	return NULL;
}

static double run_two(struct bench *b)
{
	pthread_barrier_t start;
	pthread_t t[2];
	struct worker w[2] = {{b->f, &start, 0}, {b->f, &start, 0}};

	pthread_barrier_init(&start, NULL, 2);
	for (int n = 0; n < 2; n++)
		need(pthread_create(&t[n], NULL, work, &w[n]) == 0, "no thread");
	for (int n = 0; n < 2; n++)
		pthread_join(t[n], NULL);
	pthread_barrier_destroy(&start);
	return (w[0].ns + w[1].ns) / 2;
}

/* Allocates and frees large frames; ns of one of the two. */
static double run_large(struct bench *b, struct mb_frames *f, enum mb_level level, uint64_t count)
{
	mb_slot slot;
	double t;

	need(mb_slot_open(f, &slot) == 0, "no slot");
	t = now_ns();
	for (uint64_t n = 0; n < count; n++)
		need(mb_frame_alloc(f, slot, level, &b->frames[n]) == 0, "alloc failed");
	for (uint64_t n = 0; n < count; n++)
		need(mb_frame_free(f, slot, level, b->frames[n]) == 0, "free failed");
	t = (now_ns() - t) / (double)(2 * count);
	mb_slot_close(f, slot);
	return t;
}

static double run_init(void)
{
	struct mb_frames_config c = {.capacity = BIG_FRAMES, .base_shift = 12, .slots = 64};
	size_t bytes = mb_frames_meta_bytes(&c);
	void *meta = reserve(bytes);
	struct mb_frames *f;
	double t = now_ns();

	need(mb_frames_init(meta, bytes, &c, &f) == 0 && mb_range_add(f, (mb_frame){0}, BIG_FRAMES) == 0,
	     "init failed");
	t = now_ns() - t;
	munmap(meta, bytes);
	return t;
}

static void round_of(struct bench *b, unsigned n)
{
	b->ns[FLOOR_RMW][n] = run_floor();
	b->ns[REFERENCE_PAIR][n] = run_reference(b);
	run_bulk(b, n);
	b->ns[PAIR][n] = run_pairs(b);
	b->ns[CHURN][n] = run_churn(b);
	run_batches(b, n);
	b->ns[PAIR_2THREADS][n] = run_two(b);
	b->ns[HUGE_16G][n] = run_large(b, b->small, MB_HUGE, 8192);
	b->ns[HUGE_16T][n] = run_large(b, b->big, MB_HUGE, 8192);
	b->ns[GIANT_16T][n] = run_large(b, b->big, MB_GIANT, 16384);
	b->ns[INIT_16T][n] = run_init();
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

struct figure {
	double low;
	double median;
	double high;
};

static void machine(char *text, size_t size)
{
	struct utsname u;
	char line[256] = "", *colon = NULL;
	FILE *in = fopen("/proc/cpuinfo", "r");

	while (in && fgets(line, sizeof(line), in))
		if (strncmp(line, "model name", 10) == 0) {
			colon = strchr(line, ':');
			break;
		}
	if (in)
		fclose(in);
	if (uname(&u))
		memset(&u, 0, sizeof(u));
	line[strcspn(line, "\n")] = 0;
	snprintf(text, size, "%s, %ld CPUs, Linux %.40s", colon ? colon + 2 : "unknown CPU",
		 sysconf(_SC_NPROCESSORS_ONLN), u.release);
}

static void report_json(const struct figure *fig, unsigned rounds, const char *where)
{
	printf("{\"benchmark\": \"frames\", \"machine\": \"%s\", \"threads\": 2, \"rounds\": %u", where,
	       rounds);
	for (int k = 0; k < KEYS; k++)
		printf(", \"%s\": %.3f", names[k], fig[k].median);
	printf(", \"spread\": {");
	for (int k = 0; k < KEYS; k++)
		printf("%s\"%s\": [%.3f, %.3f]", k ? ", " : "", names[k], fig[k].low, fig[k].high);
	printf("}}\n");
}

static void report_text(const struct figure *fig, unsigned rounds, const char *where)
{
	static const struct {
		enum key key;
		double floors;
		double most;
	} aims[] = {
	    {ALLOC, 1, 1.4},
	    {FREE, 1, 1.4},
	    {PAIR, 2, 1.4},
	    {BATCH16, 1, 0.3},
	};
	double floor = fig[FLOOR_RMW].median;

	printf("%s; 1 thread but where 2 are named; medians of %u interleaved rounds, CPU time of the thread\n", where, rounds);
	for (int k = 0; k < KEYS; k++)
		printf("%-20s %10.2f   [%.2f, %.2f]\n", names[k], fig[k].median, fig[k].low, fig[k].high);
	for (unsigned n = 0; n < sizeof(aims) / sizeof(aims[0]); n++)
		printf("%-20s / %g floor    = %.2f (aim: at most %.1f)\n", names[aims[n].key], aims[n].floors,
		       fig[aims[n].key].median / floor / aims[n].floors, aims[n].most);
	printf("%-20s / pair_ns    = %.2f (aim: at most 1.1)\n", names[PAIR_2THREADS],
	       fig[PAIR_2THREADS].median / fig[PAIR].median);
	printf("%-20s / pair_ns    = %.2f\n", names[REFERENCE_PAIR],
	       fig[REFERENCE_PAIR].median / fig[PAIR].median);
}

static void set_up(struct bench *b)
{
	uint64_t one;

	b->f = make(FRAMES);
	b->small = make(16 * GIB_FRAMES);
	b->big = make(BIG_FRAMES);
	b->ref = ref_create(FRAMES);
	/* one frame stays out, or each pair would compress and decompress a block */
	need(b->ref && ref_alloc(b->ref, &one) == 0, "out of memory");
	b->frames = malloc(LIVE * sizeof(*b->frames));
	need(b->frames != NULL, "out of memory");
	need(mb_slot_open(b->f, &b->slot) == 0, "no slot");
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: bench-frames [--json] [--rounds N]   (N: 1 to %u, default 31)\n", MAX_ROUNDS);
	return status;
}

int main(int argc, char **argv)
{
	static struct bench b;
	struct figure fig[KEYS];
	char where[400];
	unsigned rounds = 31;
	bool json = false;

	for (int n = 1; n < argc; n++) {
		if (strcmp(argv[n], "--json") == 0)
			json = true;
		else if (strcmp(argv[n], "--rounds") == 0 && n + 1 < argc)
			rounds = (unsigned)strtoul(argv[++n], NULL, 10);
		else
			return usage(strcmp(argv[n], "--help") != 0);
	}
	if (rounds < 1 || rounds > MAX_ROUNDS)
		return usage(1);
	set_up(&b);
	round_of(&b, 0); /* warms up; the first counted round overwrites it */
	for (unsigned n = 0; n < rounds; n++)
		round_of(&b, n);
	for (int k = 0; k < KEYS; k++) {
		qsort(b.ns[k], rounds, sizeof(double), compare);
		fig[k] = (struct figure){b.ns[k][0], b.ns[k][rounds / 2], b.ns[k][rounds - 1]};
	}
	machine(where, sizeof(where));
	if (json)
		report_json(fig, rounds, where);
	else
		report_text(fig, rounds, where);
	return 0;
}
