/* SPDX-License-Identifier: MIT */
/* test-core-frames.c - geometry, allocation, compaction, batches, taking, parts: one thread. */
#include "layout.h"
#include "pool.h"

static void test_a3_a4_geometry_by_arithmetic(void **state)
{
	(void)state;
	assert_int_equal(sizeof(struct mbc_block), 4096);
	assert_int_equal(offsetof(struct mbc_block, split), 4096 - 128);
	assert_int_equal(MBC_BLOCK_LINES * MBC_LINE_FRAMES, (4096 - 128) * 8);
	assert_int_equal(MBC_BLOCK_LINES * MBC_LINE_FRAMES, 31744);
	/* 124 MiB of 4 KiB frames; 496 GiB of 16 MiB frames */
	assert_int_equal(UINT64_C(31744) << 12, UINT64_C(124) << 20);
	assert_int_equal(UINT64_C(31744) << 24, UINT64_C(496) << 30);
	/* self-similar: a frame of a level is a line of the one below */
	assert_int_equal(mb_level_frames(MB_HUGE), MBC_LINE_FRAMES);
	assert_int_equal(mb_level_frames(MB_GIANT), MBC_LINE_FRAMES * MBC_LINE_FRAMES);
}

/* The lines that a pool needs are as many as the arithmetic says; the metadata is at most 0.0033 %. */
static void test_a3_a4_geometry_by_allocation(void **state)
{
	struct test_pool p = test_pool_make(31744, 1, 0);
	mb_slot slot = test_slot(&p);
	mb_frame frame;
	uint64_t n = 0;

	(void)state;
	while (mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0)
		n++;
	assert_int_equal(n, 31744);
	assert_int_equal(p.f->blocks[0], 1);
	/* one of level 1, and 62 of level 0: one block full */
	assert_int_equal(test_count(&p).lines, 1 + 62);
	test_pool_drop(&p);

	for (unsigned tib = 1; tib <= 16; tib *= 2) {
		struct mb_frames_config c = {.capacity = 1024 * GIANT * tib, .base_shift = 12, .slots = 64};
		double share = (double)mb_frames_meta_bytes(&c) / ((double)tib * 1099511627776.0);

		assert_true(share > 0 && share <= 0.000033);
	}
}

/* With a base of 16 MiB one block of the lowest level manages 496 GiB, and a handful manage terabytes. */
static void test_a4_large_base(void **state)
{
	struct mb_frames_config c = {.capacity = 4 * 65536, .base_shift = 24, .slots = 1}; /* 4 TiB */
	size_t bytes = mb_frames_meta_bytes(&c);
	struct test_pool p = {.bytes = bytes, .area = test_map(bytes)};
	mb_frame frame;
	mb_slot slot;
	uint64_t n = 0;

	(void)state;
	assert_int_equal(mb_frames_init(p.area, bytes, &c, &p.f), 0);
	assert_int_equal(mb_range_add(p.f, (mb_frame){0}, c.capacity), 0);
	assert_true(p.f->blocks[0] <= 9);
	slot = test_slot(&p);
	while (mb_frame_alloc(p.f, slot, MB_BASE, &frame) == 0)
		assert_true(frame.n < c.capacity && ++n <= c.capacity);
	assert_int_equal(n, c.capacity);
	test_pool_drop(&p);
}

/* Fills a pool at a level, checks that no frame comes twice, and empties it. */
static void fill_and_empty(struct test_pool *p, mb_slot slot, enum mb_level level)
{
	uint64_t capacity = test_count(p).capacity, size = mb_level_frames(level), n = 0;
	unsigned char *seen = calloc(capacity / size + 1, 1);
	mb_frame *frames = calloc(capacity / size + 1, sizeof(*frames));

	assert_non_null(seen);
	assert_non_null(frames);
	while (mb_frame_alloc(p->f, slot, level, &frames[n]) == 0) {
		assert_int_equal(frames[n].n % size, 0);
		assert_true(frames[n].n + size <= capacity);
		assert_false(seen[frames[n].n / size]++);
		n++;
	}
	assert_int_equal(test_count(p).whole[level], 0);
	test_pool_validate(p);
	for (uint64_t k = 0; k < n; k++)
		assert_int_equal(mb_frame_free(p->f, slot, level, frames[k * 7919 % n]), 0);
	free(seen);
	free(frames);
}

