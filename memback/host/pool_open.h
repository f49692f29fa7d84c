/* SPDX-License-Identifier: MIT */
/* pool_open.h - the steps of opening a pool that private pools and pool files share. */
#ifndef HOST_POOL_OPEN_H
#define HOST_POOL_OPEN_H

#include "records.h"
#include "state.h"

/* An empty pool object, or NULL; and its end. */
struct mb_pool *pool_new(void);
void pool_free(struct mb_pool *pool);
/* Makes the allocator in the mapped records and puts all frames in; sets the budget. */
int pool_start(struct mb_pool *pool, const struct records *r, uint64_t budget, struct mb_error *err);

/* mb_pool_check() for who has the serial lock. */
int pool_check_locked(struct mb_pool *pool, mb_discrepancy_fn *fn, void *arg);

/* Base frames in [first, end) that leave as soon as their owners give them back. */
uint64_t pool_draining(struct mb_pool *pool, uint64_t first, uint64_t end);

/* Resident bytes of the pool's memory, from the kernel; under pool->lock. */
int pool_resident(struct mb_pool *pool, uint64_t *bytes);
/* Adds the resident bytes of a space's window, from the kernel. */
int space_resident(struct mb_space *space, uint64_t *bytes);

#endif
