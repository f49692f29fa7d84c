/* SPDX-License-Identifier: MIT */
/*
 * records.h - where in the records each table lies: a function of the pool's size alone, so that a header's
 * claims can be compared instead of trusted.
 */
#ifndef HOST_RECORDS_H
#define HOST_RECORDS_H

#include "format.h"
#include <memback/pool.h>

struct mb_pool;

struct records {
	uint64_t vars;
	uint64_t owners;
	uint64_t ledger;
	uint64_t frames;
	uint64_t frames_bytes;
	uint64_t total;
};

/* -EINVAL for a size that no pool has. */
int records_place(uint64_t size, struct records *out);
/* The allocator's configuration for a pool of this size. */
struct mb_frames_config records_frames(uint64_t size);
/* Points the pool's tables into its map. */
void records_bind(struct mb_pool *pool, const struct records *l);
/* size, budget and backing of a configuration: -EINVAL with text. *budget: the effective one. */
int records_check_config(const struct mb_pool_config *config, uint64_t *budget, struct mb_error *err);

#endif
