/* SPDX-License-Identifier: MIT */
/*
 * test-core-rollback.c - every operation of several steps is failed at every one of its points, each time that
 * it is met, in pools with owners and without. Where the call says that it failed, the truth, bit by bit, is
 * what it was; where it went another way, all invariants hold. Either way no intent and no `held` is left
 * behind.
 */
#include "intent.h"
#include "point.h"
#include "pool.h"

static int fail_point = -1, countdown;

int mbc_test_point(enum mbc_point point)
{
	if ((int)point != fail_point)
		return 0;
	return countdown-- == 1;
}

/* ---- the truth -------------------------------------------------------------------------------------- */

static void mix(uint64_t *h, uint64_t v)
{
	*h = (*h ^ v) * UINT64_C(0x100000001b3);
	*h ^= *h >> 29;
}

static void mix_block(uint64_t *h, const struct mbc_block *b)
{
	mix(h, b->split.raw);
	mix(h, b->special.raw);
	mix(h, b->ragged.raw);
	mix(h, b->drain.raw);
	mix(h, b->owned.raw);
	mix(h, b->host.raw);
	mix(h, b->gone.raw);
	for (unsigned n = 0; n < MBC_BLOCK_LINES; n++)
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			mix(h, b->line[n].word[w].raw);
}

/* All that decides: the blocks but for their hints, and the masks, where they hold. */
static uint64_t truth(const struct mb_frames *f)
{
	uint64_t h = UINT64_C(0xcbf29ce484222325);

	for (unsigned level = 0; level < MB_LEVELS; level++)
		for (uint64_t b = 0; b < f->blocks[level]; b++)
			mix_block(&h, mbc_block_at(f, level, b));
	for (uint64_t W = 0; W < f->lines[MB_HUGE] * MBC_LINE_WORDS; W++) {
		struct mbc_ref r = mbc_ref_get(f, MB_HUGE, W / MBC_LINE_WORDS);

		if (!mbc_has(&r.block->special, r.bit))
			continue;
		mix(&h, mbc_online_at(f, MB_HUGE, W)->raw);
		mix(&h, mbc_drain_at(f, MB_HUGE, W)->raw);
	}
	for (uint64_t W = 0; W < f->lines[MB_GIANT] * MBC_LINE_WORDS; W++) {
		mix(&h, mbc_online_at(f, MB_GIANT, W)->raw);
		mix(&h, mbc_drain_at(f, MB_GIANT, W)->raw);
	}
	return h;
}

/* ---- operations ------------------------------------------------------------------------------------- */

struct test {
	struct test_pool p;
	mb_slot a, b;
	mb_frame x;
};

static int alloc_huge(struct test *t)
{
	return mb_frame_alloc(t->p.f, t->a, MB_HUGE, &t->x);
}

static int take_huge(struct test *t)
{
	return mb_frame_take(t->p.f, t->a, MB_HUGE, (mb_frame){77 * HUGE});
}

static int take_base(struct test *t)
{
	return mb_frame_take(t->p.f, t->a, MB_BASE, (mb_frame){77 * HUGE + 5});
}

static int take_giant(struct test *t)
{
	return mb_frame_take(t->p.f, t->a, MB_GIANT, (mb_frame){0});
}

/* Giant frame 0 is free in pieces, in a line that b holds. */
static void pieces(struct test *t)
{
	assert_int_equal(mb_frame_alloc(t->p.f, t->b, MB_HUGE, &t->x), 0);
	assert_int_equal(mb_frame_free(t->p.f, t->b, MB_HUGE, t->x), 0);
}

static void one_in_use(struct test *t)
{
	assert_int_equal(mb_frame_take(t->p.f, t->b, MB_HUGE, (mb_frame){GIANT + 9 * HUGE}), 0);
}

static int remove_range(struct test *t)
{
	return mb_range_remove(t->p.f, (mb_frame){GIANT - 3 * HUGE}, 2 * GIANT, NULL);
}

static int remove_to_the_busy(struct test *t)
{
	return mb_range_remove(t->p.f, (mb_frame){GIANT - 3 * HUGE}, 20 * HUGE, NULL);
}

static int drain_range(struct test *t)
{
	return mb_range_drain(t->p.f, (mb_frame){GIANT - 3 * HUGE}, 2 * GIANT, NULL);
}

