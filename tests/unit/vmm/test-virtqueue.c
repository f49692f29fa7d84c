/* SPDX-License-Identifier: MIT */
/*
 * test-virtqueue.c - split virtqueues: chains in all their forms, the two indices and their events, and every
 * class of lie that a guest can tell in them.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "virtio_rig.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SIZE  8
#define TABLE (RIG_BUFFERS + 0x10000) /* an indirect table */

struct fixture {
	struct rig r; /* only its memory is used */
	struct rig_queue q;
	struct virtqueue vq;
	struct virtqueue_chain chain;
};

static struct virtqueue_setup setup_of(const struct fixture *f)
{
	return (struct virtqueue_setup){.size = SIZE,
					.desc = f->q.desc,
					.avail = f->q.avail,
					.used = f->q.used,
					.indirect = true,
					.event_idx = true};
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct virtqueue_setup s;

	f->r.space = fake_space_create();
	f->r.mem.space = f->r.space;
	rig_queue_init(&f->r, &f->q, 0, SIZE);
	s = setup_of(f);
	*state = f;
	return virtqueue_start(&f->vq, &f->r.mem, &s, SIZE);
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	fake_space_destroy(f->r.space);
	free(f);
	return 0;
}

static int pop(struct fixture *f)
{
	return virtqueue_pop(&f->vq, &f->chain);
}

/* The queue is dead, says so each time, and lives again when started anew. */
static void assert_flaw(struct fixture *f, const char *flaw)
{
	struct virtqueue_setup s = setup_of(f);

	assert_int_equal(pop(f), -EPROTO);
	assert_string_equal(f->vq.flaw, flaw);
	assert_int_equal(pop(f), -EPROTO);
	virtqueue_stop(&f->vq);
	rig_queue_init(&f->r, &f->q, 0, SIZE);
	assert_int_equal(virtqueue_start(&f->vq, &f->r.mem, &s, SIZE), 0);
	assert_int_equal(pop(f), 0);
	rig_desc(&f->q, 0, RIG_BUFFERS, 16, 0, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(pop(f), 1);
}

static void fill(struct fixture *f, uint64_t gpa, unsigned char first, unsigned len)
{
	unsigned char *p = mb_space_hva(f->r.space, gpa, len);

	for (unsigned i = 0; i < len; i++)
		p[i] = (unsigned char)(first + i);
}

/* ---- setting up ------------------------------------------------------------------------------------------ */

static void assert_setup_refused(struct fixture *f, const struct virtqueue_setup *s, uint16_t max)
{
	struct virtqueue vq = {.generation = 7};

	assert_int_equal(virtqueue_start(&vq, &f->r.mem, s, max), -EINVAL);
	assert_false(vq.ready);
	assert_int_equal(vq.generation, 7);
	assert_non_null(vq.flaw);
}

static void test_setup_sizes(void **state)
{
	static const uint16_t bad[] = {0, 3, 6, 24, 16, 2048, 65535};
	struct fixture *f = *state;
	struct virtqueue_setup s = setup_of(f);

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		s.size = bad[i];
		assert_setup_refused(f, &s, SIZE);
	}
	s.size = 2048; /* beyond what any of ours has, whatever the device says */
	assert_setup_refused(f, &s, 4096);
}

static void test_setup_places(void **state)
{
	struct fixture *f = *state;
	const struct virtqueue_setup good = setup_of(f);
	/* The last byte of each area is one beyond memory; memory's end, a hole, and the end of all addresses.
	 */
	const uint64_t ends[] = {FAKE_HALF, FAKE_HIGH + FAKE_HALF, UINT64_MAX & ~UINT64_C(15)};
	struct virtqueue_setup s;

	for (unsigned i = 0; i < 3; i++) {
		s = good, s.desc = ends[i] - 16 * SIZE + 16;
		assert_setup_refused(f, &s, SIZE);
		s = good, s.avail = ends[i] - 2 * SIZE - 6 + 2;
		assert_setup_refused(f, &s, SIZE);
		s = good, s.used = ends[i] - 8 * SIZE - 6 + 2;
		s.used &= ~UINT64_C(3);
		s.used += 4;
		assert_setup_refused(f, &s, SIZE);
	}
	s = good, s.desc += 8;
	assert_setup_refused(f, &s, SIZE);
	s = good, s.avail += 1;
	assert_setup_refused(f, &s, SIZE);
	s = good, s.used += 2;
	assert_setup_refused(f, &s, SIZE);
	/* And the last place that fits does. */
	s = good, s.desc = FAKE_HALF - 16 * SIZE;
	assert_int_equal(virtqueue_start(&f->vq, &f->r.mem, &s, SIZE), 0);
}

