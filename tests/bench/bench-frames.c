/* SPDX-License-Identifier: MIT */
/*
 * bench-frames - what a frame costs, beside the floor (one locked operation on a cache line of one's own), beside
 * what none that takes frames one by one with a compare-and-swap can do without (look at the word, take the lowest
 * bit, write down which), and beside the literal protocol (tests/model). All of it in one run, in interleaved
 * rounds; medians are quoted.
 */
#include "frames.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define MAX_ROUNDS 101u
#define SLOTS      64u

static const char *const names[KEYS] = {
    [FLOOR_RMW] = "floor_rmw_ns",
    [FLOOR_TAKE] = "floor_take_ns",
    [REFERENCE_PAIR] = "reference_pair_ns",
    [ALLOC] = "alloc_ns",
    [FREE] = "free_ns",
    [PAIR] = "pair_ns",
    [CHURN] = "churn_ns",
    [BATCH16] = "batch16_ns",
    [BATCH512_ALLOC] = "batch512_alloc_ns",
    [BATCH512_FREE] = "batch512_free_ns",
    [PAIR_2THREADS] = "pair_2threads_ns",
    [CROSS_FREE] = "cross_thread_free_ns",
    [LATENCY_P50] = "alloc_p50_ns",
    [LATENCY_P99] = "alloc_p99_ns",
    [LATENCY_P999] = "alloc_p999_ns",
    [LATENCY_P9999] = "alloc_p9999_ns",
    [HUGE_FILL_16G] = "huge_fill_16gib_ns",
    [HUGE_FILL_1T] = "huge_fill_1tib_ns",
    [HUGE_FILL_16T] = "huge_fill_16tib_ns",
    [HUGE_LAST_16G] = "huge_last_16gib_ns",
    [HUGE_LAST_1T] = "huge_last_1tib_ns",
    [HUGE_LAST_16T] = "huge_last_16tib_ns",
    [HUGE_EMPTY_16G] = "huge_empty_16gib_ns",
    [HUGE_EMPTY_1T] = "huge_empty_1tib_ns",
    [HUGE_EMPTY_16T] = "huge_empty_16tib_ns",
    [HUGE_RANDOM_1T] = "huge_full_random_1tib_ns",
    [GIANT_FILL_16G] = "giant_fill_16gib_ns",
    [GIANT_FILL_1T] = "giant_fill_1tib_ns",
    [GIANT_FILL_16T] = "giant_fill_16tib_ns",
    [GIANT_EMPTY_16G] = "giant_empty_16gib_ns",
    [GIANT_EMPTY_1T] = "giant_empty_1tib_ns",
    [GIANT_EMPTY_16T] = "giant_empty_16tib_ns",
    [GIANT_PAIR_16T] = "giant_pair_16tib_ns",
    [BASE_RANDOM_64G] = "base_full_random_64gib_ns",
    [INIT_1T] = "init_1tib_us",
    [INIT_16T] = "init_16tib_us",
    [META_TOUCHED_16T] = "meta_touched_16tib_bytes",
    [META_RESERVED_1T] = "meta_reserved_1tib_bytes",
    [STATS_1T] = "stats_1tib_ms",
    [WHOLE_LEFT_50] = "whole_huge_left_50",
    [WHOLE_LEFT_75] = "whole_huge_left_75",
    [WHOLE_LEFT_90] = "whole_huge_left_90",
    [INSTRUCTIONS_ALLOC] = "instructions_alloc",
    [INSTRUCTIONS_FREE] = "instructions_free",
    [INSTRUCTIONS_SPLIT] = "instructions_split",
    [INSTRUCTIONS_WORST] = "instructions_worst",
};