static void giant(struct test *t)
{
	assert_int_equal(mb_frame_take(t->p.f, t->a, MB_GIANT, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_holes_add(t->p.f, t->a, (mb_frame){9 * HUGE + 3}, 3 * HUGE), 0);
}

static int add_holes(struct test *t)
{
	return mb_frame_holes_add(t->p.f, t->a, (mb_frame){20 * HUGE + 3}, 3 * HUGE);
}

static int remove_holes(struct test *t)
{
	return mb_frame_holes_remove(t->p.f, t->a, (mb_frame){9 * HUGE + 3}, 3 * HUGE);
}

static void last(struct test *t)
{
	assert_int_equal(mb_frame_alloc(t->p.f, t->b, MB_HUGE, &t->x), 0);
	assert_int_equal(mb_slot_close(t->p.f, t->b), 0);
	t->b = test_slot(&t->p);
}

static int free_last(struct test *t)
{
	return mb_frame_free(t->p.f, t->a, MB_HUGE, t->x);
}

static const struct operation {
	const char *name;
	void (*prepare)(struct test *t);
	int (*run)(struct test *t);
	bool with_owners, without;
} operations[] = {
    {"alloc", NULL, alloc_huge, true, true},
    {"take", NULL, take_huge, true, true},
    {"take a base frame", NULL, take_base, false, true},
    {"take of pieces", pieces, take_giant, true, true},
    {"free, and merge", last, free_last, true, true},
    {"remove", NULL, remove_range, true, true},
    {"remove, of pieces", pieces, remove_range, true, true},
    {"remove, in use", one_in_use, remove_to_the_busy, true, true},
    {"drain", NULL, drain_range, true, true},
    {"add holes", giant, add_holes, true, false},
    {"remove holes", giant, remove_holes, true, false},
};

/* ---- every point, each time ------------------------------------------------------------------------- */

static void check_at_rest(struct test *t)
{
	for (uint32_t n = 0; n <= t->p.f->slots && mbc_owned_pool(t->p.f); n++) {
		const struct mbc_journal *j = mbc_journal_of(t->p.f, mbc_slot_at(t->p.f, n));

		assert_int_equal(j->gone.what.raw, 0);
		for (unsigned k = 0; k < MBC_DEEDS; k++)
			assert_int_equal(j->deed[k].raw, 0);
		for (unsigned k = 0; k < MBC_HANDS; k++)
			assert_int_equal(j->line[k].raw, 0);
	}
	assert_int_equal(t->p.f->range_lock.raw, 0);
	assert_int_equal(t->p.f->range_op.raw, 0);
	test_pool_validate(&t->p);
}

static struct test test_make(const struct operation *o, uint32_t flags)
{
	struct test t = {.p = test_pool_make(4 * GIANT, 2, flags)};

	t.a = test_slot(&t.p);
	t.b = test_slot(&t.p);
	if (o->prepare)
		o->prepare(&t);
	return t;
}

/* What of the truth is left when nobody holds a line: a line that is free and held is not merged yet. */
static uint64_t truth_at_rest(struct test *t)
{
	assert_int_equal(mb_slot_close(t->p.f, t->a), 0);
	assert_int_equal(mb_slot_close(t->p.f, t->b), 0);
	check_at_rest(t);
	return truth(t->p.f);
}

/* Failing the point for the nth time that it is met; false: it is not met so often. */
static bool try_one(const struct operation *o, uint32_t flags, int point, int nth, uint64_t rest,
		    unsigned *failed)
{
	struct test t = test_make(o, flags);
	uint64_t before = test_snapshot(&t.p);
	bool met;
	int rc;

	fail_point = point;
	countdown = nth;
	rc = o->run(&t);
	met = countdown <= 0;
	fail_point = -1;
	check_at_rest(&t);
	*failed += met && rc < 0;
	if (rc < 0 && (test_snapshot(&t.p) != before || truth_at_rest(&t) != rest))
		fail_msg("%s: failed at point %d, time %d, and left a change", o->name, point, nth);
	test_pool_drop(&t.p);
	return met;
}

static void try_all(uint32_t flags)
{
	for (size_t n = 0; n < sizeof(operations) / sizeof(operations[0]); n++) {
		const struct operation *o = &operations[n];
		unsigned met = 0, failed = 0;
		struct test t;
		uint64_t rest;

		if (!(flags ? o->with_owners : o->without))
			continue;
		t = test_make(o, flags);
		rest = truth_at_rest(&t);
		test_pool_drop(&t.p);
		for (int point = 0; point < MBC_POINTS; point++)
			for (int nth = 1; nth < 2000 && try_one(o, flags, point, nth, rest, &failed); nth++)
				met++;
		print_message("%-20s %4u points failed, %4u calls failed by it\n", o->name, met, failed);
		assert_true(met > 0);
	}
}

static void test_with_owners(void **state)
{
	(void)state;
	try_all(MB_FRAMES_OWNED);
}

static void test_without_owners(void **state)
{
	(void)state;
	try_all(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_with_owners),
	    cmocka_unit_test(test_without_owners),
	};

	return cmocka_run_group_tests_name("core rollback", tests, NULL, NULL);
}
