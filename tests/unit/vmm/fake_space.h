/* SPDX-License-Identifier: MIT */
/*
 * fake_space.h - a guest address space without a pool: what mb_space_*() do, as far as devices use it, with
 * failures on demand. It stands in for the library, so a test that uses it does not link that.
 *
 * Guest memory is [0, 32 MiB) and [4 GiB, 4 GiB + 32 MiB). What is inflated is filled with 0xdd, what is
 * deflated with 0.
 */
#ifndef TESTS_FAKE_SPACE_H
#define TESTS_FAKE_SPACE_H

#include <memback/pool.h>

#define FAKE_HALF  (UINT64_C(32) << 20)
#define FAKE_HIGH  (UINT64_C(4) << 30)
#define FAKE_PAGES (2 * FAKE_HALF >> 12)

struct fake_calls {
	unsigned inflates, deflates; /* calls that worked */
	unsigned refused;            /* calls that did not */
	unsigned discards;           /* calls that worked */
	uint64_t discarded;          /* pages */
	uint64_t longest;            /* pages of the longest inflation */
	bool queued;                 /* waits for bytes */
	uint64_t queued_bytes;
};

struct mb_space *fake_space_create(void);
void fake_space_destroy(struct mb_space *space);
struct fake_calls *fake_space_calls(struct mb_space *space);
/* Bytes that may be charged from now on. */
void fake_space_set_budget(struct mb_space *space, uint64_t left);
/* Calls whose range has this page fail with this error. */
void fake_space_fail_at(struct mb_space *space, uint64_t page, int error);
/* This page cannot be had now, as with overcommit; UINT64_MAX: all can. */
void fake_space_set_absent(struct mb_space *space, uint64_t page);
/* What mb_space_starved() says. */
void fake_space_set_starved(struct mb_space *space, bool starved);
/* As if somebody else had inflated this page. */
void fake_space_steal(struct mb_space *space, uint64_t page);
bool fake_space_is_inflated(const struct mb_space *space, uint64_t page);
uint64_t fake_space_inflated(const struct mb_space *space); /* pages */

#endif
