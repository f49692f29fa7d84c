/* SPDX-License-Identifier: MIT */
/*
 * check.c - does a space's bookkeeping agree with itself and with the kernel?
 *
 * Four records are compared: the extents (this process), the ledger and the owner's entry (shared), the
 * allocator, and what the kernel says is resident. The last is asked of mincore() in strides; where a tmpfs
 * file has no data at all, SEEK_DATA skips ahead.
 *
 * A page that was swapped out of a tmpfs counts as missing: the kernel tells no more.
 */
#include "error.h"
#include "overcommit.h"
#include "owner.h"
#include "report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define STRIDE (UINT64_C(16) << 20)

void report_add(struct report *r, const char *kind, uint64_t gpa, uint64_t frame, uint64_t len, const char *fmt,
		...)
{
	struct mb_discrepancy d = {.kind = kind, .gpa = gpa, .frame = frame, .len = len};
	va_list ap;

	if (r->stop)
		return;
	va_start(ap, fmt);
	vsnprintf(d.text, sizeof(d.text), fmt, ap);
	va_end(ap);
	r->found++;
	if (r->fn && r->fn(r->arg, &d))
		r->stop = true;
}

/* ---- ledger and extents --------------------------------------------------------------------------------- */

static void check_word(struct mb_space *space, uint64_t gpa, uint64_t frame, struct report *r)
{
	uint64_t want = ledger_pack(space->owner, space->generation, gpa);
	uint64_t word = atomic_load_explicit(ledger_at(space->pool->ledger, frame), memory_order_acquire);
	struct ledger_entry e = ledger_unpack(word);

	if (word == want)
		return;
	if (!e.valid)
		report_add(r, "ledger", gpa, frame, HUGE_BYTES,
			   "frame %" PRIu64 " backs 0x%" PRIx64 " here, but the ledger says it is nobody's",
			   frame, gpa);
	else
		report_add(r, "ledger", gpa, frame, HUGE_BYTES,
			   "frame %" PRIu64 " backs 0x%" PRIx64
			   " of owner %u here, but the ledger says 0x%" PRIx64 " of owner %u",
			   frame, gpa, owner_id(space->owner, space->generation), e.gpa,
			   owner_id(e.owner, e.generation));
}

static void check_ledger(struct mb_space *space, struct report *r)
{
	const struct owner_entry *e = space->entry;

	if (atomic_load_explicit(&e->extents, memory_order_acquire) != space->extents ||
	    memcmp(e->extent, space->extent, space->extents * sizeof(e->extent[0])) != 0)
		report_add(r, "ledger", REPORT_NONE, REPORT_NONE, space->maximum,
			   "the pool's table of this owner's extents is not what is mapped here");
	for (unsigned i = 0; i < space->extents && !r->stop; i++)
		for (uint64_t p = 0; p < space->extent[i].count; p += HUGE_PAGES)
			check_word(space, space->extent[i].gpa + (p << BASE_SHIFT), space->extent[i].frame + p,
				   r);
}

/* ---- allocator and residency ---------------------------------------------------------------------------- */

/* One stride of one extent, its kernel's view in vec. */
struct stride {
	struct mb_space *space;
	struct report *report;
	uint64_t gpa;
	uint64_t frame;
	uint64_t holes;   /* bytes, of all strides so far */
	uint64_t pending; /* bytes, of all strides so far */
	uint64_t empty;   /* gpa up to which the kernel said at once that nothing is resident */
	unsigned char vec[STRIDE >> BASE_SHIFT];
};

/* Is this hole's granule still charged, because other pages of it are in use? */
static bool is_pending(const struct mb_space *space, uint64_t gpa)
{
	uint64_t granule = space->mem.granule;

	if (!space->granule_holes)
		return false;
	return space->granule_holes[((space_index(space, gpa) << HUGE_SHIFT) + gpa % HUGE_BYTES) / granule] !=
	       granule >> BASE_SHIFT;
}

/* The run of pages from i on, below end, that are resident or not; as wanted. */
static uint64_t vec_run(const struct stride *s, uint64_t i, uint64_t end, bool resident)
{
	uint64_t n = i;

	while (n < end && (s->vec[n] & 1) == resident)
		n++;
	return n - i;
}

/* Reports the pages of [i, end) that are resident (or are not), a run at a time. */
static void compare(struct stride *s, uint64_t i, uint64_t end, bool resident, const char *kind,
		    const char *what)
{
	while (i < end) {
		uint64_t n = vec_run(s, i, end, resident);

		if (n)
			report_add(s->report, kind, s->gpa + (i << BASE_SHIFT), s->frame + i, n << BASE_SHIFT,
				   "%s at 0x%" PRIx64 " (frame %" PRIu64 ") %s",
				   host_size(n << BASE_SHIFT).text, s->gpa + (i << BASE_SHIFT), s->frame + i,
				   what);
		i += n ? n : 1;
	}
}

