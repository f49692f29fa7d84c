/* SPDX-License-Identifier: MIT */
/*
 * kill-core.c - the allocator's operations, killed at every instruction.
 *
 * A child is traced through the smallest case of each operation, in an allocator with owners in shared memory.
 * After each instruction that changes something there, the memory is copied, and recovered as if the child had
 * been killed just then: no frame is lost, none is doubled, every invariant holds, and all that is free can be
 * had. Then recovery itself is traced: whoever recovers is killed as well, at every instruction, and a third
 * one recovers both. A few children are really killed.
 *
 *     kill-core [--only NAME] [--real N] [--deep N] [--list]
 *
 * --real N  really kill N children a case (default 1)
 * --deep N  trace recovery from N states of each case (default: 1 of some cases)
 */
#include "cases.h"
#include "step.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
	const char *only;
	unsigned real;
	int deep; /* -1: one in some of the cases */
};

struct trial {
	const struct kill_case *k;
	struct world w;    /* where the child works */
	struct world copy; /* where the dead are recovered */
	struct world start;
	struct mb_recovery sum;
	uint64_t seen; /* states */
	uint64_t next; /* the one from which recovery is traced next */
	uint64_t recovery_states;
	unsigned deep;
	bool both; /* whoever recovers is dead too */
	char why[600];
};

/* ---- recovery --------------------------------------------------------------------------------------- */

/* Ranges and slots, and again: one may stand in the way of another until that is marked as dead. */
static bool recover_all(struct world *w, mb_slot doctor, bool both, struct mb_recovery *out)
{
	int ranges = -EAGAIN, victim = -EAGAIN, third = -EAGAIN;

	for (unsigned tries = 0; tries < 3 && (ranges || victim || third); tries++) {
		ranges = mb_ranges_recover(w->f, doctor, recorded, w, out);
		victim = mb_slot_recover(w->f, doctor, w->sh->victim, recorded, w, out);
		third = both ? mb_slot_recover(w->f, doctor, w->sh->third, recorded, w, out) : 0;
	}
	if (!ranges && !victim && !third)
		return true;
	snprintf(w->why, sizeof(w->why), "recovery says %d of the ranges, %d and %d of the slots", ranges,
		 victim, third);
	return false;
}

/* All that must hold after a death at this point. */
static bool survive(struct world *w, const struct kill_case *k, bool both, struct mb_recovery *sum)
{
	mb_slot doctor = w->sh->doctor;
	bool ok = recover_all(w, doctor, both, sum) && world_check(w) && (!k->after || k->after(w)) &&
		  !mb_slot_in_use(w->f, w->sh->victim) && bury(w, doctor, WHO_VICTIM) && world_check(w) &&
		  world_reach(w, doctor) && world_check(w);

	if (ok && mb_slot_open_at(w->f, w->sh->victim)) {
		snprintf(w->why, sizeof(w->why), "the slot of the dead cannot be opened");
		ok = false;
	}
	return ok;
}

static bool each_step(void *arg, uint64_t step)
{
	struct trial *t = arg;

	world_copy(&t->copy, &t->w);
	if (survive(&t->copy, t->k, t->both, &t->sum))
		return true;
	snprintf(t->why, sizeof(t->why), "killed after instruction %llu: %s", (unsigned long long)step,
		 t->copy.why);
	return false;
}

/* ---- recovery is killed as well --------------------------------------------------------------------- */

static void run_recovery(void *arg)
{
	struct trial *t = arg;
	struct mb_recovery out = {0};

	(void)!mb_ranges_recover(t->w.f, t->w.sh->third, recorded, &t->w, &out);
	(void)!mb_slot_recover(t->w.f, t->w.sh->third, t->w.sh->victim, recorded, &t->w, &out);
}

/* From the state in t->start. */
static bool kill_recovery(struct trial *t, const struct trial *at)
{
	struct step_run r = {.w = &t->w, .run = run_recovery, .arg = t, .each = each_step, .each_arg = t};
	int rc;

	world_copy(&t->w, &at->w);
	t->both = true;
	rc = step_through(&r);
	t->recovery_states += r.states;
	if (rc < 0)
		snprintf(t->why, sizeof(t->why), "recovery cannot be traced: %s", strerror(-rc));
	return rc == 0;
}

/* From some states, few of the first and fewer of those after, recovery is traced, too. */
static bool each_deep(void *arg, uint64_t step)
{
	struct trial *t = arg, inner = {.k = t->k};
	bool ok;

	if (!each_step(t, step))
		return false;
	if (!t->deep || ++t->seen < t->next)
		return true;
	t->deep--;
	t->next = 3 * t->next + 1;
	if (!world_room(&inner.w, &t->w) || !world_room(&inner.copy, &t->w))
		return false;
	ok = kill_recovery(&inner, t);
	t->recovery_states += inner.recovery_states;
	if (!ok)
		snprintf(t->why, sizeof(t->why), "killed after instruction %llu, and in recovery %.300s",
			 (unsigned long long)step, inner.why);
	world_drop(&inner.w);
	world_drop(&inner.copy);
	return ok;
}

