/* SPDX-License-Identifier: MIT */
/* ctl_pool_map.h - membackctl: what the two pictures of a pool, in the terminal and as SVG, are drawn from. */
#ifndef VMM_CONTROL_CTL_POOL_MAP_H
#define VMM_CONTROL_CTL_POOL_MAP_H

#include <memback/pool.h>
#include <stdio.h>

#define POOL_MAP_OWNERS 52 /* as many as there are letters; the others share the last one */

struct pool_map {
	const char *path;
	struct mb_pool_status status;
	struct mb_owner_status owner[POOL_MAP_OWNERS];
	unsigned owners;
	struct mb_pool_stretch *cell;
	size_t cells, room; /* how many there are, and how many cell[] can hold */
	uint64_t step;      /* bytes a cell */
};

/* Of a stretch that is somebody's: whose, as an index into owner[]. */
unsigned pool_map_owner(const struct pool_map *m, const struct mb_pool_stretch *s);
/* Nobody's, and most of it is not online: it can be nobody's before the pool grows. */
bool pool_map_offline(const struct mb_pool_stretch *s);
/* How much of what is owned is there, 0 to 1; 1 where the kernel does not say. */
double pool_map_share(const struct mb_pool_stretch *s);
/* Whole picture; 0, or -1 with errno. */
int pool_map_svg(FILE *to, const struct pool_map *m);

#endif
