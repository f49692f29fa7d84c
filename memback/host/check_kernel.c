/* SPDX-License-Identifier: MIT */
/*
 * check_kernel.c - does the kernel hold a pool's bytes where the pool says that they are?
 *
 *   a frame that is nobody's                        holds nothing
 *   a page of a preallocated owner, not a hole      is there
 *   what an owner's frames hold                     is at most what the owner is charged
 *
 * From SEEK_DATA, which on a tmpfs tells each page; hugetlbfs and disks do not tell, and there st_blocks has to
 * do (check_pool.c). Owners inflate and deflate meanwhile, in steps between which two records may differ: what
 * concerns them is looked at a number of times, and stands only if nothing of it has changed meanwhile.
 */
#include "check_kernel.h"
#include "owner.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PATIENCE 20
#define PAUSE_NS 5000000

struct owned {
	uint64_t resident; /* bytes */
};

struct look {
	struct mb_pool *pool;
	struct report *report;          /* NULL: what is nobody's was looked at before */
	bool places;                    /* the kernel tells them */
	uint64_t asked, data, data_end; /* from asked on, data comes first at data, and ends at data_end */
	struct owned owned[OWNERS_MAX];
	uint64_t lacking, lacking_frame; /* preallocated bytes that are not there; the first one's frame */
};

/* The first byte of data in [offset, end), or end; *stop: where that data ends. */
static uint64_t next_data(const struct mb_pool *pool, uint64_t offset, uint64_t end, uint64_t *stop)
{
	off_t data = lseek(pool->mem.fd, (off_t)offset, SEEK_DATA), hole;

	if (data < 0 || (uint64_t)data >= end)
		return end;
	hole = lseek(pool->mem.fd, data, SEEK_HOLE);
	*stop = hole > data && (uint64_t)hole < end ? (uint64_t)hole : end;
	return (uint64_t)data;
}

/*
 * Bytes of data in [offset, end), of ranges that ascend. A stretch of data is looked up once, however many ranges lie
 * in it: the kernel goes through it page by page to find its end.
 */
static uint64_t data_in(struct look *l, uint64_t offset, uint64_t end)
{
	uint64_t bytes = 0;

	while (offset < end) {
		uint64_t from, to;

		if (offset < l->asked || offset >= l->data_end) {
			l->asked = offset;
			l->data = next_data(l->pool, offset, l->pool->size, &l->data_end);
			if (l->data >= l->pool->size)
				l->data_end = l->pool->size;
		}
		from = l->data > offset ? l->data : offset;
		to = l->data_end < end ? l->data_end : end;
		bytes += from < to ? to - from : 0;
		offset = to > offset ? to : end;
	}
	return bytes;
}

static void look_at_nobodys(struct look *l, uint64_t offset, uint64_t end)
{
	uint64_t stop = offset;

	for (uint64_t data; !l->report->stop && (data = next_data(l->pool, stop, end, &stop)) < end;)
		report_add(l->report, "intruder", REPORT_NONE, data >> BASE_SHIFT, stop - data,
			   "the kernel holds %" PRIu64 " bytes from frame %" PRIu64 " on, which is nobody's",
			   stop - data, data >> BASE_SHIFT);
}

/* A part of one huge frame that is somebody's. */
static void look_at_owned(struct look *l, uint64_t offset, uint64_t end, enum mb_state state)
{
	uint64_t word =
	    atomic_load_explicit(ledger_at(l->pool->ledger, offset >> BASE_SHIFT), memory_order_acquire);
	struct ledger_entry e = ledger_unpack(word);
	uint64_t bytes = l->places ? data_in(l, offset, end) : 0;

	if (!e.valid || e.owner >= OWNERS_MAX) /* check_pool.c says so */
		return;
	l->owned[e.owner].resident += bytes;
	if (state != MB_USED || !l->places || bytes == end - offset ||
	    !atomic_load_explicit(&l->pool->owners[e.owner].prealloc, memory_order_relaxed))
		return;
	if (!l->lacking)
		l->lacking_frame = offset >> BASE_SHIFT;
	l->lacking += end - offset - bytes;
}

