/* SPDX-License-Identifier: MIT */
/*
 * test-mem.c - virtio-mem: blocks against an oracle with every step failing now and then, requests of drivers
 * good and bad, and the map of what is plugged.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/mem.h"
#include "devices/mem_blocks.h"
#include "virtio_rig.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_mem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define VERSION_1    (UINT64_C(1) << VIRTIO_F_VERSION_1)
#define INACCESSIBLE (UINT64_C(1) << 1)
#define NEEDS_RESET  VIRTIO_CONFIG_S_NEEDS_RESET
#define BLOCK        (UINT64_C(2) << 20)
#define BLOCKS       (FAKE_HALF / BLOCK)
#define STRETCH      (4 * BLOCK) /* of the tests without a device */
#define ANSWER       10          /* bytes */
#define QSIZE        8

/* A machine that remembers, and fails on demand. */
struct machine {
	bool open[BLOCKS];
	bool shown[BLOCKS];
	unsigned fail_in; /* the so-manyth call from now fails; 0: none does */
};

static bool fails(struct machine *m)
{
	return m->fail_in && !--m->fail_in;
}

static int fake_open(void *arg, uint64_t gpa, uint64_t len, bool open)
{
	struct machine *m = arg;
	uint64_t first = (gpa - FAKE_HIGH) / BLOCK;

	assert_int_equal((gpa | len) % BLOCK, 0);
	if (fails(m))
		return -ENOMEM;
	for (uint64_t i = first; i < first + len / BLOCK; i++)
		m->open[i] = open;
	return 0;
}

static int fake_show(void *arg, unsigned n, uint64_t gpa, uint64_t len, bool show)
{
	struct machine *m = arg;

	assert_true(n < BLOCKS && len > 0 && gpa >= FAKE_HIGH && gpa + len <= FAKE_HIGH + FAKE_HALF);
	assert_int_equal(m->shown[n], !show);
	if (fails(m))
		return -ENOSPC;
	m->shown[n] = show;
	return 0;
}

/* ---- blocks -----------------------------------------------------------------------------------------------
 */

struct world {
	struct mb_space *space;
	struct plugmap map;
	struct machine machine;
	struct mem_blocks blocks;
};

static void world_make(struct world *w)
{
	memset(w, 0, sizeof(*w));
	w->space = fake_space_create();
	assert_int_equal(mb_space_inflate(w->space, FAKE_HIGH, FAKE_HALF), 0);
	assert_int_equal(plugmap_init(&w->map, FAKE_HIGH, FAKE_HALF, BLOCK), 0);
	struct mem_config config = {
	    .space = w->space,
	    .map = &w->map,
	    .machine = {.open = fake_open, .show = fake_show, .stretches_max = 100, .arg = &w->machine}};
	assert_int_equal(mem_blocks_init(&w->blocks, &config), 0);
	w->blocks.stretch = STRETCH;
}

static void world_drop(struct world *w)
{
	plugmap_free(&w->map);
	fake_space_destroy(w->space);
}

/* All records say of each block what plugged[] says. */
static void assert_world(const struct world *w, const bool plugged[BLOCKS])
{
	uint64_t count = 0, shown = 0;

	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint64_t gpa = FAKE_HIGH + i * BLOCK, per = STRETCH / BLOCK, first = i / per * per;
		bool any = false;

		for (uint64_t k = first; k < first + per; k++)
			any = any || plugged[k];
		assert_int_equal(plugmap_all(&w->map, gpa, BLOCK, true), plugged[i]);
		assert_int_equal(plugmap_all(&w->map, gpa, BLOCK, false), !plugged[i]);
		assert_int_equal(w->machine.open[i], plugged[i]);
		assert_int_equal(fake_space_is_inflated(w->space, gpa >> 12), !plugged[i]);
		assert_int_equal(w->machine.shown[i / per], any);
		count += plugged[i];
		shown += i % per == 0 && any;
	}
	assert_int_equal(w->blocks.plugged, count * BLOCK);
	assert_int_equal(w->blocks.shown, shown);
	assert_int_equal(fake_space_inflated(w->space), (BLOCKS - count) * (BLOCK >> 12));
}

static uint64_t random_next(uint64_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 7;
	*x ^= *x << 17;
	return *x;
}