static void test_levels(void **state)
{
	(void)state;
	for (unsigned level = 0; level < MB_LEVELS; level++) {
		struct test_pool p = test_pool_make(2 * GIANT, 2, 0);
		mb_slot slot = test_slot(&p);
		uint64_t before = test_snapshot(&p);

		fill_and_empty(&p, slot, (enum mb_level)level);
		assert_int_equal(test_snapshot(&p), before);
		assert_int_equal(mb_slot_close(p.f, slot), 0);
		assert_int_equal(test_count(&p).whole[MB_GIANT], 2);
		test_pool_drop(&p);
	}
}

static void test_a9_no_line_left(void **state)
{
	struct test_pool p = test_pool_make(4 * GIANT, 2, 0);
	mb_slot slot = test_slot(&p);

	(void)state;
	assert_int_equal(test_count(&p).lines, 0);
	fill_and_empty(&p, slot, MB_BASE);
	assert_int_equal(mb_slot_close(p.f, slot), 0);
	assert_int_equal(test_count(&p).lines, 0);
	/* and a line that is not there has left nothing behind: fact 2 of line.h */
	for (uint64_t L = 0; L < p.f->lines[0]; L++) {
		struct mbc_ref r = mbc_ref_get(p.f, 0, L);

		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			assert_int_equal(mbc_load_relaxed(&r.line->word[w]), 0);
	}
	test_pool_drop(&p);
}

static void test_a8_lines_do_not_coincide(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 8, 0);
	mb_slot slot[8];
	mb_frame frame[8];

	(void)state;
	for (unsigned n = 0; n < 8; n++)
		slot[n] = test_slot(&p);
	/* as long as there is another line, two slots never allocate from one */
	for (unsigned round = 0; round < 2000; round++) {
		for (unsigned n = 0; n < 8; n++)
			assert_int_equal(mb_frame_alloc(p.f, slot[n], MB_BASE, &frame[n]), 0);
		for (unsigned n = 0; n < 8; n++)
			for (unsigned m = 0; m < n; m++)
				assert_true(frame[n].n / HUGE != frame[m].n / HUGE);
	}
	test_pool_drop(&p);
}

/* When there is nothing else, slots take from one another's lines, to the last frame. */
static void test_a8_last_line_is_shared(void **state)
{
	struct test_pool p = test_pool_make(HUGE, 2, 0);
	mb_slot a = test_slot(&p), b = test_slot(&p);
	mb_frame frame;
	uint64_t n = 0;

	(void)state;
	while (mb_frame_alloc(p.f, n % 2 ? a : b, MB_BASE, &frame) == 0)
		n++;
	assert_int_equal(n, HUGE);
	assert_int_equal(mb_frame_alloc(p.f, a, MB_BASE, &frame), -ENOMEM);
	test_pool_drop(&p);
}

/* Instead of counting words read: the one free frame of many is found at whatever place, by any slot. */
static void test_a10_one_free_frame_is_found(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 2, 0);
	mb_slot a = test_slot(&p), b = test_slot(&p);
	uint64_t x = test_seed();
	mb_frame frame;

	(void)state;
	while (mb_frame_alloc(p.f, a, MB_BASE, &frame) == 0)
		;
	for (unsigned n = 0; n < 5000; n++) {
		mb_frame hole = {test_random(&x) % GIANT};

		assert_int_equal(mb_frame_free(p.f, n & 1 ? a : b, MB_BASE, hole), 0);
		assert_int_equal(mb_frame_alloc(p.f, n & 2 ? a : b, MB_BASE, &frame), 0);
		assert_int_equal(frame.n, hole.n);
	}
	test_pool_drop(&p);
}

