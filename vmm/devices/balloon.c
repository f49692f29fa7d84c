/* SPDX-License-Identifier: MIT */
/*
 * balloon.c - virtio-balloon (virtio 1.2, 5.5): configuration, statistics, events, and who is served when.
 *
 * The target is a number in the configuration space and an interrupt; what the guest then does comes over
 * the inflate and the deflate queue (balloon_queue.c), and what becomes of the pages is balloon_pages.c's.
 *
 * A deflation for which the pool's budget lacks bytes is held back: its chain does not return, and as the
 * guest negotiated MUST_TELL_HOST it does not touch the pages before. We try again every few milliseconds,
 * and after every inflation, which goes on all the while and may be what helps.
 *
 * Free page reporting: what the guest says is free goes back to the kernel at once, and is charged all the
 * same, since the guest need not ask before it uses it. Free page hinting is not offered: what it tells is of
 * use to somebody who copies the guest's memory, and nobody here does.
 *
 * A guest's reset leaves the balloon's pages "returning", see balloon_pages.h: they become its own again as
 * the budget allows, with what it has written to them meanwhile.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include "devices/balloon.h"

#include "abi/platform.h"
#include "devices/balloon_queue.h"
#include "log.h"

#include <endian.h>
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MS             UINT64_C(1000000)
#define NS_PER_S       UINT64_C(1000000000)
#define SLICE          (2 * MS)   /* work between two looks at the control socket; a vCPU may wait that long */
#define RETRY          (20 * MS)  /* between two tries of a deflation that is held back */
#define CHANGED_PERIOD (100 * MS) /* between two BALLOON_CHANGED */
#define STATS_ENTRIES  64         /* of a statistics buffer, at most; there are 16 kinds */
#define PAGE           (UINT64_C(1) << BALLOON_PAGE_SHIFT)

/*
 * 5.5.2 numbers the queues as if all were there; drivers leave out those of features that were not negotiated,
 * so reporting is found where the driver then looks for it.
 */
enum { QUEUE_INFLATE, QUEUE_DEFLATE, QUEUE_STATS, QUEUE_REPORT };

/* 5.5.4. Little-endian, as the guest sees them. */
struct balloon_space {
	uint32_t num_pages;
	uint32_t actual;
	uint32_t free_page_hint_cmd_id; /* a feature that we do not offer */
	uint32_t poison_val;
};

struct balloon {
	struct virtio *v;
	struct balloon_config config;
	struct loop *loop;

	/* Under the device's lock; balloon_pages and the queues are touched by the loop's thread only. */
	struct balloon_space space;
	bool was_reset; /* since the loop's thread looked last */
	struct balloon_pages pages;
	struct balloon_queue inflate, deflate, report;
	struct virtqueue_chain stats_chain; /* scratch */
	bool stats_held;                    /* the guest's statistics buffer is here (5.5.6.3) */
	uint16_t stats_head;
	uint32_t stats_generation;
	struct balloon_stats stats;

	/* The loop's thread only. */
	uint64_t target;         /* bytes */
	bool awaited;            /* the target was not reached since it was set */
	unsigned stats_interval; /* seconds */
	bool waits;
	uint64_t out_told; /* pages out at the last BALLOON_CHANGED */
	uint64_t told_at;  /* ns */
	struct loop_source *again, *retry, *changed, *stats_timer;
};

static void tell(struct balloon *b, enum balloon_event event)
{
	if (b->config.on_event)
		b->config.on_event(b->config.arg, event);
}

/* ---- statistics --------------------------------------------------------------------------------------- */

static void stats_parse(struct balloon *b, struct virtqueue *vq)
{
	struct virtio_balloon_stat entries[STATS_ENTRIES];
	struct virtqueue_cursor cursor;
	struct timespec now;
	int64_t n;

	virtqueue_to_read(&b->stats_chain, &cursor);
	n = virtqueue_read(vq, &cursor, entries, sizeof(entries)) / (int64_t)sizeof(entries[0]);
	memset(&b->stats, 0, sizeof(b->stats));
	for (int64_t i = 0; i < n; i++) {
		unsigned tag = le16toh(entries[i].tag);

		/* All ones means unknown to some drivers; a tag that we do not know is to be ignored. */
		if (tag >= BALLOON_STATS || entries[i].val == UINT64_MAX)
			continue;
		b->stats.known[tag] = true;
		b->stats.value[tag] = le64toh(entries[i].val);
	}
	clock_gettime(CLOCK_REALTIME, &now);
	b->stats.last_update_s = (uint64_t)now.tv_sec;
}