static bool all_are(const bool plugged[BLOCKS], uint64_t first, uint64_t n, bool value)
{
	for (uint64_t i = first; i < first + n; i++)
		if (plugged[i] != value)
			return false;
	return true;
}

/* Random runs go in and out; whenever a step fails, nothing has changed. */
static void test_blocks_model(void **state)
{
	struct world w;
	bool plugged[BLOCKS] = {false};
	uint64_t x = 88172645463325252u;
	unsigned failed = 0, done = 0;

	(void)state;
	world_make(&w);
	for (unsigned n = 0; n < 4000; n++) {
		uint64_t first = random_next(&x) % BLOCKS, count = 1 + random_next(&x) % (BLOCKS - first);
		bool in = random_next(&x) & 1;
		uint64_t gpa = FAKE_HIGH + first * BLOCK;
		int rc;

		if (!all_are(plugged, first, count, !in))
			continue;
		w.machine.fail_in = random_next(&x) % 3 ? 0 : 1 + (unsigned)(random_next(&x) % 3);
		/* one failure at a time: undoing what was just done does not fail */
		fake_space_fail_at(
		    w.space, w.machine.fail_in || random_next(&x) % 5 ? UINT64_MAX : (gpa >> 12) + 7, -EDQUOT);
		rc = in ? mem_blocks_plug(&w.blocks, gpa, count * BLOCK)
			: mem_blocks_unplug(&w.blocks, gpa, count * BLOCK);
		w.machine.fail_in = 0;
		failed += rc != 0;
		done += rc == 0;
		for (uint64_t i = first; i < first + count && rc == 0; i++)
			plugged[i] = in;
		fake_space_fail_at(w.space, UINT64_MAX, 0);
		assert_world(&w, plugged);
	}
	assert_true(failed > 50 && done > 200);
	world_drop(&w);
}

static void test_unplug_all_leaves_what_must_stay(void **state)
{
	struct world w;
	bool plugged[BLOCKS] = {false};

	(void)state;
	world_make(&w);
	for (uint64_t i = 1; i < BLOCKS; i += 1 + i % 3) {
		assert_int_equal(mem_blocks_plug(&w.blocks, FAKE_HIGH + i * BLOCK, BLOCK), 0);
		plugged[i] = true;
	}
	assert_world(&w, plugged);
	/* one block cannot go, the others do */
	fake_space_fail_at(w.space, (FAKE_HIGH + 6 * BLOCK) >> 12, -EALREADY);
	assert_int_equal(plugged[6], true);
	assert_int_equal(mem_blocks_unplug_all(&w.blocks), -EALREADY);
	memset(plugged, 0, sizeof(plugged));
	plugged[6] = true;
	assert_world(&w, plugged);
	fake_space_fail_at(w.space, UINT64_MAX, 0);
	assert_int_equal(mem_blocks_unplug_all(&w.blocks), 0);
	plugged[6] = false;
	assert_world(&w, plugged);
	world_drop(&w);
}

static void test_stretches_fit_the_slots(void **state)
{
	struct machine machine = {.fail_in = 0};
	struct mem_config config = {
	    .machine = {.open = fake_open, .show = fake_show, .stretches_max = 1, .arg = &machine}};
	struct mem_blocks b;
	struct plugmap map;

	(void)state;
	assert_int_equal(plugmap_init(&map, FAKE_HIGH, FAKE_HALF, BLOCK), 0);
	config.map = &map;
	assert_int_equal(mem_blocks_init(&b, &config), 0);
	assert_int_equal(b.stretch, MEM_STRETCH);
	config.machine.stretches_max = 0;
	assert_int_equal(mem_blocks_init(&b, &config), -ENOSPC);
	plugmap_free(&map);
	assert_int_equal(plugmap_init(&map, FAKE_HIGH, FAKE_HALF, 3 << 20), -EINVAL);
	assert_int_equal(plugmap_init(&map, FAKE_HIGH + 4096, FAKE_HALF, BLOCK), -EINVAL);
	assert_int_equal(plugmap_init(&map, FAKE_HIGH, 0, BLOCK), -EINVAL);
	assert_int_equal(plugmap_init(&map, FAKE_HIGH, FAKE_HALF, 0), -EINVAL);
}

