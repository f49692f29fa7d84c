/* SPDX-License-Identifier: MIT */
/* map.h - a space's regions, its window, and the lookups between guest addresses and frames. */
#ifndef HOST_MAP_H
#define HOST_MAP_H

#include "state.h"

/* With text: -EINVAL for a name or for regions that no space can have, -ENOMEM for what the host cannot hold. */
int space_check_config(const struct mb_pool *pool, const struct mb_space_config *config, struct mb_error *err);
/* Copies the (checked) regions, neighbours merged, and sums them up. */
void space_merge_regions(struct mb_space *space, const struct mb_space_config *config);
/* The tables of holes and the guard. */
int space_make_counts(struct mb_space *space, struct mb_error *err);
void space_free_counts(struct mb_space *space);
/* Reserves the window, maps the extents into it, and populates it where that is wanted. */
int space_map(struct mb_space *space, struct mb_error *err);
/* Unmaps the window, if there is one. */
void space_unmap(struct mb_space *space);

#endif
