/* SPDX-License-Identifier: MIT */
/*
 * main.c - runs the real core under the deterministic scheduler.
 *
 *   test-sched                           all schedules of the small scenarios, within their bounds
 *   test-sched --random                  the large ones, at random
 *   test-sched --mutant                  with a defect in the core: succeeds if a small scenario finds it
 *   test-sched --only NAME --replay S    one schedule, step by step: addr2line -e test-sched shows where
 */
#include "explore.h"

#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct options {
	bool random;
	bool mutant;
	const char *only;
	const char *replay;
	uint64_t seed;
	uint64_t schedules;
	int bound; /* -1: each scenario's own */
	unsigned at_most;
};

/* Of a core with a defect: 1 where the defect could be put in. The real one has none. */
int sched_mutant_applied(void);
__attribute__((weak)) int sched_mutant_applied(void)
{
	return -1;
}

/* Which scenario is known to find it; "": none. */
const char *sched_mutant_scenario(void);
__attribute__((weak)) const char *sched_mutant_scenario(void)
{
	return "";
}

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* What a core does that reads a block that is gone. */
static struct {
	const char *scenario;
	bool mutant;
} at_work;

static void crashed(int signal)
{
	char text[160];
	int n = snprintf(text, sizeof(text), "%-15s FAILED: the core crashed, signal %d\n", at_work.scenario,
			 signal);

	if (n > 0 && write(STDOUT_FILENO, text, (size_t)n) < 0)
		_exit(1);
	_exit(at_work.mutant ? 0 : 1);
}

static void catch_crashes(void)
{
	static unsigned char stack[64 * 1024];
	stack_t alternative = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = crashed, .sa_flags = SA_ONSTACK};

	if (sigaltstack(&alternative, NULL) || sigaction(SIGSEGV, &action, NULL) ||
	    sigaction(SIGBUS, &action, NULL))
		perror("catching crashes");
}

static bool run_scenario(const struct scenario *s, const struct options *o, unsigned bound)
{
	double begun = now();
	struct tally tally;
	bool ok;

	at_work.scenario = s->name;
	at_work.mutant = o->mutant;
	if (o->replay)
		ok = explore_replay(s, o->replay);
	else if (o->random)
		ok = explore_random(s, o->seed, o->schedules, &tally);
	else
		ok = explore_all(s, bound, &tally);
	if (!o->replay)
		printf("%-15s %9" PRIu64 " schedules %6" PRIu64 " states %6" PRIu64 " steps %6.2f s  %s\n",
		       s->name, tally.schedules, tally.states, tally.steps, now() - begun, s->what);
	if (!ok)
		printf("%-15s FAILED: %s\n", s->name, explore_failure());
	fflush(stdout);
	return ok;
}

static bool is_chosen(const struct scenario *s, const struct options *o)
{
	return !o->only || strcmp(o->only, s->name) == 0;
}

static const struct scenario *const small[] = {scenarios_line, scenarios_range, scenarios_kinds, scenarios_dead,
					       NULL};
static const struct scenario *const wide[] = {scenarios_wide, scenarios_dead, NULL};

static unsigned bound_of(const struct scenario *s, const struct options *o)
{
	unsigned bound = o->bound >= 0 ? (unsigned)o->bound : s->bound;

	return bound < o->at_most ? bound : o->at_most;
}

static int run_all(const struct options *o)
{
	unsigned failed = 0, run = 0;

	if (o->random)
		printf("seed %" PRIu64 ", %" PRIu64 " schedules of each\n", o->seed, o->schedules);
	for (const struct scenario *const *set = o->random ? wide : small; *set; set++)
		for (const struct scenario *s = *set; s->name; s++) {
			if (!is_chosen(s, o))
				continue;
			run++;
			failed += !run_scenario(s, o, bound_of(s, o));
		}
	if (!run)
		fprintf(stderr, "no scenario has this name\n");
	return failed || !run;
}

/* Does a small scenario fail within this bound? */
static bool found_within(const struct options *o, unsigned bound)
{
	for (const struct scenario *const *set = small; *set; set++)
		for (const struct scenario *s = *set; s->name; s++)
			if (is_chosen(s, o) && !run_scenario(s, o, bound))
				return true;
	return false;
}

/* The fewest preemptions first: most defects need one or two. */
static int run_mutant(const struct options *o)
{
	if (sched_mutant_applied() != 1) {
		printf("the defect could not be put in: the source has changed, and mutate.py must follow\n");
		return 1;
	}
	for (unsigned n = 0; n < 6; n++) {
		struct options first = *o;

		/* the one that is known to find it first, then all */
		if (n < 3 && !o->only)
			first.only = sched_mutant_scenario();
		if (found_within(&first, n % 3)) {
			printf("found, with %u preemptions\n", n % 3);
			return 0;
		}
	}
	printf("NOT found\n");
	return 1;
}

static void usage(FILE *to)
{
	fputs("usage: test-sched [--only NAME] [--bound N | --at-most N] [--replay SCHEDULE] [--mutant]\n"
	      "       test-sched --random [--only NAME] [--seed N] [--schedules N]\n",
	      to);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
	    {"random", no_argument, NULL, 'r'},      {"mutant", no_argument, NULL, 'm'},
	    {"only", required_argument, NULL, 'o'},  {"replay", required_argument, NULL, 'p'},
	    {"seed", required_argument, NULL, 's'},  {"schedules", required_argument, NULL, 'n'},
	    {"bound", required_argument, NULL, 'b'}, {"at-most", required_argument, NULL, 'a'},
	    {"help", no_argument, NULL, 'h'},        {0},
	};
	struct options o = {.bound = -1, .seed = 1, .schedules = 300, .at_most = SCHED_SWITCH_MAX};
	int c;

	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 'r':
			o.random = true;
			break;
		case 'm':
			o.mutant = true;
			break;
		case 'o':
			o.only = optarg;
			break;
		case 'p':
			o.replay = optarg;
			break;
		case 's':
			o.seed = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			o.schedules = strtoull(optarg, NULL, 0);
			break;
		case 'b':
			o.bound = (int)strtol(optarg, NULL, 0);
			break;
		case 'a':
			o.at_most = (unsigned)strtoul(optarg, NULL, 0);
			break;
		case 'h':
			usage(stdout);
			return 0;
		default:
			usage(stderr);
			return 2;
		}
	}
	if (o.seed == 0)
		o.seed = (uint64_t)time(NULL);
	catch_crashes();
	return o.mutant ? run_mutant(&o) : run_all(&o);
}
