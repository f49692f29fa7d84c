/* SPDX-License-Identifier: MIT */
/*
 * test-core-recover.c - intents and recovery, call by call; kill-core (tests/stress/kill) does it instruction
 * by instruction. A thread dies here by never using its slot again.
 */
#include "intent.h"
#include "pool.h"

#define HUGES (2 * GIANT / HUGE)

struct ward {
	struct test_pool p;
	bool ledger[HUGES];
	mb_slot a, b, doctor;
	struct mb_recovery out;
};

static bool recorded(void *arg, enum mb_level level, mb_frame frame)
{
	struct ward *w = arg;

	assert_int_equal(level, MB_HUGE);
	return w->ledger[frame.n / HUGE];
}

static struct ward ward_make(void)
{
	struct ward w = {.p = test_pool_make(2 * GIANT, 3, MB_FRAMES_OWNED)};

	w.a = test_slot(&w.p);
	w.b = test_slot(&w.p);
	w.doctor = test_slot(&w.p);
	return w;
}

static void ward_drop(struct ward *w)
{
	assert_int_equal(mb_slot_close(w->p.f, w->doctor), 0);
	test_pool_drop(&w->p);
}

static int recover(struct ward *w, mb_slot dead)
{
	return mb_slot_recover(w->p.f, w->doctor, dead, recorded, w, &w->out);
}

static struct mbc_journal *journal(struct ward *w, mb_slot slot)
{
	return mbc_journal_of(w->p.f, mbc_slot_at(w->p.f, slot.n));
}

/* The slot's intent names this huge frame, as if it had been about to take it. */
static void name(struct ward *w, mb_slot slot, uint64_t frame)
{
	mbc_intend_got(w->p.f, mbc_slot_at(w->p.f, slot.n), MB_HUGE, frame / HUGE / 64, mbc_bit(frame / HUGE));
}

static void test_errors(void **state)
{
	struct ward w = ward_make();
	struct test_pool plain = test_pool_make(GIANT, 2, 0);
	mb_slot one = test_slot(&plain), two = test_slot(&plain);
	mb_slot none = {77};

	(void)state;
	assert_int_equal(mb_slot_recover(plain.f, one, two, recorded, &w, &w.out), -EPERM);
	assert_int_equal(mb_ranges_recover(plain.f, one, recorded, &w, &w.out), -EPERM);
	assert_int_equal(mb_slot_intend_free(plain.f, one, MB_HUGE, (mb_frame){0}), -EPERM);
	assert_int_equal(mb_slot_settle(plain.f, one), 0);
	assert_int_equal(mb_slot_recover(w.p.f, none, w.a, recorded, &w, &w.out), -EBADF);
	assert_int_equal(recover(&w, none), -EINVAL);
	assert_int_equal(recover(&w, w.doctor), -EINVAL);
	assert_int_equal(mb_ranges_recover(w.p.f, none, recorded, &w, &w.out), -EBADF);
	assert_int_equal(mb_ranges_recover(w.p.f, w.doctor, recorded, &w, &w.out), 0);
	assert_int_equal(mb_slot_intend_free(w.p.f, none, MB_HUGE, (mb_frame){0}), -EBADF);
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_HUGE, (mb_frame){1}), -EINVAL);
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_HUGE, (mb_frame){2 * GIANT}), -ERANGE);
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_BASE, (mb_frame){0}), -EPERM);
	assert_int_equal(mb_slot_settle(w.p.f, none), -EBADF);
	test_pool_drop(&plain);
	ward_drop(&w);
}

static void test_slots_by_number(void **state)
{
	struct ward w = ward_make();

	(void)state;
	assert_true(mb_slot_in_use(w.p.f, w.a));
	assert_int_equal(mb_slot_open_at(w.p.f, w.a), -EBUSY);
	assert_int_equal(mb_slot_open_at(w.p.f, (mb_slot){3}), -EINVAL);
	assert_false(mb_slot_in_use(w.p.f, (mb_slot){3}));
	assert_int_equal(mb_slot_close(w.p.f, w.a), 0);
	assert_false(mb_slot_in_use(w.p.f, w.a));
	/* a slot that is closed has nothing to recover */
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(mb_slot_open_at(w.p.f, w.a), 0);
	/* nor has one that was being opened */
	mbc_store32_relaxed(&mbc_slot_at(w.p.f, w.b.n)->state, MBC_SLOT_OPENING);
	assert_int_equal(recover(&w, w.b), 0);
	assert_false(mb_slot_in_use(w.p.f, w.b));
	ward_drop(&w);
}

