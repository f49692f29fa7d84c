/* SPDX-License-Identifier: MIT */
/*
 * budget.h - the pool's byte budget: no charge ever takes used beyond budget, at any instant, whoever charges.
 *
 * Relaxed orders do: the words guard a sum, not other data. Bytes are given back to the kernel before they
 * are uncharged and charged before they are taken, by program order around the system call.
 */
#ifndef HOST_BUDGET_H
#define HOST_BUDGET_H

#include "format.h"
#include <errno.h>

/* Charges bytes, or -EDQUOT with the missing bytes in *missing (may be NULL). */
static inline int budget_charge(struct pool_vars *vars, uint64_t bytes, uint64_t *missing)
{
	uint64_t used = atomic_load_explicit(&vars->budget_used, memory_order_relaxed);

	for (;;) {
		uint64_t budget = atomic_load_explicit(&vars->budget, memory_order_relaxed);
		uint64_t left = used < budget ? budget - used : 0;

		if (bytes > left) {
			if (missing)
				*missing = bytes - left;
			return -EDQUOT;
		}
		if (atomic_compare_exchange_weak_explicit(&vars->budget_used, &used, used + bytes,
							  memory_order_relaxed, memory_order_relaxed))
			return 0;
	}
}

/* Never below zero: the word may have been damaged by another process. */
static inline void budget_uncharge(struct pool_vars *vars, uint64_t bytes)
{
	uint64_t used = atomic_load_explicit(&vars->budget_used, memory_order_relaxed);
	uint64_t next;

	do {
		next = used > bytes ? used - bytes : 0;
	} while (!atomic_compare_exchange_weak_explicit(&vars->budget_used, &used, next, memory_order_relaxed,
							memory_order_relaxed));
}

#endif