static void test_batches(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	static mb_frame frames[3000];
	unsigned char *seen = calloc(GIANT, 1);
	uint64_t x = test_seed(), before = test_snapshot(&p);

	(void)state;
	for (unsigned round = 0; round < 200; round++) {
		unsigned want = 1 + (unsigned)(test_random(&x) % 3000), got = 0;

		while (got < want) {
			int rc = mb_frame_alloc_batch(p.f, slot, MB_BASE, frames + got, want - got);

			assert_true(rc > 0);
			got += (unsigned)rc;
		}
		for (unsigned n = 0; n < got; n++)
			assert_false(seen[frames[n].n]++);
		assert_int_equal(test_count(&p).used, got);
		/* a double free in the middle stops the batch there, and says how far it came */
		if (got > 2 && round % 3 == 0) {
			unsigned bad = 1 + (unsigned)(test_random(&x) % (got - 1));

			assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, frames[bad]), 0);
			assert_int_equal(mb_frame_free_batch(p.f, slot, MB_BASE, frames, got), (int)bad);
			assert_int_equal(mb_frame_free_batch(p.f, slot, MB_BASE, frames + bad, 1), -EALREADY);
			assert_int_equal(test_count(&p).used, got - bad - 1);
			if (bad + 1 < got)
				assert_int_equal(
				    mb_frame_free_batch(p.f, slot, MB_BASE, frames + bad + 1, got - bad - 1),
				    (int)(got - bad - 1));
		} else {
			assert_int_equal(mb_frame_free_batch(p.f, slot, MB_BASE, frames, got), (int)got);
		}
		for (unsigned n = 0; n < got; n++)
			seen[frames[n].n] = 0;
		assert_int_equal(test_snapshot(&p), before);
	}
	free(seen);
	test_pool_drop(&p);
}

/* The same frame twice in one batch is a double free, not one bit. */
static void test_batch_with_a_frame_twice(void **state)
{
	struct test_pool p = test_pool_make(HUGE, 1, 0);
	mb_slot slot = test_slot(&p);
	mb_frame frames[4];

	(void)state;
	assert_int_equal(mb_frame_alloc_batch(p.f, slot, MB_BASE, frames, 3), 3);
	frames[3] = frames[2];
	assert_int_equal(mb_frame_free_batch(p.f, slot, MB_BASE, frames, 4), 3);
	assert_int_equal(test_count(&p).used, 0);
	test_pool_drop(&p);
}

static void test_take(void **state)
{
	struct test_pool p = test_pool_make(3 * GIANT, 2, 0);
	mb_slot slot = test_slot(&p), other = test_slot(&p);
	mb_frame frame;

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){GIANT + 5 * HUGE + 77}), 0);
	assert_int_equal(mb_frame_state(p.f, (mb_frame){GIANT + 5 * HUGE + 77}), MB_USED);
	assert_int_equal(test_count(&p).used, 1);
	assert_int_equal(mb_frame_take(p.f, slot, MB_BASE, (mb_frame){GIANT + 5 * HUGE + 77}), -EBUSY);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){GIANT + 5 * HUGE}), -EBUSY);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){GIANT}), -EBUSY);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){GIANT + 6 * HUGE}), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, (mb_frame){GIANT + 6 * HUGE}), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){GIANT + 5 * HUGE + 77}), 0);
	/* free in pieces that only a slot holds: it is free, and can be taken whole */
	assert_int_equal(mb_frame_alloc(p.f, other, MB_BASE, &frame), 0);
	assert_int_equal(mb_frame_free(p.f, other, MB_BASE, frame), 0);
	for (uint64_t g = 0; g < 3; g++)
		assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){g * GIANT}), 0);
	assert_int_equal(test_count(&p).free, 0);
	test_pool_drop(&p);
}

