/* SPDX-License-Identifier: MIT */
/*
 * holes.c - holes in owned frames.
 *
 * Only the owner of a huge frame changes its level-0 line, one thread at a time; what several owners share is
 * only the header of the block, whose words are changed by atomic or/and. No hint leads to such a line: it is
 * never held, in a ring or part, and level 0 is not handed out in a pool with owners.
 *
 * A giant frame that is allocated whole is split lazily: its level-1 line becomes valid with all words 0 and
 * `owned` set. Its words stay 0 while it is owned, so that a thread that comes late with a hint from the time
 * when the giant frame was the pool's finds nothing there to take.
 *
 * A giant frame that becomes holes as a whole, and has no line yet, gets one bit, `gone`, and no line at all:
 * so a hole of a terabyte is as cheap as one of a page. A part of it that is taken back opens it:
 *
 *   gone --remove all of it--> whole             gone --remove a part--> owned ; lines of ones ; split ; not
 * gone
 *
 *                                              <-- mb_frame_holes_merge() ---
 *
 * In that order, since whoever walks meanwhile looks at `gone` first, and since a death in between must leave a
 * trace: `owned` says that there may be lines below (mbc_holes_clear()).
 */
#include "holes.h"

#include "point.h"
#include "state.h"

/* The stretch of a run of base frames that lies in one line, or a giant frame without a line. */
#define MBC_GIANT_SHIFT  (2 * MB_LEVEL_SHIFT)
#define MBC_GIANT_FRAMES (1u << MBC_GIANT_SHIFT) /* base frames */

struct piece {
	uint64_t L;
	unsigned first; /* within the line */
	unsigned count; /* base frames */
	bool giant;
};

static bool is_gone(struct mbc_ref up)
{
	return mbc_has(&up.block->gone, up.bit);
}

/* Can the giant frame at x change by its one bit? */
static bool whole_giant(const struct mb_frames *f, uint64_t x, uint64_t end, bool add)
{
	uint64_t giant = x >> MBC_GIANT_SHIFT;
	struct mbc_ref up;

	if (x & (MBC_GIANT_FRAMES - 1) || end - x < MBC_GIANT_FRAMES)
		return false;
	up = mbc_ref_get(f, MB_HUGE, giant);
	if (is_gone(up) == add || mbc_is_split(up) || mbc_has(&up.block->owned, up.bit))
		return false;
	return mbc_check_used(f, MB_GIANT, giant) == 0;
}

static struct piece piece_at(const struct mb_frames *f, uint64_t x, uint64_t end, bool add)
{
	unsigned first = (unsigned)(x % MBC_LINE_FRAMES);

	if (whole_giant(f, x, end, add))
		return (struct piece){x / MBC_LINE_FRAMES, 0, MBC_GIANT_FRAMES, true};
	return (struct piece){x / MBC_LINE_FRAMES, first, (unsigned)mbc_min(MBC_LINE_FRAMES - first, end - x),
			      false};
}

/* The bits of a piece in word w. */
static uint64_t piece_mask(struct piece p, unsigned w)
{
	unsigned lo = w * MBC_WORD_BITS, hi = lo + MBC_WORD_BITS;
	unsigned a = p.first > lo ? p.first : lo, b = p.first + p.count < hi ? p.first + p.count : hi;

	return a < b ? mbc_mask(a - lo, b - a) : 0;
}

/* Is huge frame h owned, by itself or in a giant frame? */
static int check_owned(const struct mb_frames *f, uint64_t h)
{
	int rc = mbc_check_used(f, MB_HUGE, h);

	if (rc != -MBC_ENOENT)
		return rc == -MBC_EALREADY ? -MBC_ENOENT : rc;
	/* its giant frame is allocated whole */
	return mbc_check_used(f, MB_GIANT, h >> MB_LEVEL_SHIFT);
}

static int check_piece(const struct mb_frames *f, struct piece p, bool add)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, p.L);
	int rc = p.giant ? 0 : check_owned(f, p.L);

	if (rc || p.giant)
		return rc;
	if (is_gone(mbc_ref_get(f, MB_HUGE, p.L / MBC_LINE_FRAMES)))
		return add ? -MBC_EALREADY : 0;
	if (!mbc_is_split(r))
		return add ? 0 : -MBC_EALREADY;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t mask = piece_mask(p, w);

		if ((mbc_load_relaxed(&r.line->word[w]) & mask) != (add ? 0 : mask))
			return -MBC_EALREADY;
	}
	return 0;
}

