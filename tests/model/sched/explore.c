/* SPDX-License-Identifier: MIT */
/*
 * explore.c - goes through schedules.
 *
 * All schedules within a bound, as a depth-first search: a run without switches is done first; then, for each
 * of its steps and each thread that could have gone on there, the run that switches there, and so on below it
 * with the steps behind that switch, until the bound is reached. So each schedule is run once. Runs that end in
 * a state that was there before are not checked again.
 *
 * A thread that dies runs alone until then: what it leaves behind is what the others meet. At random it runs
 * beside them.
 */
#include "explore.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define STATES (1u << 17)

struct search {
	const struct scenario *scenario;
	struct world *world;
	struct tally *tally;
	unsigned bound;
	bool failed;
	uint64_t state[STATES]; /* hash table of those that were checked */
};

static char failure[1024];

const char *explore_failure(void)
{
	return failure;
}

static void thread_of_scenario(void *arg, unsigned t)
{
	const struct search *s = (const struct search *)arg;

	s->scenario->thread(s->world, t);
}

static void report(const struct sched_plan *p, const char *what)
{
	int n = snprintf(failure, sizeof(failure), "%s (schedule ", what);

	if (n > 0 && p->seed)
		n += snprintf(failure + n, sizeof(failure) - (size_t)n, "seed %" PRIu64, p->seed);
	else if (n > 0)
		n += snprintf(failure + n, sizeof(failure) - (size_t)n, "%u", p->first);
	if (p->death && !p->seed)
		n += snprintf(failure + n, sizeof(failure) - (size_t)n, ",x%u>%u", p->death, p->heir);
	for (unsigned k = 0; k < p->switches; k++)
		n += snprintf(failure + n, sizeof(failure) - (size_t)n, ",%u>%u", p->at[k].step,
			      p->at[k].thread);
	if (p->fail_point)
		n += snprintf(failure + n, sizeof(failure) - (size_t)n, ",!%u", p->fail_point);
	snprintf(failure + n, sizeof(failure) - (size_t)n, ")");
}

/* True if the state is new. */
static bool remember(struct search *s, uint64_t hash)
{
	uint64_t n = hash % STATES;

	for (unsigned k = 0; k < 64; k++, n = (n + 1) % STATES) {
		if (s->state[n] == hash)
			return false;
		if (!s->state[n])
			break;
	}
	/* a full table only costs time */
	s->state[n] = hash;
	s->tally->states++;
	return true;
}

/* One schedule; false: it failed. */
static bool run_one(struct search *s, const struct sched_plan *plan)
{
	const char *what;

	world_reset(s->world);
	what = sched_run(plan, thread_of_scenario, s);
	s->tally->schedules++;
	if (sched_steps() > s->tally->steps)
		s->tally->steps = sched_steps();
	if (!what && !(s->world->stands && sched_is_dead(plan->victim)) && remember(s, world_hash(s->world))) {
		world_check(s->world);
		what = sched_failure();
	}
	if (what) {
		report(plan, what);
		s->failed = true;
	}
	return !what;
}

/* All schedules that begin as this one, with more switches behind its last one. */
static void search(struct search *s, const struct sched_plan *plan)
{
	struct sched_plan next = *plan;
	uint32_t from = plan->switches ? plan->at[plan->switches - 1].step + 1 : plan->death, end;
	uint8_t *others;

	if (!run_one(s, plan) || plan->switches == s->bound)
		return;
	end = sched_steps();
	others = (uint8_t *)malloc(end + 1);
	if (!others)
		abort();
	for (uint32_t n = from; n < end; n++)
		others[n] = (uint8_t)sched_others(n);
	next.switches++;
	for (uint32_t n = from; n < end && !s->failed; n++)
		for (uint32_t t = 0; t < plan->threads && !s->failed; t++)
			if (others[n] >> t & 1) {
				next.at[plan->switches] = (struct sched_switch){n, t};
				search(s, &next);
			}
	free(others);
}

/* Points of the core that may fail are counted in a run without switches; one switch besides is tried. */
static void search_points(struct search *s, unsigned first)
{
	struct sched_plan plan = {.threads = s->scenario->threads, .first = first};
	unsigned bound = s->bound;
	uint32_t points;

	if (!run_one(s, &plan))
		return;
	points = sched_points();
	s->bound = bound < 1 ? bound : 1;
	for (uint32_t n = 1; n <= points && !s->failed; n++) {
		plan.fail_point = n;
		search(s, &plan);
	}
	s->bound = bound;
}

