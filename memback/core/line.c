/* SPDX-License-Identifier: MIT */
/* line.c - hold, leave, split and merge lines. See line.h for the facts. */
#include "line.h"

#include "drain.h"
#include "free.h"
#include "hint.h"
#include "inband.h"
#include "point.h"
#include "state.h"

struct mbc_ref mbc_pin_in_band(struct mb_frames *f, struct mbc_slot *s, uint64_t L)
{
	uint32_t e;

	for (;;) {
		/* seq: the guard is seen before the directory is read; pairs with mbc_block_vanish() */
		mbc_swap32_seq(&s->guard, (uint32_t)mbc_block_of(L) + 1);
		e = mbc_load32_seq(mbc_dir(f, mbc_block_of(L)));
		if (e == MBC_DIR_BUSY || !(e & MBC_DIR_GOING))
			break;
		/* it vanishes or it stays, and our guard must not decide which for ever */
		mbc_unpin(f, s);
		mbc_pause();
	}
	if (e != 0 && e != MBC_DIR_BUSY)
		return mbc_ref_at((struct mbc_block *)mbc_at(f, (uint64_t)e << f->base_shift), MB_BASE, L);
	mbc_unpin(f, s);
	return (struct mbc_ref){NULL, NULL, 0, L, MB_BASE};
}

/* The same where there are owners: each try is an intent before. */
static MBC_COLD bool take_named(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned from,
				unsigned n, struct mbc_got *got)
{
	for (unsigned k = 0; k < MBC_LINE_WORDS; k++) {
		unsigned w = (from + k) & (MBC_LINE_WORDS - 1);
		uint64_t v = mbc_load_relaxed(&r.line->word[w]);

		while (v) {
			*got = (struct mbc_got){r.L * MBC_LINE_WORDS + w, mbc_lowest_bits(v, n)};
			mbc_intend_got(f, s, r.level, got->W, got->mask);
			/* as below; seq: after the intent */
			if (mbc_cas_seq(&r.line->word[w], &v, v & ~got->mask)) {
				if (v == got->mask)
					mbc_part_tidy(f, s, r);
				return true;
			}
		}
	}
	mbc_intend_none(f, s);
	return false;
}

bool mbc_line_take(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned from, unsigned n,
		   struct mbc_got *got)
{
	if (mbc_owned_pool(f))
		return take_named(f, s, r, from, n, got);
	for (unsigned k = 0; k < MBC_LINE_WORDS; k++) {
		unsigned w = (from + k) & (MBC_LINE_WORDS - 1);
		uint64_t v = mbc_load_relaxed(&r.line->word[w]);

		while (v) {
			uint64_t mask = mbc_lowest_bits(v, n);

			/* acquire: pairs with the free that set the bits; what was done in the frame is done */
			if (mbc_cas_acquire(&r.line->word[w], &v, v & ~mask)) {
				*got = (struct mbc_got){r.L * MBC_LINE_WORDS + w, mask};
				if (v == mask)
					mbc_part_tidy(f, s, r);
				return true;
			}
		}
	}
	return false;
}

/* The same in band, where the frame of the block itself is never free. */
static MBC_COLD bool host_is_full(const struct mb_frames *f, struct mbc_ref r)
{
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		if ((mbc_load_seq(&r.line->word[w]) | mbc_home_mask(f, r, w)) != MBC_FULL)
			return false;
	return true;
}

bool mbc_line_is_full(const struct mb_frames *f, struct mbc_ref r)
{
	const mbc_a64 *w = r.line->word;

	if (r.level == MB_BASE && f->in_band)
		return host_is_full(f, r);
	/* the last one first: frames are mostly freed in the order in which they were got, and this is asked each
	 * time */
	return mbc_load_seq(&w[7]) == MBC_FULL &&
	       (mbc_load_seq(&w[0]) & mbc_load_seq(&w[1]) & mbc_load_seq(&w[2]) & mbc_load_seq(&w[3]) &
		mbc_load_seq(&w[4]) & mbc_load_seq(&w[5]) & mbc_load_seq(&w[6])) == MBC_FULL;
}

