/* SPDX-License-Identifier: MIT */
/* range.c - what the changes of ranges share, and adding. */
#include "range.h"

#include "free.h"
#include "hint.h"
#include "inband.h"
#include "point.h"

struct mbc_slot *mbc_range_open(struct mb_frames *f)
{
	struct mbc_slot *s = mbc_slot_at(f, f->slots);

	for (unsigned level = 0; level < MB_LEVELS; level++) {
		mbc_store_relaxed(&s->at[level], MBC_NONE);
		mbc_slot_aim_nowhere(s, level);
	}
	mbc_store32_release(&s->state, MBC_SLOT_OPEN);
	return s;
}

struct mbc_slot *mbc_range_lock(struct mb_frames *f)
{
	uint64_t open = 0;

	while (!mbc_cas_seq(&f->range_lock, &open, 1)) {
		mbc_pause();
		open = 0;
	}
	return mbc_range_open(f);
}

void mbc_range_begin(struct mb_frames *f, enum mbc_range_op op, uint64_t first, uint64_t end)
{
	if (!mbc_owned_pool(f))
		return;
	mbc_store_release(&f->range_first, first);
	mbc_store_release(&f->range_end, end);
	mbc_store_release(&f->range_at, first);
	mbc_store_release(&f->range_gone, first);
	mbc_store_release(&f->range_op, (uint64_t)op);
}

static void end_op(struct mb_frames *f)
{
	uint64_t giant, end;

	if (!mbc_owned_pool(f) || !mbc_load_relaxed(&f->range_op))
		return;
	/* what the range covered is covered by nothing now, or offline: fact 3 of intent.h */
	giant = mbc_load_relaxed(&f->range_first) >> (2 * MB_LEVEL_SHIFT);
	end = mbc_load_relaxed(&f->range_end) >> (2 * MB_LEVEL_SHIFT);
	mbc_notice(f, giant, end - giant + 1);
	mbc_store_release(&f->range_op, MBC_RANGE_NONE);
}

void mbc_range_unlock(struct mb_frames *f, struct mbc_slot *s)
{
	mbc_intend_none(f, s);
	end_op(f);
	for (unsigned level = 0; level < MB_LEVELS; level++) {
		if (level < MB_GIANT)
			mbc_ring_flush(f, s, level);
		mbc_slot_drop(f, s, s, level);
	}
	mbc_ring_flush(f, s, MB_HUGE);
	mbc_store32_release(&s->state, MBC_SLOT_CLOSED);
	mbc_store_release(&f->range_lock, 0);
}

int mbc_range_check(const struct mb_frames *f, mb_frame first, uint64_t count, int beyond)
{
	if (!count)
		return -MBC_EINVAL;
	if (first.n >= f->capacity || count > f->capacity - first.n)
		return beyond;
	/* in a pool with owners a bit of level 0 is a hole, so frames come in huge ones only */
	if (mbc_owned_pool(f) && ((first.n | count) & (MBC_LINE_FRAMES - 1)))
		return -MBC_EINVAL;
	return 0;
}

/* Must the frame be worked off in smaller ones? */
static bool in_parts(const struct mb_frames *f, unsigned level, uint64_t X)
{
	struct mbc_ref r = mbc_ref_get(f, level - 1, X);

	return mbc_is_split(r) &&
	       (level == MB_GIANT ? mbc_has(&r.block->special, r.bit) : mbc_has(&r.block->ragged, r.bit));
}

struct mbc_piece mbc_piece_at(const struct mb_frames *f, uint64_t x, uint64_t end, bool by_state)
{
	unsigned level = MB_GIANT;
	uint64_t X, n, room;

	for (;; level--) {
		uint64_t size = mb_level_frames((enum mb_level)level);

		X = x / size;
		if (level == MB_BASE ||
		    (x % size == 0 && end - x >= size && !(by_state && level > 0 && in_parts(f, level, X))))
			break;
	}
	n = (end - x) >> (MB_LEVEL_SHIFT * level);
	/* one at a time where the next one may be of another kind, or where a line ends at 512 */
	room = by_state && level > MB_BASE ? 1 : MBC_WORD_BITS - X % MBC_WORD_BITS;
	n = mbc_min(n, room);
	return (struct mbc_piece){level, X / MBC_WORD_BITS,
				  mbc_mask((unsigned)(X % MBC_WORD_BITS), (unsigned)n),
				  (X + n) << (MB_LEVEL_SHIFT * level)};
}

