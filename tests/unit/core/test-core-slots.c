/* SPDX-License-Identifier: MIT */
/*
 * test-core-slots.c - many CPUs, simulated: 64 slots take turns in one thread. They keep to lines and words of
 * their own, strand no more than they hold, and give that up when somebody needs it.
 */
#include "layout.h"
#include "pool.h"

#define SLOTS 64u
#define TURNS 600u /* more than a line has */

static mb_slot slots[SLOTS];

static struct test_pool open_all(uint64_t capacity)
{
	struct test_pool p = test_pool_make(capacity, SLOTS, 0);

	for (unsigned n = 0; n < SLOTS; n++)
		assert_int_equal(mb_slot_open(p.f, &slots[n]), 0);
	return p;
}

/* No line serves two slots while there is memory enough: level's frames in its lines, base frames in huge ones.
 */
static void check_spread(enum mb_level level, uint64_t capacity)
{
	struct test_pool p = open_all(capacity);
	uint64_t line = mb_level_frames(level + 1);
	unsigned char *owner = calloc(capacity / line, 1);

	assert_non_null(owner);
	for (unsigned turn = 0; turn < TURNS; turn++)
		for (unsigned n = 0; n < SLOTS; n++) {
			mb_frame x;

			assert_int_equal(mb_frame_alloc(p.f, slots[n], level, &x), 0);
			if (!owner[x.n / line])
				owner[x.n / line] = (unsigned char)(n + 1);
			assert_int_equal(owner[x.n / line], n + 1);
		}
	free(owner);
	test_pool_drop(&p);
}

static void a8_slots_have_lines_of_their_own(void **state)
{
	(void)state;
	check_spread(MB_BASE, 64 * GIANT);
	check_spread(MB_HUGE, 256 * GIANT);
}

/* Giant frames: no line is anybody's, but each slot begins at a word of its own as far as there are words. */
static void check_words(uint64_t giants)
{
	struct test_pool p = open_all(giants * GIANT);
	uint64_t words = giants / 64, most = (SLOTS + words - 1) / words;
	unsigned *users = calloc(words, sizeof(*users));

	assert_non_null(users);
	for (unsigned n = 0; n < SLOTS; n++) {
		mb_frame x;

		assert_int_equal(mb_frame_alloc(p.f, slots[n], MB_GIANT, &x), 0);
		assert_true(++users[x.n / GIANT / 64] <= most);
	}
	free(users);
	test_pool_drop(&p);
}

static void a8_slots_begin_at_words_of_their_own(void **state)
{
	(void)state;
	check_words(512);
	check_words(1024);
	check_words(4096);
	check_words(16384);
}

/* All slots work and give everything back: what is not whole then is what they hold. */
static void churn(struct test_pool *p, unsigned rounds)
{
	static mb_frame x[SLOTS][TURNS];

	for (unsigned round = 0; round < rounds; round++) {
		for (unsigned turn = 0; turn < TURNS; turn++)
			for (unsigned n = 0; n < SLOTS; n++)
				assert_int_equal(mb_frame_alloc(p->f, slots[n], MB_BASE, &x[n][turn]), 0);
		/* what one got, another one frees */
		for (unsigned turn = 0; turn < TURNS; turn++)
			for (unsigned n = 0; n < SLOTS; n++)
				assert_int_equal(
				    mb_frame_free(p->f, slots[(n + round) % SLOTS], MB_BASE, x[n][turn]), 0);
	}
}

static void a9_slots_strand_no_more_than_they_hold(void **state)
{
	struct test_pool p = open_all(64 * GIANT);
	struct mb_frames_count c;
	uint64_t got = 0;
	mb_frame x;

	(void)state;
	churn(&p, 3);
	c = test_count(&p);
	assert_int_equal(c.used, 0);
	/* a line of each level for each slot */
	assert_true(c.lines <= 2 * SLOTS);
	assert_true(c.whole[MB_HUGE] >= 64 * 512 - SLOTS);
	/* one slot gets it all, down to the last frame of what the others hold */
	while (mb_frame_alloc(p.f, slots[0], MB_HUGE, &x) == 0)
		got += HUGE;
	while (mb_frame_alloc(p.f, slots[0], MB_BASE, &x) == 0)
		got++;
	assert_int_equal(got, 64 * GIANT);
	test_pool_drop(&p);
}

static void a9_giant_frames_are_had_when_slots_hold_lines_in_all(void **state)
{
	struct test_pool p = open_all(64 * GIANT);
	mb_frame x;

	(void)state;
	/* each slot holds a line in a giant frame of its own: none is whole */
	for (unsigned n = 0; n < SLOTS; n++) {
		assert_int_equal(mb_frame_alloc(p.f, slots[n], MB_HUGE, &x), 0);
		assert_int_equal(mb_frame_free(p.f, slots[n], MB_HUGE, x), 0);
		assert_int_equal(mb_frame_alloc(p.f, slots[n], MB_BASE, &x), 0);
		assert_int_equal(mb_frame_free(p.f, slots[n], MB_BASE, x), 0);
	}
	assert_int_equal(test_count(&p).whole[MB_GIANT], 0);
	for (unsigned n = 0; n < 64; n++)
		assert_int_equal(mb_frame_alloc(p.f, slots[n], MB_GIANT, &x), 0);
	assert_int_equal(mb_frame_alloc(p.f, slots[0], MB_BASE, &x), -ENOMEM);
	test_pool_drop(&p);
}

/*
 * A line with something free stays in the ring, however many lines its slot makes whole after it; these are forgotten
 * as they merge, so that no allocation comes by where there is nothing.
 */
static void a10_rings_forget_what_their_slot_merged(void **state)
{
	struct test_pool p = test_pool_make(GIANT, SLOTS, 0);
	const unsigned lines = 2 * MBC_RING0;
	const struct mbc_slot *s;
	mb_slot slot;
	mb_frame x;

	(void)state;
	assert_int_equal(mb_slot_open(p.f, &slot), 0);
	s = mbc_slot_at(p.f, slot.n);
	/* one frame more, so that the slot holds another line */
	for (unsigned n = 0; n <= lines * 512; n++)
		assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &x), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){7}), 0);
	for (unsigned n = 512; n < lines * 512; n++)
		assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){n}), 0);
	assert_int_equal(mbc_load32_relaxed(&s->turn[0]) >> 16, 1);
	assert_int_equal(mbc_load32_relaxed(&s->ring[0]), 0 + 1); /* line 0 */
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(a8_slots_have_lines_of_their_own),
	    cmocka_unit_test(a8_slots_begin_at_words_of_their_own),
	    cmocka_unit_test(a9_slots_strand_no_more_than_they_hold),
	    cmocka_unit_test(a9_giant_frames_are_had_when_slots_hold_lines_in_all),
	    cmocka_unit_test(a10_rings_forget_what_their_slot_merged),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
