/* SPDX-License-Identifier: MIT */
/*
 * commands_memory.c - a VM's memory in numbers, as a map, and checked.
 */
#include "control/commands_memory.h"

#include "control/commands_mem.h"

#include <string.h>
#include <time.h>

#define PAGE      UINT64_C(4096)
#define HUGE_PAGE (UINT64_C(512) * PAGE)
#define CELLS     1024 /* of a map that asks for no number */

json_t *commands_u64(uint64_t value)
{
	return value <= INT64_MAX ? json_integer((json_int_t)value) : NULL;
}

const char *commands_state_name(enum vm_state state)
{
	switch (state) {
	case VM_PRELAUNCH:
		return "prelaunch";
	case VM_RUNNING:
		return "running";
	case VM_PAUSED:
		return "paused";
	case VM_SHUTDOWN:
		return "shutdown";
	case VM_CRASHED:
		break;
	}
	return "internal-error";
}

void commands_put(json_t *object, const char *name, uint64_t value)
{
	json_t *number = commands_u64(value);

	if (number)
		json_object_set_new(object, name, number);
}

/* ---- memback-status ------------------------------------------------------------------------------------ */

static void put_balloon(json_t *o, struct balloon *balloon)
{
	struct balloon_status status;
	struct balloon_stats stats;
	uint64_t now = (uint64_t)time(NULL);

	balloon_get_status(balloon, &status);
	commands_put(o, "maximum", status.maximum);
	commands_put(o, "target", status.target);
	commands_put(o, "actual", status.actual);
	json_object_set_new(o, "driver", json_boolean(status.driver_ok));
	json_object_set_new(o, "broken", json_boolean(status.broken));
	commands_put(o, "rejected-frames", status.rejected);
	commands_put(o, "inflated-total", status.inflated_total);
	commands_put(o, "deflated-total", status.deflated_total);
	commands_put(o, "reported-total", status.reported_total);
	if (status.waits_for)
		json_object_set_new(
		    o, "waiting",
		    json_pack("{s:s,s:o}", "reason", "budget", "missing", commands_u64(status.waits_for)));
	balloon_get_stats(balloon, &stats);
	/* A clock that was set back makes no sample come from the future. */
	if (stats.last_update_s)
		commands_put(o, "guest-stats-age", now > stats.last_update_s ? now - stats.last_update_s : 0);
}

static void put_space(json_t *o, struct mb_space *space)
{
	struct mb_space_status status;
	struct mb_error ignored;

	commands_put(o, "budget-left", mb_space_budget_left(space));
	if (mb_space_get_status(space, &status, &ignored))
		return;
	commands_put(o, "resident", status.resident);
	commands_put(o, "inflated", status.owner.inflated);
	commands_put(o, "pending", status.owner.pending);
	commands_put(o, "charged", status.owner.actual);
	commands_put(o, "extents", status.extents);
	commands_put(o, "owner", status.owner.id);
}

/* What is taken when it is touched, and what is waited for. */
static void put_overcommit(json_t *o, struct mb_space *space)
{
	struct mb_overcommit_status s;
	json_t *over;

	if (!mb_space_get_overcommit(space, &s))
		return;
	over = json_object();
	commands_put(over, "present", s.present);
	commands_put(over, "reserve", s.reserve);
	commands_put(over, "minimum", s.minimum);
	commands_put(over, "faults", s.faults);
	commands_put(over, "populated-total", s.populated);
	commands_put(over, "ahead-total", s.ahead);
	commands_put(over, "ballooned-touches", s.hole_touches);
	commands_put(over, "starved-count", s.starved_count);
	commands_put(over, "starved-ms", s.starved_ns / 1000000);
	if (s.starved)
		json_object_set_new(o, "out-of-memory",
				    json_pack("{s:s,s:o,s:b}", "reason", s.reason, "missing",
					      commands_u64(s.missing), "everyone", s.everyone));
	json_object_set_new(o, "overcommit", over);
}