/* Returns the buffer: the driver fills it anew. */
static void stats_ask(struct balloon *b)
{
	struct virtqueue *vq = virtio_queue(b->v, QUEUE_STATS);

	if (!b->stats_held || b->stats_generation != vq->generation || !virtio_is_live(b->v))
		return;
	b->stats_held = false;
	virtqueue_push(vq, b->stats_head, 0);
	virtio_publish(b->v, vq);
}

static void stats_serve(struct balloon *b)
{
	struct virtqueue *vq = virtio_queue(b->v, QUEUE_STATS);
	int rc = 0;

	if (!virtio_is_live(b->v) || !vq->ready || !virtio_has(b->v, VIRTIO_BALLOON_F_STATS_VQ))
		return;
	/* Bounded, for a guest that puts in as fast as we take out: it may kick us again. */
	for (unsigned i = 0; i < BALLOON_QUEUE_SIZE; i++) {
		rc = virtqueue_pop(vq, &b->stats_chain);
		if (rc < 0)
			virtio_break(b->v, vq->flaw);
		if (rc < 0 || (!rc && virtqueue_sleep(vq)))
			return;
		if (!rc)
			continue;
		/* There should be one buffer only (5.5.6.3); of several, the last is kept. */
		stats_ask(b);
		stats_parse(b, vq);
		b->stats_held = true;
		b->stats_head = b->stats_chain.head;
		b->stats_generation = vq->generation;
	}
}

static void on_stats_timer(void *arg)
{
	struct balloon *b = arg;

	virtio_lock(b->v);
	stats_ask(b);
	virtio_unlock(b->v);
	if (b->stats_interval)
		loop_arm_timer(b->stats_timer, b->stats_interval * NS_PER_S);
}

int balloon_set_stats_interval(struct balloon *b, unsigned seconds)
{
	b->stats_interval = seconds;
	/* The first answer soon, rather than after a period. */
	return loop_arm_timer(b->stats_timer, seconds ? 1 : 0);
}

unsigned balloon_get_stats_interval(struct balloon *b)
{
	return b->stats_interval;
}

void balloon_get_stats(struct balloon *b, struct balloon_stats *out)
{
	virtio_lock(b->v);
	*out = b->stats;
	virtio_unlock(b->v);
}

/* ---- events -------------------------------------------------------------------------------------------- */

static void on_changed_timer(void *arg)
{
	struct balloon *b = arg;
	uint64_t out = balloon_pages_out(&b->pages);

	if (out == b->out_told)
		return;
	b->out_told = out;
	b->told_at = balloon_now_ns();
	tell(b, BALLOON_CHANGED);
}

/*
 * As QEMU counts: memory that was plugged later is no part of the maximum, so that a guest which puts that in
 * as well can have given more than its maximum.
 */
static uint64_t actual(const struct balloon *b)
{
	uint64_t out = balloon_pages_out(&b->pages) << BALLOON_PAGE_SHIFT;

	return out < b->config.maximum ? b->config.maximum - out : 0;
}

/* Once for each target that is set, so a guest cannot make us say it often. */
static bool has_arrived(struct balloon *b)
{
	if (!b->awaited || actual(b) != b->target)
		return false;
	b->awaited = false;
	return true;
}

/*
 * At once if the last one is long ago or this is what control waits for, else when the last one is long ago:
 * so the last change is always told.
 */
static void report_change(struct balloon *b)
{
	uint64_t since = balloon_now_ns() - b->told_at;

	if (balloon_pages_out(&b->pages) == b->out_told)
		return;
	if (has_arrived(b) || !b->told_at || since >= CHANGED_PERIOD)
		on_changed_timer(b);
	else
		loop_arm_timer(b->changed, CHANGED_PERIOD - since);
}

/* What a held-back deflation lacks. */
static uint64_t lacking(const struct balloon *b)
{
	uint64_t want = (b->deflate.pages.count + b->pages.returning.count) << BALLOON_PAGE_SHIFT;
	uint64_t left = mb_space_budget_left(b->config.space);

	return want > left ? want - left : PAGE;
}

