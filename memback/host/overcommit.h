/* SPDX-License-Identifier: MIT */
/*
 * overcommit.h - memory that is charged when it is first touched.
 *
 * The window stays registered with userfaultfd for its whole life. A thread of the space's own hears of each
 * page that is missing, charges the budget, makes the page present through a second mapping of the same memory
 * (the alias, which is not registered), and wakes who waits; those then find the page in the page cache. It
 * never touches the window. A page whose bytes were given back is missing again by itself.
 *
 *   a bit a page says which pages are there: present = the sum of the bits, in bytes
 *   charged          = max(minimum, present) + what is left of the reserve
 *
 * The reserve is a little that is charged from the start, so that who runs the guest can read and write its
 * queues at the very moment at which the budget is empty. All of it is under one lock; the bits are also read
 * without it.
 */
#ifndef HOST_OVERCOMMIT_H
#define HOST_OVERCOMMIT_H

#include "state.h"

struct overcommit;

/* Before anything is taken: is the backing one that can be overcommitted, is userfaultfd allowed, is config
 * consistent? Makes space->over. */
int overcommit_prepare(struct mb_space *space, const struct mb_space_config *config, struct mb_error *err);
/* What is charged when the space is made, bytes. */
uint64_t overcommit_first_charge(const struct mb_space *space);
/* When the window is mapped: maps the aliases, registers, starts the thread. */
int overcommit_start(struct mb_space *space, struct mb_error *err);
/* Ends the thread and forgets all; before the window is unmapped. What is charged stays charged. */
void overcommit_free(struct mb_space *space);

/* Gives a run's bytes back to the kernel, and what was charged for them to the budget. */
int overcommit_give_back(struct mb_space *space, const struct space_run *run);
/* Zeroes what is present of [gpa, gpa + len), without touching the window. */
void overcommit_zero(struct mb_space *space, uint64_t gpa, uint64_t len);
/* Advice about huge pages for the alias, as the window gets it. */
void overcommit_advise(const struct mb_space *space, uint64_t gpa, uint64_t len, int advice);

/* For the check, which compares bits with the kernel: between these two nothing comes or goes. */
void overcommit_lock(struct mb_space *space);
void overcommit_unlock(struct mb_space *space);
bool overcommit_present(const struct mb_space *space, uint64_t gpa);
/* What should be charged, from the bits; with the lock held. */
uint64_t overcommit_expected_charge(const struct mb_space *space);

#endif
