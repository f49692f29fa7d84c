/* SPDX-License-Identifier: MIT */
/*
 * bench-balloon.c - how fast a guest's memory is taken and given back, and what of that is not the kernel's.
 *
 * Launches the `balloon` guest, inflates and deflates it over its control socket (from the command to the
 * event that says it is done), and in the same run, interleaved, does to memory of the same kind and size
 * what the kernel has to do for that. At last two of them move memory to and fro on one pool. Medians over the rounds.
 *
 *   bench-balloon [--json] [--rounds N] [--size MIB] VMM GUEST
 *
 * Exit status 77: there is no /dev/kvm. Backings that cannot be had are left out, with the reason.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "balloon_move.h"
#include "bare.h"
#include "bench_vm.h"
#include "tuning.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB        (UINT64_C(1) << 20)
#define BATCH      (32 * MIB) /* of the bare calls: where longer ones gain little */
#define ROUNDS_MAX 99

struct options {
	bool json;
	unsigned rounds;
	uint64_t size; /* bytes that go into the balloon and come back */
	const char *vmm, *guest;
	const char *append; /* the guest's options */
};

/* What is measured: bytes per nanosecond are GB/s; shown as GiB/s. */
enum series {
	INFLATE, /* the VM, one vCPU running */
	DEFLATE,
	REFILL,              /* the guest touches what came back */
	PREALLOC,            /* deflate of a VM with --prealloc */
	BARE_DISCARD,        /* nobody else running */
	BARE_DISCARD_BESIDE, /* a thread running, as the vCPU is */
	BARE_POPULATE,
	BARE_TOUCH,
	SERIES
};

static const char *const series_names[SERIES] = {
    "inflate",       "deflate",    "refill", "deflate_prealloc", "bare_discard", "bare_discard_beside",
    "bare_populate", "bare_touch",
};

struct result {
	int64_t ns[SERIES][ROUNDS_MAX]; /* 0: not measured */
};

static bool start(struct bench_vm *vm, const struct options *o, const char *backing, bool prealloc)
{
	const struct bench_vm_config config = {
	    .vmm = o->vmm,
	    .guest = o->guest,
	    .append = o->append,
	    .name = "bench",
	    .memory = ((o->size + o->size / 3) / MIB + 2) / 2 * 2 * MIB,
	    .memory_option = "--backing",
	    .from = backing,
	    .prealloc = prealloc,
	};

	return bench_vm_start(vm, &config);
}

/* ---- one backing -------------------------------------------------------------------------------------------
 */

static void measure_round(const struct options *o, struct result *r, unsigned i, struct bench_vm *vm,
			  struct bench_vm *pre, struct bare *bare)
{
	uint64_t memory = bench_vm_memory(vm);

	r->ns[INFLATE][i] = bench_vm_set_size(vm, memory - o->size);
	r->ns[BARE_DISCARD_BESIDE][i] = bare_discard_beside_thread(bare);
	r->ns[BARE_TOUCH][i] = bare_touch(bare);
	r->ns[DEFLATE][i] = bench_vm_set_size(vm, memory);
	r->ns[REFILL][i] = 1000 * bench_vm_wait_line(vm, "balloon: refilled", "us=");
	r->ns[BARE_DISCARD][i] = bare_discard(bare);
	r->ns[BARE_POPULATE][i] = bare_populate(bare);
	if (!pre)
		return;
	bench_vm_set_size(pre, memory - o->size);
	r->ns[PREALLOC][i] = bench_vm_set_size(pre, memory);
	bench_vm_wait_line(pre, "balloon: refilled", "us=");
}

static const char *measure(const struct options *o, enum bare_backing backing, const char *name,
			   struct result *r)
{
	struct bench_vm vm, pre;
	struct bare bare;
	bool has_pre;

	if (!bare_open(&bare, backing, o->size, BATCH)) {
		bare_close(&bare);
		return "the kernel does not give such memory";
	}
	if (!start(&vm, o, name, false)) {
		bare_close(&bare);
		return "the VM does not start";
	}
	/* With reserved pages populating is the reserving, and two VMs need twice as many. */
	has_pre = backing != BARE_HUGETLB && start(&pre, o, name, true);
	for (unsigned i = 0; i < o->rounds; i++)
		measure_round(o, r, i, &vm, has_pre ? &pre : NULL, &bare);
	if (has_pre)
		bench_vm_end(&pre);
	bench_vm_end(&vm);
	bare_close(&bare);
	return NULL;
}