/* What there is to reach: a figure beside another one, or (no other one) as it is. A bound of 0: just shown. */
static const struct aim {
	enum key key;
	int beside; /* enum key, or -1 */
	double times;
	double bound;
	bool least;
} aims[] = {
    {ALLOC, FLOOR_RMW, 1, 1.25, false},
    {FREE, FLOOR_RMW, 1, 1.25, false},
    {PAIR, FLOOR_RMW, 2, 1.25, false},
    {ALLOC, FLOOR_TAKE, 1, 0, false},
    {FREE, FLOOR_TAKE, 1, 0, false},
    {PAIR, FLOOR_TAKE, 2, 0, false},
    {PAIR_2THREADS, PAIR, 1, 1.1, false},
    {CHURN, FLOOR_RMW, 2, 1.6, false},
    {BATCH16, FLOOR_RMW, 1, 0.3, false},
    {BATCH512_ALLOC, FLOOR_RMW, 1, 0.2, false},
    {BATCH512_FREE, FLOOR_RMW, 1, 0.2, false},
    {CROSS_FREE, FLOOR_RMW, 1, 6, false},
    {LATENCY_P9999, LATENCY_P50, 1, 12, false},
    {HUGE_FILL_1T, HUGE_FILL_16G, 1, 1.3, false},
    {HUGE_FILL_16T, HUGE_FILL_16G, 1, 1.3, false},
    {HUGE_LAST_1T, HUGE_LAST_16G, 1, 1.3, false},
    {HUGE_LAST_16T, HUGE_LAST_16G, 1, 1.3, false},
    {HUGE_EMPTY_1T, HUGE_EMPTY_16G, 1, 1.3, false},
    {HUGE_EMPTY_16T, HUGE_EMPTY_16G, 1, 1.3, false},
    {GIANT_FILL_1T, GIANT_FILL_16G, 1, 1.3, false},
    {GIANT_FILL_16T, GIANT_FILL_16G, 1, 1.3, false},
    {GIANT_EMPTY_1T, GIANT_EMPTY_16G, 1, 1.3, false},
    {GIANT_EMPTY_16T, GIANT_EMPTY_16G, 1, 1.3, false},
    {HUGE_RANDOM_1T, FLOOR_RMW, 1, 12, false},
    {INIT_16T, -1, 1, 60, false},
    {META_TOUCHED_16T, -1, 1, 131072, false},
    {META_RESERVED_1T, -1, 1, 0.000033 * 1099511627776.0, false},
    {INSTRUCTIONS_ALLOC, -1, 1, 25, false},
    {INSTRUCTIONS_FREE, -1, 1, 50, false},
    {INSTRUCTIONS_WORST, -1, 1, 1000, false},
    {WHOLE_LEFT_50, -1, 1, 505, true},
    {WHOLE_LEFT_75, -1, 1, 250, true},
    {WHOLE_LEFT_90, -1, 1, 96, true},
};

double now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

void fail(const char *what)
{
	fprintf(stderr, "bench-frames: %s\n", what);
	exit(1);
}

void *reserve(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	need(p != MAP_FAILED, "cannot reserve memory for the metadata");
	return p;
}

struct mb_frames *make(uint64_t capacity, size_t *bytes)
{
	struct mb_frames_config c = {.capacity = capacity, .base_shift = 12, .slots = SLOTS};
	size_t size = mb_frames_meta_bytes(&c);
	struct mb_frames *f;

	need(mb_frames_init(reserve(size), size, &c, &f) == 0, "init failed");
	need(mb_range_add(f, (mb_frame){0}, capacity) == 0, "adding the range failed");
	if (bytes)
		*bytes = size;
	return f;
}

void unmake(struct mb_frames *f, size_t bytes)
{
	munmap(f, bytes);
}

