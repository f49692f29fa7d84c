/* SPDX-License-Identifier: MIT */
/*
 * intent.h - pools with owners: what a slot is in the middle of, written down before it begins, for whoever
 * finds its thread dead (recover.h).
 *
 * A slot has a journal of two cache lines; only its thread writes it. It names
 *
 *   frames  what the slot has in hand: about to be taken or taken, and not yet in the caller's record (GOT); or
 *           about to be freed, and perhaps no longer in the record (FREE); or a run of holes that changes
 *   gone    frames that it swallows, since they are to leave
 *   deed    giant frames whose line it makes (SPLIT) or unmakes (MERGE): two, since making one may lead to
 *           leaving another
 *   line    lines whose `held`, part bit, ring entry or place in the tree it changes
 *
 * Where there are no owners a pool is one process's, which dies as a whole: nothing of this is kept there.
 *
 * Facts, on which recovery relies (tests name them):
 *
 *  1. A frame whose bit is clear and that is online is at every moment in somebody's record, or named by the
 *     intent of the slot whose hand it is in: the intent is set before the bit or the record changes, and
 *     retired after the other one did. What is neither, and in no living slot's hand, is nobody's, and stays so
 *     until it is recovered: nobody can take or free it.
 *  2. `held` of a line of level 1 is set only while a slot's at[] or a slot's `line` names it.
 *  3. Whoever retires an intent looks at `judging` first, and counts up `disturbed` if his frames are being
 *     judged: so a judge who finds `disturbed` unchanged has seen one state, not a mixture of moments. The
 *     change of the truth, the look at `judging`, and the retreat follow in this order; the judge stores
 *     `judging`, and only then reads: one of the two sees the other.
 *  4. Whatever is done for a dead slot is done before its journal is cleared, and doing it again does no harm.
 */
#ifndef MBC_INTENT_H
#define MBC_INTENT_H

#include "layout.h"

enum mbc_what {
	MBC_WHAT_NONE,
	MBC_WHAT_GOT,
	MBC_WHAT_FREE,
	MBC_WHAT_HOLES_ADD,    /* W: first base frame, mask: how many */
	MBC_WHAT_HOLES_REMOVE, /* the same */
	MBC_WHAT_HOLES_MERGE,  /* the same, of the giant frame */
	MBC_WHAT_LEAVING,      /* gone: they are taken next, or are just taken */
	MBC_WHAT_LEFT,         /* gone: they are taken, and go offline next */
};

enum mbc_deed {
	MBC_DEED_NONE,
	MBC_DEED_SPLIT,
	MBC_DEED_MERGE,
};

/* Frames of one word. */
struct mbc_named {
	mbc_a64 what; /* enum mbc_what | level << 8; set last, cleared first */
	mbc_a64 W;
	mbc_a64 mask;
};

#define MBC_DEEDS   2u
#define MBC_HANDS   8u
#define MBC_NO_HAND MBC_HANDS /* it is in hand already, by whoever called */

struct mbc_journal {
	struct mbc_named frames;
	struct mbc_named gone;
	mbc_a64 deed[MBC_DEEDS]; /* enum mbc_deed | giant frame << 8 */
	mbc_a64 line[MBC_HANDS]; /* level | (L + 1) << 8, or 0 */
};

_Static_assert(sizeof(struct mbc_journal) == sizeof(struct mbc_slot),
	       "a slot's journal lies at the slot's offset");

/* The journal of a slot; only in a pool with owners. */
static inline struct mbc_journal *mbc_journal_of(const struct mb_frames *f, const struct mbc_slot *s)
{
	uint64_t off = (uint64_t)((uintptr_t)s - (uintptr_t)f) - MBC_OFF_SLOTS;

	return (struct mbc_journal *)mbc_at(f, f->off_journals + off);
}

/*
 * What follows is nothing in a pool without owners, and is out of the way of its paths: intent.c.
 */
void mbc_name_got(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask);
void mbc_name_nothing(struct mb_frames *f, struct mbc_slot *s);
void mbc_name_gone(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask);
void mbc_name_left(struct mb_frames *f, struct mbc_slot *s, unsigned level);
void mbc_name_gone_done(struct mb_frames *f, struct mbc_slot *s);
unsigned mbc_name_deed(struct mb_frames *f, struct mbc_slot *s, enum mbc_deed deed, uint64_t L);
void mbc_name_deed_done(struct mb_frames *f, struct mbc_slot *s, unsigned n, uint64_t L);
unsigned mbc_name_hand(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L);
void mbc_name_unhand(struct mb_frames *f, struct mbc_slot *s, unsigned hand);

/* Fact 3: frames of giant frames [first, first + count) were changed, and an intent is to be retired. */
void mbc_notice(struct mb_frames *f, uint64_t first, uint64_t count);

/* ---- frames ----------------------------------------------------------------------------------------- */

/* The frames of a mask are taken next; the compare-and-swap that follows is seq, and so comes after. */
static inline void mbc_intend_got(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W,
				  uint64_t mask)
{
	if (mbc_owned_pool(f))
		mbc_name_got(f, s, level, W, mask);
}

/* Nothing is in hand any more: it was recorded, given back, or could not be had. */
static inline void mbc_intend_none(struct mb_frames *f, struct mbc_slot *s)
{
	if (mbc_owned_pool(f))
		mbc_name_nothing(f, s);
}

/*
 * Frame X of a level is freed next. An intent that covers it already stays as it is (mb_slot_intend_free()):
 * false if that is for more than this frame, so that it outlives this free.
 */
bool mbc_intend_free(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X);
/* The frames of a mask, which are the caller's beyond doubt, are freed next. */
void mbc_intend_free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask);
/* The holes of [first, first + count) change next. */
void mbc_intend_holes(struct mb_frames *f, struct mbc_slot *s, enum mbc_what what, uint64_t first,
		      uint64_t count);

/* The frames of a mask are swallowed next; they are taken; they are offline. */
static inline void mbc_intend_gone(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W,
				   uint64_t mask)
{
	if (mbc_owned_pool(f))
		mbc_name_gone(f, s, level, W, mask);
}

static inline void mbc_left(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	if (mbc_owned_pool(f))
		mbc_name_left(f, s, level);
}

static inline void mbc_gone_done(struct mb_frames *f, struct mbc_slot *s)
{
	if (mbc_owned_pool(f))
		mbc_name_gone_done(f, s);
}

/* ---- deeds ------------------------------------------------------------------------------------------ */

/* Frame L of level 2 (and line L of level 1) is split or merged next. Returns what mbc_deed_done() wants. */
static inline unsigned mbc_deed_begin(struct mb_frames *f, struct mbc_slot *s, enum mbc_deed deed, uint64_t L)
{
	return mbc_owned_pool(f) ? mbc_name_deed(f, s, deed, L) : 0;
}

static inline void mbc_deed_done(struct mb_frames *f, struct mbc_slot *s, unsigned n, uint64_t L)
{
	if (mbc_owned_pool(f))
		mbc_name_deed_done(f, s, n, L);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

/* `held` or the hints of this line change next. Returns what mbc_unhand() wants. */
static inline unsigned mbc_hand(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	return mbc_owned_pool(f) ? mbc_name_hand(f, s, level, L) : MBC_NO_HAND;
}

static inline void mbc_unhand(struct mb_frames *f, struct mbc_slot *s, unsigned hand)
{
	if (mbc_owned_pool(f) && hand != MBC_NO_HAND)
		mbc_name_unhand(f, s, hand);
}

#endif
