/* SPDX-License-Identifier: MIT */
/*
 * test-core-validate.c - each invariant is broken once, by a word of the metadata, and mb_frames_validate() says
 * which: so the tests that end with it can fail.
 */
#include "hint.h"
#include "layout.h"
#include "pool.h"

/* ---- pools, each with something of all that there is -------------------------------------------------- */

static mb_slot slot;

/* A base frame is allocated; its line and its giant frame's are held. */
static struct test_pool plain(void)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, 0);
	mb_frame frame;

	slot = test_slot(&p);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
	assert_int_equal(frame.n, 0);
	return p;
}

/* A giant frame is owned, with holes. */
static struct test_pool owned(void)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, MB_FRAMES_OWNED);

	slot = test_slot(&p);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_holes_add(p.f, slot, (mb_frame){100}, 8), 0);
	return p;
}

static struct test_pool ragged(void)
{
	struct test_pool p = test_pool_empty(2 * GIANT, 1, 0);

	assert_int_equal(mb_range_add(p.f, (mb_frame){0}, HUGE + 77), 0);
	return p;
}

/* Block 1 lies in a frame that it manages. */
static struct test_pool in_band(void)
{
	struct test_pool p = test_pool_in_band(GIANT, 1);

	slot = test_slot(&p);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){100 * HUGE + 7}), 0);
	return p;
}

/* ---- what is broken ----------------------------------------------------------------------------------- */

static struct mbc_slot *the_slot(struct mb_frames *f)
{
	return mbc_slot_at(f, slot.n);
}

static struct mbc_ref line(struct mb_frames *f, unsigned level, uint64_t L)
{
	return mbc_ref_sure(f, level, L);
}

static void lose(struct mb_frames *f)
{
	the_slot(f)->at[0].raw = MBC_NONE;
	line(f, 0, 0).block->held.raw = 0;
}

static void magic(struct mb_frames *f)
{
	f->magic ^= 1;
}

static void state(struct mb_frames *f)
{
	the_slot(f)->state.raw = 9;
}

static void far_at(struct mb_frames *f)
{
	the_slot(f)->at[0].raw = f->lines[0] * MBC_LINE_WORDS;
}

static void far_ring(struct mb_frames *f)
{
	the_slot(f)->ring[0].raw = (uint32_t)f->lines[0] + 1;
}

static void far_tree(struct mb_frames *f)
{
	((mbc_a64 *)mbc_at(f, f->off_tree[0][0]))->raw |= UINT64_C(1) << 63;
}

static void unsplit_bit(struct mb_frames *f)
{
	line(f, 0, 5).line->word[0].raw = 1;
}

static void unsplit_mark(struct mb_frames *f)
{
	line(f, 0, 5).block->ragged.raw |= line(f, 0, 5).bit;
}

static void gone_free(struct mb_frames *f)
{
	line(f, 1, 1).block->gone.raw |= line(f, 1, 1).bit;
}

static void held_by_none(struct mb_frames *f)
{
	the_slot(f)->at[0].raw = MBC_NONE;
}

static void not_held(struct mb_frames *f)
{
	line(f, 0, 0).block->held.raw = 0;
}

static void plain_special(struct mb_frames *f)
{
	line(f, 0, 0).block->special.raw |= line(f, 0, 0).bit;
}

/* Its slot gave up the line, and goes on to allocate from it. */
static void place_alone(struct mb_frames *f)
{
	struct mbc_ref r = line(f, 0, 0);

	mbc_slot_at(f, slot.n)->at[0].raw = MBC_NONE;
	r.block->held.raw &= ~r.bit;
	mbc_part_set(f, r);
}

static void held_leaving(struct mb_frames *f)
{
	line(f, 0, 0).block->drain.raw |= 1;
	line(f, 0, 0).block->special.raw |= 1;
}

static void part_alone(struct mb_frames *f)
{
	line(f, 0, 0).block->part.raw |= 1;
}

static void not_merged(struct mb_frames *f)
{
	lose(f);
	line(f, 0, 0).line->word[0].raw = MBC_FULL;
	the_slot(f)->ring[0].raw = 1;
}

static void beyond(struct mb_frames *f)
{
	line(f, 2, 0).line->word[1].raw = 1;
}

static void offline_free(struct mb_frames *f)
{
	line(f, 2, 0).line->word[0].raw |= 1 << 5;
}

static void leaving_free(struct mb_frames *f)
{
	mbc_drain_at(f, 2, 0)->raw |= 1 << 1;
}