static void test_free_part(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	uint64_t x = test_seed(), whole = test_snapshot(&p);

	(void)state;
	for (unsigned round = 0; round < 100; round++) {
		enum mb_level level = round % 2 ? MB_GIANT : MB_HUGE;
		uint64_t size = mb_level_frames(level), a, b;
		mb_frame frame;

		assert_int_equal(mb_frame_alloc(p.f, slot, level, &frame), 0);
		a = 1 + test_random(&x) % (size - 2);
		b = a + 1 + test_random(&x) % (size - a - 1);
		assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){frame.n + a}, b - a), 0);
		assert_int_equal(test_count(&p).used, size - (b - a));
		assert_int_equal(mb_frame_state(p.f, (mb_frame){frame.n + a}), MB_FREE);
		assert_int_equal(mb_frame_state(p.f, (mb_frame){frame.n + a - 1}), MB_USED);
		/* free already, in part: nothing changes */
		assert_int_equal(mb_frame_free_part(p.f, slot, frame, size), -EALREADY);
		assert_int_equal(test_count(&p).used, size - (b - a));
		/* it is no frame of its level any more */
		assert_int_equal(mb_frame_free(p.f, slot, level, frame), -ENOENT);
		assert_int_equal(mb_frame_free_part(p.f, slot, frame, a), 0);
		assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){frame.n + b}, size - b), 0);
		assert_int_equal(test_count(&p).used, 0);
		test_pool_validate(&p);
	}
	assert_int_equal(test_snapshot(&p), whole);
	test_pool_drop(&p);
}

/* All of what was allocated whole is a part, too; and base frames that ascend with gaps between them are a batch. */
static void test_free_part_of_all(void **state)
{
	struct test_pool p = test_pool_make(3 * GIANT, 1, 0);
	mb_slot slot = test_slot(&p);
	uint64_t whole = test_snapshot(&p);
	mb_frame frames[64];

	(void)state;
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_GIANT, (mb_frame){GIANT}), 0);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){2 * GIANT}), 0);
	assert_int_equal(mb_frame_free_part(p.f, slot, (mb_frame){0}, 2 * GIANT + HUGE), 0);
	assert_int_equal(test_count(&p).used, 0);
	assert_int_equal(mb_frame_alloc_batch(p.f, slot, MB_BASE, frames, 64), 64);
	for (unsigned n = 0; n < 21; n++)
		frames[n] = frames[3 * n];
	assert_int_equal(mb_frame_free_batch(p.f, slot, MB_BASE, frames, 21), 21);
	assert_int_equal(test_count(&p).used, 43);
	for (unsigned n = 0; n < 64; n++)
		if (n % 3 || n >= 63)
			assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){frames[0].n + n}), 0);
	assert_int_equal(test_snapshot(&p), whole);
	test_pool_drop(&p);
}

/* In band: a frame whose block does not exist is free, or a part of something larger. */
static void test_in_band_free_without_block(void **state)
{
	struct test_pool p = test_pool_in_band(GIANT, 1);
	mb_slot slot = test_slot(&p);

	(void)state;
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){200 * HUGE + 3}), -EALREADY);
	assert_int_equal(mb_frame_take(p.f, slot, MB_HUGE, (mb_frame){200 * HUGE}), 0);
	assert_int_equal(mb_frame_free(p.f, slot, MB_BASE, (mb_frame){200 * HUGE + 3}), -ENOENT);
	assert_int_equal(mb_frame_free(p.f, slot, MB_HUGE, (mb_frame){200 * HUGE}), 0);
	test_pool_drop(&p);
}

static void test_slots(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 3, 0);
	mb_slot slot[3], more;

	(void)state;
	for (unsigned n = 0; n < 3; n++)
		slot[n] = test_slot(&p);
	assert_int_equal(mb_slot_open(p.f, &more), -EUSERS);
	assert_int_equal(mb_slot_close(p.f, slot[1]), 0);
	assert_int_equal(mb_slot_close(p.f, slot[1]), -EBADF);
	assert_int_equal(mb_slot_open(p.f, &more), 0);
	assert_int_equal(more.n, slot[1].n);
	test_pool_drop(&p);
}

