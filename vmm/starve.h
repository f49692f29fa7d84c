/* SPDX-License-Identifier: MIT */
/*
 * starve.h - a VM whose memory is overcommitted finds the pool empty: from the thread that hears of it to the
 * loop, where the vCPUs are paused, clients are told, and all goes on when memory has come.
 */
#ifndef VMM_STARVE_H
#define VMM_STARVE_H

#include "control/loop.h"

#include <stdbool.h>
#include <stdint.h>

struct starve;

/* On the loop's thread, in turns: it waits; it goes on, after ns. */
typedef void starve_fn(void *arg, bool starved, uint64_t ns);

/* 0 or a negative errno. */
int starve_create(struct loop *loop, starve_fn *fn, void *arg, struct starve **out);
/* When nothing calls starve_heard() any more. NULL: nothing happens. */
void starve_destroy(struct starve *s);
/* What fn was told last. Any thread. */
bool starve_now(const struct starve *s);
/* From the space's thread (mb_space_config.on_starved); arg: the struct starve. */
void starve_heard(void *arg, bool starved);

#endif
