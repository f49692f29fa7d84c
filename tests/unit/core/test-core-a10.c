/* SPDX-License-Identifier: MIT */
/*
 * test-core-a10.c - an allocation meets free frames early (A10): after any history the next one finds a frame
 * within a bounded number of words read, however large the pool is and however full.
 *
 * Built with the core's hook before each access to a shared word, which counts here. Where it comes from, for a
 * slot and a level: the held line's words, the ring's lines, a way down the tree and one line (fact 2 of
 * hint.h: a part bit leads to something free), and the same of the levels above; taken twice, since what is
 * lacking is looked for once more after the lines of others were given up.
 */
#include "layout.h"
#include "pool.h"

void mbc_atomic_yield(void);

static uint64_t words;

void mbc_atomic_yield(void)
{
	words++;
}

#define SLOTS 8u
/* measured 229 at most; the sum of the parts above, for the two levels that a base frame comes from, is below
 * this */
#define WORDS 600u
/* Where nothing is to be found but in lines that others hold or remember, those are asked, too. */
#define WORDS_A_SLOT 160u

struct history {
	struct test_pool p;
	mb_slot slot[SLOTS];
	uint64_t *frame; /* in use, all of them base frames */
	uint64_t count;
	uint64_t x;
	uint64_t worst, worst_lacking;
};

static struct history begin(uint64_t capacity)
{
	struct history h = {.p = test_pool_make(capacity, SLOTS, 0), .x = test_seed()};

	for (unsigned n = 0; n < SLOTS; n++)
		h.slot[n] = test_slot(&h.p);
	h.frame = calloc(capacity < GIANT ? capacity : GIANT, sizeof(*h.frame));
	assert_non_null(h.frame);
	return h;
}

static void end(struct history *h)
{
	print_message("at most %llu words read, %llu where memory had run out\n", (unsigned long long)h->worst,
		      (unsigned long long)h->worst_lacking);
	assert_in_range(h->worst, 1, WORDS);
	assert_in_range(h->worst_lacking, 0, WORDS + SLOTS * WORDS_A_SLOT);
	free(h->frame);
	test_pool_drop(&h->p);
}

/* lacking: there is so little that lines of other slots may be all that is left. */
static bool allocate(struct history *h, unsigned slot, bool lacking)
{
	uint64_t *worst = lacking ? &h->worst_lacking : &h->worst;
	mb_frame frame;
	int rc;

	words = 0;
	rc = mb_frame_alloc(h->p.f, h->slot[slot], MB_BASE, &frame);
	if (rc == -ENOMEM)
		return false;
	assert_int_equal(rc, 0);
	*worst = words > *worst ? words : *worst;
	h->frame[h->count++] = frame.n;
	return true;
}

static void release(struct history *h, unsigned slot, uint64_t n)
{
	assert_int_equal(mb_frame_free(h->p.f, h->slot[slot], MB_BASE, (mb_frame){h->frame[n]}), 0);
	h->frame[n] = h->frame[--h->count];
}

static void churn(struct history *h, uint64_t steps, uint64_t keep, bool lacking)
{
	while (steps--) {
		uint64_t r = test_random(&h->x);

		if (h->count < keep && r % 64 < 34)
			allocate(h, r >> 8 & (SLOTS - 1), lacking);
		else if (h->count)
			release(h, r >> 8 & (SLOTS - 1), (r >> 16) % h->count);
	}
}

static void test_a10_random_histories(void **state)
{
	static const uint64_t capacity[] = {GIANT, 64 * GIANT, 4096 * GIANT};

	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct history h = begin(capacity[n]);

		for (unsigned k = 0; k < 6; k++)
			churn(&h, 60000, k % 2 ? 1000 : 200000, false);
		end(&h);
	}
}

