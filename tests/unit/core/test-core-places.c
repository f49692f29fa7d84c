/* SPDX-License-Identifier: MIT */
/*
 * test-core-places.c - what the common paths read: the place of the word that a slot allocates from, the word in
 * front of its ring, the lines that are plain. Facts 1, 2 and 3 of layout.h; their races are tried in
 * tests/model/sched, where each state at rest is validated.
 */
#include "layout.h"
#include "line.h"
#include "pool.h"

#define FRAMES (4 * HUGE)

static struct mbc_slot *slot_of(struct test_pool *p, mb_slot slot)
{
	return mbc_slot_at(p->f, slot.n);
}

static bool is_plain(struct test_pool *p, unsigned level, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(p->f, level, L);

	return mbc_has(&r.block->plain, r.bit);
}

/* The division by multiplication, at both ends of each block. */
static void test_block_of_a_frame(void **state)
{
	const uint64_t size = MBC_BLOCK_LINES * MBC_LINE_FRAMES, last = MBC_MAX_FRAMES / size;

	(void)state;
	for (uint64_t b = 0; b <= last; b += b < 1000 || b > last - 1000 ? 1 : 977) {
		assert_int_equal(mbc_block_of_frame(b * size), b);
		if (b)
			assert_int_equal(mbc_block_of_frame(b * size - 1), b - 1);
	}
}

/* A slot goes on through the words of its line by itself; at[] names the line all the time. */
static void test_place_moves_on(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 2, 0);
	mb_slot slot = test_slot(&p);
	const struct mbc_slot *s = slot_of(&p, slot);
	mb_frame frame[HUGE];

	(void)state;
	for (unsigned n = 0; n < HUGE; n++) {
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame[n]), 0);
		assert_int_equal(frame[n].n, n);
		assert_int_equal(mbc_load_relaxed(&s->at[0]) / MBC_LINE_WORDS, 0);
		assert_int_equal(mbc_load_relaxed(&s->base[0]), n / 64 * 64);
		test_pool_validate(&p);
	}
	/* back to its first word, which only at[] and the words tell of */
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frame[3]), 0);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame[3]), 0);
	assert_int_equal(frame[3].n, 3);
	assert_int_equal(mbc_load_relaxed(&s->base[0]), 0);
	test_pool_drop(&p);
}

/* layout.h 1: who takes a line away leaves no place of it behind, and the slot goes elsewhere. */
static void test_place_goes_with_the_line(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 2, 0);
	mb_slot slot = test_slot(&p);
	const struct mbc_slot *s = slot_of(&p, slot);
	mb_frame frame, other;
	uint64_t left;

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
	assert_int_not_equal(mbc_load32_relaxed(&s->where[0]), 0);
	assert_int_equal(mb_range_drain(p.f, (mb_frame){0}, HUGE, &left), 0);
	assert_int_equal(left, 1);
	assert_true(mbc_load_relaxed(&s->at[0]) == MBC_NONE);
	assert_int_equal(mbc_load32_relaxed(&s->where[0]), 0);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &other), 0);
	assert_true(other.n >= HUGE);
	/* a place of a line that was taken away is a flaw */
	mbc_slot_aim(p.f, slot_of(&p, slot), MB_BASE, 0, mbc_word_at(p.f, MB_BASE, 0));
	assert_int_equal(mb_frames_validate(p.f, MB_VALIDATE_FULL, NULL), -EILSEQ);
	mbc_slot_aim_nowhere(slot_of(&p, slot), MB_BASE);
	test_pool_drop(&p);
}

/* layout.h 2: in full memory the frame that came back is in front, in place of the word of a line. */
static void test_word_in_front(void **state)
{
	struct test_pool p = test_pool_make(FRAMES, 2, 0);
	mb_slot slot = test_slot(&p);
	const struct mbc_slot *s = slot_of(&p, slot);
	mb_frame frame[FRAMES], again;

	(void)state;
	for (unsigned n = 0; n < FRAMES; n++)
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame[n]), 0);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &again), -ENOMEM);
	for (unsigned n = 0; n < 1000; n++) {
		unsigned one = n * 997 % FRAMES;

		assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frame[one]), 0);
		assert_int_not_equal(mbc_load32_relaxed(&s->back[0]), 0);
		assert_int_equal(mbc_load32_relaxed(&s->where[0]), 0);
		assert_int_equal(mbc_load_relaxed(&s->base[0]), frame[one].n / 64 * 64);
		test_pool_validate(&p);
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &again), 0);
		assert_int_equal(again.n, frame[one].n);
		assert_int_equal(mbc_load32_relaxed(&s->back[0]), 0);
	}
	test_pool_drop(&p);
}

/* layout.h 3: plain is what is split, not special, and has no split frame itself. */
static void test_plain(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 2, 0);
	mb_slot slot = test_slot(&p);
	mb_frame huge, base;
	uint64_t left;

	(void)state;
	assert_false(is_plain(&p, MB_HUGE, 0));
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_HUGE, &huge), 0);
	assert_true(is_plain(&p, MB_HUGE, 0));
	/* a part of it is freed: it is split, and to free it whole is refused */
	assert_int_equal(mb_frame_free_part(p.f, slot, huge, 1), 0);
	assert_false(is_plain(&p, MB_HUGE, 0));
	assert_true(is_plain(&p, MB_BASE, huge.n / HUGE));
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, huge), -ENOENT);
	assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){huge.n + 1}, HUGE - 1), 0);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_false(is_plain(&p, MB_BASE, huge.n / HUGE));
	test_pool_validate(&p);
	/* what is to leave is plain no more, and is freed all the same */
	slot = test_slot(&p);
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &base), 0);
	assert_true(is_plain(&p, MB_BASE, base.n / HUGE));
	assert_int_equal(mb_range_drain(p.f, (mb_frame){base.n / HUGE * HUGE}, HUGE, &left), 0);
	assert_false(is_plain(&p, MB_BASE, base.n / HUGE));
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, base), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, base), -ENXIO);
	test_pool_validate(&p);
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_block_of_a_frame),
	    cmocka_unit_test(test_place_moves_on),
	    cmocka_unit_test(test_place_goes_with_the_line),
	    cmocka_unit_test(test_word_in_front),
	    cmocka_unit_test(test_plain),
	};

	return cmocka_run_group_tests_name("core places", tests, NULL, NULL);
}
