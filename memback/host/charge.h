/* SPDX-License-Identifier: MIT */
/*
 * charge.h - an owner's charge: the pool's sum and the owner's own word change together, whoever is killed
 * in between, and who must wait for bytes gets them first come first served.
 *
 *   entry.charging   odd while the owner changes the two words; even else
 *
 * Killed in between, the two disagree by what the owner was about. Nobody needs to know what that was: once a
 * dead owner's entry is free, the sum is what the others' words add up to (budget_repair()).
 */
#ifndef HOST_CHARGE_H
#define HOST_CHARGE_H

#include "state.h"

/*
 * Charges the space; -EDQUOT with the missing bytes in *missing (may be NULL). While others wait for bytes,
 * only the first of them gets any. One thread of a space at a time.
 */
int space_charge(struct mb_space *space, uint64_t bytes, uint64_t *missing);
void space_uncharge(struct mb_space *space, uint64_t bytes);

/*
 * Waiting: queue up, then try to charge and sleep by turns, then leave, whether or not there was something.
 * The ticket that was drawn first is served first; a second call keeps the first ticket.
 *
 *	space_queue_up(space, bytes);
 *	while ((rc = space_charge(space, bytes, NULL)) == -EDQUOT && !canceled)
 *		space_sleep(space, 50);
 *	space_leave_queue(space);
 */
void space_queue_up(struct mb_space *space, uint64_t bytes);
void space_leave_queue(struct mb_space *space);
/*
 * Sleeps until something was given back to the pool since the last failed space_charge(), or somebody left the
 * queue, or the time is over; then what dead owners had is taken back, for as long again at most. Must not hold a
 * lock that making or destroying a space takes. budget_wake() ends it.
 */
void space_sleep(struct mb_space *space, unsigned timeout_ms);
/* Every living owner of the pool waits in the queue: none of them will give. Any thread. */
bool budget_all_wait(const struct mb_pool *pool);
/* Wakes all who sleep: there are more bytes, or somebody is canceled. Any process. */
void budget_wake(struct pool_vars *vars);

/*
 * Under the serial lock, after a death: makes the pool's sum what the owners' words add up to, at one instant
 * at which nobody was changing either. -EAGAIN: there was no such instant; then the sum is too large, if
 * anything, and the next repair mends it.
 */
int budget_repair(struct mb_pool *pool);

#endif