static void put_pool(json_t *o, struct vm *vm)
{
	const char *path = vm_get_config(vm)->pool_path;
	struct mb_pool_status status;
	struct mb_error ignored;

	if (path)
		json_object_set_new(o, "pool", json_string(path));
	if (mb_pool_get_status(vm_pool(vm), &status, &ignored))
		return;
	json_object_set_new(o, "backing", json_string(mb_backing_name(status.backing)));
	json_object_set_new(o, "huge-pages", json_boolean(status.huge_pages));
	commands_put(o, "granule", status.granule);
	commands_put(o, "budget", status.budget);
	commands_put(o, "budget-used", status.budget_used);
}

json_t *commands_memback_status(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	json_t *o = json_object();

	(void)args;
	(void)err;
	json_object_set_new(o, "name", json_string(vm_name(vm)));
	json_object_set_new(o, "status", json_string(commands_state_name(vm_get_state(vm))));
	put_balloon(o, vm_balloon(vm));
	commands_mem_status(vm, o);
	put_space(o, vm_space(vm));
	put_overcommit(o, vm_space(vm));
	put_pool(o, vm);
	return o;
}

/* ---- memback-map --------------------------------------------------------------------------------------- */

struct run {
	struct mb_stretch s;
	const char *state;
};

struct map {
	json_t *runs;
	struct run last; /* not yet in runs; s.len 0: none */
	unsigned cells;
};

static const char *stretch_state(const struct mb_stretch *s)
{
	if (s->inflated == s->len)
		return "ballooned";
	if (s->inflated)
		return "split";
	return s->resident ? "whole" : "untouched";
}

static void run_flush(struct map *map)
{
	const struct mb_stretch *s = &map->last.s;
	json_t *o;

	if (!s->len)
		return;
	o = json_object();
	commands_put(o, "gpa", s->gpa);
	commands_put(o, "size", s->len);
	commands_put(o, "frame", s->frame);
	json_object_set_new(o, "state", json_string(map->last.state));
	commands_put(o, "inflated", s->inflated);
	commands_put(o, "resident", s->resident);
	commands_put(o, "split", s->split);
	json_array_append_new(map->runs, o);
	map->last.s.len = 0;
}

/* Both parts are alike all over, so that nothing is lost in a run of them. */
static bool is_uniform(const struct mb_stretch *s)
{
	return !s->split &&
	       (s->inflated == s->len || (!s->inflated && (!s->resident || s->resident == s->len)));
}

static bool frames_follow(const struct mb_stretch *a, const struct mb_stretch *b)
{
	if (a->frame == UINT64_MAX || b->frame == UINT64_MAX)
		return a->frame == b->frame;
	return a->frame + a->len / PAGE == b->frame;
}

static bool joins(const struct run *last, const struct mb_stretch *s, const char *state)
{
	return last->s.len && last->state == state && is_uniform(&last->s) && is_uniform(s) &&
	       last->s.gpa + last->s.len == s->gpa && frames_follow(&last->s, s);
}

static int on_stretch(void *arg, const struct mb_stretch *s)
{
	struct map *map = arg;
	const char *state = stretch_state(s);

	if (joins(&map->last, s, state)) {
		map->last.s.len += s->len;
		map->last.s.inflated += s->inflated;
		map->last.s.resident += s->resident;
		return 0;
	}
	run_flush(map);
	map->last = (struct run){*s, state};
	return 0;
}

static uint64_t round_up(uint64_t value, uint64_t to)
{
	uint64_t rest = value % to;

	return rest && value <= UINT64_MAX - to ? value + to - rest : value;
}

/* The argument step as bytes of a cell, or 0 with *err filled. */
static uint64_t step_asked(uint64_t maximum, json_int_t step, struct qmp_error *err)
{
	uint64_t least = round_up(maximum / COMMANDS_MAP_CELLS + !!(maximum % COMMANDS_MAP_CELLS), PAGE);

	if (step <= 0 || step % (json_int_t)PAGE) {
		qmp_fail(err, "Parameter 'step' expects a multiple of 4096");
		return 0;
	}
	if ((uint64_t)step < least) {
		qmp_fail(err, "Parameter 'step' is too small: a map has at most %d cells, so the least is %llu",
			 COMMANDS_MAP_CELLS, (unsigned long long)least);
		return 0;
	}
	return (uint64_t)step;
}