static void leave(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	/* `held` is what kept an in-band block here; from now on the guard does */
	if (mbc_by_directory(f, r.level))
		r = mbc_pin(f, s, r.level, r.L);
	/* seq, and so are the loads that follow: fact 5 */
	mbc_and_seq(&r.block->held, ~r.bit);
	/* mostly it is left because nothing is left in it */
	if (!mbc_line_is_empty(r) && !(mbc_line_is_full(f, r) && mbc_merge(f, s, r)) && mbc_line_usable(r) &&
	    !mbc_line_is_empty(r) && !mbc_has(&r.block->held, r.bit))
		mbc_part_set(f, r);
	mbc_unpin(f, s);
}

static MBC_COLD void leave_named(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned hand = mbc_hand(f, s, r.level, r.L);

	leave(f, s, r);
	mbc_unhand(f, s, hand);
}

void mbc_line_leave(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	if (r.level == MB_GIANT)
		return;
	if (mbc_owned_pool(f))
		leave_named(f, s, r);
	else
		leave(f, s, r);
}

/* A line that at[] names, and is about to name no more, is in hand before (fact 2 of intent.h). */
static unsigned hand_at(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t at)
{
	return at == MBC_NONE || level == MB_GIANT ? MBC_NO_HAND : mbc_hand(f, s, level, at / MBC_LINE_WORDS);
}

static inline void move_plain(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned w)
{
	unsigned level = r.level;
	uint64_t W = r.L * MBC_LINE_WORDS + w;
	uint64_t old;

	mbc_front_to_ring(f, s, level);
	mbc_slot_aim(f, s, level, W, &r.line->word[w]);
	/* seq: pairs with the swap in mbc_slot_drop(): the line is left by one of the two */
	old = mbc_swap_seq(&s->at[level], W);
	if (old != MBC_NONE && old / MBC_LINE_WORDS != r.L)
		mbc_line_leave(f, s, mbc_ref_sure(f, level, old / MBC_LINE_WORDS));
}

static MBC_COLD void move_named(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned w)
{
	unsigned hand = hand_at(f, s, r.level, mbc_load_relaxed(&s->at[r.level]));

	move_plain(f, s, r, w);
	mbc_unhand(f, s, hand);
}

/* at[] of the slot names word w of the line now; leaves the line that it named before, if nobody took it away
 * meanwhile. */
static void move_to(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned w)
{
	if (mbc_owned_pool(f))
		move_named(f, s, r, w);
	else
		move_plain(f, s, r, w);
}

/* Exchanges at[] for nothing and leaves that line, which is in hand before that. */
static MBC_COLD void drop_named(struct mb_frames *f, struct mbc_slot *s, struct mbc_slot *whose, unsigned level)
{
	uint64_t old = mbc_load_seq(&whose->at[level]);

	while (old != MBC_NONE) {
		uint64_t named = old;
		unsigned hand = hand_at(f, s, level, old);
		/* its owner may have moved on; seq: as the swap below */
		bool ok = mbc_cas_seq(&whose->at[level], &old, MBC_NONE);

		if (ok) {
			mbc_slot_aim_nowhere(whose, level);
			mbc_line_leave(f, s, mbc_ref_sure(f, level, named / MBC_LINE_WORDS));
		}
		mbc_unhand(f, s, hand);
		if (ok)
			return;
	}
}

void mbc_slot_drop(struct mb_frames *f, struct mbc_slot *s, struct mbc_slot *whose, unsigned level)
{
	uint64_t old;

	if (mbc_owned_pool(f)) {
		drop_named(f, s, whose, level);
		return;
	}
	old = mbc_swap_seq(&whose->at[level], MBC_NONE);
	if (old != MBC_NONE) {
		mbc_slot_aim_nowhere(whose, level);
		mbc_line_leave(f, s, mbc_ref_sure(f, level, old / MBC_LINE_WORDS));
	}
}

void mbc_slots_drop_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	for (uint32_t k = 0; k <= f->slots; k++) {
		struct mbc_slot *t = mbc_slot_at(f, k);
		uint64_t at;

		/* in band: see inband.h for why */
		if (t != s && (mbc_load32_seq(&t->state) != MBC_SLOT_OPEN || (f->in_band && level == MB_BASE)))
			continue;
		at = mbc_load_seq(&t->at[level]);
		if (at != MBC_NONE && at / MBC_LINE_WORDS == L)
			mbc_slot_drop(f, s, t, level);
	}
}