/* The thread that dies is killed at each of its steps, and each of the others goes on then. */
static void search_deaths(struct search *s)
{
	struct sched_plan plan = {.threads = s->scenario->threads, .first = s->scenario->dies};
	bool dead = true;

	plan.victim = s->scenario->dies;
	for (plan.death = 1; dead && !s->failed; plan.death++)
		for (plan.heir = 0; plan.heir < plan.threads && !s->failed; plan.heir++) {
			if (plan.heir == plan.victim)
				continue;
			search(s, &plan);
			dead = sched_is_dead(plan.victim);
		}
}

static struct search *begin(const struct scenario *scenario, struct tally *tally)
{
	struct search *s = (struct search *)calloc(1, sizeof(*s));

	if (s)
		s->world = (struct world *)calloc(1, sizeof(*s->world));
	if (!s || !s->world)
		abort();
	*tally = (struct tally){0};
	s->scenario = scenario;
	s->tally = tally;
	failure[0] = '\0';
	scenario->prepare(s->world);
	world_keep(s->world);
	/* the preparation is checked, too */
	world_check(s->world);
	world_reset(s->world);
	return s;
}

static bool end(struct search *s)
{
	bool ok = !s->failed;

	world_destroy(s->world);
	free(s->world);
	free(s);
	return ok;
}

/* Did the preparation fail? */
static bool is_prepared(struct search *s)
{
	const char *what = sched_failure();

	if (what) {
		snprintf(failure, sizeof(failure), "preparation: %s", what);
		s->failed = true;
	}
	return !what;
}

bool explore_all(const struct scenario *scenario, unsigned bound, struct tally *tally)
{
	struct search *s = begin(scenario, tally);

	s->bound = bound;
	if (is_prepared(s) && scenario->dies) {
		search_deaths(s);
		return end(s);
	}
	for (unsigned first = 0; is_prepared(s) && first < scenario->threads && !s->failed; first++) {
		struct sched_plan plan = {.threads = scenario->threads, .first = first};

		search(s, &plan);
		if (!s->failed)
			search_points(s, first);
	}
	return end(s);
}

/* As many deaths at an early step as at a late one. */
static uint32_t some_death(uint64_t seed)
{
	uint64_t state = seed * 2 + 1;
	uint64_t range = UINT64_C(16) << sched_random(&state) % 9;

	return 1 + (uint32_t)(sched_random(&state) % range);
}

bool explore_random(const struct scenario *scenario, uint64_t seed, uint64_t schedules, struct tally *tally)
{
	static const unsigned gaps[2][5] = {{3, 12, 60, 300, 1500}, {2, 5, 12, 30, 80}};
	const unsigned *gap = gaps[scenario->bound > 0]; /* small ones switch more often */
	struct search *s = begin(scenario, tally);

	for (uint64_t n = 0; is_prepared(s) && n < schedules && !s->failed; n++) {
		struct sched_plan plan = {.threads = scenario->threads, .seed = seed + n};

		plan.gap = gap[plan.seed % 5];
		plan.first = (unsigned)(plan.seed % scenario->threads);
		if (scenario->dies) {
			plan.victim = scenario->dies;
			plan.death = some_death(plan.seed);
		}
		for (unsigned t = 0; t < SCHED_THREADS; t++)
			s->world->random[t] = plan.seed * SCHED_THREADS + t + 1;
		run_one(s, &plan);
	}
	return end(s);
}

/* "FIRST[,xDEATH>HEIR][,STEP>THREAD]...[,!POINT]" */
static bool parse(const char *text, struct sched_plan *plan)
{
	char *rest;

	plan->first = (unsigned)strtoul(text, &rest, 10);
	while (*rest == ',') {
		if (rest[1] == '!') {
			plan->fail_point = (uint32_t)strtoul(rest + 2, &rest, 10);
		} else if (rest[1] == 'x') {
			plan->death = (uint32_t)strtoul(rest + 2, &rest, 10);
			plan->heir = *rest == '>' ? (unsigned)strtoul(rest + 1, &rest, 10) : 0;
			plan->victim = plan->first;
		} else {
			struct sched_switch *at = &plan->at[plan->switches++];

			at->step = (uint32_t)strtoul(rest + 1, &rest, 10);
			if (*rest != '>' || plan->switches > SCHED_SWITCH_MAX - 1)
				return false;
			at->thread = (uint32_t)strtoul(rest + 1, &rest, 10);
		}
	}
	return *rest == '\0' && plan->first < plan->threads;
}

bool explore_replay(const struct scenario *scenario, const char *schedule)
{
	struct sched_plan plan = {.threads = scenario->threads, .trace = stdout};
	struct tally tally;
	struct search *s;

	if (!parse(schedule, &plan)) {
		snprintf(failure, sizeof(failure), "not a schedule: %s", schedule);
		return false;
	}
	s = begin(scenario, &tally);
	if (is_prepared(s))
		run_one(s, &plan);
	return end(s);
}