/* ---- what is printed ----------------------------------------------------------------------------------------
 */

static int compare(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* GiB/s at this share of the rounds, 0 slowest; 0.5 is the median. */
static double rate(const struct options *o, struct result *r, enum series s, double share)
{
	int64_t *ns = r->ns[s];

	qsort(ns, o->rounds, sizeof(*ns), compare);
	ns += (unsigned)((1 - share) * (o->rounds - 1) + 0.5);
	return *ns > 0 ? (double)o->size / (double)*ns * 1e9 / (1 << 30) : 0;
}

/* What the balloon's protocol costs beyond the kernel's work, a page number. */
static double overhead(const struct options *o, struct result *r)
{
	double pages = (double)o->size / 4096, gib = (double)o->size / (1 << 30);

	return (gib / rate(o, r, INFLATE, 0.5) - gib / rate(o, r, BARE_DISCARD_BESIDE, 0.5)) * 1e9 / pages;
}

static json_t *to_json(const struct options *o, struct result *r)
{
	json_t *out = json_object();
	char key[64];

	for (unsigned s = 0; s < SERIES; s++) {
		if (!rate(o, r, s, 0.5))
			continue;
		snprintf(key, sizeof(key), "%s_gib_s", series_names[s]);
		json_object_set_new(out, key, json_real(rate(o, r, s, 0.5)));
		snprintf(key, sizeof(key), "%s_spread", series_names[s]);
		json_object_set_new(out, key, json_pack("[ff]", rate(o, r, s, 0.1), rate(o, r, s, 0.9)));
	}
	json_object_set_new(out, "inflate_to_bare",
			    json_real(rate(o, r, INFLATE, 0.5) / rate(o, r, BARE_DISCARD_BESIDE, 0.5)));
	if (rate(o, r, PREALLOC, 0.5) > 0)
		json_object_set_new(out, "deflate_prealloc_to_bare",
				    json_real(rate(o, r, PREALLOC, 0.5) / rate(o, r, BARE_POPULATE, 0.5)));
	json_object_set_new(out, "overhead_ns_per_number", json_real(overhead(o, r)));
	return out;
}

static void print_table(const struct options *o, const char *name, struct result *r)
{
	printf("%s: %llu MiB, GiB/s as median (10 %% .. 90 %%)\n", name, (unsigned long long)(o->size / MIB));
	for (unsigned s = 0; s < SERIES; s++)
		if (rate(o, r, s, 0.5) > 0)
			printf("  %-20s %9.2f  (%.2f .. %.2f)\n", series_names[s], rate(o, r, s, 0.5),
			       rate(o, r, s, 0.1), rate(o, r, s, 0.9));
	printf("  inflate / bare       %9.2f  and %.1f ns a page number beyond the kernel's work\n",
	       rate(o, r, INFLATE, 0.5) / rate(o, r, BARE_DISCARD_BESIDE, 0.5), overhead(o, r));
}

/* ---- memory that nobody has touched ---------------------------------------------------------------------- */

/*
 * A guest of 64 GiB puts 48 GiB of untouched memory into its balloon: there is nothing to be given back, so
 * what is left is the queue: the guest's writing of page numbers, and their being read, gathered and noted.
 */
static double untouched_ns(const struct options *o)
{
	struct options large = *o;
	int64_t best = INT64_MAX;
	struct bench_vm vm;

	large.size = 48 * 1024 * MIB;
	large.append = "fill=none verify=off pfns=65536";
	if (!start(&vm, &large, "anon", false))
		return 0;
	for (unsigned i = 0; i < o->rounds; i++) {
		uint64_t memory = bench_vm_memory(&vm);
		int64_t ns = bench_vm_set_size(&vm, memory - large.size);

		best = ns < best ? ns : best;
		bench_vm_set_size(&vm, memory);
	}
	bench_vm_end(&vm);
	return (double)best / ((double)large.size / 4096);
}

static void report_untouched(const struct options *o, json_t *all)
{
	double ns = untouched_ns(o);

	if (!(ns > 0))
		fprintf(stderr, "bench-balloon: untouched memory left out: the VM does not start\n");
	else if (o->json)
		json_object_set_new(all, "untouched_ns_per_number", json_real(ns));
	else
		printf("untouched memory: 48 GiB of 64, %.1f ns a page number, all in all (the best round)\n",
		       ns);
}

/* ---- from one guest to another ---------------------------------------------------------------------------- */

static double median_rate(int64_t *ns, unsigned rounds, uint64_t bytes)
{
	qsort(ns, rounds, sizeof(*ns), compare);
	return (double)bytes / (double)ns[rounds / 2] * 1e9 / (1 << 30);
}

static void report_move(const struct options *o, json_t *all)
{
	struct balloon_move *m = calloc(1, sizeof(*m));
	uint64_t bytes = (o->size / 3 / BATCH + 1) * BATCH;
	const char *why = m ? balloon_move(o->vmm, o->guest, bytes, o->rounds, m) : "out of memory";
	double moved, bare;

	if (why) {
		fprintf(stderr, "bench-balloon: moving left out: %s\n", why);
		free(m);
		return;
	}
	moved = median_rate(m->moved, m->rounds, bytes);
	bare = median_rate(m->bare, m->rounds, bytes);
	if (o->json)
		json_object_set_new(all, "move",
				    json_pack("{sf sf sf}", "running_gib_s", moved, "bare_gib_s", bare,
					      "to_bare", moved / bare));
	else
		printf(
		    "from one running guest to another, and touched there: %.2f GiB/s, bare %.2f, %.2f of it\n",
		    moved, bare, moved / bare);
	free(m);
}

/* ---- the whole ----------------------------------------------------------------------------------------- */

static void usage(bool help)
{
	fprintf(help ? stdout : stderr,
		"usage: bench-balloon [--json] [--rounds N (at most %d)] [--size MIB (a multiple of %llu)] VMM "
		"GUEST\n",
		ROUNDS_MAX, (unsigned long long)(BATCH / MIB));
	exit(help ? 0 : 2);
}

static void parse(int argc, char **argv, struct options *o)
{
	int i = 1;

	if (argc == 2 && !strcmp(argv[1], "--help"))
		usage(true);

	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--json"))
			o->json = true;
		else if (!strcmp(argv[i], "--rounds") && i + 1 < argc)
			o->rounds = (unsigned)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--size") && i + 1 < argc)
			o->size = strtoull(argv[++i], NULL, 10) * MIB;
		else
			break;
	}
	if (argc - i != 2 || !o->rounds || o->rounds > ROUNDS_MAX || !o->size || o->size % BATCH)
		usage(false);
	o->vmm = argv[i];
	o->guest = argv[i + 1];
}

