/* SPDX-License-Identifier: MIT */
/* intent.c - what a slot writes into its journal. See intent.h for the facts. */
#include "intent.h"

void mbc_notice(struct mb_frames *f, uint64_t first, uint64_t count)
{
	/* seq: after the change of the truth, which is seq too */
	uint64_t judging = mbc_load_seq(&f->judging);

	if (judging && judging - 1 - first < count)
		mbc_add_seq(&f->disturbed, 1);
}

static void notice_word(struct mb_frames *f, unsigned level, uint64_t W)
{
	if (level == MB_GIANT)
		mbc_notice(f, W * MBC_WORD_BITS, MBC_WORD_BITS);
	else
		mbc_notice(f, W / MBC_LINE_WORDS, 1);
}

/* ---- frames ----------------------------------------------------------------------------------------- */

/* Retires what is named. */
static void name_none(struct mb_frames *f, struct mbc_named *n)
{
	uint64_t what = mbc_load_relaxed(&n->what);

	if (!what)
		return;
	notice_word(f, (unsigned)(what >> 8), mbc_load_relaxed(&n->W));
	/* release: the change of the truth, and of the record, come before */
	mbc_store_release(&n->what, MBC_WHAT_NONE);
}

static void name(struct mb_frames *f, struct mbc_named *n, enum mbc_what what, unsigned level, uint64_t W,
		 uint64_t mask)
{
	name_none(f, n);
	/* release each: whoever dies in between has named nothing */
	mbc_store_release(&n->W, W);
	mbc_store_release(&n->mask, mask);
	mbc_store_release(&n->what, (uint64_t)what | (uint64_t)level << 8);
}

void mbc_name_got(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	name(f, &mbc_journal_of(f, s)->frames, MBC_WHAT_GOT, level, W, mask);
}

void mbc_name_nothing(struct mb_frames *f, struct mbc_slot *s)
{
	name_none(f, &mbc_journal_of(f, s)->frames);
}

void mbc_name_gone(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	name(f, &mbc_journal_of(f, s)->gone, MBC_WHAT_LEAVING, level, W, mask);
}

void mbc_name_left(struct mb_frames *f, struct mbc_slot *s, unsigned level)
{
	/* release: they were taken before */
	mbc_store_release(&mbc_journal_of(f, s)->gone.what, (uint64_t)MBC_WHAT_LEFT | (uint64_t)level << 8);
}

void mbc_name_gone_done(struct mb_frames *f, struct mbc_slot *s)
{
	name_none(f, &mbc_journal_of(f, s)->gone);
}

static bool names(const struct mbc_named *n, enum mbc_what what, unsigned level, uint64_t X)
{
	return mbc_load_relaxed(&n->what) == ((uint64_t)what | (uint64_t)level << 8) &&
	       mbc_load_relaxed(&n->W) == X / MBC_WORD_BITS && mbc_load_relaxed(&n->mask) == mbc_bit(X);
}

bool mbc_intend_free(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t X)
{
	struct mbc_named *n;

	if (!mbc_owned_pool(f))
		return false;
	n = &mbc_journal_of(f, s)->frames;
	if (level == MB_HUGE && names(n, MBC_WHAT_FREE, MB_GIANT, X >> MB_LEVEL_SHIFT))
		return false;
	if (!names(n, MBC_WHAT_FREE, level, X))
		name(f, n, MBC_WHAT_FREE, level, X / MBC_WORD_BITS, mbc_bit(X));
	return true;
}

void mbc_intend_free_mask(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W, uint64_t mask)
{
	if (mbc_owned_pool(f))
		name(f, &mbc_journal_of(f, s)->frames, MBC_WHAT_FREE, level, W, mask);
}

void mbc_intend_holes(struct mb_frames *f, struct mbc_slot *s, enum mbc_what what, uint64_t first,
		      uint64_t count)
{
	name(f, &mbc_journal_of(f, s)->frames, what, MB_BASE, first, count);
}

/* ---- deeds ------------------------------------------------------------------------------------------ */

unsigned mbc_name_deed(struct mb_frames *f, struct mbc_slot *s, enum mbc_deed deed, uint64_t L)
{
	struct mbc_journal *j = mbc_journal_of(f, s);
	unsigned n = 0;

	while (n < MBC_DEEDS - 1 && mbc_load_relaxed(&j->deed[n]))
		n++;
	mbc_store_release(&j->deed[n], (uint64_t)deed | L << 8);
	return n;
}

void mbc_name_deed_done(struct mb_frames *f, struct mbc_slot *s, unsigned n, uint64_t L)
{
	struct mbc_journal *j = mbc_journal_of(f, s);

	/* the words of a line are filled by plain stores: an atomic operation between them and the look, fact 3
	 */
	mbc_or_seq(&j->deed[n], 0);
	mbc_notice(f, L, 1);
	mbc_store_release(&j->deed[n], MBC_DEED_NONE);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

unsigned mbc_name_hand(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	uint64_t name = (uint64_t)level | (L + 1) << 8;
	struct mbc_journal *j = mbc_journal_of(f, s);
	unsigned at = MBC_NO_HAND;

	for (unsigned n = MBC_HANDS; n-- > 0;) {
		uint64_t v = mbc_load_relaxed(&j->line[n]);

		if (v == name)
			return MBC_NO_HAND;
		if (!v)
			at = n;
	}
	if (at != MBC_NO_HAND)
		mbc_store_release(&j->line[at], name);
	return at;
}

void mbc_name_unhand(struct mb_frames *f, struct mbc_slot *s, unsigned hand)
{
	struct mbc_journal *j = mbc_journal_of(f, s);
	uint64_t v = mbc_load_relaxed(&j->line[hand]);

	/* seq, as in a deed: the change of `held` is seq, but a line may be named for its hints alone */
	if ((v & 0xff) == MB_HUGE)
		mbc_notice(f, (v >> 8) - 1, 1);
	mbc_store_release(&j->line[hand], 0);
}