/* intent.h, fact 1: what was handed out and not recorded is in the slot's hand, until it is settled. */
static void test_allocation_without_record(void **state)
{
	const enum mb_level levels[] = {MB_HUGE, MB_GIANT};

	(void)state;
	for (unsigned n = 0; n < 2; n++) {
		struct ward w = ward_make();
		mb_frame kept, lost;

		assert_int_equal(mb_frame_alloc(w.p.f, w.a, MB_HUGE, &kept), 0);
		w.ledger[kept.n / HUGE] = true;
		assert_int_equal(mb_slot_settle(w.p.f, w.a), 0);
		assert_int_equal(mbc_load_relaxed(&journal(&w, w.a)->frames.what), MBC_WHAT_NONE);
		assert_int_equal(mb_frame_alloc(w.p.f, w.a, levels[n], &lost), 0);
		assert_int_equal(recover(&w, w.a), 0);
		assert_int_equal(w.out.freed, mb_level_frames(levels[n]));
		assert_int_equal(w.out.undone, 1);
		assert_int_equal(test_count(&w.p).used, HUGE);
		assert_int_equal(mb_frame_state(w.p.f, kept), MB_USED);
		assert_false(mb_slot_in_use(w.p.f, w.a));
		ward_drop(&w);
	}
}

static void test_batch_is_named_whole(void **state)
{
	struct ward w = ward_make();
	mb_frame out[100];
	int n = mb_frame_alloc_batch(w.p.f, w.a, MB_HUGE, out, 100);

	(void)state;
	assert_int_equal(n, 64);
	for (int k = 0; k < 10; k++)
		w.ledger[out[k].n / HUGE] = true;
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.freed, 54 * HUGE);
	assert_int_equal(test_count(&w.p).used, 10 * HUGE);
	ward_drop(&w);
}

static void test_free_without_end(void **state)
{
	struct ward w = ward_make();
	mb_frame frame;

	(void)state;
	assert_int_equal(mb_frame_alloc(w.p.f, w.a, MB_GIANT, &frame), 0);
	assert_int_equal(mb_frame_holes_add(w.p.f, w.a, (mb_frame){frame.n + 5}, HUGE), 0);
	/* recorded still: it stays */
	for (uint64_t n = 0; n < 512; n++)
		w.ledger[frame.n / HUGE + n] = true;
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_GIANT, frame), 0);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.freed, 0);
	/* recorded in part: it becomes huge frames, some of them free */
	w.a = test_slot(&w.p);
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_GIANT, frame), 0);
	for (uint64_t n = 0; n < 500; n++)
		w.ledger[frame.n / HUGE + n] = false;
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.freed, 500 * HUGE);
	assert_int_equal(test_count(&w.p).used, 12 * HUGE);
	test_pool_validate(&w.p);
	/* and the rest can be freed one by one, within one intent */
	w.a = test_slot(&w.p);
	assert_int_equal(mb_slot_intend_free(w.p.f, w.a, MB_GIANT, frame), 0);
	assert_int_equal(mb_frame_free(w.p.f, w.a, MB_GIANT, frame), -ENOENT);
	for (uint64_t n = 500; n < 512; n++)
		w.ledger[frame.n / HUGE + n] = false;
	assert_int_equal(mb_frame_free(w.p.f, w.a, MB_HUGE, (mb_frame){frame.n + 500 * HUGE}), 0);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(test_count(&w.p).used, 0);
	ward_drop(&w);
}

