/* SPDX-License-Identifier: MIT */
/* judge.c - whether a frame is nobody's, and a line held by the dead, while others go on. See recover.h. */
#include "range.h"
#include "recover.h"
#include "state.h"

/* How often a judgement is tried that is disturbed, or that finds an intent of the living. */
#define JUDGE_TRIES 200u

/* ---- what the living name --------------------------------------------------------------------------- */

static bool is_living(const struct mbc_court *c, const struct mbc_slot *t)
{
	return t != c->dead && mbc_load32_seq(&t->state) == MBC_SLOT_OPEN;
}

/* Those frames of word W that n names, by themselves or as part of, or as more than, what they are. */
static uint64_t named_by(const struct mbc_named *n, unsigned level, uint64_t W)
{
	uint64_t what = mbc_load_seq(&n->what), at = mbc_load_seq(&n->W), mask = mbc_load_seq(&n->mask);
	uint64_t giant;

	/* holes are in somebody's record, and stay there */
	if ((what & 0xff) == MBC_WHAT_NONE || what >> 8 == MB_BASE)
		return 0;
	if (what >> 8 == level)
		return at == W ? mask : 0;
	if (level == MB_HUGE) {
		giant = W / MBC_LINE_WORDS;
		return at == giant / MBC_WORD_BITS && mask & mbc_bit(giant) ? MBC_FULL : 0;
	}
	giant = at / MBC_LINE_WORDS;
	return giant / MBC_WORD_BITS == W ? mbc_bit(giant) : 0;
}

static uint64_t named_by_deeds(const struct mbc_journal *j, unsigned level, uint64_t W)
{
	uint64_t named = 0;

	for (unsigned n = 0; n < MBC_DEEDS; n++) {
		uint64_t deed = mbc_load_seq(&j->deed[n]), giant = deed >> 8;

		if (!(deed & 0xff))
			continue;
		if (level == MB_HUGE)
			named |= W / MBC_LINE_WORDS == giant ? MBC_FULL : 0;
		else
			named |= giant / MBC_WORD_BITS == W ? mbc_bit(giant) : 0;
	}
	return named;
}

static bool is_range_slot(const struct mbc_court *c)
{
	return c->dead == mbc_slot_at(c->f, c->f->slots);
}

/* Those frames of word W that have something in [first, end), in base frames. */
static uint64_t within(unsigned level, uint64_t W, uint64_t first, uint64_t end)
{
	unsigned shift = MB_LEVEL_SHIFT * level;
	uint64_t start = W * MBC_WORD_BITS, last;

	if (first >= end)
		return 0;
	first >>= shift;
	last = (end - 1) >> shift;
	if (last < start || first >= start + MBC_WORD_BITS)
		return 0;
	first = first > start ? first : start;
	last = mbc_min(last, start + MBC_WORD_BITS - 1);
	return mbc_mask((unsigned)(first - start), (unsigned)(last - first + 1));
}

/* Those that a change of ranges has in hand, if it is not what is recovered. */
static uint64_t named_by_range(const struct mbc_court *c, unsigned level, uint64_t W)
{
	uint64_t op = mbc_load_seq(&c->f->range_op);

	if (op == MBC_RANGE_NONE || op == MBC_RANGE_DRAIN || is_range_slot(c))
		return 0;
	return within(level, W, mbc_load_seq(&c->f->range_first), mbc_load_seq(&c->f->range_end));
}

/* And if it is: what it took is its progress's, to be given back or forgotten. The rest is in its journal. */
static uint64_t taken_by_range(const struct mbc_court *c, unsigned level, uint64_t W)
{
	uint64_t op = mbc_load_seq(&c->f->range_op), first = mbc_load_seq(&c->f->range_first);

	if (!is_range_slot(c) || (op != MBC_RANGE_TAKE && op != MBC_RANGE_FORGET))
		return 0;
	return within(level, W, first, mbc_load_seq(op == MBC_RANGE_TAKE ? &c->f->range_at : &c->f->range_end));
}

