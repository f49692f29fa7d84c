/* SPDX-License-Identifier: MIT */
/* cases.h - the smallest case of each operation, to be killed in the middle of. */
#ifndef KILL_CASES_H
#define KILL_CASES_H

#include "world.h"

struct kill_case {
	const char *name;
	void (*prepare)(struct world *w); /* NULL: three giant frames, free */
	void (*run)(struct world *w);     /* what the victim does, with sh->victim */
	bool (*after)(struct world *w);   /* NULL; else: what must hold after recovery, before the burial */
	uint64_t online;                  /* base frames online at the beginning; 0: all */
	bool deep;                        /* recovery is killed as well, unless another number is asked for */
};

/* Each ends with one without name. */
extern const struct kill_case kill_cases_frames[], kill_cases_holes[], kill_cases_ranges[];

/* What cases of several files begin with, or do: cases-frames.c. */
void prepare_held(struct world *w);
void prepare_rings(struct world *w);
void prepare_pieces(struct world *w);
void prepare_two(struct world *w);
void prepare_giant(struct world *w);
void free_huge(struct world *w);
void free_giant(struct world *w);

#endif
