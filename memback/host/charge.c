/* SPDX-License-Identifier: MIT */
/* charge.c - see charge.h. */
#include "charge.h"
#include "budget.h"
#include "owner.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define REPAIRS 20000 /* snapshots that are tried */

/* ---- the queue ----------------------------------------------------------------------------------------- */

/*
 * A waiter and whoever gives back must not miss each other. All of it is seq_cst:
 *
 *   waiter:  draw a ticket;  read wake;  try to charge;  sleep unless wake has changed
 *   giver:   lower the sum;  add 1 to wake;  look for tickets;  wake them
 *
 * If the giver sees no ticket, the ticket came later in the one order of these, and the try sees the bytes.
 */
static bool somebody_queues(const struct pool_vars *vars)
{
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (atomic_load(&vars->wait[i].ticket))
			return true;
	return false;
}

void budget_wake(struct pool_vars *vars)
{
	atomic_fetch_add(&vars->wake, 1);
	if (somebody_queues(vars))
		(void)syscall(SYS_futex, &vars->wake, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

bool budget_all_wait(const struct mb_pool *pool)
{
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (!atomic_load(&pool->vars->wait[i].ticket) && owner_lives(pool, i))
			return false;
	return true;
}

/* Is somebody alive before this owner in the queue? Whoever has no ticket is behind all that have one. */
static bool others_first(const struct mb_space *space)
{
	const struct pool_vars *vars = space->pool->vars;
	uint64_t mine = atomic_load(&vars->wait[space->owner].ticket);

	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		uint64_t ticket = atomic_load(&vars->wait[i].ticket);

		if (i != space->owner && ticket && (!mine || ticket < mine) && owner_lives(space->pool, i))
			return true;
	}
	return false;
}

void space_queue_up(struct mb_space *space, uint64_t bytes)
{
	struct pool_vars *vars = space->pool->vars;
	struct budget_waiter *w = &vars->wait[space->owner];
	struct timespec ts;

	if (atomic_load(&w->ticket))
		return;
	atomic_store(&w->bytes, bytes);
	clock_gettime(CLOCK_MONOTONIC, &ts);
	atomic_store(&w->since_ns, (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec);
	space->wake_seen = atomic_load(&vars->wake);
	atomic_store(&w->ticket, atomic_fetch_add(&vars->next_ticket, 1) + 1);
}

void space_leave_queue(struct mb_space *space)
{
	if (atomic_exchange(&space->pool->vars->wait[space->owner].ticket, 0))
		budget_wake(space->pool->vars); /* the next is first now */
}

void space_sleep(struct mb_space *space, unsigned timeout_ms)
{
	struct timespec ts = {.tv_sec = timeout_ms / 1000, .tv_nsec = (long)(timeout_ms % 1000) * 1000000};

	/*
	 * Nobody tells of a death: those who wait look for it. What one of them takes back comes bit by bit, and
	 * neither the others nor he himself must wait until it is done.
	 */
	if (space->buries || (syscall(SYS_futex, &space->pool->vars->wake, FUTEX_WAIT, space->wake_seen, &ts, NULL,
				      0) < 0 &&
			      errno == ETIMEDOUT))
		space->buries = owner_bury_some(space->pool, timeout_ms);
}

/* ---- the charge ---------------------------------------------------------------------------------------- */

static void change_begin(struct owner_entry *e)
{
	atomic_fetch_add(&e->charging, 1);
}

static void change_end(struct mb_space *space)
{
	atomic_store(&space->entry->charged, space_total(&space->charged));
	atomic_fetch_add(&space->entry->charging, 1);
}

int space_charge(struct mb_space *space, uint64_t bytes, uint64_t *missing)
{
	struct pool_vars *vars = space->pool->vars;
	int rc;

	if (!bytes)
		return 0;
	space->wake_seen = atomic_load(&vars->wake);
	if (others_first(space)) {
		if (missing)
			*missing = bytes;
		return -EDQUOT;
	}
	change_begin(space->entry);
	rc = budget_charge(vars, bytes, missing);
	if (!rc)
		space_add(&space->charged, bytes);
	change_end(space);
	return rc;
}

void space_uncharge(struct mb_space *space, uint64_t bytes)
{
	if (!bytes)
		return;
	change_begin(space->entry);
	space_add(&space->charged, -bytes);
	budget_uncharge(space->pool->vars, bytes);
	change_end(space);
	budget_wake(space->pool->vars);
}

/* ---- the repair ---------------------------------------------------------------------------------------- */

/*
 * Between the two passes is an instant at which nobody was at it: every owner's count was even and the same in
 * both. There the sum is read. It is replaced only while it is still that: then others may have changed it in
 * between, but not by how much it is wrong.
 */
static int repair_once(struct mb_pool *pool)
{
	uint32_t seen[OWNERS_MAX];
	uint64_t sum = 0, used;

	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		struct owner_entry *e = &pool->owners[i];

		seen[i] = atomic_load(&e->charging);
		if (atomic_load(&e->state) == OWNER_FREE)
			continue;
		if (seen[i] & 1)
			return -EAGAIN;
		sum += atomic_load(&e->charged);
	}
	used = atomic_load(&pool->vars->budget_used);
	for (uint32_t i = 0; i < OWNERS_MAX; i++)
		if (atomic_load(&pool->owners[i].charging) != seen[i])
			return -EAGAIN;
	if (used == sum || atomic_compare_exchange_strong(&pool->vars->budget_used, &used, sum))
		return 0;
	return -EAGAIN;
}

int budget_repair(struct mb_pool *pool)
{
	int rc = -EAGAIN;

	for (unsigned i = 0; rc && i < REPAIRS; i++) {
		rc = repair_once(pool);
		if (rc)
			sched_yield();
	}
	return rc;
}
