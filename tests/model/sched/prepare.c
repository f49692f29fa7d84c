/* SPDX-License-Identifier: MIT */
/* prepare.c - see prepare.h. */
#include "prepare.h"

void release(struct world *w, unsigned t)
{
	do_slot_close(w, t);
	do_slot_open(w, t);
}

void prepare_split(struct world *w)
{
	world_make(w, 1, 0);
	do_alloc(w, NOBODY, MB_HUGE);
	release(w, NOBODY);
}

void prepare_line(struct world *w, unsigned t, unsigned n)
{
	prepare_split(w);
	do_alloc_batch(w, t, MB_BASE, n);
	note(w)[0] = world_last(w, t)->first / HUGE * HUGE;
}

void prepare_two(struct world *w, uint64_t a, uint64_t b)
{
	uint64_t first;

	prepare_line(w, 0, 512);
	first = note(w)[0];
	do_alloc(w, 0, MB_BASE);
	do_give(w, 0, NOBODY, world_last(w, 0)->first, 1);
	for (uint64_t n = 0; n < HUGE; n++)
		if (n != a && n != b)
			do_free(w, 0, first + n);
	do_give(w, 0, 1, first + b, 1);
	note(w)[1] = first + a;
	note(w)[2] = first + b;
}

void prepare_full_line(struct world *w)
{
	prepare_line(w, 0, 512);
	do_give(w, 0, 1, note(w)[0] + 100, 2);
}

void prepare_one(struct world *w)
{
	prepare_line(w, 1, 1);
}

void prepare_collect(struct world *w)
{
	prepare_line(w, 1, 1);
	w->may_lack = true;
	while (do_alloc(w, NOBODY, MB_HUGE))
		;
	release(w, NOBODY);
	/* the last one, that failed, has taken the line away */
	do_alloc(w, 1, MB_BASE);
	do_free_last(w, 1);
}

void prepare_last_one(struct world *w)
{
	prepare_two(w, 5, 6);
	do_free(w, 0, note(w)[1]);
	release(w, 0);
}