/* Makes the line of huge frame L valid, and that of its giant frame. Idempotent. */
static void open_line(struct mb_frames *f, struct mbc_ref r)
{
	struct mbc_ref up = mbc_ref_get(f, MB_HUGE, r.L / MBC_LINE_FRAMES);

	if (!mbc_is_split(up)) {
		/* owned first: a line that is split and not owned is the pool's */
		mbc_or_seq(&up.block->owned, up.bit);
		mbc_or_seq(&up.block->split, up.bit);
	}
	if (!mbc_is_split(r))
		mbc_or_seq(&r.block->split, r.bit);
}

/* A giant frame that is gone gets its lines, all ones. */
static void open_gone(struct mb_frames *f, struct mbc_ref up)
{
	mbc_or_seq(&up.block->owned, up.bit);
	for (unsigned n = 0; n < MBC_LINE_FRAMES; n++) {
		struct mbc_ref r = mbc_ref_get(f, MB_BASE, up.L * MBC_LINE_FRAMES + n);

		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			mbc_store_release(&r.line->word[w], MBC_FULL);
		mbc_or_seq(&r.block->split, r.bit);
	}
	mbc_or_seq(&up.block->split, up.bit);
	mbc_and_seq(&up.block->gone, ~up.bit);
}

static void change_giant(struct mb_frames *f, struct piece p, bool add)
{
	struct mbc_ref up = mbc_ref_get(f, MB_HUGE, p.L / MBC_LINE_FRAMES);

	if (add)
		mbc_or_seq(&up.block->gone, up.bit);
	else
		mbc_and_seq(&up.block->gone, ~up.bit);
}

static void add_piece(struct mb_frames *f, struct piece p)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, p.L);

	open_line(f, r);
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t mask = piece_mask(p, w);

		/* the words are ours alone; atomic for those who walk meanwhile */
		if (mask)
			mbc_store_release(&r.line->word[w], mbc_load_relaxed(&r.line->word[w]) | mask);
	}
}

static void remove_piece(struct mb_frames *f, struct piece p)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, p.L), up = mbc_ref_get(f, MB_HUGE, p.L / MBC_LINE_FRAMES);
	uint64_t left = 0;

	if (is_gone(up))
		open_gone(f, up);

	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t v = mbc_load_relaxed(&r.line->word[w]);
		uint64_t mask = piece_mask(p, w);

		if (mask)
			mbc_store_release(&r.line->word[w], v & ~mask);
		left |= v & ~mask;
	}
	/* no holes left: not split, words 0. The line above stays split until its giant frame is freed, since
	 * other threads of the owner may be opening lines in it. */
	if (!left)
		mbc_and_seq(&r.block->split, ~r.bit);
}

static void apply(struct mb_frames *f, uint64_t x, uint64_t end, bool add)
{
	while (x < end) {
		struct piece p = piece_at(f, x, end, add);

		if (p.giant)
			change_giant(f, p, add);
		else if (add)
			add_piece(f, p);
		else
			remove_piece(f, p);
		x += p.count;
	}
}

/* What add or remove may have done to [x, end) of one giant frame. */
static void undo_in_giant(struct mb_frames *f, uint64_t x, uint64_t end, bool add)
{
	struct mbc_ref up = mbc_ref_get(f, MB_HUGE, x >> MBC_GIANT_SHIFT);
	bool owned = mbc_has(&up.block->owned, up.bit);

	/* it was being opened when that was cut: its lines may be half made, so make them */
	if (is_gone(up) && owned)
		open_gone(f, up);
	if (is_gone(up)) {
		/* one bit: added, or not removed yet */
		if (add)
			mbc_and_seq(&up.block->gone, ~up.bit);
		return;
	}
	/* cut before the line was split */
	if (owned)
		mbc_or_seq(&up.block->split, up.bit);
	/* without a line nothing of it was added */
	if (!add || owned || mbc_is_split(up))
		apply(f, x, end, !add);
}

void mbc_holes_undo(struct mb_frames *f, uint64_t first, uint64_t count, bool add)
{
	uint64_t end = first + count;

	for (uint64_t x = first; x < end;) {
		uint64_t next = mbc_min(end, (x | (MBC_GIANT_FRAMES - 1)) + 1);

		undo_in_giant(f, x, next, add);
		x = next;
	}
}