/* A frame that a living slot has in its hand is not nobody's; nor is one that it has recorded. */
static void test_the_living_stand_in_the_way(void **state)
{
	struct ward w = ward_make();
	mb_frame frame;

	(void)state;
	assert_int_equal(mb_frame_alloc(w.p.f, w.b, MB_HUGE, &frame), 0);
	name(&w, w.a, frame.n);
	assert_int_equal(recover(&w, w.a), -EAGAIN);
	assert_int_equal(mb_frame_state(w.p.f, frame), MB_USED);
	assert_true(mb_slot_in_use(w.p.f, w.a));
	w.ledger[frame.n / HUGE] = true;
	assert_int_equal(mb_slot_settle(w.p.f, w.b), 0);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(mb_frame_state(w.p.f, frame), MB_USED);
	assert_int_equal(w.out.freed, 0);
	ward_drop(&w);
}

/* Two dead slots name one frame: each looks alive to the other until it is marked. */
static void test_two_dead(void **state)
{
	struct ward w = ward_make();
	mb_frame frame;

	(void)state;
	assert_int_equal(mb_frame_alloc(w.p.f, w.a, MB_HUGE, &frame), 0);
	name(&w, w.b, frame.n);
	assert_int_equal(recover(&w, w.a), -EAGAIN);
	assert_int_equal(recover(&w, w.b), 0);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.freed, HUGE);
	assert_int_equal(test_count(&w.p).used, 0);
	ward_drop(&w);
}

/* intent.h, fact 2: a line that the dead slot holds is left; one that is another's is not. */
static void test_lines(void **state)
{
	struct ward w = ward_make();
	mb_frame mine, others;

	(void)state;
	assert_int_equal(mb_frame_alloc(w.p.f, w.b, MB_HUGE, &others), 0);
	w.ledger[others.n / HUGE] = true;
	assert_int_equal(mb_slot_settle(w.p.f, w.b), 0);
	assert_int_equal(mb_frame_take(w.p.f, w.a, MB_HUGE, (mb_frame){GIANT}), 0);
	w.ledger[GIANT / HUGE] = true;
	assert_int_equal(mb_frame_alloc(w.p.f, w.a, MB_HUGE, &mine), 0);
	/* it was about to do something with the other's line */
	mbc_hand(w.p.f, mbc_slot_at(w.p.f, w.a.n), MB_HUGE, others.n / GIANT);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.lines, 1);
	test_pool_validate(&w.p);
	/* one that was held by a hand alone */
	mbc_or_seq(&mbc_ref_sure(w.p.f, MB_HUGE, 1).block->held, UINT64_C(1) << 1);
	w.a = test_slot(&w.p);
	mbc_hand(w.p.f, mbc_slot_at(w.p.f, w.a.n), MB_HUGE, 1);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.lines, 2);
	ward_drop(&w);
}

/* A change of ranges by nobody who lives: until it is recovered, it covers its range. */
static void test_ranges(void **state)
{
	struct ward w = ward_make();
	struct mb_frames *f = w.p.f;
	uint64_t before = test_snapshot(&w.p);
	mb_frame frame = {3 * HUGE};

	(void)state;
	/* two pieces of a removal are taken */
	mbc_store_relaxed(&f->range_lock, 1);
	mbc_store_relaxed(&f->range_end, 8 * HUGE);
	assert_int_equal(mb_frame_take(f, w.a, MB_HUGE, (mb_frame){0}), 0);
	assert_int_equal(mb_frame_take(f, w.a, MB_HUGE, (mb_frame){HUGE}), 0);
	assert_int_equal(mb_slot_settle(f, w.a), 0);
	mbc_store_relaxed(&f->range_at, 2 * HUGE);
	mbc_store_relaxed(&f->range_op, 2); /* MBC_RANGE_TAKE */
	/* and a slot has died with a frame of it in hand */
	assert_int_equal(mb_frame_take(f, w.b, MB_HUGE, frame), 0);
	assert_int_equal(recover(&w, w.b), -EAGAIN);
	assert_int_equal(mb_ranges_recover(f, w.doctor, recorded, &w, &w.out), 0);
	assert_int_equal(mbc_load_relaxed(&f->range_lock), 0);
	assert_int_equal(recover(&w, w.b), 0);
	assert_int_equal(test_snapshot(&w.p), before);
	assert_int_equal(mb_slot_close(f, w.a), 0);
	assert_int_equal(test_count(&w.p).used, 0);
	ward_drop(&w);
}