static void home_free(struct mb_frames *f)
{
	uint64_t home = (uint64_t)((uintptr_t)mbc_block_sure(f, 0, 1) - (uintptr_t)f) / MBC_PAGE;

	mbc_word_at(f, 0, home / MBC_WORD_BITS)->raw |= mbc_bit(home);
}

static void split_gone(struct mb_frames *f)
{
	line(f, 1, 0).block->gone.raw |= 1;
}

static void owned_bit(struct mb_frames *f)
{
	line(f, 1, 0).line->word[3].raw = 1;
}

static void no_edge(struct mb_frames *f)
{
	((struct mbc_edge *)mbc_at(f, f->off_edges))->line.raw = 0;
}

static void free_split(struct mb_frames *f)
{
	line(f, 1, 0).line->word[0].raw |= 1;
}

static void offline_split(struct mb_frames *f)
{
	mbc_online_at(f, 2, 0)->raw &= ~UINT64_C(1);
}

static void far_edge(struct mb_frames *f)
{
	((struct mbc_edge *)mbc_at(f, f->off_edges))[5].line.raw = f->lines[0] + 1;
}

static void stray_edge(struct mb_frames *f)
{
	((struct mbc_edge *)mbc_at(f, f->off_edges))[5].line.raw = 7;
}

static const struct {
	const char *what;
	struct test_pool (*pool)(void);
	void (*break_it)(struct mb_frames *f);
} flaws[] = {
    {"no allocator lies here", plain, magic},
    {"a slot is neither open nor closed", plain, state},
    {"a slot holds a line beyond the end", plain, far_at},
    {"a ring has a line beyond the end", plain, far_ring},
    {"a tree leads beyond the end", plain, far_tree},
    {"a line that is not split has a set bit", plain, unsplit_bit},
    {"a line that is not split is marked", plain, unsplit_mark},
    {"a frame is gone that nobody owns", owned, gone_free},
    {"a line is held by no slot, or by two", plain, held_by_none},
    {"a slot holds a line that is not held", plain, not_held},
    {"a slot holds a line that is to leave", plain, held_leaving},
    {"a line is plain and special", plain, plain_special},
    {"a slot allocates from a line that it does not hold", plain, place_alone},
    {"a line with a part bit is not in the tree", plain, part_alone},
    {"a line with free frames is nobody's and has no part bit", plain, lose},
    {"a line that is wholly free is not merged", plain, not_merged},
    {"a frame beyond the capacity is free", plain, beyond},
    {"a frame that is offline is free", plain, offline_free},
    {"a frame that is to leave is free", plain, leaving_free},
    {"the frame that holds a block is free", in_band, home_free},
    {"a line is split and gone", owned, split_gone},
    {"an owned line has a set bit", owned, owned_bit},
    {"a line and its edge disagree", ragged, no_edge},
    {"a frame is free and split", plain, free_split},
    {"a frame is offline and split", plain, offline_split},
    {"an edge lies beyond the end", ragged, far_edge},
    {"an edge belongs to no ragged line", ragged, stray_edge},
};

static void test_each_flaw_is_named(void **unused)
{
	(void)unused;
	for (unsigned n = 0; n < sizeof(flaws) / sizeof(flaws[0]); n++) {
		struct test_pool p = flaws[n].pool();
		struct mb_flaw flaw = {"nothing", {0}};

		test_pool_validate(&p);
		flaws[n].break_it(p.f);
		if (mb_frames_validate(p.f, MB_VALIDATE_FULL, &flaw) != -EILSEQ)
			fail_msg("not found: %s", flaws[n].what);
		assert_string_equal(flaw.what, flaws[n].what);
		munmap(p.area, p.bytes);
	}
}

/* A bit of the tree that leads nowhere is cleared by whoever is led there: hint.h, fact 2. */
static void test_dead_end_is_forgotten(void **unused)
{
	struct test_pool p = test_pool_make(40 * GIANT, 1, 0);
	mbc_a64 *top = (mbc_a64 *)mbc_at(p.f, p.f->off_tree[0][1]);
	mb_frame frame;

	(void)unused;
	slot = test_slot(&p);
	assert_int_equal(p.f->tiers[0], 2);
	top->raw |= 1 << 5;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
	assert_int_equal(top->raw, 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frame), 0);
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_each_flaw_is_named),
	    cmocka_unit_test(test_dead_end_is_forgotten),
	};

	return cmocka_run_group_tests_name("core validate", tests, NULL, NULL);
}