/* Holes: cut at granules, since those that do not fill theirs may be resident. */
static void check_holes(struct stride *s, uint64_t i, uint64_t end)
{
	uint64_t unit = s->space->mem.granule;

	s->holes += (end - i) << BASE_SHIFT;
	if (s->space->over)
		return;
	if (!s->space->granule_holes) {
		compare(s, i, end, true, "intruder", "is in the balloon, and yet resident");
		return;
	}
	while (i < end) {
		uint64_t gpa = s->gpa + (i << BASE_SHIFT), n = (unit - gpa % unit) >> BASE_SHIFT;

		if (n > end - i)
			n = end - i;
		if (is_pending(s->space, gpa))
			s->pending += n << BASE_SHIFT;
		else
			compare(s, i, i + n, true, "intruder", "is in the balloon, and yet resident");
		i += n;
	}
}

/* Charged when touched: what is present must be there, and nothing else, holes or no holes. */
static void compare_present(struct stride *s, uint64_t len)
{
	for (uint64_t i = 0, n; i < len >> BASE_SHIFT; i += n) {
		bool present = overcommit_present(s->space, s->gpa + (i << BASE_SHIFT));

		for (n = 1; i + n < len >> BASE_SHIFT; n++)
			if (overcommit_present(s->space, s->gpa + ((i + n) << BASE_SHIFT)) != present)
				break;
		if (present)
			compare(s, i, i + n, false, "missing", "is charged, and yet not resident");
		else
			compare(s, i, i + n, true, "intruder", "is resident, and was never charged");
	}
}

static int check_run(void *arg, const struct mb_run *run)
{
	struct stride *s = arg;
	uint64_t i = run->first.n - s->frame, end = i + run->count;

	if (run->state == MB_HOLE)
		check_holes(s, i, end);
	else if (run->state != MB_USED && run->state != MB_DRAINING) /* a pool that shrinks: its owner stays */
		report_add(
		    s->report, "allocator", s->gpa + (i << BASE_SHIFT), run->first.n, run->count << BASE_SHIFT,
		    "frames %" PRIu64 " to %" PRIu64 " are in use here, but %s in the allocator", run->first.n,
		    run->first.n + run->count - 1, run->state == MB_FREE ? "free" : "not online");
	else if (s->space->prealloc)
		compare(s, i, end, false, "missing", "is preallocated, and yet not resident");
	return s->report->stop;
}

/* Strides begin at extents' starts, so that with 1 GiB granules they never straddle one. */
static int check_stride(struct stride *s, const struct extent *x, uint64_t pos)
{
	uint64_t left = (x->count << BASE_SHIFT) - pos, len = left < STRIDE ? left : STRIDE;
	uint64_t offset = (x->frame << BASE_SHIFT) + pos;
	int rc = 0;

	s->gpa = x->gpa + pos;
	s->frame = x->frame + (pos >> BASE_SHIFT);
	if (s->gpa >= s->empty)
		s->empty = s->gpa + backing_skip(&s->space->mem, space_at(s->space, s->gpa), offset, left);
	if (s->gpa + len <= s->empty)
		memset(s->vec, 0, len >> BASE_SHIFT);
	else
		rc = backing_residency(space_at(s->space, s->gpa), len, s->vec);
	if (rc)
		return rc;
	if (s->space->over)
		compare_present(s, len);
	return mb_frames_walk(s->space->pool->frames, (mb_frame){s->frame}, len >> BASE_SHIFT, check_run, s);
}

static void check_sums(struct mb_space *space, const struct stride *s, struct report *r)
{
	uint64_t charge =
	    space->over ? overcommit_expected_charge(space) : space->maximum - s->holes + s->pending;
	uint64_t holes = space_total(&space->inflated), charged = space_total(&space->charged);
	uint64_t shared_holes = space_total(&space->entry->inflated);
	uint64_t shared_charged = space_total(&space->entry->charged);

	if (s->holes != holes || s->holes != shared_holes)
		report_add(r, "allocator", REPORT_NONE, REPORT_NONE, s->holes,
			   "the allocator has %" PRIu64 " bytes of holes here, the owner's totals say %" PRIu64
			   " (shared: %" PRIu64 ")",
			   s->holes, holes, shared_holes);
	if (charge != charged || charge != shared_charged)
		report_add(r, "budget", REPORT_NONE, REPORT_NONE, charge,
			   "%" PRIu64 " bytes should be charged, the owner's totals say %" PRIu64
			   " (shared: %" PRIu64 ")",
			   charge, charged, shared_charged);
}

int mb_space_check(struct mb_space *space, mb_discrepancy_fn *fn, void *arg)
{
	struct report r = {.fn = fn, .arg = arg};
	struct stride s = {.space = space, .report = &r};
	int rc = 0;

	check_ledger(space, &r);
	if (space->over)
		overcommit_lock(space);
	for (unsigned i = 0; i < space->extents && !r.stop && rc >= 0; i++)
		for (uint64_t pos = 0; pos < space->extent[i].count << BASE_SHIFT && !r.stop && rc >= 0;
		     pos += STRIDE) {
			rc = check_stride(&s, &space->extent[i], pos);
			if (rc < 0)
				break;
		}
	if (rc >= 0 && !r.stop)
		check_sums(space, &s, &r);
	if (space->over)
		overcommit_unlock(space);
	return rc < 0 ? rc : r.found;
}