/* ---- good chains ----------------------------------------------------------------------------------------- */

static void test_chain_of_both_kinds(void **state)
{
	struct fixture *f = *state;
	struct virtqueue_cursor c;
	unsigned char buf[64];

	fill(f, RIG_BUFFERS, 0, 10);
	fill(f, RIG_BUFFERS + 0x1000, 10, 6);
	rig_desc(&f->q, 3, RIG_BUFFERS, 10, VRING_DESC_F_NEXT, 5);
	rig_desc(&f->q, 5, RIG_BUFFERS + 0x1000, 6, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, RIG_BUFFERS + 0x2000, 4, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	rig_desc(&f->q, 0, FAKE_HIGH, 8, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 3);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.head, 3);
	assert_int_equal(f->chain.readable, 16);
	assert_int_equal(f->chain.writable, 12);
	virtqueue_to_read(&f->chain, &c);
	assert_int_equal(virtqueue_read(&f->vq, &c, buf, 7), 7);
	assert_int_equal(c.left, 9);
	assert_int_equal(virtqueue_read(&f->vq, &c, buf + 7, sizeof(buf) - 7), 9);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(buf[i], i);
	assert_int_equal(virtqueue_read(&f->vq, &c, buf, 1), 0);
	virtqueue_to_write(&f->chain, &c);
	assert_int_equal(virtqueue_write(&f->vq, &c, "abcdefghijklmnop", 16), 12);
	assert_memory_equal(mb_space_hva(f->r.space, RIG_BUFFERS + 0x2000, 4), "abcd", 4);
	assert_memory_equal(mb_space_hva(f->r.space, FAKE_HIGH, 8), "efghijkl", 8);
	assert_int_equal(pop(f), 0);
}

static void table_desc(struct fixture *f, unsigned i, uint64_t addr, uint32_t len, uint16_t flags,
		       uint16_t next)
{
	struct rig_queue table = f->q;

	table.desc = TABLE;
	rig_desc(&table, i, addr, len, flags, next);
}