/* why: 0, or the error for which a deflation is held back. */
static void report_waiting(struct balloon *b, int why)
{
	bool waits = why != 0;

	if (waits)
		loop_arm_timer(b->retry, RETRY);
	/* who came before us is served before us, and who comes now is not */
	if (why == -EDQUOT)
		mb_space_queue_up(b->config.space, lacking(b));
	else if (b->waits)
		mb_space_leave_queue(b->config.space);
	if (waits == b->waits)
		return;
	b->waits = waits;
	if (waits && why != -EDQUOT)
		log_at(LOG_WARN, "balloon: a deflation is held back: %s", strerror(-why));
	tell(b, waits ? BALLOON_WAITS : BALLOON_GOES_ON);
}

/* ---- the work ------------------------------------------------------------------------------------------- */

/* A new driver knows nothing of the pages that the one before had given. */
static void apply_reset(struct balloon *b)
{
	if (!b->was_reset)
		return;
	b->was_reset = false;
	b->stats_held = false;
	balloon_queue_forget(&b->report); /* its number may be another one now */
	balloon_pages_reset(&b->pages);
}

/* 5.5.6.7: what a driver that fills its free pages with something reports may only be what it was. */
static int serve_reports(struct balloon *b, uint64_t deadline)
{
	if (!virtio_has(b->v, VIRTIO_BALLOON_F_REPORTING))
		return 0;
	b->report.number = virtio_has(b->v, VIRTIO_BALLOON_F_STATS_VQ) ? QUEUE_REPORT : QUEUE_STATS;
	b->pages.keep_reported = virtio_has(b->v, VIRTIO_BALLOON_F_PAGE_POISON) && b->space.poison_val;
	return balloon_queue_serve(&b->report, b->v, &b->pages, deadline);
}

/* Deflations that the driver asked for go before those that nobody waits for. */
static int serve_deflations(struct balloon *b, uint64_t deadline)
{
	int rc = balloon_queue_serve(&b->deflate, b->v, &b->pages, deadline);

	return rc ? rc : balloon_pages_return(&b->pages, deadline);
}

static void work(void *dev)
{
	struct balloon *b = dev;
	uint64_t deadline = balloon_now_ns() + SLICE;
	int inflating, deflating, reporting;

	virtio_lock(b->v);
	apply_reset(b);
	inflating = balloon_queue_serve(&b->inflate, b->v, &b->pages, deadline);
	deflating = serve_deflations(b, deadline);
	reporting = serve_reports(b, deadline);
	stats_serve(b);
	virtio_unlock(b->v);

	if (inflating == -EAGAIN || deflating == -EAGAIN || reporting == -EAGAIN)
		loop_defer(b->again);
	/* In the middle of a deflation nobody knows yet whether it will be held back (again). */
	if (deflating != -EAGAIN)
		report_waiting(b, deflating);
	report_change(b);
}

/* ---- the transport's calls ------------------------------------------------------------------------------ */

static void config_read(void *dev, uint32_t offset, void *to, unsigned len)
{
	struct balloon *b = dev;

	memcpy(to, (const unsigned char *)&b->space + offset, len);
}

static void config_write(void *dev, uint32_t offset, const void *from, unsigned len)
{
	struct balloon *b = dev;

	/* 5.5.4: these two are the driver's to write, and no others. */
	if (offset == offsetof(struct balloon_space, actual) && len == sizeof(b->space.actual))
		memcpy(&b->space.actual, from, len);
	if (offset == offsetof(struct balloon_space, poison_val) && len == sizeof(b->space.poison_val))
		memcpy(&b->space.poison_val, from, len);
}

static void on_reset(void *dev)
{
	struct balloon *b = dev;

	b->space.actual = 0;
	b->space.poison_val = 0;
	b->was_reset = true;
}

static const struct virtio_ops ops = {
    .name = "balloon",
    .device_id = VIRTIO_ID_BALLOON,
    .queues = BALLOON_QUEUES,
    .queue_size = BALLOON_QUEUE_SIZE,
    .config_size = sizeof(struct balloon_space),
    .config_read = config_read,
    .config_write = config_write,
    .reset = on_reset,
    .work = work,
};

/* ---- what control asks ---------------------------------------------------------------------------------- */

int balloon_set_target(struct balloon *b, uint64_t bytes)
{
	uint64_t pages;
	uint32_t num_pages;

	if (bytes > b->config.maximum)
		return -EINVAL;
	pages = (b->config.maximum - bytes) >> BALLOON_PAGE_SHIFT; /* down: the VM's size is rounded up */
	if (pages > UINT32_MAX)
		return -ERANGE;
	num_pages = htole32((uint32_t)pages);
	virtio_lock(b->v);
	b->target = b->config.maximum - (pages << BALLOON_PAGE_SHIFT);
	b->awaited = true;
	if (b->space.num_pages != num_pages) {
		b->space.num_pages = num_pages;
		virtio_config_changed(b->v);
	}
	virtio_unlock(b->v);
	return 0;
}