static bool hold(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned w = 0;

	if (r.level != MB_GIANT) {
		if (mbc_has(&r.block->held, r.bit) || (mbc_or_seq(&r.block->held, r.bit) & r.bit))
			return false;
		mbc_part_clear(f, r);
	}
	if (mbc_line_usable(r))
		while (w < MBC_LINE_WORDS && !mbc_load_relaxed(&r.line->word[w]))
			w++;
	if (w == MBC_LINE_WORDS || !mbc_line_usable(r)) {
		mbc_line_leave(f, s, r);
		return false;
	}
	move_to(f, s, r, w);
	/* seq: either whoever drains sees our at[], or we see `drain` */
	if (!mbc_line_usable(r)) {
		mbc_slot_drop(f, s, s, r.level);
		return false;
	}
	return true;
}

bool mbc_line_hold(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned hand = r.level == MB_GIANT ? MBC_NO_HAND : mbc_hand(f, s, r.level, r.L);
	bool done = hold(f, s, r);

	mbc_unhand(f, s, hand);
	return done;
}

/* ---- split ------------------------------------------------------------------------------------------ */

/* All words but the first; one by one, since a loop costs three times as much. */
static inline void fill_rest(struct mbc_line *line)
{
	_Static_assert(MBC_LINE_WORDS == 8, "one by one");
	mbc_store_release(&line->word[1], MBC_FULL);
	mbc_store_release(&line->word[2], MBC_FULL);
	mbc_store_release(&line->word[3], MBC_FULL);
	mbc_store_release(&line->word[4], MBC_FULL);
	mbc_store_release(&line->word[5], MBC_FULL);
	mbc_store_release(&line->word[6], MBC_FULL);
	mbc_store_release(&line->word[7], MBC_FULL);
}

/* Stores the ones, but for the first n frames, which are got, and the frame that a block lies in. */
static void fill(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r, unsigned n, struct mbc_got *got)
{
	bool host = r.level == MB_BASE && f->in_band;
	uint64_t v = host ? MBC_FULL & ~mbc_home_mask(f, r, 0) : MBC_FULL;
	uint64_t mask = v == MBC_FULL ? mbc_mask(0, n) : mbc_lowest_bits(v, n);

	*got = (struct mbc_got){r.L * MBC_LINE_WORDS, mask};
	/* the frame above was in hand until now, and the split still covers all of it */
	if (mbc_owned_pool(f)) {
		if (mask)
			mbc_name_got(f, s, r.level, got->W, mask);
		else
			mbc_name_nothing(f, s);
	}
	/* release: pairs with the acquire of whoever takes a bit */
	mbc_store_release(&r.line->word[0], v & ~mask);
	if (!host) {
		fill_rest(r.line);
		return;
	}
	for (unsigned w = 1; w < MBC_LINE_WORDS; w++)
		mbc_store_release(&r.line->word[w], MBC_FULL & ~mbc_home_mask(f, r, w));
}

static int split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, unsigned n, uint64_t home,
		 struct mbc_got *got)
{
	struct mbc_ref r, up = mbc_ref_sure(f, level + 1, L / MBC_LINE_FRAMES);
	bool mine;

	if (mbc_point(MBC_POINT_SPLIT_OPEN) || (f->in_band && level == 0 && mbc_block_enter(f, s, L, home)))
		return -MBC_EAGAIN;
	r = mbc_ref_sure(f, level, L);
	/* a passer-by with a stale hint may have the bit for a moment: then the line is just nobody's */
	mine = !(mbc_or_seq(&r.block->held, r.bit) & r.bit);
	/* seq, and before the ones: fact 2 */
	mbc_split_set_below(f, up, r);
	mbc_point(MBC_POINT_SPLIT_FILL);
	fill(f, s, r, n, got);
	if (mine)
		move_to(f, s, r, 0);
	else
		mbc_remember(f, s, level, L);
	mbc_unpin(f, s);
	/* seq: after what was stored, as in mbc_leaves_perhaps() */
	if (mbc_has(&up.block->special, up.bit))
		mbc_settle_split(f, s, level, L);
	return 0;
}