static int change(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count, bool add)
{
	struct mbc_slot *s = mbc_slot_get(f, slot);
	uint64_t end = first.n + count;
	int rc = 0;

	if (!s)
		return -MBC_EBADF;
	if (!mbc_owned_pool(f))
		return -MBC_EPERM;
	if (!count)
		return -MBC_EINVAL;
	if (first.n >= f->capacity || count > f->capacity - first.n)
		return -MBC_ERANGE;
	for (uint64_t x = first.n; x < end;) {
		struct piece p = piece_at(f, x, end, add);

		rc = check_piece(f, p, add);
		if (rc)
			return rc;
		x += p.count;
	}
	mbc_intend_holes(f, s, add ? MBC_WHAT_HOLES_ADD : MBC_WHAT_HOLES_REMOVE, first.n, count);
	for (uint64_t x = first.n; x < end && !rc;) {
		struct piece p = piece_at(f, x, end, add);

		if (mbc_point(MBC_POINT_HOLES_APPLY)) {
			mbc_holes_undo(f, first.n, count, add);
			rc = -MBC_EALREADY;
		} else {
			apply(f, x, x + p.count, add);
			x += p.count;
		}
	}
	mbc_intend_none(f, s);
	return rc;
}

int mb_frame_holes_add(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count)
{
	return change(f, slot, first, count, true);
}

int mb_frame_holes_remove(struct mb_frames *f, mb_slot slot, mb_frame first, uint64_t count)
{
	return change(f, slot, first, count, false);
}

/* Is the huge frame above this line holes, all of it? */
static bool line_is_full(struct mbc_ref r)
{
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		if (mbc_load_relaxed(&r.line->word[w]) != MBC_FULL)
			return false;
	return mbc_is_split(r);
}

static void clear_lines(struct mb_frames *f, struct mbc_ref up);

int mb_frame_holes_merge(struct mb_frames *f, mb_slot slot, mb_frame giant)
{
	uint64_t X = giant.n >> MBC_GIANT_SHIFT;
	struct mbc_slot *s = mbc_slot_get(f, slot);
	struct mbc_ref up;

	if (!s)
		return -MBC_EBADF;
	if (!mbc_owned_pool(f))
		return -MBC_EPERM;
	if (giant.n & (MBC_GIANT_FRAMES - 1))
		return -MBC_EINVAL;
	if (giant.n >= f->capacity)
		return -MBC_ERANGE;
	up = mbc_ref_get(f, MB_HUGE, X);
	if (!mbc_is_split(up) || !mbc_has(&up.block->owned, up.bit))
		return -MBC_EBUSY;
	for (unsigned n = 0; n < MBC_LINE_FRAMES; n++)
		if (!line_is_full(mbc_ref_get(f, MB_BASE, X * MBC_LINE_FRAMES + n)))
			return -MBC_EBUSY;
	mbc_intend_holes(f, s, MBC_WHAT_HOLES_MERGE, giant.n, MBC_GIANT_FRAMES);
	/* first: whoever walks sees holes from now on, whatever becomes of the lines */
	mbc_or_seq(&up.block->gone, up.bit);
	clear_lines(f, up);
	mbc_intend_none(f, s);
	return 0;
}

void mbc_holes_merged(struct mb_frames *f, uint64_t giant)
{
	struct mbc_ref up = mbc_ref_get(f, MB_HUGE, giant >> MBC_GIANT_SHIFT);

	if (is_gone(up))
		clear_lines(f, up);
}

static void clear_line(struct mb_frames *f, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, L);

	if (!mbc_is_split(r))
		return;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		mbc_store_release(&r.line->word[w], 0);
	mbc_and_seq(&r.block->split, ~r.bit);
}

/* The lines of an owned giant frame, and its own. */
static void clear_lines(struct mb_frames *f, struct mbc_ref up)
{
	for (unsigned n = 0; n < MBC_LINE_FRAMES; n++)
		clear_line(f, up.L * MBC_LINE_FRAMES + n);
	/* split first: a line that is split and not owned is the pool's */
	mbc_and_seq(&up.block->split, ~up.bit);
	mbc_and_seq(&up.block->owned, ~up.bit);
}

void mbc_holes_clear(struct mb_frames *f, unsigned level, uint64_t X)
{
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, X);

	if (!mbc_owned_pool(f))
		return;
	if (level == MB_HUGE) {
		clear_line(f, X);
	} else if (mbc_is_split(r) || mbc_has(&r.block->owned, r.bit)) {
		/* cut while it was opened: lines that are half made */
		if (is_gone(r))
			open_gone(f, r);
		clear_lines(f, r);
	}
	if (level == MB_GIANT && is_gone(r))
		mbc_and_seq(&r.block->gone, ~r.bit);
}
