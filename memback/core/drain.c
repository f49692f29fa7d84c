/* SPDX-License-Identifier: MIT */
/* drain.c - frames that leave. */
#include "drain.h"

#include "free.h"
#include "range.h"
#include "take.h"

/* How often to ask for a line that others keep picking up. */
#define KEEP_TRIES 1000u

/* Takes of word W what is to leave, and marks it as gone. */
static void swallow(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W)
{
	struct mbc_masks m;
	mbc_a64 *word = mbc_word_at(f, level, W);
	uint64_t v, gone;

	if (!mbc_masks_get(f, level, W, &m))
		return;
	v = mbc_load_seq(word);
	do {
		gone = v & mbc_load_seq(m.drain);
		if (!gone)
			break;
		mbc_intend_gone(f, s, level, W, gone);
	} while (!mbc_cas_seq(word, &v, v & ~gone));
	if (gone) {
		mbc_left(f, s, level);
		/* in this order: who finds it offline may add it again at once, and drain it once more */
		mbc_and_seq(m.drain, ~gone);
		mbc_and_seq(m.online, ~gone);
	}
	mbc_gone_done(f, s);
}

void mbc_settle_free(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W)
{
	struct mbc_ref r = mbc_pin(f, s, level, W / MBC_LINE_WORDS);

	if (!r.block)
		return;
	if (mbc_has(&r.block->special, r.bit))
		swallow(f, s, level, W);
	mbc_unpin(f, s);
}

/*
 * Marks a level-0 line whose frame is to leave; r is pinned, and is not afterwards. False: the line was merged
 * meanwhile. Then the mark must not stay for the next line that comes to be there: one of the two sees the
 * other, see merge_once(). And whoever saw it wrongly marked did not publish it.
 */
static bool mark_line(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	bool marked = false, was_marked = false;

	while (mbc_is_split(r) && mbc_is_draining(f, MB_HUGE, r.L)) {
		mbc_or_seq(&r.block->drain, r.bit);
		mbc_special_set(r);
		marked = mbc_is_split(r) && mbc_is_draining(f, MB_HUGE, r.L);
		was_marked = true;
		if (marked)
			break;
		mbc_and_seq(&r.block->special, ~r.bit);
		mbc_and_seq(&r.block->drain, ~r.bit);
		if (mbc_has(&r.block->ragged, r.bit))
			mbc_special_set(r);
	}
	mbc_unpin(f, s);
	if (was_marked && !marked)
		mbc_remember(f, s, MB_BASE, r.L);
	return marked;
}

void mbc_settle_split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L)
{
	struct mbc_ref r;

	if (!mbc_is_draining(f, level + 1, L))
		return;
	r = mbc_pin(f, s, level, L);
	if (!r.block)
		return;
	if (level == MB_BASE) {
		/* it may have changed hands since it was filled; nobody allocates from it any more */
		if (mark_line(f, s, r))
			mbc_slots_drop_line(f, s, level, L);
		return;
	}
	/* not twice: some of it may have left already when recovery does this again */
	for (unsigned w = 0; w < MBC_LINE_WORDS && !mbc_has(&r.block->special, r.bit); w++) {
		uint64_t W = L * MBC_LINE_WORDS + w;

		mbc_or_seq(mbc_online_at(f, level, W), MBC_FULL);
		mbc_or_seq(mbc_drain_at(f, level, W), MBC_FULL);
	}
	mbc_special_set(r);
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		swallow(f, s, level, L * MBC_LINE_WORDS + w);
	mbc_unpin(f, s);
}

bool mbc_line_leaves(const struct mb_frames *f, struct mbc_ref r)
{
	struct mbc_masks m;

	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		if (mbc_masks_get(f, r.level, r.L * MBC_LINE_WORDS + w, &m) && mbc_load_seq(m.drain))
			return true;
	return false;
}

void mbc_settle_line(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		swallow(f, s, r.level, r.L * MBC_LINE_WORDS + w);
}

