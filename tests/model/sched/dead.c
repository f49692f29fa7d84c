/* SPDX-License-Identifier: MIT */
/*
 * dead.c - the records of owners, and the recovery of a thread that was killed.
 *
 * Records are told as frames.h says: after an allocation the frame is recorded, then settled; before a free it
 * is intended, and its record cleared. Each of these steps is a step of the scheduler, too, so that a thread is
 * killed between any two of them; of the 512 records of a giant frame only some are, which are alike otherwise.
 */
#include "world.h"

#include <errno.h>
#include <string.h>

#define STEPS_APART 192u /* huge frames of a giant one whose records are a step each */

static uint16_t record_of(unsigned t, enum mb_level level)
{
	return (uint16_t)((t + 1) | (unsigned)level << 8);
}

void records_set(struct world *w, unsigned t, enum mb_level level, uint64_t first)
{
	if (!w->records)
		return;
	for (uint64_t n = 0; n < mb_level_frames(level) / HUGE; n++) {
		if (n % STEPS_APART == 1)
			sched_step();
		w->now.record[first / HUGE + n] = record_of(t, level);
	}
}

void records_clear(struct world *w, uint64_t first, uint64_t count)
{
	if (!w->records)
		return;
	for (uint64_t n = 0; n < count / HUGE; n++) {
		if (n % STEPS_APART == 0)
			sched_step();
		w->now.record[first / HUGE + n] = 0;
	}
}

void records_settle(struct world *w, unsigned t)
{
	if (w->records && mb_slot_settle(w->f, w->now.slot[t]))
		sched_fail("thread %u cannot settle", t);
}

void records_intend_free(struct world *w, unsigned t, enum mb_level level, uint64_t first)
{
	if (w->records && mb_slot_intend_free(w->f, w->now.slot[t], level, (mb_frame){first}))
		sched_fail("thread %u cannot intend to free frame %llu", t, (unsigned long long)first);
}

/* What recovery asks: a step where the answer may change during a run. */
static bool is_recorded(void *arg, enum mb_level level, mb_frame frame)
{
	struct world *w = (struct world *)arg;
	uint64_t n = frame.n / HUGE;

	if (level != MB_HUGE || frame.n % HUGE)
		sched_fail("recovery asks for a record of frame %llu", (unsigned long long)frame.n);
	if (w->now.record[n] || w->then.record[n] || n % STEPS_APART == 0)
		sched_step();
	return w->now.record[n] != 0;
}

/* ---- what the dead left ------------------------------------------------------------------------------- */

static void drop_holes(struct world *w, uint64_t first, uint64_t count)
{
	for (unsigned n = w->now.holes; n-- > 0;)
		if (w->now.hole_at[n].first >= first && w->now.hole_at[n].first < first + count)
			w->now.hole_at[n] = w->now.hole_at[--w->now.holes];
}

/* A giant frame that is recorded whole, or what is recorded of it as huge frames. */
static void enter_giant(struct world *w, unsigned t, uint64_t giant)
{
	const uint16_t *record = &w->now.record[giant * HUGE];
	unsigned n = 0;

	while (n < HUGE && record[n] == record_of(t, MB_GIANT))
		n++;
	if (n == HUGE) {
		shadow_enter(w, (struct extent){giant * GIANT, GIANT, (uint8_t)t, MB_GIANT, true});
		return;
	}
	for (n = 0; n < HUGE; n++) {
		uint64_t first = giant * GIANT + n * HUGE;

		if (record[n] == record_of(t, MB_GIANT)) {
			/* it becomes a huge frame, without holes */
			w->now.record[giant * HUGE + n] = record_of(t, MB_HUGE);
			drop_holes(w, first, HUGE);
		}
		if (record[n] == record_of(t, MB_HUGE))
			shadow_enter(w, (struct extent){first, HUGE, (uint8_t)t, MB_HUGE, true});
		else if (!record[n])
			drop_holes(w, first, HUGE);
	}
}

static void bury(struct world *w, unsigned t)
{
	shadow_forget(w, t);
	for (uint64_t giant = 0; giant < w->capacity / GIANT; giant++)
		enter_giant(w, t, giant);
}

/* How far did the change of ranges come that was cut, or completed, or undone? */
static void settle_change(struct world *w)
{
	uint64_t first = w->now.change.first, count = w->now.change.count;
	enum mb_state state = mb_frame_state(w->f, (mb_frame){first});
	enum change what = (enum change)w->now.change.what;
	bool off = state == MB_OFFLINE || state == MB_DRAINING;

	w->now.change.what = CHANGE_NONE;
	if (what == CHANGE_ADD && !off)
		w->now.offline -= count;
	if (what == CHANGE_REMOVE && off)
		w->now.offline += count;
	if (what == CHANGE_DRAIN && off) {
		w->now.drain_first = first;
		w->now.drain_count = count;
	}
}

void do_recover(struct world *w, unsigned t, unsigned dead)
{
	struct mb_recovery done = {0};
	int rc;

	if (!(sched_is_dead(dead) || w->now.dead >> dead & 1) || w->now.slot[dead].n == UINT32_MAX)
		return;
	bury(w, dead);
	do {
		rc = mb_ranges_recover(w->f, w->now.slot[t], is_recorded, w, &done);
		if (!rc || rc == -EAGAIN) {
			int slot =
			    mb_slot_recover(w->f, w->now.slot[t], w->now.slot[dead], is_recorded, w, &done);

			rc = rc ? rc : slot;
		}
		if (rc == -EAGAIN)
			sched_pause();
	} while (rc == -EAGAIN);
	if (rc)
		sched_fail("thread %u: recovery of thread %u: %d", t, dead, rc);
	w->now.slot[dead].n = UINT32_MAX;
	settle_change(w);
}