/* ---- masks ------------------------------------------------------------------------------------------ */

void mbc_masks_open(struct mb_frames *f, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, L);

	if (mbc_has(&r.block->special, r.bit))
		return;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		mbc_store_relaxed(mbc_online_at(f, MB_HUGE, L * MBC_LINE_WORDS + w), MBC_FULL);
		mbc_store_relaxed(mbc_drain_at(f, MB_HUGE, L * MBC_LINE_WORDS + w), 0);
	}
	/* seq, after the masks: whoever sees `special` sees them */
	mbc_special_set(r);
}

unsigned mbc_edges_left(const struct mb_frames *f)
{
	const struct mbc_edge *edge = (const struct mbc_edge *)mbc_at(f, f->off_edges);
	unsigned left = 0;

	for (unsigned n = 0; n < f->edges; n++)
		left += mbc_load_relaxed(&edge[n].line) == 0;
	return left;
}

int mbc_edge_open(struct mb_frames *f, struct mbc_ref r, uint64_t online)
{
	struct mbc_edge *edge = (struct mbc_edge *)mbc_at(f, f->off_edges);

	if (mbc_has(&r.block->ragged, r.bit))
		return 0;
	for (unsigned n = 0; n < f->edges; n++, edge++) {
		if (mbc_load_relaxed(&edge->line))
			continue;
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
			mbc_store_relaxed(&edge->online.word[w], online);
			mbc_store_relaxed(&edge->drain.word[w], 0);
		}
		/* release, and seq after the masks: whoever sees `ragged` finds the edge and its masks */
		mbc_store_release(&edge->line, r.L + 1);
		mbc_or_seq(&r.block->ragged, r.bit);
		mbc_special_set(r);
		return 0;
	}
	return -MBC_ENOSPC;
}

void mbc_giant_tidied(struct mb_frames *f, uint64_t giant)
{
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);

	mbc_and_seq(mbc_drain_at(f, MB_GIANT, giant / MBC_WORD_BITS), ~mbc_bit(giant));
	mbc_split_clear(r);
	mbc_and_seq(&r.block->special, ~r.bit);
}

void mbc_giant_tidy(struct mb_frames *f, uint64_t giant)
{
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);
	uint64_t W = giant / MBC_WORD_BITS;

	if (!mbc_is_online(f, MB_GIANT, giant) || !mbc_is_split(r) || !mbc_has(&r.block->special, r.bit) ||
	    mbc_has(&r.block->owned, r.bit))
		return;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		if (mbc_load_seq(mbc_online_at(f, MB_HUGE, giant * MBC_LINE_WORDS + w)))
			return;
	mbc_range_reach(f, &f->range_tidy, giant + 1);
	mbc_part_clear(f, r);
	mbc_and_seq(mbc_online_at(f, MB_GIANT, W), ~mbc_bit(giant));
	mbc_giant_tidied(f, giant);
	mbc_range_reach(f, &f->range_tidy, 0);
}

void mbc_huge_tidy(struct mb_frames *f, struct mbc_slot *s, uint64_t huge)
{
	struct mbc_ref r = mbc_pin(f, s, MB_BASE, huge);
	struct mbc_edge *edge = NULL;

	if (mbc_is_split(r) && mbc_has(&r.block->ragged, r.bit) && !mbc_has(&r.block->host, r.bit))
		edge = mbc_edge_find(f, huge);
	for (unsigned w = 0; edge && w < MBC_LINE_WORDS; w++)
		if (mbc_load_seq(&edge->online.word[w]))
			edge = NULL;
	if (edge) {
		mbc_masks_open(f, huge / MBC_LINE_FRAMES);
		mbc_and_seq(mbc_online_at(f, MB_HUGE, huge / MBC_WORD_BITS), ~mbc_bit(huge));
		mbc_and_seq(mbc_drain_at(f, MB_HUGE, huge / MBC_WORD_BITS), ~mbc_bit(huge));
		mbc_part_clear(f, r);
		mbc_split_clear(r);
		mbc_and_seq(&r.block->drain, ~r.bit);
		mbc_and_seq(&r.block->special, ~r.bit);
		mbc_and_seq(&r.block->ragged, ~r.bit);
		mbc_store_release(&edge->line, 0);
	}
	mbc_unpin(f, s);
}