void mbc_settle_merge(struct mb_frames *f, struct mbc_ref r)
{
	struct mbc_edge *edge;

	if (!mbc_has(&r.block->special, r.bit))
		return;
	/* all 512 were free, so all were online and none was leaving */
	edge = r.level == MB_BASE && mbc_has(&r.block->ragged, r.bit) ? mbc_edge_find(f, r.L) : NULL;
	mbc_and_seq(&r.block->special, ~r.bit);
	mbc_and_seq(&r.block->ragged, ~r.bit);
	mbc_and_seq(&r.block->drain, ~r.bit);
	if (edge)
		mbc_store_release(&edge->line, 0);
}

/* ---- the drain itself ------------------------------------------------------------------------------- */

/* Lines at the ragged ends of a drain: kept from being merged until their marks are set. */
enum { KEPT = 4 };
struct kept {
	struct mbc_ref r;
	unsigned hand;
	bool used;
};

/* Gets `held` of a line, away from whoever has it. */
static bool keep(struct mb_frames *f, struct mbc_slot *s, struct mbc_ref r)
{
	for (unsigned tries = 0; tries < KEEP_TRIES; tries++) {
		if (!(mbc_or_seq(&r.block->held, r.bit) & r.bit))
			return true;
		mbc_slots_drop_line(f, s, r.level, r.L);
		mbc_pause();
	}
	return false;
}

/*
 * Makes sure that frame L of level + 1 is split, and stays so: by splitting it if it is free. -EBUSY: it is
 * allocated whole, so that a part of it cannot leave by itself.
 */
static int keep_line(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, uint64_t home,
		     struct kept *kept)
{
	struct mbc_ref r = mbc_ref_get(f, level, L);
	struct mbc_got got;
	uint64_t held;

	if (r.block && mbc_has(&r.block->owned, r.bit))
		return -MBC_EBUSY;
	if (r.block && keep(f, s, r)) {
		kept->r = r;
		kept->used = true;
		/* in a ring, where those who lack memory look too: what is kept must not look lost */
		mbc_remember(f, s, level, L);
		if (mbc_is_split(r))
			return 0;
		kept->used = false;
		mbc_and_seq(&r.block->held, ~r.bit);
	}
	if (mbc_take(f, s, level + 1, L / MBC_WORD_BITS, mbc_bit(L), home))
		return -MBC_EBUSY;
	if (mbc_split(f, s, level, L, 0, home, &got)) {
		mbc_free_own(f, s, level + 1, L);
		mbc_intend_none(f, s);
		return -MBC_EBUSY;
	}
	r = mbc_ref_get(f, level, L);
	/* the split gave the line to the slot: take it out of at[], and keep `held` */
	held = mbc_swap_seq(&s->at[level], MBC_NONE);
	mbc_slot_aim_nowhere(s, level);
	if (held / MBC_LINE_WORDS != L && !keep(f, s, r))
		return -MBC_EBUSY;
	kept->r = r;
	kept->used = true;
	mbc_remember(f, s, level, L);
	return 0;
}

/* The same, unless it is kept already or there is nothing of it. */
static int keep_split(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t L, uint64_t home,
		      struct kept *kept)
{
	int rc;

	for (unsigned n = 0; n < KEPT; n++)
		if (kept[n].used && kept[n].r.level == level && kept[n].r.L == L)
			return 0;
	if (!mbc_is_online(f, level + 1, L))
		return 0;
	while (kept->used)
		kept++;
	kept->hand = mbc_hand(f, s, level, L);
	rc = keep_line(f, s, level, L, home, kept);
	if (rc)
		mbc_unhand(f, s, kept->hand);
	return rc;
}

/* The lines at one end of the range that it cuts through. */
static int keep_end(struct mb_frames *f, struct mbc_slot *s, uint64_t x, uint64_t inside, struct kept *kept)
{
	uint64_t giant = inside / mb_level_frames(MB_GIANT), huge = inside / MBC_LINE_FRAMES;
	int rc = 0;

	if (x % mb_level_frames(MB_GIANT) && x != f->capacity)
		rc = keep_split(f, s, MB_HUGE, giant, 0, kept);
	if (!rc && x % MBC_LINE_FRAMES && x != f->capacity && mbc_is_online(f, MB_GIANT, giant))
		rc = keep_split(f, s, MB_BASE, huge,
				x == inside ? huge * MBC_LINE_FRAMES : (huge + 1) * MBC_LINE_FRAMES - 1, kept);
	return rc;
}