static uint64_t named_by_living(const struct mbc_court *c, unsigned level, uint64_t W)
{
	uint64_t named = named_by_range(c, level, W);

	for (uint32_t k = 0; k <= c->f->slots; k++) {
		const struct mbc_slot *t = mbc_slot_at(c->f, k);
		const struct mbc_journal *j = mbc_journal_of(c->f, t);

		if (is_living(c, t))
			named |= named_by(&j->frames, level, W) | named_by(&j->gone, level, W) |
				 named_by_deeds(j, level, W);
	}
	return named;
}

/* ---- records ---------------------------------------------------------------------------------------- */

/* How many huge frames of a giant one are recorded? */
static unsigned recorded_in_giant(const struct mbc_court *c, uint64_t giant)
{
	unsigned n = 0;

	for (uint64_t x = giant * MBC_LINE_FRAMES; x < (giant + 1) * MBC_LINE_FRAMES; x++)
		n += c->recorded(c->arg, MB_HUGE, (mb_frame){x << MB_LEVEL_SHIFT});
	return n;
}

static uint64_t unrecorded(const struct mbc_court *c, unsigned level, uint64_t W, uint64_t mask)
{
	uint64_t left = mask;

	for (uint64_t m = mask; m; m &= m - 1) {
		uint64_t X = W * MBC_WORD_BITS + mbc_lowest(m);

		if (level == MB_GIANT ? recorded_in_giant(c, X) > 0
				      : c->recorded(c->arg, MB_HUGE, (mb_frame){X << MB_LEVEL_SHIFT}))
			left &= ~mbc_bit(X);
	}
	return left;
}

/* ---- frames ----------------------------------------------------------------------------------------- */

/* Those huge frames of word W that are online and not free, in a giant frame that is split. */
static uint64_t used_huge(const struct mb_frames *f, uint64_t W)
{
	uint64_t giant = W / MBC_LINE_WORDS, used;
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);
	struct mbc_masks m;

	if (!mbc_is_online(f, MB_GIANT, giant) || !mbc_is_split(r) || mbc_has(&r.block->owned, r.bit))
		return 0;
	used = ~mbc_load_seq(mbc_word_at(f, MB_HUGE, W));
	if (mbc_masks_get(f, MB_HUGE, W, &m))
		used &= mbc_load_seq(m.online);
	return used;
}

/* Those giant frames of a mask that are online, not free and not split. */
static uint64_t used_giant(const struct mb_frames *f, uint64_t W, uint64_t mask)
{
	uint64_t used = mask & ~mbc_load_seq(mbc_word_at(f, MB_GIANT, W));

	used &= mbc_load_seq(mbc_online_at(f, MB_GIANT, W));
	for (uint64_t m = used; m; m &= m - 1) {
		struct mbc_ref r = mbc_ref_get(f, MB_HUGE, W * MBC_WORD_BITS + mbc_lowest(m));

		if (mbc_is_split(r) && !mbc_has(&r.block->owned, r.bit))
			used &= ~(m & (~m + 1));
	}
	return used;
}

static uint64_t used_of(const struct mb_frames *f, unsigned level, uint64_t W, uint64_t mask)
{
	return level == MB_GIANT ? used_giant(f, W, mask) : used_huge(f, W) & mask;
}

/* One try; false: disturbed. *blocked: somebody alive names one that is not recorded. */
static bool judge_once(struct mbc_court *c, unsigned level, uint64_t W, uint64_t mask, uint64_t *lost,
		       bool *blocked)
{
	struct mb_frames *f = c->f;
	uint64_t disturbed = mbc_load_seq(&f->disturbed);
	uint64_t used = used_of(f, level, W, mask), named, rest;

	*blocked = false;
	/* most are in order: those that are recorded need no more looks */
	used = unrecorded(c, level, W, used & ~taken_by_range(c, level, W));
	*lost = 0;
	if (!used)
		return true;
	/* the four looks of recover.h */
	used = used_of(f, level, W, used);
	named = named_by_living(c, level, W);
	rest = unrecorded(c, level, W, used & ~named);
	named |= named_by_living(c, level, W);
	if (used_of(f, level, W, rest) != rest || mbc_load_seq(&f->disturbed) != disturbed)
		return false;
	*blocked = (used & named) != 0;
	*lost = rest & ~named;
	return true;
}

static void begin(struct mbc_court *c, uint64_t giant)
{
	/* seq: before the looks, intent.h fact 3 */
	mbc_swap_seq(&c->f->judging, giant + 1);
}

