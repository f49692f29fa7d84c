/* SPDX-License-Identifier: MIT */
/* pool.h - what the tests of the core share: pools to test on, and snapshots of them. */
#ifndef TEST_CORE_POOL_H
#define TEST_CORE_POOL_H

#include <memback/frames.h>

/* cmocka wants these first, in this order */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define GIANT (UINT64_C(1) << 18) /* base frames */
#define HUGE  (UINT64_C(1) << 9)

struct test_pool {
	struct mb_frames *f;
	void *area;
	size_t bytes;
};

static inline void *test_map(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

/* An empty pool, out of band. */
static inline struct test_pool test_pool_empty(uint64_t capacity, uint32_t slots, uint32_t flags)
{
	struct mb_frames_config c = {.capacity = capacity, .base_shift = 12, .slots = slots, .flags = flags};
	struct test_pool p = {.bytes = mb_frames_meta_bytes(&c)};

	assert_true(p.bytes > 0);
	p.area = test_map(p.bytes);
	assert_int_equal(mb_frames_init(p.area, p.bytes, &c, &p.f), 0);
	return p;
}

/* The same, all of it online. */
static inline struct test_pool test_pool_make(uint64_t capacity, uint32_t slots, uint32_t flags)
{
	struct test_pool p = test_pool_empty(capacity, slots, flags);

	assert_int_equal(mb_range_add(p.f, (mb_frame){0}, capacity), 0);
	return p;
}

static inline struct test_pool test_pool_in_band(uint64_t frames, uint32_t slots)
{
	struct mb_frames_config c = {.base_shift = 12, .slots = slots};
	struct test_pool p = {.bytes = (size_t)frames << 12};

	p.area = test_map(p.bytes);
	assert_int_equal(mb_frames_init_in_band(p.area, p.bytes, &c, &p.f), 0);
	return p;
}

static inline void test_pool_validate(struct test_pool *p)
{
	struct mb_flaw flaw;
	struct mb_frames_count c;

	if (mb_frames_validate(p->f, MB_VALIDATE_FULL, &flaw))
		fail_msg("at frame %#llx: %s", (unsigned long long)flaw.frame.n, flaw.what);
	mb_frames_count(p->f, &c);
	assert_int_equal(c.capacity, c.offline + c.used + c.holes + c.free);
}

/* Checks that all invariants hold, then lets go. */
static inline void test_pool_drop(struct test_pool *p)
{
	test_pool_validate(p);
	munmap(p->area, p->bytes);
}

static inline struct mb_frames_count test_count(const struct test_pool *p)
{
	struct mb_frames_count c;

	mb_frames_count(p->f, &c);
	return c;
}

static inline mb_slot test_slot(struct test_pool *p)
{
	mb_slot slot;

	assert_int_equal(mb_slot_open(p->f, &slot), 0);
	return slot;
}

static inline int test_hash_run(void *arg, const struct mb_run *run)
{
	uint64_t *h = arg;

	*h = (*h ^ run->first.n) * UINT64_C(0x100000001b3);
	*h = (*h ^ run->count) * UINT64_C(0x100000001b3);
	*h = (*h ^ (uint64_t)run->state) * UINT64_C(0x100000001b3);
	return 0;
}

/* One number for who has what. */
static inline uint64_t test_snapshot(const struct test_pool *p)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	assert_int_equal(mb_frames_walk(p->f, (mb_frame){0}, test_count(p).capacity, test_hash_run, &h), 0);
	return h;
}

static inline uint64_t test_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* The seed: from MEMBACK_SEED, else a fixed one; printed, so that a failure can be run again. */
static inline uint64_t test_seed(void)
{
	const char *text = getenv("MEMBACK_SEED");
	uint64_t seed = text ? strtoull(text, NULL, 0) : 88172645463325252u;

	print_message("seed %llu (set MEMBACK_SEED for another)\n", (unsigned long long)seed);
	return seed ? seed : 1;
}

#endif
