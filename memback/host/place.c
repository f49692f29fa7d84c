/* SPDX-License-Identifier: MIT */
/*
 * place.c - best fit over the free runs. Their list is a moment's view: frames may be freed meanwhile, which
 * costs nothing; nobody else takes any, since spaces are made under the serial lock.
 */
#include "place.h"
#include "error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct free_run {
	uint64_t first; /* base frames, multiples of 512 */
	uint64_t count;
};

struct free_list {
	struct free_run *run;
	size_t count, room;
	uint64_t frames;
};

/* A terabyte in which every other huge frame is taken. More runs than this are of no use to a table of
 * EXTENTS_MAX extents, but the longest may come last. */
#define FREE_RUNS_MAX (UINT32_C(1) << 20)

static int list_add(struct free_list *list, uint64_t first, uint64_t count)
{
	if (list->count == list->room) {
		size_t room = list->room ? list->room * 2 : 64;
		struct free_run *run;

		if (room > FREE_RUNS_MAX)
			return -ENOMEM;
		run = realloc(list->run, room * sizeof(*run));
		if (!run)
			return -ENOMEM;
		list->run = run;
		list->room = room;
	}
	list->run[list->count++] = (struct free_run){first, count};
	return 0;
}

static int collect_free(void *arg, const struct mb_run *run)
{
	struct free_list *list = arg;
	uint64_t first = (run->first.n + HUGE_PAGES - 1) & ~(uint64_t)(HUGE_PAGES - 1);
	uint64_t end = (run->first.n + run->count) & ~(uint64_t)(HUGE_PAGES - 1);

	if (run->state != MB_FREE || first >= end)
		return 0;
	list->frames += end - first;
	return list_add(list, first, end - first);
}

/* Of one run: where a piece for gpa would start, if congruent modulo 1 GiB; may lie beyond the run. */
static uint64_t congruent_start(const struct free_run *run, uint64_t gpa)
{
	uint64_t mask = mb_level_frames(MB_GIANT) - 1;

	return run->first + (((gpa >> BASE_SHIFT) - run->first) & mask);
}

struct candidate {
	size_t run;
	uint64_t first;
	uint64_t count; /* base frames of the need that it serves */
	uint64_t run_count;
	bool congruent;
};

/* Serving more is better; then congruence, where a giant frame fits; then the smaller run (best fit). */
static bool better(const struct candidate *a, const struct candidate *b, uint64_t need)
{
	if (!b->count)
		return true;
	if (need >= mb_level_frames(MB_GIANT) && a->congruent != b->congruent) {
		/* A congruent piece may cost up to half of the length. */
		const struct candidate *c = a->congruent ? a : b, *o = a->congruent ? b : a;
		bool take = c->count >= mb_level_frames(MB_GIANT) && c->count >= o->count / 2;

		return take == a->congruent;
	}
	if (a->count != b->count)
		return a->count > b->count;
	return a->run_count < b->run_count;
}

static void consider(struct candidate *best, const struct free_list *list, size_t i, uint64_t start,
		     bool congruent, uint64_t need)
{
	const struct free_run *run = &list->run[i];
	struct candidate c = {.run = i, .first = start, .run_count = run->count, .congruent = congruent};

	if (start >= run->first + run->count)
		return;
	c.count = run->first + run->count - start;
	if (c.count > need)
		c.count = need;
	if (better(&c, best, need))
		*best = c;
}

static struct candidate choose(const struct free_list *list, uint64_t gpa, uint64_t need)
{
	struct candidate best = {0};

	for (size_t i = 0; i < list->count; i++) {
		uint64_t start = congruent_start(&list->run[i], gpa);

		consider(&best, list, i, start, true, need);
		if (start != list->run[i].first)
			consider(&best, list, i, list->run[i].first, false, need);
	}
	return best;
}

/* Takes [c->first, + c->count) out of the list. */
static int carve(struct free_list *list, const struct candidate *c)
{
	struct free_run old = list->run[c->run];
	uint64_t before = c->first - old.first, after = old.count - before - c->count;

	if (before && after) {
		list->run[c->run].count = before;
		return list_add(list, c->first + c->count, after);
	}
	if (before || after)
		list->run[c->run] = (struct free_run){before ? old.first : c->first + c->count, before + after};
	else
		list->run[c->run] = list->run[--list->count];
	return 0;
}

static int add_extent(struct mb_space *space, uint64_t gpa, const struct candidate *c)
{
	struct extent *last = space->extents ? &space->extent[space->extents - 1] : NULL;

	if (last && last->gpa + (last->count << BASE_SHIFT) == gpa && last->frame + last->count == c->first) {
		last->count += c->count;
		return 0;
	}
	if (space->extents == EXTENTS_MAX)
		return -E2BIG;
	space->extent[space->extents++] = (struct extent){gpa, c->first, c->count};
	return 0;
}

static int place_region(struct mb_space *space, struct free_list *list, const struct mb_region *r)
{
	uint64_t gpa = r->gpa, need = r->size >> BASE_SHIFT;

	while (need) {
		struct candidate c = choose(list, gpa, need);
		int rc;

		if (!c.count)
			return -ENOMEM;
		rc = carve(list, &c);
		if (!rc)
			rc = add_extent(space, gpa, &c);
		if (rc)
			return rc;
		gpa += c.count << BASE_SHIFT;
		need -= c.count;
	}
	return 0;
}

int place_space(struct mb_space *space, struct mb_error *err)
{
	struct free_list list = {0};
	struct mb_frames_config config;
	int rc;

	mb_frames_get_config(space->pool->frames, &config);
	rc = mb_frames_walk(space->pool->frames, (mb_frame){0}, config.capacity, collect_free, &list);
	if (!rc && list.frames < space->maximum >> BASE_SHIFT)
		rc = host_error(err, -ENOMEM,
				"the pool has %s of free frames, %s are wanted: end another guest, or make the "
				"pool larger",
				host_size(list.frames << BASE_SHIFT).text, host_size(space->maximum).text);
	else if (!rc) {
		for (unsigned i = 0; !rc && i < space->regions; i++)
			rc = place_region(space, &list, &space->region[i]);
		if (rc)
			host_error(err, -ENOMEM,
				   "the pool's free frames lie in too many pieces (%zu): end other "
				   "guests",
				   list.count);
	}
	free(list.run);
	return rc ? -ENOMEM : 0;
}