static void end(struct mbc_court *c)
{
	mbc_store_release(&c->f->judging, 0);
}

uint64_t mbc_judge_frames(struct mbc_court *c, unsigned level, uint64_t W, uint64_t mask)
{
	uint64_t lost = 0;
	bool sure = false, blocked = false;

	if (!mask)
		return 0;
	begin(c, level == MB_GIANT ? W * MBC_WORD_BITS + mbc_lowest(mask) : W / MBC_LINE_WORDS);
	for (unsigned tries = 0; tries < JUDGE_TRIES; tries++) {
		sure = judge_once(c, level, W, mask, &lost, &blocked);
		if (sure && !blocked)
			break;
		mbc_pause();
	}
	end(c);
	if (!sure || blocked)
		c->again = true;
	return sure ? lost : 0;
}

bool mbc_judge_part(struct mbc_court *c, uint64_t L)
{
	struct mb_frames *f = c->f;
	uint64_t W = L / MBC_WORD_BITS, disturbed;
	unsigned n = recorded_in_giant(c, L);
	bool ours = false, sure = false;

	if (n == 0 || n == MBC_LINE_FRAMES)
		return false;
	begin(c, L);
	for (unsigned tries = 0; tries < JUDGE_TRIES && !sure; tries++) {
		disturbed = mbc_load_seq(&f->disturbed);
		ours = used_giant(f, W, mbc_bit(L)) && !(named_by_living(c, MB_GIANT, W) & mbc_bit(L));
		n = recorded_in_giant(c, L);
		ours = ours && n > 0 && n < MBC_LINE_FRAMES && !(named_by_living(c, MB_GIANT, W) & mbc_bit(L));
		sure = mbc_load_seq(&f->disturbed) == disturbed && (ours || n == 0 || n == MBC_LINE_FRAMES);
		if (!sure)
			mbc_pause();
	}
	end(c);
	if (!sure)
		c->again = true;
	return sure && ours;
}

/* ---- lines ------------------------------------------------------------------------------------------ */

static bool hand_names(const struct mbc_court *c, uint64_t L)
{
	uint64_t name = (uint64_t)MB_HUGE | (L + 1) << 8;

	for (uint32_t k = 0; k <= c->f->slots; k++) {
		const struct mbc_slot *t = mbc_slot_at(c->f, k);
		const struct mbc_journal *j = mbc_journal_of(c->f, t);

		for (unsigned n = 0; n < MBC_HANDS && is_living(c, t); n++)
			if (mbc_load_seq(&j->line[n]) == name)
				return true;
	}
	return false;
}

/* Of the living, and of the dead who are not recovered yet: what their at[] names is theirs. */
static bool at_names(const struct mbc_court *c, uint64_t L)
{
	for (uint32_t k = 0; k <= c->f->slots; k++) {
		const struct mbc_slot *t = mbc_slot_at(c->f, k);
		uint32_t state = mbc_load32_seq(&t->state);
		uint64_t at = mbc_load_seq(&t->at[MB_HUGE]);

		if (t != c->dead && (state == MBC_SLOT_OPEN || state == MBC_SLOT_DEAD) && at != MBC_NONE &&
		    at / MBC_LINE_WORDS == L)
			return true;
	}
	return false;
}

/*
 * While `held` does not change hands it is named by a hand, then perhaps by an at[], then perhaps by a hand (of
 * whoever drops it): looking at the hands, the at[] and the hands again finds it.
 */
bool mbc_judge_held(struct mbc_court *c, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(c->f, MB_HUGE, L);
	bool ours = false, sure = false;

	begin(c, L);
	for (unsigned tries = 0; tries < JUDGE_TRIES && !sure; tries++) {
		uint64_t disturbed = mbc_load_seq(&c->f->disturbed);
		bool held = mbc_has(&r.block->held, r.bit), hand = hand_names(c, L), at = at_names(c, L);

		hand = hand_names(c, L) || hand;
		ours = held && !hand && !at;
		sure = !held || at ||
		       (ours && mbc_load_seq(&c->f->disturbed) == disturbed && mbc_has(&r.block->held, r.bit));
		if (!sure)
			mbc_pause();
	}
	end(c);
	if (!sure)
		c->again = true;
	return sure && ours;
}
