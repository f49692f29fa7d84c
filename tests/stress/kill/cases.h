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

extern const struct kill_case kill_cases[];
extern const unsigned kill_case_count;

#endif