/* ---- the device --------------------------------------------------------------------------------------------
 */

struct fixture {
	struct rig r;
	struct rig_queue q;
	struct plugmap map;
	struct machine machine;
	struct mem *m;
	unsigned changes, touches;
	uint64_t touched;
	unsigned next; /* buffer */
};

static void on_change(void *arg)
{
	struct fixture *f = arg;
	f->changes++;
}

static void on_touch(void *arg, uint64_t gpa)
{
	struct fixture *f = arg;
	f->touches++;
	f->touched = gpa;
}

static void bring_up(struct fixture *f, uint64_t features)
{
	assert_true(rig_negotiate(&f->r, VERSION_1 | features) & VIRTIO_CONFIG_S_FEATURES_OK);
	rig_queue_init(&f->r, &f->q, 0, QSIZE);
	assert_int_equal(rig_queue_start(&f->q), 1);
	rig_driver_ok(&f->r);
	rig_turns(&f->r, 8);
	rig_interrupts(&f->r);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct mem_config config = {
	    .map = &f->map,
	    .machine = {.open = fake_open, .show = fake_show, .stretches_max = 9, .arg = &f->machine},
	    .on_change = on_change,
	    .change_arg = f,
	    .on_touch = on_touch,
	    .touch_arg = f};

	rig_setup(&f->r);
	config.space = f->r.space;
	*state = f;
	if (plugmap_init(&f->map, FAKE_HIGH, FAKE_HALF, BLOCK) ||
	    mb_space_inflate(f->r.space, FAKE_HIGH, FAKE_HALF) || mem_create(&f->r.host, &config, &f->m))
		return -1;
	f->r.mem.plug = &f->map;
	bring_up(f, INACCESSIBLE);
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	mem_destroy(f->m);
	plugmap_free(&f->map);
	rig_teardown(&f->r);
	free(f);
	return 0;
}

static struct mem_status status(struct fixture *f)
{
	struct mem_status s;

	mem_get_status(f->m, &s);
	return s;
}

struct used {
	struct rig_queue *q;
	uint32_t id, len;
};

static bool is_used(void *arg)
{
	struct used *u = arg;

	return rig_used(u->q, &u->id, &u->len);
}

/* Offers a request of so many bytes, with room for so many of an answer. */
static void offer(struct fixture *f, unsigned type, uint64_t gpa, unsigned blocks, uint32_t bytes,
		  uint32_t room)
{
	struct virtio_mem_req req = {.type = htole16((uint16_t)type)};

	req.u.plug.addr = htole64(gpa);
	req.u.plug.nb_blocks = htole16((uint16_t)blocks);
	memcpy(mb_space_hva(f->r.space, RIG_BUFFERS, sizeof(req)), &req, sizeof(req));
	memset(mb_space_hva(f->r.space, RIG_BUFFERS + 4096, 64), 0xee, 64);
	rig_desc(&f->q, 0, RIG_BUFFERS, bytes, room ? VRING_DESC_F_NEXT : 0, 1);
	if (room)
		rig_desc(&f->q, 1, RIG_BUFFERS + 4096, room, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	rig_notify(&f->r, 0);
}

/* One request; what the answer's type is. */
static unsigned ask(struct fixture *f, unsigned type, uint64_t gpa, unsigned blocks)
{
	struct used u = {.q = &f->q};

	offer(f, type, gpa, blocks, sizeof(struct virtio_mem_req), ANSWER);
	assert_true(rig_until(&f->r, is_used, &u));
	assert_int_equal(u.len, ANSWER);
	return rig_load16(&f->r, RIG_BUFFERS + 4096);
}

static unsigned state_of(struct fixture *f, uint64_t gpa, unsigned blocks)
{
	assert_int_equal(ask(f, VIRTIO_MEM_REQ_STATE, gpa, blocks), VIRTIO_MEM_RESP_ACK);
	return rig_load16(&f->r, RIG_BUFFERS + 4096 + 8);
}

static uint64_t config64(struct fixture *f, uint32_t offset)
{
	return rig_get(&f->r, VIRTIO_MMIO_CONFIG + offset) |
	       (uint64_t)rig_get(&f->r, VIRTIO_MMIO_CONFIG + offset + 4) << 32;
}

#define PLUG(f, n, count)   ask(f, VIRTIO_MEM_REQ_PLUG, FAKE_HIGH + (n)*BLOCK, count)
#define UNPLUG(f, n, count) ask(f, VIRTIO_MEM_REQ_UNPLUG, FAKE_HIGH + (n)*BLOCK, count)

static void test_configuration(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, block_size)), BLOCK);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, addr)), FAKE_HIGH);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, region_size)), FAKE_HALF);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, usable_region_size)), FAKE_HALF);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, plugged_size)), 0);
	/* a request is seen, and told; the driver writes nothing there */
	assert_int_equal(mem_request(f->m, 4 * BLOCK), 0);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, requested_size)), 4 * BLOCK);
	assert_true(rig_interrupts(&f->r) > 0);
	rig_set(&f->r, VIRTIO_MMIO_CONFIG + offsetof(struct virtio_mem_config, requested_size), 0x7fffffff);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, requested_size)), 4 * BLOCK);
	assert_int_equal(mem_request(f->m, 4 * BLOCK + 1), -EINVAL);
	assert_int_equal(mem_request(f->m, FAKE_HALF + BLOCK), -ERANGE);
	assert_int_equal(mem_request(f->m, UINT64_MAX / BLOCK * BLOCK), -ERANGE);
	assert_int_equal(status(f).requested, 4 * BLOCK);
}