static void mark_base(struct mb_frames *f, struct mbc_slot *s, uint64_t W, uint64_t mask)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, W / MBC_LINE_WORDS);
	struct mbc_masks m;

	/* a whole line that leaves already needs no masks; nor does one of which nothing is online */
	if (!mbc_is_split(r) || mbc_has(&r.block->drain, r.bit) || mbc_edge_open(f, r, MBC_FULL) ||
	    !mbc_masks_get(f, MB_BASE, W, &m))
		return;
	mbc_or_seq(m.drain, mask & mbc_load_seq(m.online));
	swallow(f, s, MB_BASE, W);
}

static void mark_base_line(struct mb_frames *f, struct mbc_slot *s, uint64_t L)
{
	struct mbc_ref r = mbc_pin(f, s, MB_BASE, L);

	if (mbc_owned_pool(f) || !mbc_is_split(r)) {
		mbc_unpin(f, s);
		return;
	}
	/* a ragged line never becomes whole, so that its frames have to leave one by one */
	if (mbc_has(&r.block->ragged, r.bit)) {
		mbc_unpin(f, s);
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			mark_base(f, s, L * MBC_LINE_WORDS + w, MBC_FULL);
		return;
	}
	/* before the looks at who holds it and at its words */
	if (!mark_line(f, s, r))
		return;
	mbc_slots_drop_line(f, s, MB_BASE, L);
	r = mbc_pin(f, s, MB_BASE, L);
	if (mbc_is_split(r) && mbc_line_is_full(f, r))
		mbc_merge(f, s, r);
	mbc_unpin(f, s);
}

/* Marks, then sweeps, huge frames of a giant frame that is split. */
static void mark_huge(struct mb_frames *f, struct mbc_slot *s, uint64_t W, uint64_t mask)
{
	mbc_masks_open(f, W / MBC_LINE_WORDS);
	mask &= mbc_load_seq(mbc_online_at(f, MB_HUGE, W));
	mbc_or_seq(mbc_drain_at(f, MB_HUGE, W), mask);
	swallow(f, s, MB_HUGE, W);
	/* with owners what is below are holes */
	for (uint64_t m = mbc_owned_pool(f) ? 0 : mask; m; m &= m - 1) {
		uint64_t huge = W * MBC_WORD_BITS + mbc_lowest(m);

		mark_base_line(f, s, huge);
		mbc_huge_tidy(f, s, huge);
	}
}

/*
 * A line of level 1 was merged while it was marked: its `special` must not stay for the next line there. True:
 * the next one is there already; what was marked of it holds, and it is to be marked again.
 */
static bool forget_late_mark(struct mbc_ref r)
{
	if (mbc_is_split(r) || !mbc_has(&r.block->special, r.bit))
		return false;
	mbc_and_seq(&r.block->special, ~r.bit);
	if (!mbc_is_split(r))
		return false;
	mbc_special_set(r);
	return true;
}

static void mark_giant(struct mb_frames *f, struct mbc_slot *s, uint64_t giant)
{
	struct mbc_ref top = mbc_ref_get(f, MB_GIANT, giant / MBC_LINE_FRAMES);
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);

	if (!mbc_is_online(f, MB_GIANT, giant))
		return;
	mbc_special_set(top);
	mbc_or_seq(mbc_drain_at(f, MB_GIANT, giant / MBC_WORD_BITS), mbc_bit(giant));
	swallow(f, s, MB_GIANT, giant / MBC_WORD_BITS);
	while (mbc_is_split(r) && !mbc_has(&r.block->owned, r.bit)) {
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			mark_huge(f, s, giant * MBC_LINE_WORDS + w, MBC_FULL);
		mbc_slots_drop_line(f, s, MB_HUGE, giant);
		if (!forget_late_mark(r))
			break;
	}
	mbc_giant_tidy(f, giant);
}

