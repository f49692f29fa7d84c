/* SPDX-License-Identifier: MIT */
/*
 * remove.c - take a range offline at once: take all of it as an allocation would, then forget it. What was
 * taken when a piece turns out to be in use is given back.
 *
 * Facts:
 *
 *  1. Nothing goes offline before all of the range is taken: a piece in use is found first, and all that was taken is
 *     given back, piece by piece, as it was taken.
 *  2. What is taken is the range's alone (fact 1 of line.h), so that forgetting it disturbs nobody: a bit that is clear
 *     and offline looks like one that is clear and in use, to everybody but its owner, who is the range.
 */
#include "free.h"
#include "point.h"
#include "range.h"
#include "take.h"

/* Is all of the piece online, and none of it leaving? */
static bool is_plain(const struct mb_frames *f, struct mbc_piece p)
{
	uint64_t giant = p.W * MBC_WORD_BITS >> (MB_LEVEL_SHIFT * (MB_GIANT - p.level));
	struct mbc_masks m;

	if (p.level == MB_GIANT)
		giant += mbc_lowest(p.mask);
	if (!mbc_is_online(f, MB_GIANT, giant) || mbc_is_draining(f, MB_GIANT, giant))
		return false;
	if (p.level == MB_GIANT)
		return true;
	if (p.level == MB_BASE) {
		uint64_t huge = p.W / MBC_LINE_WORDS;

		if (!mbc_is_online(f, MB_HUGE, huge) || mbc_is_draining(f, MB_HUGE, huge))
			return false;
	}
	if (!mbc_is_split(mbc_ref_get(f, p.level, p.W / MBC_LINE_WORDS)) || !mbc_masks_get(f, p.level, p.W, &m))
		return true;
	return (~mbc_load_seq(m.online) & p.mask) == 0 && (mbc_load_seq(m.drain) & p.mask) == 0;
}

static int take_piece(struct mb_frames *f, struct mbc_slot *s, struct mbc_piece p, uint64_t x)
{
	uint64_t line = x - x % MBC_LINE_FRAMES;

	if (mbc_point(MBC_POINT_REMOVE_TAKE))
		return -MBC_EBUSY;
	if (p.level > MB_BASE)
		return mbc_take_frame(f, s, p.level, x >> (MB_LEVEL_SHIFT * p.level));
	/* in band, a block that has to come shall lie outside what leaves, if there is such a place */
	return mbc_take(f, s, MB_BASE, p.W, p.mask, x > line ? line : line + MBC_LINE_FRAMES - 1);
}

/* The rollback: gives back [x, end), which was taken in the same pieces. */
void mbc_range_give_back(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end, uint64_t whole_end)
{
	while (x < end) {
		struct mbc_piece p = mbc_piece_at(f, x, whole_end, true);

		/* from the range's hand into the slot's */
		mbc_intend_free_mask(f, s, p.level, p.W, p.mask);
		x = p.next;
		mbc_range_reach(f, &f->range_first, x);
		mbc_free_own_mask(f, s, p.level, p.W, p.mask);
	}
	mbc_intend_none(f, s);
}

static void forget_piece(struct mb_frames *f, struct mbc_slot *s, struct mbc_piece p)
{
	struct mbc_ref r = mbc_ref_get(f, p.level, p.W / MBC_LINE_WORDS);
	struct mbc_masks m;

	/* done already, and recovery does it again */
	if (p.level == MB_HUGE && !mbc_is_online(f, MB_GIANT, r.L))
		return;
	/* a line must be special before something of it is offline, or a stray free would bring that back */
	if (p.level == MB_GIANT)
		mbc_special_set(r);
	else if (p.level == MB_HUGE)
		mbc_masks_open(f, r.L);
	else if (mbc_edge_open(f, r, MBC_FULL))
		return;
	if (!mbc_masks_get(f, p.level, p.W, &m))
		return;
	mbc_and_seq(m.online, ~p.mask);
	if (p.level == MB_BASE)
		mbc_huge_tidy(f, s, r.L);
	if (p.level < MB_GIANT)
		mbc_giant_tidy(f, p.level == MB_HUGE ? r.L : r.L / MBC_LINE_FRAMES);
}

void mbc_range_forget(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end)
{
	while (x < end) {
		struct mbc_piece p = mbc_piece_at(f, x, end, true);

		forget_piece(f, s, p);
		x = p.next;
		mbc_range_reach(f, &f->range_gone, x);
	}
}

static int find_busy(void *arg, const struct mb_run *run)
{
	if (run->state == MB_FREE)
		return 0;
	*(mb_frame *)arg = run->first;
	return 1;
}

/* Checks [first, end): -ENXIO, or -ENOSPC if it has more ragged ends than edges are left. */
static int check_range(const struct mb_frames *f, uint64_t first, uint64_t end)
{
	uint64_t line = UINT64_MAX;
	unsigned edges = 0;

	for (uint64_t x = first; x < end;) {
		struct mbc_piece p = mbc_piece_at(f, x, end, true);
		struct mbc_ref r;

		if (!is_plain(f, p))
			return -MBC_ENXIO;
		if (p.level == MB_BASE && p.W / MBC_LINE_WORDS != line) {
			line = p.W / MBC_LINE_WORDS;
			r = mbc_ref_get(f, MB_BASE, line);
			edges += !r.block || !mbc_has(&r.block->ragged, r.bit);
		}
		x = p.next;
	}
	return edges > mbc_edges_left(f) ? -MBC_ENOSPC : 0;
}

static int remove_range(struct mb_frames *f, struct mbc_slot *s, uint64_t first, uint64_t end, mb_frame *busy)
{
	int rc = check_range(f, first, end);
	uint64_t x = first;

	if (!rc)
		mbc_range_begin(f, MBC_RANGE_TAKE, first, end);
	while (!rc && x < end) {
		struct mbc_piece p = mbc_piece_at(f, x, end, true);

		rc = take_piece(f, s, p, x);
		if (rc) {
			if (busy) {
				*busy = (mb_frame){x};
				(void)mb_frames_walk(f, (mb_frame){x}, mbc_min(p.next, end) - x, find_busy,
						     busy);
			}
			mbc_range_give_back(f, s, first, x, end);
		} else {
			x = p.next;
			mbc_range_reach(f, &f->range_at, x);
		}
	}
	if (!rc) {
		/* all of it is taken: from here on it goes through */
		mbc_range_reach(f, &f->range_op, MBC_RANGE_FORGET);
		mbc_range_forget(f, s, first, end);
	}
	return rc;
}

int mb_range_remove(struct mb_frames *f, mb_frame first, uint64_t count, mb_frame *busy)
{
	int rc = mbc_range_check(f, first, count, -MBC_ERANGE);
	struct mbc_slot *s;

	if (rc)
		return rc;
	s = mbc_range_lock(f);
	rc = remove_range(f, s, first.n, first.n + count, busy);
	mbc_range_unlock(f, s);
	return rc;
}
