/* SPDX-License-Identifier: MIT */
/* balloon_rig.c - see balloon_rig.h. */
#include "balloon_rig.h"

#include <endian.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

void balloon_rig_on_event(void *arg, enum balloon_event event)
{
	struct balloon_rig *f = arg;
	struct balloon_status s;

	f->events[event]++;
	balloon_get_status(f->b, &s); /* allowed in here */
	if (event == BALLOON_CHANGED)
		f->actual = s.actual;
}

struct balloon_status balloon_rig_status(struct balloon_rig *f)
{
	struct balloon_status s;

	balloon_get_status(f->b, &s);
	return s;
}

/* A driver starts: it may have been there before. */
void balloon_rig_bring_up(struct balloon_rig *f, uint64_t features)
{
	assert_true(rig_negotiate(&f->r, VERSION_1 | features) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_queue_init(&f->r, &f->inflate, 0, QSIZE);
	rig_queue_init(&f->r, &f->deflate, 1, QSIZE);
	rig_queue_init(&f->r, &f->stats, 2, QSIZE);
	assert_int_equal(rig_queue_start(&f->inflate), 1);
	assert_int_equal(rig_queue_start(&f->deflate), 1);
	if (features & STATS)
		assert_int_equal(rig_queue_start(&f->stats), 1);
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 8);
	rig_interrupts(&f->r);
}

int balloon_rig_setup(void **state)
{
	struct balloon_rig *f = calloc(1, sizeof(*f));
	struct balloon_config config = {.maximum = MAXIMUM,
					.initial_target = MAXIMUM,
					.deflate_on_oom = true,
					.on_event = balloon_rig_on_event};

	rig_setup(&f->r);
	config.space = f->r.space;
	config.arg = f;
	*state = f;
	if (balloon_create(&f->r.host, &config, &f->b))
		return -1;
	balloon_rig_bring_up(f, MUST_TELL | STATS | EVENT_IDX);
	return 0;
}

int balloon_rig_teardown(void **state)
{
	struct balloon_rig *f = *state;

	balloon_destroy(f->b);
	rig_teardown(&f->r);
	free(f);
	return 0;
}

/* Puts numbers into a buffer of their own and offers it, without a notification. */
void balloon_rig_offer(struct rig_queue *q, uint16_t head, const uint32_t *numbers, unsigned count)
{
	uint64_t at = RIG_BUFFERS + (q->n * QSIZE + head) * UINT64_C(0x8000);
	uint32_t *to = mb_space_hva(q->r->space, at, count * 4);

	for (unsigned i = 0; i < count; i++)
		to[i] = htole32(numbers[i]);
	rig_desc(q, head, at, count * 4, 0, 0);
	rig_offer(q, head);
}

bool balloon_rig_is_used(void *arg)
{
	uint32_t id, len;

	return rig_used(arg, &id, &len);
}

/* Offers, notifies, waits until it is used. */
void balloon_rig_send(struct rig_queue *q, const uint32_t *numbers, unsigned count)
{
	balloon_rig_offer(q, 0, numbers, count);
	rig_notify(q->r, q->n);
	assert_true(rig_until(q->r, balloon_rig_is_used, q));
}

void balloon_rig_send_run(struct rig_queue *q, uint32_t first, unsigned count)
{
	uint32_t numbers[8192];

	assert_true(count <= 8192);
	for (unsigned i = 0; i < count; i++)
		numbers[i] = first + i;
	balloon_rig_send(q, numbers, count);
}

void balloon_rig_assert_out(struct balloon_rig *f, uint64_t pages)
{
	assert_int_equal(fake_space_inflated(f->r.space), pages);
	assert_int_equal(balloon_rig_status(f).actual, MAXIMUM - pages * PAGE);
}