static void test_plug_and_unplug(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, 8 * BLOCK), 0);
	assert_int_equal(PLUG(f, 2, 4), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(status(f).plugged, 4 * BLOCK);
	assert_int_equal(config64(f, offsetof(struct virtio_mem_config, plugged_size)), 4 * BLOCK);
	assert_int_equal(state_of(f, FAKE_HIGH + 2 * BLOCK, 4), VIRTIO_MEM_STATE_PLUGGED);
	assert_int_equal(state_of(f, FAKE_HIGH + 6 * BLOCK, 10), VIRTIO_MEM_STATE_UNPLUGGED);
	assert_int_equal(state_of(f, FAKE_HIGH, 3), VIRTIO_MEM_STATE_MIXED);
	assert_int_equal(PLUG(f, 12, 4), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(PLUG(f, 11, 1), VIRTIO_MEM_RESP_NACK);
	assert_int_equal(UNPLUG(f, 3, 2), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(status(f).plugged, 6 * BLOCK);
	assert_int_equal(status(f).stretches, 1);
	/* the guest may keep more than is requested, but get no more */
	assert_int_equal(mem_request(f->m, 2 * BLOCK), 0);
	assert_int_equal(PLUG(f, 3, 1), VIRTIO_MEM_RESP_NACK);
	assert_int_equal(status(f).plugged, 6 * BLOCK);
	assert_int_equal(status(f).refused, 0);
	assert_true(f->changes >= 1);
}

static void test_bad_requests_change_nothing(void **state)
{
	struct fixture *f = *state;
	const uint64_t end = FAKE_HIGH + FAKE_HALF, top = UINT64_MAX - BLOCK + 1;
	static const unsigned types[] = {VIRTIO_MEM_REQ_PLUG, VIRTIO_MEM_REQ_UNPLUG, VIRTIO_MEM_REQ_STATE};
	unsigned refused = 0;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	assert_int_equal(PLUG(f, 4, 4), VIRTIO_MEM_RESP_ACK);
	for (unsigned k = 0; k < 3; k++) {
		const struct {
			uint64_t gpa;
			unsigned blocks;
		} bad[] = {{FAKE_HIGH + 4096, 1},
			   {FAKE_HIGH + 1, 1},
			   {FAKE_HIGH, 0},
			   {FAKE_HIGH - BLOCK, 1},
			   {FAKE_HIGH - BLOCK, 2},
			   {0, 1},
			   {end, 1},
			   {end - BLOCK, 2},
			   {end - BLOCK, 65535},
			   {top, 1},
			   {top, 2},
			   {top, 65535},
			   {UINT64_MAX, 1},
			   {FAKE_HIGH, 65535},
			   {FAKE_HIGH, 17},
			   {end - 1, 1}};

		for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++, refused++)
			assert_int_equal(ask(f, types[k], bad[i].gpa, bad[i].blocks), VIRTIO_MEM_RESP_ERROR);
	}
	assert_int_equal(PLUG(f, 3, 2), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(PLUG(f, 5, 1), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(UNPLUG(f, 3, 2), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(UNPLUG(f, 8, 1), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(ask(f, 4, FAKE_HIGH, 1), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(ask(f, 65535, FAKE_HIGH, 1), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(status(f).refused, refused + 6);
	assert_int_equal(status(f).plugged, 4 * BLOCK);
	assert_int_equal(state_of(f, FAKE_HIGH + 4 * BLOCK, 4), VIRTIO_MEM_STATE_PLUGGED);
	assert_int_equal(fake_space_inflated(f->r.space), (BLOCKS - 4) * (BLOCK >> 12));
}

static void test_short_buffers_break_it(void **state)
{
	struct fixture *f = *state;
	const uint32_t full = sizeof(struct virtio_mem_req);
	const struct {
		uint32_t bytes, room;
	} bad[] = {{full - 1, ANSWER}, {1, ANSWER}, {full, ANSWER - 1}, {full, 1}, {full, 0}};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		offer(f, VIRTIO_MEM_REQ_STATE, FAKE_HIGH, 1, bad[i].bytes, bad[i].room);
		rig_turns(&f->r, 16);
		assert_true(rig_get(&f->r, VIRTIO_MMIO_STATUS) & NEEDS_RESET);
		assert_true(status(f).broken);
		bring_up(f, INACCESSIBLE);
	}
	assert_int_equal(state_of(f, FAKE_HIGH, 1), VIRTIO_MEM_STATE_UNPLUGGED);
}

static void test_what_is_lacking_makes_it_busy(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	fake_space_set_budget(f->r.space, 3 * BLOCK);
	assert_int_equal(PLUG(f, 0, 4), VIRTIO_MEM_RESP_BUSY);
	assert_int_equal(status(f).plugged, 0);
	assert_int_equal(PLUG(f, 0, 3), VIRTIO_MEM_RESP_ACK);
	f->machine.fail_in = 1;
	assert_int_equal(UNPLUG(f, 0, 3), VIRTIO_MEM_RESP_BUSY);
	assert_int_equal(status(f).plugged, 3 * BLOCK);
	assert_int_equal(status(f).busy, 2);
	assert_int_equal(state_of(f, FAKE_HIGH, 3), VIRTIO_MEM_STATE_PLUGGED);
}

static void test_unplug_all(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(PLUG(f, 0, 16), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(UNPLUG(f, 7, 1), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 1, 2), VIRTIO_MEM_RESP_ACK);
	assert_int_equal(status(f).plugged, 0);
	assert_int_equal(status(f).stretches, 0);
	assert_int_equal(fake_space_inflated(f->r.space), BLOCKS * (BLOCK >> 12));
	/* what cannot go stays, and is told */
	assert_int_equal(PLUG(f, 0, 16), VIRTIO_MEM_RESP_ACK);
	fake_space_fail_at(f->r.space, (FAKE_HIGH + 9 * BLOCK) >> 12, -EALREADY);
	assert_int_equal(ask(f, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0), VIRTIO_MEM_RESP_BUSY);
	assert_int_equal(status(f).plugged, BLOCK);
}

static void test_reset_keeps_what_is_plugged(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	assert_int_equal(PLUG(f, 0, 5), VIRTIO_MEM_RESP_ACK);
	rig_set(&f->r, VIRTIO_MMIO_STATUS, 0);
	rig_turns(&f->r, 8);
	assert_int_equal(status(f).plugged, 5 * BLOCK);
	assert_false(status(f).driver_ok);
	bring_up(f, INACCESSIBLE);
	assert_int_equal(state_of(f, FAKE_HIGH, 5), VIRTIO_MEM_STATE_PLUGGED);
	assert_int_equal(UNPLUG(f, 0, 5), VIRTIO_MEM_RESP_ACK);
}

static void test_blind_driver_gets_nothing(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	bring_up(f, 0);
	assert_int_equal(PLUG(f, 0, 1), VIRTIO_MEM_RESP_ERROR);
	assert_int_equal(status(f).plugged, 0);
}

static void test_touches_are_told(void **state)
{
	struct fixture *f = *state;
	uint64_t value = 0;

	assert_true(bus_read(f->r.bus, BUS_MMIO, FAKE_HIGH + 12345, &value, 8));
	assert_int_equal(f->touches, 1);
	assert_int_equal(f->touched, FAKE_HIGH + 12345);
	assert_true(bus_write(f->r.bus, BUS_MMIO, FAKE_HIGH + FAKE_HALF - 8, &value, 8));
	assert_int_equal(f->touches, 2);
}

/* Guest memory is what is plugged, and nothing that reaches beyond it. */
static void test_gate(void **state)
{
	struct fixture *f = *state;
	const struct guestmem *mem = &f->r.mem;
	char byte = 1;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	assert_null(guestmem_hva(mem, FAKE_HIGH, 1));
	assert_int_equal(guestmem_write(mem, FAKE_HIGH, &byte, 1), -EFAULT);
	assert_int_equal(PLUG(f, 1, 2), VIRTIO_MEM_RESP_ACK);
	assert_non_null(guestmem_hva(mem, FAKE_HIGH + BLOCK, 2 * BLOCK));
	assert_null(guestmem_hva(mem, FAKE_HIGH + BLOCK - 1, 2));
	assert_null(guestmem_hva(mem, FAKE_HIGH + 3 * BLOCK - 1, 2));
	assert_null(guestmem_hva(mem, FAKE_HIGH + BLOCK, 2 * BLOCK + 1));
	assert_int_equal(guestmem_write(mem, FAKE_HIGH + 3 * BLOCK - 1, &byte, 1), 0);
	assert_int_equal(guestmem_read(mem, FAKE_HIGH + 3 * BLOCK, &byte, 1), -EFAULT);
	assert_non_null(guestmem_hva(mem, 0, FAKE_HALF));
	/* a request that lies in what it unplugs is answered nowhere: its driver is broken, nobody else */
	assert_int_equal(UNPLUG(f, 1, 1), VIRTIO_MEM_RESP_ACK);
	assert_null(guestmem_hva(mem, FAKE_HIGH + BLOCK, 1));
}

/* An answer that lies in the very block that goes: the driver's fault, and the device stops for it. */
static void test_answer_in_what_goes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(mem_request(f->m, FAKE_HALF), 0);
	assert_int_equal(PLUG(f, 0, 1), VIRTIO_MEM_RESP_ACK);
	struct virtio_mem_req req = {.type = htole16(VIRTIO_MEM_REQ_UNPLUG)};
	req.u.unplug.addr = htole64(FAKE_HIGH);
	req.u.unplug.nb_blocks = htole16(1);
	memcpy(mb_space_hva(f->r.space, RIG_BUFFERS, sizeof(req)), &req, sizeof(req));
	rig_desc(&f->q, 0, RIG_BUFFERS, sizeof(req), VRING_DESC_F_NEXT, 1);
	rig_desc(&f->q, 1, FAKE_HIGH + 4096, ANSWER, VRING_DESC_F_WRITE, 0);
	rig_offer(&f->q, 0);
	rig_notify(&f->r, 0);
	rig_turns(&f->r, 16);
	assert_true(status(f).broken);
	assert_int_equal(status(f).plugged, 0);
}

#define DEVICE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_blocks_model),
	    cmocka_unit_test(test_unplug_all_leaves_what_must_stay),
	    cmocka_unit_test(test_stretches_fit_the_slots),
	    DEVICE_TEST(test_configuration),
	    DEVICE_TEST(test_plug_and_unplug),
	    DEVICE_TEST(test_bad_requests_change_nothing),
	    DEVICE_TEST(test_short_buffers_break_it),
	    DEVICE_TEST(test_what_is_lacking_makes_it_busy),
	    DEVICE_TEST(test_unplug_all),
	    DEVICE_TEST(test_reset_keeps_what_is_plugged),
	    DEVICE_TEST(test_blind_driver_gets_nothing),
	    DEVICE_TEST(test_touches_are_told),
	    DEVICE_TEST(test_gate),
	    DEVICE_TEST(test_answer_in_what_goes),
	};

	return cmocka_run_group_tests_name("virtio-mem", tests, NULL, NULL);
}
