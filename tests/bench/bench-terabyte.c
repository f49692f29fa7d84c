/* SPDX-License-Identifier: MIT */
/*
 * bench-terabyte.c - what a terabyte costs of which next to nothing is touched, beside a gigabyte: making a
 * pool and a space, taking half of it away in one run, looking at its map, giving it back, and ending it.
 *
 *   bench-terabyte [--json]
 *
 * Milliseconds, the best of a few rounds, both sizes interleaved; and the lines of the allocator and the pages
 * of the process that half a terabyte of holes needs.
 */
#include <memback/pool.h>

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define GIB    (UINT64_C(1) << 30)
#define ROUNDS 9
#define CELLS  1024

enum step { POOL, SPACE, INFLATE, MAP, DEFLATE, END, STEPS };
static const char *const names[STEPS] = {"pool", "space", "inflate_half", "map", "deflate_half", "end"};

struct result {
	double ms[STEPS];
	uint64_t lines;  /* that the inflation made */
	uint64_t faults; /* page faults of the inflation */
};

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

static uint64_t faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (uint64_t)u.ru_minflt;
}

static void must(int rc, const char *what)
{
	if (!rc)
		return;
	fprintf(stderr, "bench-terabyte: %s: %s\n", what, strerror(-rc));
	exit(1);
}

static int ignore(void *arg, const struct mb_stretch *stretch)
{
	(void)arg;
	(void)stretch;
	return 0;
}

/* Notes the time since the last note, if it is the best. */
static void note(struct result *r, enum step step, double *last)
{
	double now = now_ms(), ms = now - *last;

	if (r->ms[step] == 0 || ms < r->ms[step])
		r->ms[step] = ms;
	*last = now_ms();
}

static void run(uint64_t size, struct result *r)
{
	const struct mb_region region = {0, size};
	struct mb_pool_config pool_config = {.backing = MB_BACKING_ANON, .size = size};
	struct mb_space_config space_config = {.name = "bench", .regions = &region, .region_count = 1};
	struct mb_pool_status before, after;
	struct mb_error warning, err;
	struct mb_pool *pool;
	struct mb_space *space;
	double last = now_ms();
	uint64_t at;

	must(mb_pool_create_private(&pool_config, &pool, &warning, &err), "pool");
	note(r, POOL, &last);
	must(mb_space_create(pool, &space_config, &space, &err), "space");
	note(r, SPACE, &last);
	must(mb_pool_get_status(pool, &before, &err), "status");
	at = faults();
	last = now_ms();
	must(mb_space_inflate(space, size / 4, size / 2), "inflate");
	note(r, INFLATE, &last);
	r->faults = faults() - at;
	must(mb_pool_get_status(pool, &after, &err), "status");
	r->lines = after.frames.lines - before.frames.lines;
	last = now_ms();
	must(mb_space_walk(space, size / CELLS, ignore, NULL), "map");
	note(r, MAP, &last);
	must(mb_space_deflate(space, size / 4, size / 2), "deflate");
	note(r, DEFLATE, &last);
	mb_space_destroy(space);
	mb_pool_close(pool);
	note(r, END, &last);
}

static json_t *to_json(const struct result *r)
{
	json_t *o = json_object();
	char key[64];

	for (unsigned s = 0; s < STEPS; s++) {
		snprintf(key, sizeof(key), "%s_ms", names[s]);
		json_object_set_new(o, key, json_real(r->ms[s]));
	}
	json_object_set_new(o, "inflate_half_lines", json_integer((json_int_t)r->lines));
	json_object_set_new(o, "inflate_half_faults", json_integer((json_int_t)r->faults));
	return o;
}

int main(int argc, char **argv)
{
	struct result small = {{0}, 0, 0}, large = {{0}, 0, 0};
	bool json = argc == 2 && !strcmp(argv[1], "--json");

	if (argc > 2 || (argc == 2 && !json)) {
		bool help = argc == 2 && !strcmp(argv[1], "--help");

		fprintf(help ? stdout : stderr, "usage: bench-terabyte [--json]\n");
		return help ? 0 : 2;
	}
	for (unsigned i = 0; i < ROUNDS; i++) {
		run(GIB, &small);
		run(1024 * GIB, &large);
	}
	if (json) {
		json_t *all = json_pack("{s:o,s:o}", "1gib", to_json(&small), "1tib", to_json(&large));

		json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4) | JSON_PRESERVE_ORDER);
		printf("\n");
		json_decref(all);
		return 0;
	}
	printf("%-14s %10s %10s  ms, the best of %d rounds\n", "", "1 GiB", "1 TiB", ROUNDS);
	for (unsigned s = 0; s < STEPS; s++)
		printf("%-14s %10.3f %10.3f\n", names[s], small.ms[s], large.ms[s]);
	printf("half of it as holes makes %llu and %llu lines, in %llu and %llu page faults\n",
	       (unsigned long long)small.lines, (unsigned long long)large.lines,
	       (unsigned long long)small.faults, (unsigned long long)large.faults);
	return 0;
}
