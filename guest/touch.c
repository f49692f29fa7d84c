/* SPDX-License-Identifier: MIT */
/*
 * touch.c - a guest that touches memory and times it.
 *
 * Options:
 *   size=BYTES         how much memory to go over (default: all that is free), from the lowest up
 *   at=START+SIZE      go over this range of guest physical addresses instead; may be given several times
 *   stride=BYTES       distance between touches (default 4096, a multiple of 8)
 *   passes=N           how often (default 2: the first finds memory cold)
 *   op=write|read      what a touch is (default write)
 *   random             in an order without neighbours (a fixed one)
 *   anywhere=N         N touches at places that are strewn over all of it, instead of one every stride
 *   verify             what was written is looked at again at the end (op=write)
 *   smp                all CPUs share the work (cpus=N)
 *   pause=MS           sleep between passes
 *
 * Prints a line a pass:
 *   touch: pass=1 touches=N us=N ns_per_touch=N.N gib_per_s=N.NN
 * gib_per_s counts the memory gone over, whatever the stride. At the end "touch: verify ok touches=N" or
 * "touch: verify FAILED gpa=0xN is=0xN expected=0xN" and status 1.
 */
#include "lib/boot.h"
#include "lib/console.h"
#include "lib/cpu.h"
#include "lib/irq.h"
#include "lib/machine.h"
#include "lib/smp.h"
#include "lib/text.h"
#include <stddef.h>

#define RANGES_MAX 32
#define SCATTER    0x9e3779b97f4a7c15ull /* odd: multiplying by it permutes any power of two */

enum op { OP_WRITE, OP_READ, OP_VERIFY };

struct job {
	struct range ranges[RANGES_MAX];
	uint64_t touches[RANGES_MAX]; /* in each range */
	unsigned count;
	uint64_t stride, bytes;
	uint64_t anywhere; /* touches that have nothing to do with the stride; 0: the stride counts */
	bool random;
	unsigned cpus;
	enum op op;
	uint64_t bad; /* gpa of a word that was not as it should be */
};

static uint64_t value_for(uint64_t gpa)
{
	return gpa * SCATTER + 1;
}

static void touch_word(struct job *job, uint64_t gpa)
{
	volatile uint64_t *word = (volatile uint64_t *)(uintptr_t)gpa;

	if (job->op == OP_WRITE)
		*word = value_for(gpa);
	else if (*word != value_for(gpa) && job->op == OP_VERIFY)
		/* relaxed: one of the bad words is enough */
		__atomic_store_n(&job->bad, gpa, __ATOMIC_RELAXED);
}

/* The touches [from, to) of a range, in order. */
static void touch_in_order(struct job *job, const struct range *r, uint64_t from, uint64_t to)
{
	uint64_t gpa = r->start + from * job->stride;

	for (uint64_t i = from; i < to; i++, gpa += job->stride)
		touch_word(job, gpa);
}

/* This CPU's share of a permutation of all touches of a range. */
static void touch_at_random(struct job *job, const struct range *r, uint64_t touches, unsigned index)
{
	uint64_t mask = 1;

	while (mask < touches)
		mask <<= 1;
	for (uint64_t i = index; i < mask; i += job->cpus) {
		uint64_t at = i * SCATTER & (mask - 1);

		if (at < touches)
			touch_word(job, r->start + at * job->stride);
	}
}

/* The word at this distance from the start of all ranges laid end to end. */
static uint64_t word_at(const struct job *job, uint64_t distance)
{
	for (unsigned i = 0; i < job->count; i++) {
		uint64_t bytes = job->ranges[i].end - job->ranges[i].start;

		if (distance < bytes)
			return job->ranges[i].start + (distance & ~7ull);
		distance -= bytes;
	}
	return job->ranges[0].start;
}