/* ---- one case --------------------------------------------------------------------------------------- */

static void run_case(void *arg)
{
	struct trial *t = arg;

	t->k->run(&t->w);
}

static bool prepare(struct trial *t)
{
	struct shared *sh;

	if (!world_make(&t->w, t->k->online ? t->k->online : GIANTS * GIANT, 5) ||
	    !world_room(&t->copy, &t->w) || !world_room(&t->start, &t->w))
		return false;
	sh = t->w.sh;
	sh->victim = (mb_slot){1};
	sh->living = (mb_slot){2};
	sh->third = (mb_slot){3};
	sh->doctor = (mb_slot){4};
	for (uint32_t n = 1; n < 5; n++)
		if (mb_slot_open_at(t->w.f, (mb_slot){n}))
			return false;
	if (t->k->prepare)
		t->k->prepare(&t->w);
	world_copy(&t->start, &t->w);
	return world_check(&t->w);
}

static bool kill_really(struct trial *t, uint64_t at)
{
	struct step_run r = {.w = &t->w, .run = run_case, .arg = t, .kill_at = at};
	int rc;

	world_copy(&t->w, &t->start);
	rc = step_through(&r);
	if (rc == 0 && survive(&t->w, t->k, false, &t->sum))
		return true;
	snprintf(t->why, sizeof(t->why), "really killed after instruction %llu: %s", (unsigned long long)at,
		 t->w.why);
	return false;
}

static int try_case(const struct kill_case *k, const struct options *o)
{
	struct trial t = {.k = k, .deep = o->deep < 0 ? k->deep : (unsigned)o->deep, .next = 4};
	struct step_run r = {.w = &t.w, .run = run_case, .arg = &t, .each = each_deep, .each_arg = &t};
	int rc = prepare(&t) ? 0 : -ENOMEM;

	if (!rc)
		rc = step_through(&r);
	for (unsigned n = 0; n < o->real && !rc; n++)
		rc = !kill_really(&t, r.steps * (n + 1) / (o->real + 1) + 1);
	printf("%-38s %6llu instructions %5llu states %6llu in recovery  %6llu freed %5llu completed %5llu "
	       "undone\n",
	       k->name, (unsigned long long)r.steps, (unsigned long long)r.states,
	       (unsigned long long)t.recovery_states, (unsigned long long)(t.sum.freed / HUGE),
	       (unsigned long long)t.sum.completed, (unsigned long long)t.sum.undone);
	if (rc)
		printf("%-38s FAILED: %s\n", k->name, rc < 0 ? strerror(-rc) : t.why);
	fflush(stdout);
	world_drop(&t.w);
	world_drop(&t.copy);
	world_drop(&t.start);
	return rc;
}

static const struct kill_case *const sets[] = {kill_cases_frames, kill_cases_holes, kill_cases_ranges, NULL};

static void list(void)
{
	for (const struct kill_case *const *set = sets; *set; set++)
		for (const struct kill_case *k = *set; k->name; k++)
			puts(k->name);
}

static int usage(int status)
{
	fprintf(status ? stderr : stdout, "usage: kill-core [--only NAME] [--real N] [--deep N] [--list]\n");
	return status;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	for (int n = 1; n < argc; n++) {
		if (!strcmp(argv[n], "--only") && n + 1 < argc) {
			o->only = argv[++n];
		} else if (!strcmp(argv[n], "--real") && n + 1 < argc) {
			o->real = (unsigned)strtoul(argv[++n], NULL, 0);
		} else if (!strcmp(argv[n], "--deep") && n + 1 < argc) {
			o->deep = (int)strtoul(argv[++n], NULL, 0);
		} else if (!strcmp(argv[n], "--list")) {
			list();
			return 0;
		} else {
			return usage(!strcmp(argv[n], "--help") ? 0 : 2);
		}
	}
	return -1;
}

/* How many cases fail; negative: they cannot be tried here. */
static int try_set(const struct kill_case *set, const struct options *o)
{
	int failed = 0;

	for (const struct kill_case *k = set; k->name; k++) {
		int rc;

		if (o->only && strcmp(o->only, k->name))
			continue;
		rc = try_case(k, o);
		if (rc == -EPERM || rc == -ENOSYS)
			return rc;
		failed += rc != 0;
	}
	return failed;
}

int main(int argc, char **argv)
{
	struct options o = {.real = 1, .deep = -1};
	int failed = 0, status = parse(argc, argv, &o);

	if (status >= 0)
		return status;
	for (const struct kill_case *const *set = sets; *set; set++) {
		int rc = try_set(*set, &o);

		if (rc < 0) {
			puts("tracing is not permitted here");
			return 77;
		}
		failed += rc;
	}
	return failed ? 1 : 0;
}