static void mark_piece(struct mb_frames *f, struct mbc_slot *s, struct mbc_piece p)
{
	uint64_t first = p.W * MBC_WORD_BITS;

	if (p.level == MB_GIANT) {
		for (uint64_t m = p.mask; m; m &= m - 1)
			mark_giant(f, s, first + mbc_lowest(m));
		return;
	}
	if (!mbc_is_online(f, MB_GIANT, first >> (MB_LEVEL_SHIFT * (MB_GIANT - p.level))))
		return;
	if (p.level == MB_HUGE)
		mark_huge(f, s, p.W, p.mask);
	else if (mbc_is_online(f, MB_HUGE, p.W / MBC_LINE_WORDS))
		mark_base(f, s, p.W, p.mask);
}

static int add_left(void *arg, const struct mb_run *run)
{
	if (run->state != MB_OFFLINE)
		*(uint64_t *)arg += run->count;
	return 0;
}

int mbc_drain(struct mb_frames *f, struct mbc_slot *s, uint64_t first, uint64_t end)
{
	struct kept kept[KEPT] = {{.used = false}};
	bool ragged = (first | end) % MBC_LINE_FRAMES != 0;
	int rc = ragged && mbc_edges_left(f) < 2 ? -MBC_ENOSPC : keep_end(f, s, first, first, kept);

	if (!rc)
		rc = keep_end(f, s, end, end - 1, kept);
	for (uint64_t x = first; !rc && x < end;) {
		struct mbc_piece p = mbc_piece_at(f, x, end, false);

		mark_piece(f, s, p);
		x = p.next;
	}
	/* the lines at the ends may be merged from now on */
	for (unsigned n = 0; n < KEPT; n++)
		if (kept[n].used) {
			mbc_line_leave(f, s, kept[n].r);
			mbc_unhand(f, s, kept[n].hand);
		}
	if (!rc) {
		mbc_huge_tidy(f, s, first / MBC_LINE_FRAMES);
		mbc_huge_tidy(f, s, (end - 1) / MBC_LINE_FRAMES);
		mbc_giant_tidy(f, first / mb_level_frames(MB_GIANT));
		mbc_giant_tidy(f, (end - 1) / mb_level_frames(MB_GIANT));
	}
	return rc;
}

/*
 * All of [first, end) is free or offline. Base frames whose line is still there have not left yet: who read the
 * line before it was marked may still take one. They have left when the line is merged, and all its words are
 * 0.
 */
static uint64_t count_lingering(const struct mb_frames *f, uint64_t first, uint64_t end)
{
	uint64_t n = 0, x = first, next;

	for (; x < end; x = next) {
		uint64_t giant = x / mb_level_frames(MB_GIANT), huge = x / MBC_LINE_FRAMES;
		struct mbc_ref r;

		next = mbc_min(end, (giant + 1) * mb_level_frames(MB_GIANT));
		if (!mbc_is_online(f, MB_GIANT, giant) || !mbc_is_split(mbc_ref_get(f, MB_HUGE, giant)))
			continue;
		next = mbc_min(end, (huge + 1) * MBC_LINE_FRAMES);
		r = mbc_ref_get(f, MB_BASE, huge);
		if (mbc_is_online(f, MB_HUGE, huge) && mbc_is_split(r) && mbc_has(&r.block->drain, r.bit))
			n += next - x;
	}
	return n;
}

int mb_range_drain(struct mb_frames *f, mb_frame first, uint64_t count, uint64_t *left)
{
	int rc = mbc_range_check(f, first, count, -MBC_ERANGE);
	struct mbc_slot *s;
	uint64_t n = 0;

	if (rc)
		return rc;
	s = mbc_range_lock(f);
	mbc_range_begin(f, MBC_RANGE_DRAIN, first.n, first.n + count);
	rc = mbc_drain(f, s, first.n, first.n + count);
	mbc_range_unlock(f, s);
	if (!rc)
		rc = mb_frames_walk(f, first, count, add_left, &n);
	if (!rc && !n && !mbc_owned_pool(f))
		n = count_lingering(f, first.n, first.n + count);
	if (!rc && left)
		*left = n;
	return rc;
}