static void test_chain_indirect(void **state)
{
	struct fixture *f = *state;

	/* More entries than the queue has, after one direct descriptor. */
	for (unsigned i = 0; i < 20; i++)
		table_desc(f, i, RIG_BUFFERS + i, 1, i < 19 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	rig_desc(&f->q, 0, RIG_BUFFERS, 2, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, TABLE, 20 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.count, 21);
	assert_int_equal(f->chain.readable, 22);
}

static void test_chain_with_empty_parts(void **state)
{
	struct fixture *f = *state;
	struct virtqueue_cursor c;

	/* Nothing is read there, so its place does not matter. */
	rig_desc(&f->q, 0, UINT64_MAX, 0, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 2);
	rig_desc(&f->q, 2, 0, 0, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	rig_offer(&f->q, 2);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.count, 1);
	assert_int_equal(pop(f), 1);
	assert_int_equal(f->chain.count, 0);
	virtqueue_to_read(&f->chain, &c);
	assert_int_equal(c.left, 0);
}

static void test_indices_wrap(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	for (unsigned i = 0; i < 70000; i++) {
		rig_desc(&f->q, i % SIZE, RIG_BUFFERS, 4, 0, 0);
		rig_offer(&f->q, i % SIZE);
		assert_int_equal(pop(f), 1);
		assert_int_equal(f->chain.head, i % SIZE);
		virtqueue_push(&f->vq, f->chain.head, i);
		virtqueue_publish(&f->vq);
		assert_true(rig_used(&f->q, &id, &len));
		assert_int_equal(id, i % SIZE);
		assert_int_equal(len, i);
		assert_false(rig_used(&f->q, &id, &len));
	}
}

static void test_used_shows_at_publish_only(void **state)
{
	struct fixture *f = *state;
	uint32_t id, len;

	virtqueue_push(&f->vq, 2, 0);
	virtqueue_push(&f->vq, 1, 0);
	assert_false(rig_used(&f->q, &id, &len));
	virtqueue_publish(&f->vq);
	assert_true(rig_used(&f->q, &id, &len) && id == 2);
	assert_true(rig_used(&f->q, &id, &len) && id == 1);
}

/* ---- events ---------------------------------------------------------------------------------------------- */

static void test_interrupt_by_event_index(void **state)
{
	struct fixture *f = *state;
	uint64_t used_event = f->q.avail + 4 + 2 * SIZE;

	/* (entries before, entries pushed, used_event, interrupt wanted) */
	static const struct {
		uint16_t before, pushed, event;
		bool want;
	} cases[] = {
	    {0, 1, 0, true},     {0, 1, 1, false},    {0, 3, 1, true},      {0, 3, 2, true},
	    {0, 3, 3, false},    {5, 1, 4, false},    {5, 1, 5, true},      {65535, 1, 65535, true},
	    {65534, 4, 0, true}, {65534, 4, 1, true}, {65534, 4, 2, false}, {7, 1, 65535, false},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		f->vq.used_next = f->vq.used_told = cases[i].before;
		rig_store16(&f->r, used_event, cases[i].event);
		for (unsigned n = 0; n < cases[i].pushed; n++)
			virtqueue_push(&f->vq, 0, 0);
		assert_int_equal(virtqueue_publish(&f->vq), cases[i].want);
		/* Nothing new: nothing to tell. */
		assert_false(virtqueue_publish(&f->vq));
	}
}

static void test_interrupt_by_flag(void **state)
{
	struct fixture *f = *state;

	f->vq.setup.event_idx = false;
	virtqueue_push(&f->vq, 0, 0);
	assert_true(virtqueue_publish(&f->vq));
	rig_store16(&f->r, f->q.avail, VRING_AVAIL_F_NO_INTERRUPT);
	virtqueue_push(&f->vq, 0, 0);
	assert_false(virtqueue_publish(&f->vq));
}

static void test_sleep(void **state)
{
	struct fixture *f = *state;
	uint64_t avail_event = f->q.used + 4 + 8 * SIZE;

	rig_desc(&f->q, 0, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&f->q, 0);
	assert_false(virtqueue_sleep(&f->vq)); /* what came meanwhile is not slept over */
	assert_int_equal(pop(f), 1);
	assert_true(virtqueue_sleep(&f->vq));
	assert_int_equal(rig_load16(&f->r, avail_event), 1);

	f->vq.setup.event_idx = false;
	virtqueue_look(&f->vq);
	assert_int_equal(rig_load16(&f->r, f->q.used), VRING_USED_F_NO_NOTIFY);
	assert_true(virtqueue_sleep(&f->vq));
	assert_int_equal(rig_load16(&f->r, f->q.used), 0);
}

/* ---- lies ------------------------------------------------------------------------------------------------ */

static void test_available_index_jumps(void **state)
{
	struct fixture *f = *state;

	rig_store16(&f->r, f->q.avail + 2, SIZE + 1);
	assert_flaw(f, "available index jumps by more than the queue's size");
	rig_store16(&f->r, f->q.avail + 2, 0); /* back */
	assert_int_equal(f->vq.avail_next, 1);
	assert_flaw(f, "available index jumps by more than the queue's size");
}

static void test_sleep_meets_a_lie(void **state)
{
	struct fixture *f = *state;

	rig_store16(&f->r, f->q.avail + 2, 0x8000);
	assert_false(virtqueue_sleep(&f->vq));
	assert_flaw(f, "available index jumps by more than the queue's size");
}

static void test_bad_indices(void **state)
{
	struct fixture *f = *state;

	rig_offer(&f->q, SIZE);
	assert_flaw(f, "descriptor index beyond the table");
	rig_offer(&f->q, 65535);
	assert_flaw(f, "descriptor index beyond the table");
	rig_desc(&f->q, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, SIZE);
	rig_offer(&f->q, 0);
	assert_flaw(f, "descriptor index beyond the table");
	/* In an indirect table, its own length counts. */
	table_desc(f, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 2);
	rig_desc(&f->q, 0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "descriptor index beyond the table");
}

static void test_loops(void **state)
{
	struct fixture *f = *state;

	rig_desc(&f->q, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "descriptor loop");
	rig_desc(&f->q, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, RIG_BUFFERS, 0, VRING_DESC_F_NEXT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "descriptor loop");
	table_desc(f, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 1);
	table_desc(f, 1, RIG_BUFFERS, 4, VRING_DESC_F_NEXT, 0);
	rig_desc(&f->q, 0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "descriptor loop");
}

static void test_bad_buffers(void **state)
{
	static const struct {
		uint64_t addr;
		uint32_t len;
	} bad[] = {
	    {FAKE_HALF - 4, 5}, {FAKE_HALF, 1},     {UINT64_MAX, 1},        {UINT64_MAX - 3, 8},
	    {0, UINT32_MAX},    {FAKE_HIGH - 4, 8}, {FAKE_HIGH, 0x2000001}, {UINT64_C(1) << 63, 16},
	};
	struct fixture *f = *state;

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		rig_desc(&f->q, 0, bad[i].addr, bad[i].len, i % 2 ? VRING_DESC_F_WRITE : 0, 0);
		rig_offer(&f->q, 0);
		assert_flaw(f, "buffer outside of guest memory");
	}
}