static void test_attach(void **state)
{
	struct test_pool p = test_pool_make(GIANT, 2, 0);
	struct mb_frames_config c;
	struct mb_frames *again;

	(void)state;
	assert_int_equal(mb_frames_attach(p.area, p.bytes, &again), 0);
	mb_frames_get_config(again, &c);
	assert_int_equal(c.capacity, GIANT);
	assert_int_equal(c.slots, 2);
	assert_int_equal(mb_frames_attach(p.area, p.bytes - 4096, &again), -ENOSPC);
	/* whatever of the head is changed, it is noticed or it is another good head */
	p.f->capacity++;
	p.f->off_block[0]++;
	assert_int_equal(mb_frames_attach(p.area, p.bytes, &again), -EILSEQ);
	p.f->capacity--;
	assert_int_equal(mb_frames_attach(p.area, p.bytes, &again), -EILSEQ);
	p.f->off_block[0]--;
	p.f->slots = UINT32_MAX;
	assert_int_equal(mb_frames_attach(p.area, p.bytes, &again), -EILSEQ);
	p.f->slots = 2;
	p.f->magic = 0;
	assert_int_equal(mb_frames_attach(p.area, p.bytes, &again), -EILSEQ);
	p.f->magic = MBC_MAGIC;
	test_pool_drop(&p);
}

/* Each flaw that is made by hand is found. */
static void test_validate_finds_flaws(void **state)
{
	struct test_pool p = test_pool_make(2 * GIANT, 2, 0);
	mb_slot slot = test_slot(&p);
	struct mb_flaw flaw;
	struct mbc_ref r;
	mb_frame frame;

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, slot, MB_BASE, &frame), 0);
	test_pool_validate(&p);
	r = mbc_ref_get(p.f, MB_BASE, frame.n / HUGE);
	mbc_and_seq(&r.block->held, ~r.bit);
	assert_int_equal(mb_frames_validate(p.f, MB_VALIDATE_FULL, &flaw), -EILSEQ);
	assert_non_null(flaw.what);
	mbc_or_seq(&r.block->held, r.bit);
	mbc_and_seq(&r.block->split, ~r.bit);
	assert_int_equal(mb_frames_validate(p.f, MB_VALIDATE_FULL, &flaw), -EILSEQ);
	mbc_or_seq(&r.block->split, r.bit);
	/* the frame above free although it is split */
	mbc_or_seq(mbc_word_at(p.f, MB_HUGE, frame.n / HUGE / 64), mbc_bit(frame.n / HUGE));
	assert_int_equal(mb_frames_validate(p.f, MB_VALIDATE_FULL, &flaw), -EILSEQ);
	mbc_and_seq(mbc_word_at(p.f, MB_HUGE, frame.n / HUGE / 64), ~mbc_bit(frame.n / HUGE));
	mbc_store_relaxed(&mbc_slot_at(p.f, slot.n)->at[0], UINT64_MAX - 1);
	assert_int_equal(mb_frames_validate(p.f, MB_VALIDATE_CHEAP, &flaw), -EILSEQ);
	mbc_store_relaxed(&mbc_slot_at(p.f, slot.n)->at[0], frame.n / 64);
	test_pool_drop(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a3_a4_geometry_by_arithmetic),
	    cmocka_unit_test(test_a3_a4_geometry_by_allocation),
	    cmocka_unit_test(test_a4_large_base),
	    cmocka_unit_test(test_levels),
	    cmocka_unit_test(test_a8_lines_do_not_coincide),
	    cmocka_unit_test(test_a8_last_line_is_shared),
	    cmocka_unit_test(test_a9_no_line_left),
	    cmocka_unit_test(test_a10_one_free_frame_is_found),
	    cmocka_unit_test(test_batches),
	    cmocka_unit_test(test_batch_with_a_frame_twice),
	    cmocka_unit_test(test_take),
	    cmocka_unit_test(test_free_part),
	    cmocka_unit_test(test_free_part_of_all),
	    cmocka_unit_test(test_in_band_free_without_block),
	    cmocka_unit_test(test_slots),
	    cmocka_unit_test(test_attach),
	    cmocka_unit_test(test_validate_finds_flaws),
	};

	return cmocka_run_group_tests_name("core frames", tests, NULL, NULL);
}