uint64_t next_random(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

void pick(uint64_t *x, mb_frame *table, uint64_t count, mb_frame *picked[PICKED])
{
	for (unsigned n = 0; n < PICKED; n++) {
		picked[n] = &table[next_random(x) % count];
		__builtin_prefetch(picked[n], 1);
	}
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
	line[strcspn(line, "\n\"\\")] = 0;
	snprintf(text, size, "%s, %ld CPUs, Linux %.40s", colon ? colon + 2 : "unknown CPU",
		 sysconf(_SC_NPROCESSORS_ONLN), u.release);
}

static void print_number(double v)
{
	if (v < 0)
		printf("null");
	else
		printf("%.*f", v < 1e5 ? 3 : 0, v);
}

static void report_json(const struct figure *fig, unsigned rounds, const char *where)
{
	printf("{\"benchmark\": \"frames\", \"machine\": \"%s\", \"threads\": 2, \"rounds\": %u", where,
	       rounds);
	for (int k = 0; k < KEYS; k++) {
		printf(", \"%s\": ", names[k]);
		print_number(fig[k].median);
	}
	if (fig[INSTRUCTIONS_ALLOC].median < 0)
		printf(", \"instructions_null\": \"not counted: no --count, no valgrind, or it cannot read the "
		       "program\"");
	printf(", \"spread\": {");
	for (int k = 0; k < TIMED_KEYS; k++)
		printf("%s\"%s\": [%.3f, %.3f]", k ? ", " : "", names[k], fig[k].low, fig[k].high);
	printf("}}\n");
}

static void report_aim(const struct figure *fig, const struct aim *a)
{
	double v = fig[a->key].median, by = a->beside < 0 ? 1 : fig[a->beside].median * a->times;
	bool reached = a->least ? v >= a->bound : v / by <= a->bound;

	if (v < 0)
		return;
	printf("%-26s", names[a->key]);
	if (a->beside >= 0)
		printf(" / %g %-20s = %6.2f", a->times, names[a->beside], v / by);
	else
		printf("   %22s = %6.0f", "", v);
	if (a->bound > 0)
		printf("  (%s %g%s)", a->least ? "at least" : "at most", a->bound, reached ? "" : ": not reached");
	putchar('\n');
}

static void report_text(const struct figure *fig, unsigned rounds, const char *where)
{
	printf("%s; 1 thread but where 2 are named; medians of %u interleaved rounds, CPU time of the thread\n",
	       where, rounds);
	for (int k = 0; k < TIMED_KEYS; k++)
		printf("%-26s %10.2f   [%.2f, %.2f]\n", names[k], fig[k].median, fig[k].low, fig[k].high);
	for (int k = TIMED_KEYS; k < KEYS; k++)
		if (fig[k].median < 0)
			printf("%-26s    not counted: see --count\n", names[k]);
		else
			printf("%-26s %10.2f\n", names[k], fig[k].median);
	for (size_t n = 0; n < sizeof(aims) / sizeof(aims[0]); n++)
		report_aim(fig, &aims[n]);
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout,
		"usage: bench-frames [--json] [--rounds N] [--count SCRIPT PROGRAM]\n"
		"N: 1 to %u, default 21. SCRIPT PROGRAM: tests/unit/core/count-instructions.sh and\n"
		"BUILD/tests/unit/core/count-instructions, for the instructions; they need valgrind.\n",
		MAX_ROUNDS);
	return status;
}

struct options {
	bool json;
	unsigned rounds;
	const char *script;
	const char *program;
};

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	for (int n = 1; n < argc; n++) {
		if (strcmp(argv[n], "--json") == 0) {
			o->json = true;
		} else if (strcmp(argv[n], "--rounds") == 0 && n + 1 < argc) {
			o->rounds = (unsigned)strtoul(argv[++n], NULL, 10);
		} else if (strcmp(argv[n], "--count") == 0 && n + 2 < argc) {
			o->script = argv[++n];
			o->program = argv[++n];
		} else {
			return usage(strcmp(argv[n], "--help") != 0);
		}
	}
	return o->rounds < 1 || o->rounds > MAX_ROUNDS ? usage(1) : -1;
}

int main(int argc, char **argv)
{
	static double ns[MAX_ROUNDS][KEYS];
	struct options o = {.rounds = 21};
	struct figure fig[KEYS];
	struct small *small;
	struct large *large;
	char where[400];
	int status = parse(argc, argv, &o);

	if (status >= 0)
		return status;
	once(o.script, o.program, ns[0]);
	for (int k = TIMED_KEYS; k < KEYS; k++)
		fig[k] = (struct figure){ns[0][k], ns[0][k], ns[0][k]};
	small = small_create();
	large = large_create();
	for (int warm = 1; warm >= 0; warm--) /* the first counted round overwrites the one that warms up */
		for (unsigned n = 0; n < (warm ? 1 : o.rounds); n++) {
			small_round(small, ns[n]);
			large_round(large, ns[n]);
		}
	for (int k = 0; k < TIMED_KEYS; k++) {
		double column[MAX_ROUNDS];

		for (unsigned n = 0; n < o.rounds; n++)
			column[n] = ns[n][k];
		qsort(column, o.rounds, sizeof(double), compare);
		fig[k] = (struct figure){column[0], column[o.rounds / 2], column[o.rounds - 1]};
	}
	machine(where, sizeof(where));
	if (o.json)
		report_json(fig, o.rounds, where);
	else
		report_text(fig, o.rounds, where);
	return 0;
}