static MBC_COLD int split_named(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, unsigned n,
				struct mbc_got *got)
{
	unsigned deed = mbc_deed_begin(f, s, MBC_DEED_SPLIT, L), hand = mbc_hand(f, s, level, L);
	int rc = split(f, s, level, L, n, 0, got);

	mbc_unhand(f, s, hand);
	mbc_deed_done(f, s, deed, L);
	return rc;
}

int mbc_split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, unsigned n, uint64_t home,
	      struct mbc_got *got)
{
	if (mbc_owned_pool(f))
		return split_named(f, s, level, L, n, got);
	return split(f, s, level, L, n, home, got);
}

/* ---- merge ------------------------------------------------------------------------------------------ */

/* The rollback of a merge: gives back the first n words. They were ~0 and have been 0 since: nobody else sets
 * bits there, since whoever could free one of those frames would have to have allocated it. */
static void merge_undo(struct mbc_ref r, unsigned n)
{
	for (unsigned w = 0; w < n; w++)
		mbc_or_seq(&r.line->word[w], MBC_FULL);
}

/* Takes all 512 bits, or none. */
static bool merge_take(struct mbc_ref r)
{
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		uint64_t full = MBC_FULL;

		/* acquire: pairs with the frees; what was done in the frames is done */
		if (mbc_point(MBC_POINT_MERGE_WORD) || !mbc_cas_seq(&r.line->word[w], &full, 0)) {
			merge_undo(r, w);
			return false;
		}
	}
	return true;
}

/* One try, with `held` ours. True: the frame above is ours, and the line is no more. */
static bool merge_once(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	mbc_part_clear(f, r);
	if (!mbc_is_split(r))
		return false;
	if (!merge_take(r)) {
		/* what was in our hands while somebody drained: he did not find it there */
		if (mbc_has(&r.block->special, r.bit))
			mbc_settle_line(f, s, r);
		return false;
	}
	/* who freed what is to leave may not have swallowed it yet: a merge would forget the mark */
	if (mbc_has(&r.block->special, r.bit) && mbc_line_leaves(f, r)) {
		merge_undo(r, MBC_LINE_WORDS);
		mbc_settle_line(f, s, r);
		return false;
	}
	mbc_settle_merge(f, r);
	/* the words are 0: fact 2 */
	mbc_split_clear(r);
	/* who drains may have marked it in between; who marks it from now on sees that it is no more */
	mbc_settle_merge(f, r);
	return true;
}

static bool merge(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	bool done;

	do {
		if (mbc_has(&r.block->held, r.bit) || (mbc_or_seq(&r.block->held, r.bit) & r.bit))
			return false;
		done = merge_once(f, s, r);
		mbc_and_seq(&r.block->held, ~r.bit);
		/* who freed the last bit while we had some words did not see a full line: so look again */
	} while (!done && mbc_is_split(r) && mbc_line_is_full(f, r) && !mbc_point(MBC_POINT_MERGE_WORD));
	if (done) {
		if (f->in_band && r.level == MB_BASE)
			mbc_block_try_vanish(f, s, r.block);
		mbc_free_own(f, s, r.level + 1, r.L);
	} else if (!mbc_has(&r.block->held, r.bit) && mbc_line_usable(r) && !mbc_line_is_empty(r)) {
		mbc_part_set(f, r);
	}
	return done;
}

bool mbc_merge(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	unsigned deed, hand;
	bool done;

	if (r.level == MB_GIANT || r.level < f->lowest)
		return false;
	if (r.level == MB_BASE && mbc_has(&r.block->host, r.bit))
		return mbc_block_vanish(f, s, r);
	deed = mbc_deed_begin(f, s, MBC_DEED_MERGE, r.L);
	hand = mbc_hand(f, s, r.level, r.L);
	done = merge(f, s, r);
	mbc_unhand(f, s, hand);
	mbc_deed_done(f, s, deed, r.L);
	return done;
}