/* Recovery looks at what the dead named, and at nothing else: no page is touched that was not. */
static size_t resident(const struct test_pool *p)
{
	size_t pages = (p->bytes + 4095) / 4096, n = 0;
	unsigned char *map = malloc(pages);

	assert_non_null(map);
	assert_int_equal(mincore(p->area, p->bytes, map), 0);
	for (size_t k = 0; k < pages; k++)
		n += map[k] & 1;
	free(map);
	return n;
}

static bool recorded_none(void *arg, enum mb_level level, mb_frame frame)
{
	(void)arg, (void)level, (void)frame;
	return false;
}

static void test_no_scan(void **state)
{
	struct test_pool p = test_pool_make((UINT64_C(16) << 40) >> 12, 2, MB_FRAMES_OWNED);
	mb_slot dead = test_slot(&p), doctor = test_slot(&p);
	struct mb_recovery out = {0};
	mb_frame frame;
	size_t before;

	(void)state;
	assert_int_equal(mb_frame_alloc(p.f, dead, MB_HUGE, &frame), 0);
	before = resident(&p);
	assert_int_equal(mb_slot_recover(p.f, doctor, dead, recorded_none, NULL, &out), 0);
	assert_int_equal(out.freed, HUGE);
	/* one: the header that tells whether the frame had holes */
	assert_in_range(resident(&p), before, before + 1);
	assert_int_equal(test_count(&p).used, 0);
	munmap(p.area, p.bytes);
}

/* A journal that a stray write filled names nothing that there is: nothing of it is followed. */
static void test_journal_beyond_the_end(void **state)
{
	struct ward w = ward_make();
	struct mbc_journal *j = journal(&w, w.a);
	uint64_t beyond = w.p.f->capacity;

	(void)state;
	mbc_store_relaxed(&j->line[0], (beyond << 8) | MB_HUGE);
	mbc_store_relaxed(&j->deed[0], (beyond << 8) | MBC_DEED_SPLIT);
	mbc_store_relaxed(&j->gone.what, (uint64_t)MB_HUGE << 8 | MBC_WHAT_LEFT);
	mbc_store_relaxed(&j->gone.W, beyond);
	mbc_store_relaxed(&j->gone.mask, MBC_FULL);
	mbc_store_relaxed(&j->frames.what, MBC_WHAT_HOLES_ADD);
	mbc_store_relaxed(&j->frames.W, beyond - 1);
	mbc_store_relaxed(&j->frames.mask, 2);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(w.out.freed + w.out.lines + w.out.completed + w.out.undone, 0);
	assert_int_equal(test_count(&w.p).used, 0);
	ward_drop(&w);
}

/* What a dead owner was taking offline waits for a change of ranges by somebody alive. */
static void test_range_change_stands_in_the_way(void **state)
{
	struct ward w = ward_make();
	struct mbc_journal *j = journal(&w, w.a);

	(void)state;
	mbc_store_relaxed(&j->gone.what, (uint64_t)MB_HUGE << 8 | MBC_WHAT_LEAVING);
	mbc_store_relaxed(&j->gone.mask, 1);
	mbc_store_relaxed(&w.p.f->range_lock, 1);
	assert_int_equal(recover(&w, w.a), -EAGAIN);
	mbc_store_relaxed(&w.p.f->range_lock, 0);
	assert_int_equal(recover(&w, w.a), 0);
	assert_int_equal(test_count(&w.p).used, 0);
	ward_drop(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_errors),
	    cmocka_unit_test(test_slots_by_number),
	    cmocka_unit_test(test_allocation_without_record),
	    cmocka_unit_test(test_batch_is_named_whole),
	    cmocka_unit_test(test_free_without_end),
	    cmocka_unit_test(test_the_living_stand_in_the_way),
	    cmocka_unit_test(test_two_dead),
	    cmocka_unit_test(test_lines),
	    cmocka_unit_test(test_ranges),
	    cmocka_unit_test(test_no_scan),
	    cmocka_unit_test(test_journal_beyond_the_end),
	    cmocka_unit_test(test_range_change_stands_in_the_way),
	};

	return cmocka_run_group_tests_name("core recover", tests, NULL, NULL);
}
