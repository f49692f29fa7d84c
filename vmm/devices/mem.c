/* SPDX-License-Identifier: MIT */
/*
 * mem.c - virtio-mem (virtio 1.2, 5.15): requests, answers, configuration, events.
 *
 * The guest asks, and a request is answered as a whole: all of its blocks change, or none does. What is plugged
 * stays plugged over a reset of the driver (5.15.5): the next driver unplugs all if it wants to begin anew.
 *
 * VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE is offered, and a driver that does not take it gets nothing plugged:
 * without it a guest may read what is not plugged (5.15.6.1), and here there is nothing to be read. Such a
 * touch ends the guest, whether its stretch is shown (KVM finds no memory) or not (it comes here, over the
 * bus).
 */
#include "devices/mem.h"

#include "devices/mem_blocks.h"
#include "devices/virtio.h"
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_mem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Linux 5.16; Debian 12's header has it, older ones do not. */
#ifndef VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE
#define VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE 1
#endif

#define QUEUE_SIZE      128
#define REQUESTS_A_TURN 64 /* served before the loop looks at others; each is its own stay with the lock */
#define MS              UINT64_C(1000000)
#define CHANGE_PERIOD   (100 * MS) /* between two on_change() */

struct mem {
	struct virtio *v;
	struct mem_config config;
	struct loop *loop;

	/* Under the device's lock. */
	struct virtio_mem_config space; /* little-endian, as the guest sees it */
	struct mem_blocks blocks;       /* changed on the loop's thread only */
	struct virtqueue_chain chain;   /* scratch */
	bool unplugging;                /* an UNPLUG_ALL is under way: its chain is answered when it is done */
	uint16_t unplug_head;
	uint32_t unplug_generation;
	int unplug_error;
	uint64_t refused, busy;

	/* The loop's thread only. */
	uint64_t told; /* plugged bytes, at the last on_change() */
	uint64_t told_at;
	struct loop_source *again, *changed;
};

/* ---- the configuration space ---------------------------------------------------------------------------- */

static void config_read(void *dev, uint32_t offset, void *to, unsigned len)
{
	struct mem *m = dev;
	memcpy(to, (const unsigned char *)&m->space + offset, len);
}

/* 5.15.4: all of it is the device's to write. */
static void config_write(void *dev, uint32_t offset, const void *from, unsigned len)
{
	(void)dev;
	(void)offset;
	(void)from;
	(void)len;
}

static void publish_size(struct mem *m)
{
	m->space.plugged_size = htole64(m->blocks.plugged);
}

/* ---- requests ---------------------------------------------------------------------------------------------
 */

/* One request, as it was copied and taken apart. */
struct request {
	unsigned type;
	uint64_t gpa;
	uint64_t len;
	bool valid; /* whole blocks, in the region */
};

static struct request parse(const struct mem *m, const struct virtio_mem_req *raw)
{
	/* plug, unplug and state have the same form */
	struct request r = {.type = le16toh(raw->type),
			    .gpa = le64toh(raw->u.plug.addr),
			    .len = le16toh(raw->u.plug.nb_blocks) * m->config.map->block};
	r.valid = r.len > 0 && r.gpa % m->config.map->block == 0 && plugmap_holds(m->config.map, r.gpa, r.len);
	return r;
}

static uint16_t refuse(struct mem *m, const struct request *r, const char *why)
{
	m->refused++;
	log_guest("virtio-mem: request %u for %#llx, %llu bytes, refused: %s", r->type,
		  (unsigned long long)r->gpa, (unsigned long long)r->len, why);
	return VIRTIO_MEM_RESP_ERROR;
}