/* ---- add -------------------------------------------------------------------------------------------- */

/* Is something of the base frames of a mask online already? Their huge frame is online at least in part. */
static bool base_online(struct mb_frames *f, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, W / MBC_LINE_WORDS);
	struct mbc_masks m;

	if (!mbc_is_split(r) || mbc_has(&r.block->drain, r.bit) || !mbc_masks_get(f, MB_BASE, W, &m))
		return true;
	return mbc_has(m.online, mask);
}

/* Is something of the piece online already? */
static bool overlaps(struct mb_frames *f, struct mbc_piece p, unsigned *edges, uint64_t *edge_line)
{
	uint64_t giant = p.W * MBC_WORD_BITS >> (MB_LEVEL_SHIFT * (MB_GIANT - p.level));
	uint64_t huge = p.W / MBC_LINE_WORDS;
	struct mbc_ref r;

	if (p.level == MB_GIANT) {
		uint64_t m = p.mask & mbc_load_seq(mbc_online_at(f, MB_GIANT, p.W));

		for (; m; m &= m - 1)
			mbc_giant_tidy(f, p.W * MBC_WORD_BITS + mbc_lowest(m));
		return mbc_has(mbc_online_at(f, MB_GIANT, p.W), p.mask);
	}
	if (p.level == MB_BASE && huge + 1 != *edge_line) {
		*edge_line = huge + 1;
		*edges += !mbc_is_online(f, MB_GIANT, giant) || !mbc_is_online(f, MB_HUGE, huge);
	}
	if (!mbc_is_online(f, MB_GIANT, giant))
		return false;
	r = mbc_ref_get(f, MB_HUGE, giant);
	if (!mbc_is_split(r))
		return true;
	if (p.level == MB_HUGE)
		return !mbc_has(&r.block->special, r.bit) || mbc_has(mbc_online_at(f, MB_HUGE, p.W), p.mask);
	if (!mbc_is_online(f, MB_HUGE, huge))
		return false;
	return base_online(f, p.W, p.mask);
}

/* A giant frame is to be online in part: nothing of it is yet. */
static void open_giant(struct mb_frames *f, uint64_t giant)
{
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);

	if (mbc_is_online(f, MB_GIANT, giant))
		return;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		mbc_store_relaxed(mbc_online_at(f, MB_HUGE, giant * MBC_LINE_WORDS + w), 0);
		mbc_store_relaxed(mbc_drain_at(f, MB_HUGE, giant * MBC_LINE_WORDS + w), 0);
	}
	mbc_special_set(r);
	mbc_split_set(f, r);
	mbc_or_seq(mbc_online_at(f, MB_GIANT, giant / MBC_WORD_BITS), mbc_bit(giant));
}

/* All of a ragged line is online and nothing leaves: it needs its edge no more. */
static void heal(struct mb_frames *f, struct mbc_ref r)
{
	struct mbc_edge *edge = mbc_edge_find(f, r.L);

	for (unsigned w = 0; edge && w < MBC_LINE_WORDS; w++)
		if (mbc_load_seq(&edge->online.word[w]) != MBC_FULL || mbc_load_seq(&edge->drain.word[w]))
			edge = NULL;
	if (!edge)
		return;
	if (!mbc_has(&r.block->host, r.bit))
		mbc_and_seq(&r.block->special, ~r.bit);
	mbc_and_seq(&r.block->ragged, ~r.bit);
	mbc_store_release(&edge->line, 0);
}