/* The same for the argument cells. */
static uint64_t step_for_cells(uint64_t maximum, json_int_t cells, struct qmp_error *err)
{
	uint64_t least;

	if (cells <= 0 || cells > COMMANDS_MAP_CELLS) {
		qmp_fail(err, "Parameter 'cells' expects 1 to %d", COMMANDS_MAP_CELLS);
		return 0;
	}
	least = maximum / (uint64_t)cells + !!(maximum % (uint64_t)cells);
	return round_up(least, least > HUGE_PAGE ? HUGE_PAGE : PAGE);
}

static uint64_t map_step(uint64_t maximum, const json_t *args, struct qmp_error *err)
{
	const json_t *step = json_object_get(args, "step"), *cells = json_object_get(args, "cells");

	if (step && cells) {
		qmp_fail(err, "Parameters 'step' and 'cells' exclude each other");
		return 0;
	}
	if (step)
		return step_asked(maximum, json_integer_value(step), err);
	return step_for_cells(maximum, cells ? json_integer_value(cells) : CELLS, err);
}

json_t *commands_memback_map(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	struct map map = {0};
	struct balloon_status status;
	uint64_t step;
	int rc;

	balloon_get_status(vm_balloon(vm), &status);
	step = map_step(status.maximum + commands_mem_pluggable(vm), args, err);
	if (!step)
		return NULL;
	map.runs = json_array();
	rc = mb_space_walk(vm_space(vm), step, on_stretch, &map);
	if (rc < 0) {
		json_decref(map.runs);
		return qmp_fail(err, "the memory cannot be looked at: %s", strerror(-rc));
	}
	run_flush(&map);
	return map.runs;
}

/* ---- memback-check ------------------------------------------------------------------------------------- */

struct check {
	json_t *list;
	uint64_t count;
};

static int on_discrepancy(void *arg, const struct mb_discrepancy *d)
{
	struct check *check = arg;
	json_t *o;

	if (check->count++ >= COMMANDS_CHECK_LIST)
		return 0;
	o = json_object();
	json_object_set_new(o, "kind", json_string(d->kind));
	commands_put(o, "gpa", d->gpa);
	commands_put(o, "frame", d->frame);
	commands_put(o, "len", d->len);
	json_object_set_new(o, "text", json_string(d->text));
	json_array_append_new(check->list, o);
	return 0;
}

/*
 * What the ledger says may be resident, beside what the kernel says is. A pool that others use changes while
 * it is checked, so only our own is checked as a whole; 'membackctl pool check' does it for the others.
 */
json_t *commands_memback_check(struct vm *vm, const json_t *args, struct qmp_error *err)
{
	struct check check = {0};
	struct mb_space_status status;
	struct mb_error error;
	json_t *summary;
	int rc = mb_space_get_status(vm_space(vm), &status, &error);

	(void)args;
	if (rc)
		return qmp_fail(err, "%s", error.text);
	check.list = json_array();
	rc = mb_space_check(vm_space(vm), on_discrepancy, &check);
	if (rc >= 0 && !vm_get_config(vm)->pool_path)
		rc = mb_pool_check(vm_pool(vm), on_discrepancy, &check);
	if (rc < 0) {
		json_decref(check.list);
		return qmp_fail(err, "the memory cannot be checked: %s", strerror(-rc));
	}
	summary = json_object();
	commands_put(summary, "maximum", status.owner.maximum);
	commands_put(summary, "inflated", status.owner.inflated);
	commands_put(summary, "pending", status.owner.pending);
	commands_put(summary, "ledger", status.owner.actual);
	commands_put(summary, "kernel", status.resident);
	return json_pack("{s:o,s:I,s:o}", "discrepancies", check.list, "count", (json_int_t)check.count,
			 "summary", summary);
}