/* Places without a pattern, the same in each pass (a step of SplitMix64). */
static uint64_t strew(uint64_t i)
{
	uint64_t x = (i + 1) * SCATTER;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static void touch_share(void *arg, unsigned index)
{
	struct job *job = arg;

	for (uint64_t i = index; i < job->anywhere; i += job->cpus)
		touch_word(job, word_at(job, strew(i) % job->bytes));
	if (job->anywhere)
		return;
	for (unsigned i = 0; i < job->count; i++) {
		uint64_t n = job->touches[i], share = n / job->cpus;

		if (job->random)
			touch_at_random(job, &job->ranges[i], n, index);
		else
			touch_in_order(job, &job->ranges[i], share * index,
				       index + 1 == job->cpus ? n : share * (index + 1));
	}
}

static uint64_t count_touches(const struct job *job)
{
	uint64_t sum = job->anywhere;

	for (unsigned i = 0; !job->anywhere && i < job->count; i++)
		sum += job->touches[i];
	return sum;
}

static void run_pass(struct job *job, unsigned pass)
{
	uint64_t begin = cpu_tsc(), ns, touches = count_touches(job), centi;

	smp_run(job->cpus, touch_share, job);
	ns = (cpu_tsc() - begin) * 1000 / (irq_tsc_hz() / 1000000);
	ns = ns ? ns : 1;
	centi = (job->bytes >> 20) * 100000000 / 1024 * 1000 / ns;
	print("touch: pass=%u touches=%lu us=%lu ns_per_touch=%lu.%lu gib_per_s=%lu.%02lu\n", pass, touches,
	      ns / 1000, ns / touches, ns * 10 / touches % 10, centi / 100, centi % 100);
}

static void add_range(struct job *job, uint64_t start, uint64_t bytes)
{
	uint64_t touches = (bytes + job->stride - 1) / job->stride;

	if (!bytes)
		return;
	if (job->count == RANGES_MAX)
		machine_die("touch: more than %u ranges", RANGES_MAX);
	job->ranges[job->count] = (struct range){start, start + bytes};
	job->touches[job->count++] = touches;
	job->bytes += bytes;
}

/* Is all of it memory that nobody else uses? */
static bool is_free(uint64_t start, uint64_t bytes)
{
	for (unsigned i = 0; i < boot.free_count; i++)
		if (start >= boot.free[i].start && start < boot.free[i].end &&
		    bytes <= boot.free[i].end - start)
			return true;
	return false;
}

static void choose_ranges(struct job *job)
{
	uint64_t left = boot_option_number("size", UINT64_MAX);
	const char *at;
	unsigned n;

	for (n = 0; (at = boot_option_nth("at", n)); n++) {
		uint64_t start, bytes;
		const char *rest;

		if (!text_parse_size(at, &start, &rest) || *rest != '+' ||
		    !text_parse_size(rest + 1, &bytes, NULL))
			machine_die("option at: '%s' is not START+SIZE", at);
		if (start % 8 || !is_free(start, bytes))
			machine_die("option at: '%s' is not free memory, aligned to 8", at);
		add_range(job, start, bytes);
	}
	for (unsigned i = 0; !n && i < boot.free_count && left; i++) {
		uint64_t bytes = boot.free[i].end - boot.free[i].start;

		bytes = bytes < left ? bytes : left;
		add_range(job, boot.free[i].start, bytes);
		left -= bytes;
	}
	if (!job->count)
		machine_die("touch: nothing to touch");
}

static void parse_options(struct job *job)
{
	const char *op = boot_option("op");

	job->stride = boot_option_number("stride", PAGE_SIZE);
	if (!job->stride || job->stride % 8 || job->stride >> 40)
		machine_die("option stride: a multiple of 8, at most 1T");
	job->op = op && !strcmp(op, "read") ? OP_READ : OP_WRITE;
	if (op && strcmp(op, "read") && strcmp(op, "write"))
		machine_die("option op: '%s' is neither read nor write", op);
	job->random = boot_option("random");
	job->anywhere = boot_option_number("anywhere", 0);
	job->cpus = 1;
	choose_ranges(job);
	if (boot_option("smp"))
		job->cpus = smp_start();
}

int guest_main(void)
{
	static struct job job;
	uint64_t passes, pause_ms = boot_option_number("pause", 0), deadline;

	parse_options(&job);
	passes = boot_option_number("passes", 2);
	print("touch: ranges=%u bytes=%lu stride=%lu cpus=%u tsc_hz=%lu\n", job.count, job.bytes, job.stride,
	      job.cpus, irq_tsc_hz());
	for (unsigned pass = 1; pass <= passes; pass++) {
		run_pass(&job, pass);
		deadline = irq_deadline_ms(pause_ms);
		while (cpu_tsc() < deadline)
			irq_wait(deadline);
	}
	if (job.op != OP_WRITE || !boot_option("verify"))
		return EXIT_OK;
	job.op = OP_VERIFY;
	smp_run(job.cpus, touch_share, &job);
	if (job.bad) {
		print("touch: verify FAILED gpa=0x%lx is=0x%lx expected=0x%lx\n", job.bad,
		      *(volatile uint64_t *)(uintptr_t)job.bad, value_for(job.bad));
		return EXIT_FAIL;
	}
	print("touch: verify ok touches=%lu\n", count_touches(&job));
	return EXIT_OK;
}