static void add_base(struct mb_frames *f, struct mbc_slot *s, uint64_t W, uint64_t mask)
{
	uint64_t huge = W / MBC_LINE_WORDS;
	uint64_t first = W * MBC_WORD_BITS + mbc_lowest(mask);
	struct mbc_masks m;

	if (!mbc_is_online(f, MB_HUGE, huge)) {
		struct mbc_ref r;

		while (f->in_band && mbc_block_enter(f, s, huge, first))
			mbc_pause();
		r = mbc_ref_get(f, MB_BASE, huge);
		/* cannot fail: the edges were counted, and only changes of ranges use them up */
		if (mbc_edge_open(f, r, 0))
			return;
		mbc_split_set(f, r);
		mbc_or_seq(mbc_online_at(f, MB_HUGE, huge / MBC_WORD_BITS), mbc_bit(huge));
		mbc_unpin(f, s);
	}
	if (!mbc_masks_get(f, MB_BASE, W, &m))
		return;
	/* as in add_piece() */
	mbc_and_seq(m.drain, ~mask);
	mbc_or_seq(m.online, mask);
	heal(f, mbc_ref_get(f, MB_BASE, huge));
	mask &= ~mbc_home_mask(f, mbc_ref_get(f, MB_BASE, huge), W % MBC_LINE_WORDS);
	if (mask)
		mbc_free_own_mask(f, s, MB_BASE, W, mask);
}

/* All of a line of the top level is online and stays: it is plain from now on. */
void mbc_range_plain(struct mb_frames *f, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(f, MB_GIANT, L);

	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		if (mbc_load_seq(mbc_online_at(f, MB_GIANT, L * MBC_LINE_WORDS + w)) != MBC_FULL ||
		    mbc_load_seq(mbc_drain_at(f, MB_GIANT, L * MBC_LINE_WORDS + w)))
			return;
	mbc_and_seq(&r.block->special, ~r.bit);
}

static void add_piece(struct mb_frames *f, struct mbc_slot *s, struct mbc_piece p)
{
	/* a drain may have marked what had just left, so that mark goes first; then online, then free: whoever
	 * takes a frame finds it online */
	if (p.level == MB_GIANT) {
		mbc_and_seq(mbc_drain_at(f, MB_GIANT, p.W), ~p.mask);
		mbc_or_seq(mbc_online_at(f, MB_GIANT, p.W), p.mask);
		mbc_free_own_mask(f, s, MB_GIANT, p.W, p.mask);
		mbc_range_plain(f, p.W / MBC_LINE_WORDS);
		return;
	}
	open_giant(f, p.W * MBC_WORD_BITS >> (MB_LEVEL_SHIFT * (MB_GIANT - p.level)));
	if (p.level == MB_HUGE) {
		mbc_and_seq(mbc_drain_at(f, MB_HUGE, p.W), ~p.mask);
		mbc_or_seq(mbc_online_at(f, MB_HUGE, p.W), p.mask);
		mbc_free_own_mask(f, s, MB_HUGE, p.W, p.mask);
		return;
	}
	add_base(f, s, p.W, p.mask);
}

/* A giant frame at either end, of which nothing is online any more, may still look as if. */
static void tidy_ends(struct mb_frames *f, uint64_t first, uint64_t end)
{
	uint64_t size = mb_level_frames(MB_GIANT);

	mbc_giant_tidy(f, first / size);
	mbc_giant_tidy(f, (end - 1) / size);
}

void mbc_range_add_from(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t end)
{
	while (x < end) {
		struct mbc_piece p = mbc_piece_at(f, x, end, false);

		add_piece(f, s, p);
		x = p.next;
		mbc_range_reach(f, &f->range_at, x);
	}
}

int mb_range_add(struct mb_frames *f, mb_frame first, uint64_t count)
{
	uint64_t end = first.n + count, edge_line = 0;
	unsigned edges = 0;
	struct mbc_slot *s;
	int rc = mbc_range_check(f, first, count, -MBC_EFBIG);

	if (rc)
		return rc;
	s = mbc_range_lock(f);
	tidy_ends(f, first.n, end);
	for (uint64_t x = first.n; x < end && !rc;) {
		struct mbc_piece p = mbc_piece_at(f, x, end, false);

		rc = overlaps(f, p, &edges, &edge_line) ? -MBC_EEXIST : 0;
		x = p.next;
	}
	if (!rc && edges > mbc_edges_left(f))
		rc = -MBC_ENOSPC;
	if (!rc) {
		mbc_range_begin(f, MBC_RANGE_ADD, first.n, end);
		mbc_range_add_from(f, s, first.n, end);
	}
	mbc_range_unlock(f, s);
	return rc;
}