static int look_at_run(void *arg, const struct mb_run *run)
{
	struct look *l = arg;
	uint64_t offset = run->first.n << BASE_SHIFT, end = offset + (run->count << BASE_SHIFT), n;

	if (run->state == MB_FREE || run->state == MB_OFFLINE) {
		if (l->report && l->places)
			look_at_nobodys(l, offset, end);
		return l->report && l->report->stop;
	}
	for (; offset < end; offset += n) {
		n = HUGE_BYTES - offset % HUGE_BYTES;
		n = n < end - offset ? n : end - offset;
		look_at_owned(l, offset, offset + n, run->state);
	}
	return 0;
}

/* An owner's sums as two records have them. */
struct sums {
	uint64_t resident, charged; /* bytes */
};

/* What the rounds so far showed. Who changed meanwhile is at work, and may be in between two records. */
struct rounds {
	struct sums owner[OWNERS_MAX];
	uint64_t lacking, lacking_frame;
	bool busy[OWNERS_MAX], lacking_busy, again;
};

static struct sums sums_of(const struct look *l, uint32_t i)
{
	const struct owner_entry *e = &l->pool->owners[i];
	struct sums s = {0};

	/* What is being made says nothing yet. */
	if (atomic_load_explicit(&e->state, memory_order_acquire) != OWNER_LIVE)
		return s;
	s.resident = l->owned[i].resident;
	s.charged = atomic_load_explicit(&e->charged, memory_order_relaxed);
	return s;
}

static bool agree(const struct sums *s)
{
	return s->resident <= s->charged;
}

/* False: nothing is left to look at. */
static bool note(struct rounds *r, const struct look *l)
{
	bool left = false;

	for (uint32_t i = 0; i < OWNERS_MAX; i++) {
		struct sums now = sums_of(l, i), *first = &r->owner[i];

		if (!r->again)
			*first = now;
		r->busy[i] = r->busy[i] || agree(&now) || memcmp(first, &now, sizeof(now)) != 0;
		left = left || !r->busy[i];
	}
	if (!r->again) {
		r->lacking = l->lacking;
		r->lacking_frame = l->lacking_frame;
	}
	r->lacking_busy =
	    r->lacking_busy || !l->lacking || r->lacking != l->lacking || r->lacking_frame != l->lacking_frame;
	r->again = true;
	return left || !r->lacking_busy;
}

static void report_owner(const struct mb_pool *pool, uint32_t i, const struct sums *s, struct report *r)
{
	const char *name = pool->owners[i].name;

	if (s->resident > s->charged)
		report_add(r, "budget", REPORT_NONE, REPORT_NONE, s->resident - s->charged,
			   "the kernel holds %" PRIu64 " bytes of '%.63s', which is charged %" PRIu64,
			   s->resident, name, s->charged);
}

static void report_rounds(const struct mb_pool *pool, const struct rounds *rounds, struct report *r)
{
	for (uint32_t i = 0; i < OWNERS_MAX && !r->stop; i++)
		if (!rounds->busy[i] && owner_lives(pool, i))
			report_owner(pool, i, &rounds->owner[i], r);
	if (!rounds->lacking_busy && !r->stop)
		report_add(r, "missing", REPORT_NONE, rounds->lacking_frame, rounds->lacking,
			   "%" PRIu64
			   " bytes of preallocated owners are not there, the first at frame %" PRIu64,
			   rounds->lacking, rounds->lacking_frame);
}

int check_kernel(struct mb_pool *pool, struct report *report)
{
	const struct timespec pause = {0, PAUSE_NS};
	struct rounds rounds = {0};

	for (int i = 0; i < PATIENCE; i++) {
		struct look l = {.pool = pool, .report = i ? NULL : report};
		int rc;

		l.places = pool->mem.fd >= 0 && pool->mem.blocks_exact && pool->mem.granule == BASE_BYTES;
		rc = mb_frames_walk(pool->frames, (mb_frame){0}, pool->size >> BASE_SHIFT, look_at_run, &l);
		if (rc)
			return rc < 0 ? rc : 0;
		if (!note(&rounds, &l))
			return 0;
		nanosleep(&pause, NULL);
	}
	report_rounds(pool, &rounds, report);
	return 0;
}
