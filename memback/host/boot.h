/* SPDX-License-Identifier: MIT */
/* boot.h - pool files that outlive the machine's boot. */
#ifndef HOST_BOOT_H
#define HOST_BOOT_H

#include "records.h"
#include "state.h"

#include <stdbool.h>

/* Says that the pool's records are of this boot. */
void boot_mark(struct mb_pool *pool);
/* Is it of this boot? */
bool boot_is_ours(const struct mb_pool *pool);
/* Under the serial lock, before the allocator is attached: makes a pool of another boot empty. */
int boot_check(struct mb_pool *pool, const struct records *r, struct mb_error *err);

#endif