static void test_bad_order(void **state)
{
	struct fixture *f = *state;

	rig_desc(&f->q, 0, RIG_BUFFERS, 4, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 1);
	rig_desc(&f->q, 1, RIG_BUFFERS, 4, 0, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "readable descriptor after a writable one");
}

static void test_too_much(void **state)
{
	struct fixture *f = *state;
	uint32_t len = 32 << 20; /* 128 of them make 4 GiB */

	for (unsigned i = 0; i < 128; i++)
		table_desc(f, i, FAKE_HIGH, len, i < 127 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	rig_desc(&f->q, 0, TABLE, 128 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(pop(f), 1);
	assert_true(f->chain.readable == UINT64_C(1) << 32);
	rig_desc(&f->q, 0, RIG_BUFFERS, 1, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, TABLE, 128 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "chain of more than 4 GiB");
}

static void test_bad_indirect(void **state)
{
	struct fixture *f = *state;

	table_desc(f, 0, RIG_BUFFERS, 4, 0, 0);
	rig_desc(&f->q, 0, TABLE, 16, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect descriptor with a next one");
	rig_desc(&f->q, 0, TABLE, 0, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect table of a bad length");
	rig_desc(&f->q, 0, TABLE, 24, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect table of a bad length");
	rig_desc(&f->q, 0, TABLE, 1025 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect table too long");
	rig_desc(&f->q, 0, TABLE, UINT32_MAX & ~15u, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect table too long");
	rig_desc(&f->q, 0, FAKE_HALF - 16, 32, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect table outside of guest memory");
	table_desc(f, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	rig_desc(&f->q, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "indirect descriptor in an indirect table");
	rig_desc(&f->q, 0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	f->vq.setup.indirect = false;
	assert_flaw(f, "indirect descriptor, which was not negotiated");
}

static void test_too_many_segments(void **state)
{
	struct fixture *f = *state;

	for (unsigned i = 0; i < 1024; i++)
		table_desc(f, i, RIG_BUFFERS, 1, i < 1023 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	rig_desc(&f->q, 0, TABLE, 1024 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_int_equal(pop(f), 1);
	rig_desc(&f->q, 0, RIG_BUFFERS, 1, VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, TABLE, 1024 * 16, VRING_DESC_F_INDIRECT, 0);
	rig_offer(&f->q, 0);
	assert_flaw(f, "chain too long");
}

static void test_rings_in_each_other(void **state)
{
	struct fixture *f = *state;
	struct virtqueue_setup s = setup_of(f);

	/* Legal or not: it must end, one way or the other. */
	s.avail = s.used = s.desc;
	virtqueue_stop(&f->vq);
	assert_int_equal(virtqueue_start(&f->vq, &f->r.mem, &s, SIZE), 0);
	for (unsigned i = 0; i < 1000; i++) {
		int rc = pop(f);

		if (rc > 0)
			virtqueue_push(&f->vq, f->chain.head, i);
		virtqueue_publish(&f->vq);
		virtqueue_sleep(&f->vq);
		if (rc < 0)
			break;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_setup_sizes, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_setup_places, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_chain_of_both_kinds, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_chain_indirect, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_chain_with_empty_parts, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_indices_wrap, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_used_shows_at_publish_only, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupt_by_event_index, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_interrupt_by_flag, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sleep, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_available_index_jumps, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_sleep_meets_a_lie, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_indices, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_loops, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_buffers, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_order, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_much, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_bad_indirect, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_too_many_segments, setup, teardown),
	    cmocka_unit_test_setup_teardown(test_rings_in_each_other, setup, teardown),
	};

	return cmocka_run_group_tests_name("virtqueue", tests, NULL, NULL);
}
