/* SPDX-License-Identifier: MIT */
/*
 * fuzz-mem.c - a guest that does anything to its virtio-mem, see virtio_guest.h.
 *
 * Whatever it does, all records agree about each block at the end, and a driver that resets the device and does
 * everything right is served.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/mem.h"
#include "virtio_guest.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_mem.h>
#include <string.h>

/* Small: taking a block in or giving it up fills all of it, and an input is to be over soon. */
#define BLOCK        (UINT64_C(16) << 10)
#define BLOCKS       UINT64_C(16)
#define REGION       (BLOCKS * BLOCK)
#define INACCESSIBLE (UINT64_C(1) << 1)
#define ANSWER       10

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A machine that remembers, and whose every so-manyth call fails. */
struct machine {
	bool open[BLOCKS];
	bool shown;
	unsigned calls, fail_each; /* 0: none does */
};

static bool fails(struct machine *m)
{
	return m->fail_each && ++m->calls % m->fail_each == 0;
}

/* Closing never fails: it is what undoes opening. */
static int fake_open(void *arg, uint64_t gpa, uint64_t len, bool open)
{
	struct machine *m = arg;

	guest_must(gpa >= FAKE_HIGH && gpa + len <= FAKE_HIGH + REGION && !((gpa | len) % BLOCK), "no blocks");
	if (open && fails(m))
		return -ENOMEM;
	for (uint64_t i = 0; i < len / BLOCK; i++)
		m->open[(gpa - FAKE_HIGH) / BLOCK + i] = open;
	return 0;
}

static int fake_show(void *arg, unsigned n, uint64_t gpa, uint64_t len, bool show)
{
	struct machine *m = arg;

	guest_must(n == 0 && gpa == FAKE_HIGH && len == REGION && m->shown != show, "no such stretch");
	if (show && fails(m))
		return -ENOSPC;
	m->shown = show;
	return 0;
}

static void on_touch(void *arg, uint64_t gpa)
{
	(void)arg;
	guest_must(gpa >= FAKE_HIGH && gpa < FAKE_HIGH + REGION, "a touch elsewhere");
}

/* A request as the guest lays it out. */
static void lay_request(struct guest *g, unsigned type, uint64_t gpa, unsigned blocks)
{
	struct virtio_mem_req req = {.type = htole16((uint16_t)type)};

	req.u.plug.addr = htole64(gpa);
	req.u.plug.nb_blocks = htole16((uint16_t)blocks);
	memcpy(mb_space_hva(g->r.space, RIG_BUFFERS + 0x8000, sizeof(req)), &req, sizeof(req));
	rig_desc(&g->q[0], 0, RIG_BUFFERS + 0x8000, sizeof(req), VRING_DESC_F_NEXT, 1);
	rig_desc(&g->q[0], 1, RIG_BUFFERS + 0x9000, ANSWER, VRING_DESC_F_WRITE, 0);
	rig_offer(&g->q[0], 0);
}

/* What there is of its own: requests that are nearly right, and control that asks for other sizes. */
static void own_step(struct guest *g, unsigned kind)
{
	uint64_t gpa = FAKE_HIGH + guest_take(g, 1) % (BLOCKS + 2) * BLOCK;
	unsigned blocks = guest_take(g, 1) % (BLOCKS + 2);

	/* There are more kinds than the shared steps leave us. */
	kind = guest_take(g, 1);
	if (kind % 8 == 7) {
		int rc = mem_request(g->device, blocks * BLOCK);

		guest_must(rc == (blocks > BLOCKS ? -ERANGE : 0), "a request of control");
		return;
	}
	if (kind % 8 == 6)
		gpa += guest_take(g, 4);
	lay_request(g, kind % 8 % 5, gpa, blocks);
	rig_notify(&g->r, 0);
	rig_turns(&g->r, 4);
}

static void check_records(struct guest *g, const struct plugmap *map, const struct machine *m)
{
	struct mem_status s;
	uint64_t plugged = 0;

	mem_get_status(g->device, &s);
	for (uint64_t i = 0; i < BLOCKS; i++) {
		uint64_t gpa = FAKE_HIGH + i * BLOCK;
		bool in = plugmap_all(map, gpa, BLOCK, true);

		guest_must(in || plugmap_all(map, gpa, BLOCK, false), "half a block is plugged");
		guest_must(m->open[i] == in, "open, and not plugged");
		guest_must(fake_space_is_inflated(g->r.space, gpa >> 12) == !in, "the space says otherwise");
		plugged += in ? BLOCK : 0;
	}
	guest_must(s.plugged == plugged, "the plugged size is wrong");
	guest_must(m->shown == (plugged > 0), "shown, and nothing is plugged");
}

static void check_served(struct guest *g, struct machine *m)
{
	struct mem_status s;

	m->fail_each = 0;
	guest_bring_up(g, INACCESSIBLE);
	guest_must(mem_request(g->device, REGION) == 0, "control is refused");
	lay_request(g, VIRTIO_MEM_REQ_UNPLUG_ALL, 0, 0);
	guest_must(guest_answer(g) == ANSWER && !rig_load16(&g->r, RIG_BUFFERS + 0x9000),
		   "unplugging is refused");
	lay_request(g, VIRTIO_MEM_REQ_PLUG, FAKE_HIGH, BLOCKS);
	guest_must(guest_answer(g) == ANSWER && !rig_load16(&g->r, RIG_BUFFERS + 0x9000),
		   "plugging is refused");
	mem_get_status(g->device, &s);
	guest_must(s.plugged == REGION && s.driver_ok && !s.broken, "it is not as it should be");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct plugmap map;
	struct machine machine = {.fail_each = size ? data[size - 1] % 8 : 0};
	struct guest g;
	struct mem *mem;
	struct mem_config config = {
	    .map = &map,
	    .machine = {.open = fake_open, .show = fake_show, .stretches_max = 9, .arg = &machine},
	    .on_touch = on_touch};

	guest_begin(&g, data, size, 1, INACCESSIBLE);
	config.space = g.r.space;
	guest_must(!plugmap_init(&map, FAKE_HIGH, REGION, BLOCK), "no map");
	guest_must(!mb_space_inflate(g.r.space, FAKE_HIGH, REGION), "no region");
	guest_must(!mem_create(&g.r.host, &config, &mem), "no virtio-mem");
	g.r.mem.plug = &map;
	g.device = mem;
	g.own_step = own_step;
	guest_run(&g);
	check_records(&g, &map, &machine);
	check_served(&g, &machine);
	check_records(&g, &map, &machine);
	mem_destroy(mem);
	g.r.mem.plug = NULL;
	plugmap_free(&map);
	guest_end(&g);
	return 0;
}