int main(int argc, char **argv)
{
	static const char *const names[] = {"anon", "memfd", "hugetlb=2M"};
	struct options o = {.rounds = 9, .size = 768 * MIB, .append = "bench"};
	json_t *all = json_object();
	struct tuning tuning;

	parse(argc, argv, &o);
	if (access("/dev/kvm", R_OK | W_OK)) {
		fprintf(stderr, "bench-balloon: skipped, /dev/kvm: %s\n", strerror(errno));
		return 77;
	}
	/* Two VMs of a third more than the size, and the bare memory. */
	tuning_begin(&tuning, (2 * (o.size + o.size / 3) + o.size) / (2 * MIB));
	for (unsigned b = 0; b < 3; b++) {
		struct result *r = calloc(1, sizeof(*r));
		const char *why = r ? measure(&o, (enum bare_backing)b, names[b], r) : "out of memory";

		if (why)
			fprintf(stderr, "bench-balloon: %s left out: %s\n", names[b], why);
		else if (o.json)
			json_object_set_new(all, names[b], to_json(&o, r));
		else
			print_table(&o, names[b], r);
		free(r);
	}
	report_move(&o, all);
	tuning_end(&tuning);
	report_untouched(&o, all);
	if (o.json) {
		json_object_set_new(all, "size_bytes", json_integer((json_int_t)o.size));
		json_object_set_new(all, "rounds", json_integer(o.rounds));
		json_dumpf(all, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(4) | JSON_PRESERVE_ORDER);
		printf("\n");
	}
	json_decref(all);
	return 0;
}