/* The map changes on this thread only, so that it may be read without its lock here. */
static uint16_t plug(struct mem *m, const struct request *r)
{
	uint64_t requested = le64toh(m->space.requested_size);
	if (!virtio_has(m->v, VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE))
		return refuse(m, r, "the driver does not keep off what is not plugged");
	if (!r->valid)
		return refuse(m, r, "no blocks of the region");
	if (!plugmap_all(m->config.map, r->gpa, r->len, false))
		return refuse(m, r, "plugged already");
	if (r->len > requested || m->blocks.plugged > requested - r->len)
		return VIRTIO_MEM_RESP_NACK;
	if (mem_blocks_plug(&m->blocks, r->gpa, r->len) != 0) {
		m->busy++;
		return VIRTIO_MEM_RESP_BUSY;
	}
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t unplug(struct mem *m, const struct request *r)
{
	if (!r->valid)
		return refuse(m, r, "no blocks of the region");
	if (!plugmap_all(m->config.map, r->gpa, r->len, true))
		return refuse(m, r, "not plugged");
	if (mem_blocks_unplug(&m->blocks, r->gpa, r->len) != 0) {
		m->busy++;
		return VIRTIO_MEM_RESP_BUSY;
	}
	return VIRTIO_MEM_RESP_ACK;
}

static uint16_t state(struct mem *m, const struct request *r, uint16_t *out)
{
	if (!r->valid)
		return refuse(m, r, "no blocks of the region");
	*out = plugmap_all(m->config.map, r->gpa, r->len, true)    ? VIRTIO_MEM_STATE_PLUGGED
	       : plugmap_all(m->config.map, r->gpa, r->len, false) ? VIRTIO_MEM_STATE_UNPLUGGED
								   : VIRTIO_MEM_STATE_MIXED;
	return VIRTIO_MEM_RESP_ACK;
}

/* Answers the chain in m->chain. */
static bool answer(struct mem *m, struct virtqueue *vq, uint16_t type, uint16_t block_state)
{
	struct virtio_mem_resp resp = {.type = htole16(type), .u.state.state = htole16(block_state)};
	struct virtqueue_cursor cursor;
	virtqueue_to_write(&m->chain, &cursor);
	if (virtqueue_write(vq, &cursor, &resp, sizeof(resp)) != (int64_t)sizeof(resp)) {
		virtio_break(m->v, "an answer cannot be written");
		return false;
	}
	virtqueue_push(vq, m->chain.head, sizeof(resp));
	publish_size(m);
	virtio_publish(m->v, vq);
	return true;
}

/* A stay with the lock in the middle of UNPLUG_ALL: true when it is over, and its chain answered. */
static bool unplug_more(struct mem *m, struct virtqueue *vq)
{
	int rc = mem_blocks_unplug_all(&m->blocks);
	publish_size(m);
	if (rc == -EAGAIN)
		return false;
	m->unplugging = false;
	m->busy += rc != 0;
	return answer(m, vq, rc == 0 ? VIRTIO_MEM_RESP_ACK : VIRTIO_MEM_RESP_BUSY, 0);
}

/* The request in m->chain. false: the queue has to wait, or is broken. */
static bool serve_chain(struct mem *m, struct virtqueue *vq)
{
	struct virtio_mem_req raw;
	struct virtqueue_cursor cursor;
	uint16_t block_state = 0, type;
	virtqueue_to_read(&m->chain, &cursor);
	if (m->chain.writable < sizeof(struct virtio_mem_resp) ||
	    virtqueue_read(vq, &cursor, &raw, sizeof(raw)) != (int64_t)sizeof(raw)) {
		virtio_break(m->v, "a request or its answer is too short");
		return false;
	}
	struct request r = parse(m, &raw);
	switch (r.type) {
	case VIRTIO_MEM_REQ_PLUG:
		type = plug(m, &r);
		break;
	case VIRTIO_MEM_REQ_UNPLUG:
		type = unplug(m, &r);
		break;
	case VIRTIO_MEM_REQ_STATE:
		type = state(m, &r, &block_state);
		break;
	case VIRTIO_MEM_REQ_UNPLUG_ALL:
		m->unplugging = true;
		m->unplug_generation = vq->generation;
		return unplug_more(m, vq);
	default:
		type = refuse(m, &r, "no such request");
	}
	return answer(m, vq, type, block_state);
}

/* One request, if there is one. false: there is nothing to go on with. */
static bool serve_one(struct mem *m, bool *again)
{
	struct virtqueue *vq = virtio_queue(m->v, 0);
	*again = false;
	if (!virtio_is_live(m->v) || !vq->ready) {
		m->unplugging = false;
		return false;
	}
	if (m->unplugging && m->unplug_generation == vq->generation) {
		*again = !unplug_more(m, vq) && m->unplugging;
		return !*again;
	}
	m->unplugging = false;
	int rc = virtqueue_pop(vq, &m->chain);
	if (rc < 0) {
		virtio_break(m->v, vq->flaw);
		return false;
	}
	if (rc == 0)
		return !virtqueue_sleep(vq);
	rc = serve_chain(m, vq);
	*again = m->unplugging;
	return rc != 0;
}

/* ---- the loop's side --------------------------------------------------------------------------------------
 */

static uint64_t now_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void on_changed_timer(void *arg)
{
	struct mem *m = arg;
	if (m->blocks.plugged == m->told)
		return;
	m->told = m->blocks.plugged;
	m->told_at = now_ns();
	if (m->config.on_change != NULL)
		m->config.on_change(m->config.change_arg);
}

/* At once if the last one is long ago, else when it will be: so the last change is always told. */
static void report_change(struct mem *m)
{
	uint64_t since = now_ns() - m->told_at;
	if (m->blocks.plugged == m->told)
		return;
	if (m->told_at == 0 || since >= CHANGE_PERIOD)
		on_changed_timer(m);
	else
		loop_arm_timer(m->changed, CHANGE_PERIOD - since);
}

static void work(void *dev)
{
	struct mem *m = dev;
	bool go_on = true, again = false;
	for (unsigned i = 0; i < REQUESTS_A_TURN && go_on; i++) {
		virtio_lock(m->v);
		go_on = serve_one(m, &again);
		virtio_unlock(m->v);
	}
	if (go_on || again)
		loop_defer(m->again);
	report_change(m);
}

/* What is plugged stays so; a request that was under way is void. */
static void on_reset(void *dev)
{
	struct mem *m = dev;
	m->unplugging = false;
}

static const struct virtio_ops ops = {
    .name = "virtio-mem",
    .device_id = VIRTIO_ID_MEM,
    .queues = 1,
    .queue_size = QUEUE_SIZE,
    .config_size = sizeof(struct virtio_mem_config),
    .config_read = config_read,
    .config_write = config_write,
    .reset = on_reset,
    .work = work,
};

/* ---- what is not plugged and not shown ---------------------------------------------------------------------
 */

static void touched(struct mem *m, uint64_t offset)
{
	m->config.on_touch(m->config.touch_arg, m->config.map->gpa + offset);
}

static void region_read(void *dev, uint64_t offset, void *data, unsigned len)
{
	memset(data, 0xff, len);
	touched(dev, offset);
}

static void region_write(void *dev, uint64_t offset, const void *data, unsigned len)
{
	(void)data;
	(void)len;
	touched(dev, offset);
}

static const struct bus_ops region_ops = {.read = region_read, .write = region_write};

/* ---- what control asks --------------------------------------------------------------------------------------
 */

int mem_request(struct mem *m, uint64_t bytes)
{
	if (bytes % m->config.map->block != 0)
		return -EINVAL;
	if (bytes > m->config.map->size)
		return -ERANGE;
	virtio_lock(m->v);
	if (le64toh(m->space.requested_size) != bytes) {
		m->space.requested_size = htole64(bytes);
		virtio_config_changed(m->v);
	}
	virtio_unlock(m->v);
	return 0;
}

void mem_get_status(struct mem *m, struct mem_status *out)
{
	virtio_lock(m->v);
	*out = (struct mem_status){
	    .driver_ok = virtio_is_live(m->v),
	    .broken = virtio_is_broken(m->v),
	    .gpa = m->config.map->gpa,
	    .size = m->config.map->size,
	    .block = m->config.map->block,
	    .requested = le64toh(m->space.requested_size),
	    .plugged = m->blocks.plugged,
	    .stretches = m->blocks.shown,
	    .refused = m->refused,
	    .busy = m->busy,
	};
	virtio_unlock(m->v);
}

/* ---- life ---------------------------------------------------------------------------------------------------
 */

static int create_parts(struct mem *m, const struct device_host *host)
{
	const struct plugmap *map = m->config.map;
	m->space = (struct virtio_mem_config){
	    .block_size = htole64(map->block),
	    .addr = htole64(map->gpa),
	    .region_size = htole64(map->size),
	    .usable_region_size = htole64(map->size),
	};
	int rc = mem_blocks_init(&m->blocks, &m->config);
	if (rc == 0)
		rc = bus_add(host->bus, BUS_MMIO, map->gpa, map->size, &region_ops, m, "unplugged memory");
	if (rc == 0)
		rc = loop_add_deferred(m->loop, work, m, &m->again);
	if (rc == 0)
		rc = loop_add_timer(m->loop, on_changed_timer, m, &m->changed);
	if (rc == 0)
		rc = virtio_mmio_create(host, m->config.index, &ops, m,
					UINT64_C(1) << VIRTIO_MEM_F_UNPLUGGED_INACCESSIBLE, &m->v);
	return rc;
}

int mem_create(const struct device_host *host, const struct mem_config *config, struct mem **out)
{
	struct mem *m = calloc(1, sizeof(*m));
	if (m == NULL)
		return -ENOMEM;
	m->config = *config;
	m->loop = host->loop;
	int rc = create_parts(m, host);
	if (rc != 0) {
		mem_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

void mem_destroy(struct mem *m)
{
	if (m == NULL)
		return;
	virtio_destroy(m->v);
	if (m->again != NULL)
		loop_remove(m->again);
	if (m->changed != NULL)
		loop_remove(m->changed);
	free(m);
}