/* Full, but for a frame here and there: each time a thousand come back, at random, and go. */
static void test_a10_full_memory(void **state)
{
	struct history h = begin(GIANT);

	(void)state;
	while (allocate(&h, 0, true))
		;
	assert_int_equal(h.count, GIANT);
	h.worst_lacking = 0;
	for (unsigned k = 0; k < 30; k++) {
		for (unsigned n = 0; n < 1000; n++) {
			uint64_t r = test_random(&h.x);

			release(&h, r & (SLOTS - 1), (r >> 16) % h.count);
		}
		/* the first half is found by what is remembered or published */
		for (unsigned n = 0; n < 1000; n++)
			assert_true(allocate(&h, (unsigned)test_random(&h.x) & (SLOTS - 1), n > 500));
	}
	end(&h);
}

/*
 * The worst found: lines that two slots remember. One publishes it, the other takes the last frame out of it:
 * what is published leads nowhere then, unless the taker sees to that. A thousand of them must not lie in the
 * way.
 */
static void make_stale(struct history *h, uint64_t line)
{
	mb_slot a = h->slot[0], b = h->slot[1], c = h->slot[2];
	mb_frame first = {line * HUGE}, second = {line * HUGE + 1}, got;

	/* a remembers the line, and b */
	assert_int_equal(mb_frame_free(h->p.f, a, MB_BASE, first), 0);
	assert_int_equal(mb_frame_take(h->p.f, c, MB_BASE, first), 0);
	assert_int_equal(mb_frame_free(h->p.f, b, MB_BASE, second), 0);
	/* until a remembers others, and publishes it */
	for (uint64_t n = 0; n < 8; n++) {
		mb_frame other = {(2000 + line % 64 * 8 + n) * HUGE};

		assert_int_equal(mb_frame_free(h->p.f, a, MB_BASE, other), 0);
		assert_int_equal(mb_frame_take(h->p.f, c, MB_BASE, other), 0);
	}
	assert_int_equal(mb_frame_alloc(h->p.f, b, MB_BASE, &got), 0);
	assert_int_equal(got.n, second.n);
}

static void test_a10_stale_hints(void **state)
{
	struct history h = begin(8 * GIANT);
	mb_frame last = {7 * GIANT + 5}, frame;

	(void)state;
	for (uint64_t n = 0; n < 8 * GIANT; n++)
		assert_int_equal(mb_frame_take(h.p.f, h.slot[2], MB_BASE, (mb_frame){n}), 0);
	for (uint64_t line = 0; line < 1000; line++)
		make_stale(&h, line);
	/* one comes back, to a slot that goes, and so is published */
	assert_int_equal(mb_frame_free(h.p.f, h.slot[3], MB_BASE, last), 0);
	assert_int_equal(mb_slot_close(h.p.f, h.slot[3]), 0);
	words = 0;
	assert_int_equal(mb_frame_alloc(h.p.f, h.slot[4], MB_BASE, &frame), 0);
	h.worst = words;
	assert_int_equal(frame.n, last.n);
	end(&h);
}

/* Larger frames: the same of the two levels above. */
static void test_a10_large_frames(void **state)
{
	struct history h = begin(512 * GIANT);

	(void)state;
	for (unsigned level = 1; level < MB_LEVELS; level++)
		for (unsigned n = 0; n < 400; n++) {
			mb_frame frame;

			words = 0;
			assert_int_equal(
			    mb_frame_alloc(h.p.f, h.slot[n & (SLOTS - 1)], (enum mb_level)level, &frame), 0);
			h.worst = words > h.worst ? words : h.worst;
			if (n % 3 == 0)
				assert_int_equal(mb_frame_free(h.p.f, h.slot[(n >> 3) & (SLOTS - 1)],
							       (enum mb_level)level, frame),
						 0);
		}
	end(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_a10_random_histories),
	    cmocka_unit_test(test_a10_full_memory),
	    cmocka_unit_test(test_a10_stale_hints),
	    cmocka_unit_test(test_a10_large_frames),
	};

	return cmocka_run_group_tests_name("core a10", tests, NULL, NULL);
}