void balloon_get_status(struct balloon *b, struct balloon_status *out)
{
	memset(out, 0, sizeof(*out));
	virtio_lock(b->v);
	out->driver_ok = virtio_is_live(b->v);
	out->broken = virtio_is_broken(b->v);
	out->guest_says = (uint64_t)le32toh(b->space.actual) << BALLOON_PAGE_SHIFT;
	virtio_unlock(b->v);
	out->maximum = b->config.maximum;
	out->target = b->target;
	out->actual = actual(b);
	out->waits_for = b->waits ? lacking(b) : 0;
	out->rejected = b->pages.rejected;
	out->inflated_total = b->pages.inflated_total << BALLOON_PAGE_SHIFT;
	out->deflated_total = b->pages.deflated_total << BALLOON_PAGE_SHIFT;
	out->reported_total = b->pages.reported_total << BALLOON_PAGE_SHIFT;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

static int create_parts(struct balloon *b, const struct device_host *host)
{
	uint64_t end = b->config.memory_end ? b->config.memory_end : PLATFORM_HOLE_END + b->config.maximum;
	/* A page number has 32 bits. */
	uint64_t limit = end >> BALLOON_PAGE_SHIFT;
	uint64_t features = UINT64_C(1) << VIRTIO_BALLOON_F_MUST_TELL_HOST |
			    UINT64_C(1) << VIRTIO_BALLOON_F_STATS_VQ |
			    (uint64_t)b->config.deflate_on_oom << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
			    UINT64_C(1) << VIRTIO_BALLOON_F_PAGE_POISON |
			    (uint64_t)mb_space_can_discard(b->config.space) << VIRTIO_BALLOON_F_REPORTING;
	int rc;

	if (limit > UINT64_C(1) << 32)
		limit = UINT64_C(1) << 32;
	rc = balloon_pages_init(&b->pages, host->mem, limit);
	if (!rc)
		rc = balloon_queue_init(&b->inflate, QUEUE_INFLATE, balloon_pages_inflate, BALLOON_QUEUE_SIZE,
					limit);
	/* One chain at a time: a chain whose pages the budget has must not wait for one whose it lacks. */
	if (!rc)
		rc = balloon_queue_init(&b->deflate, QUEUE_DEFLATE, balloon_pages_deflate, 1, limit);
	if (!rc)
		rc = balloon_queue_init(&b->report, QUEUE_REPORT, balloon_pages_report, BALLOON_QUEUE_SIZE,
					limit);
	if (!rc)
		rc = loop_add_deferred(b->loop, work, b, &b->again);
	if (!rc)
		rc = loop_add_timer(b->loop, work, b, &b->retry);
	if (!rc)
		rc = loop_add_timer(b->loop, on_changed_timer, b, &b->changed);
	if (!rc)
		rc = loop_add_timer(b->loop, on_stats_timer, b, &b->stats_timer);
	if (!rc)
		rc = virtio_mmio_create(host, b->config.index, &ops, b, features, &b->v);
	return rc;
}

int balloon_create(const struct device_host *host, const struct balloon_config *config, struct balloon **out)
{
	struct balloon *b = calloc(1, sizeof(*b));
	int rc;

	if (!b)
		return -ENOMEM;
	b->config = *config;
	b->loop = host->loop;
	rc = create_parts(b, host);
	if (!rc)
		rc = balloon_set_target(b, config->initial_target);
	if (rc) {
		balloon_destroy(b);
		return rc;
	}
	*out = b;
	return 0;
}

void balloon_destroy(struct balloon *b)
{
	if (!b)
		return;
	virtio_destroy(b->v);
	if (b->again)
		loop_remove(b->again);
	if (b->retry)
		loop_remove(b->retry);
	if (b->changed)
		loop_remove(b->changed);
	if (b->stats_timer)
		loop_remove(b->stats_timer);
	balloon_queue_free(&b->report);
	balloon_queue_free(&b->deflate);
	balloon_queue_free(&b->inflate);
	balloon_pages_free(&b->pages);
	free(b);
}
