/* SPDX-License-Identifier: MIT */
/* validate.c - the invariants of layout.h and line.h, checked. */
#include "range.h"

static int flaw_at(struct mb_flaw *flaw, const char *what, uint64_t frame)
{
	if (flaw)
		*flaw = (struct mb_flaw){what, {frame}};
	return -MBC_EILSEQ;
}

/* ---- cheap ------------------------------------------------------------------------------------------ */

static int check_slot(const struct mb_frames *f, const struct mbc_slot *s, struct mb_flaw *flaw)
{
	uint32_t state = mbc_load32_relaxed(&s->state);

	if (state > MBC_SLOT_DEAD)
		return flaw_at(flaw, "a slot is neither open nor closed", 0);
	for (unsigned level = 0; state == MBC_SLOT_OPEN && level < MB_LEVELS; level++) {
		uint64_t at = mbc_load_relaxed(&s->at[level]);

		if (at != MBC_NONE && at / MBC_LINE_WORDS >= f->lines[level])
			return flaw_at(flaw, "a slot holds a line beyond the end", at);
	}
	for (unsigned n = 0; n < MBC_RING0 + MBC_RING1; n++)
		if (mbc_load32_relaxed(&s->ring[n]) > f->lines[n < MBC_RING0 ? MB_BASE : MB_HUGE])
			return flaw_at(flaw, "a ring has a line beyond the end", 0);
	return 0;
}

static int check_trees(const struct mb_frames *f, struct mb_flaw *flaw)
{
	for (unsigned level = 0; level < MB_LEVELS; level++) {
		uint64_t n = f->blocks[level];

		for (unsigned t = 0; t < f->tiers[level]; t++) {
			const mbc_a64 *word = (const mbc_a64 *)mbc_at(f, f->off_tree[level][t]);
			uint64_t last = n % MBC_WORD_BITS;

			n = n / MBC_WORD_BITS + (last != 0);
			if (last && mbc_load_relaxed(&word[n - 1]) >> last)
				return flaw_at(flaw, "a tree leads beyond the end", 0);
		}
	}
	return 0;
}

static int check_cheap(const struct mb_frames *f, struct mb_flaw *flaw)
{
	int rc = 0;

	if (f->magic != MBC_MAGIC)
		return flaw_at(flaw, "no allocator lies here", 0);
	for (uint32_t k = 0; k <= f->slots && !rc; k++)
		rc = check_slot(f, mbc_slot_at(f, k), flaw);
	return rc ? rc : check_trees(f, flaw);
}

/* ---- full ------------------------------------------------------------------------------------------- */

/* How many slots hold the line, and is it in a ring? */
static unsigned holders(const struct mb_frames *f, struct mbc_ref r, bool *ring)
{
	unsigned n = 0, first = r.level == MB_BASE ? 0 : MBC_RING0;
	unsigned last = r.level == MB_BASE ? MBC_RING0 : MBC_RING0 + MBC_RING1;

	*ring = false;
	for (uint32_t k = 0; k <= f->slots; k++) {
		const struct mbc_slot *s = mbc_slot_at(f, k);
		uint64_t at;

		if (mbc_load32_relaxed(&s->state) != MBC_SLOT_OPEN)
			continue;
		at = mbc_load_relaxed(&s->at[r.level]);
		n += at != MBC_NONE && at / MBC_LINE_WORDS == r.L;
		for (unsigned e = first; e < last; e++)
			*ring = *ring || mbc_load32_relaxed(&s->ring[e]) == (uint32_t)r.L + 1;
		*ring = *ring || (r.level < MB_GIANT && mbc_front_line(s, r.level) == (uint32_t)r.L + 1);
	}
	return n;
}

/*
 * Facts 1 and 2 of struct mbc_slot: what the common path reads is of the line that the slot holds. In a pool with
 * owners nothing reads it, and who is killed leaves it as it is.
 */
static int check_places(const struct mb_frames *f, struct mb_flaw *flaw)
{
	for (uint32_t k = 0; k <= f->slots && !mbc_owned_pool(f); k++)
		for (unsigned level = 0; level < MB_GIANT; level++) {
			const struct mbc_slot *s = mbc_slot_at(f, k);
			uint64_t at = mbc_load_relaxed(&s->at[level]),
				 where = mbc_load32_relaxed(&s->where[level]);
			uint64_t L = mbc_load_relaxed(&s->base[level]) >> (MB_LEVEL_SHIFT * (level + 1));

			if (where && (mbc_load32_relaxed(&s->state) != MBC_SLOT_OPEN ||
				      at / MBC_LINE_WORDS != L || mbc_load32_relaxed(&s->back[level])))
				return flaw_at(flaw, "a slot allocates from a line that it does not hold",
					       L * MBC_LINE_FRAMES << (MB_LEVEL_SHIFT * level));
		}
	return 0;
}

static bool tree_has(const struct mb_frames *f, unsigned level, uint64_t n)
{
	for (unsigned t = 0; t < f->tiers[level]; t++, n /= MBC_WORD_BITS)
		if (!mbc_has((mbc_a64 *)mbc_at(f, f->off_tree[level][t]) + n / MBC_WORD_BITS, mbc_bit(n)))
			return false;
	return true;
}

/* A line that is not split: its words are 0, and nothing is said of it. */
static const char *check_whole(const struct mb_frames *f, struct mbc_ref r)
{
	bool gone = mbc_has(&r.block->gone, r.bit);

	if (!mbc_line_is_empty(r))
		return "a line that is not split has a set bit";
	if (mbc_has(&r.block->ragged, r.bit) || mbc_has(&r.block->drain, r.bit) ||
	    mbc_has(&r.block->owned, r.bit) || mbc_has(&r.block->host, r.bit) ||
	    mbc_has(&r.block->special, r.bit) || mbc_has(&r.block->plain, r.bit))
		return "a line that is not split is marked";
	if (gone && (r.level != MB_HUGE || !mbc_owned_pool(f) || mbc_check_used(f, MB_GIANT, r.L) != 0))
		return "a frame is gone that nobody owns";
	return NULL;
}

/* The hints of a line that the pool hands out from. */
static const char *check_hints(const struct mb_frames *f, struct mbc_ref r)
{
	bool ring, held = mbc_has(&r.block->held, r.bit), part = mbc_has(&r.block->part, r.bit);
	unsigned n = holders(f, r, &ring);

	if (n > 1 || held != (n == 1))
		return held ? "a line is held by no slot, or by two" : "a slot holds a line that is not held";
	/* in band nobody can take it away: see inband.h */
	if (held && !f->in_band && mbc_has(&r.block->drain, r.bit))
		return "a slot holds a line that is to leave";
	if (part && !tree_has(f, r.level, r.L / MBC_BLOCK_LINES))
		return "a line with a part bit is not in the tree";
	if (mbc_has(&r.block->drain, r.bit) || mbc_line_is_empty(r))
		return NULL;
	if (!held && !ring && !part)
		return "a line with free frames is nobody's and has no part bit";
	/* in band, the home's line may have been looked at when it should have gone: see mbc_blocks_sweep() */
	if (!held && mbc_line_is_full(f, r) && !mbc_has(&r.block->special, r.bit))
		return "a line that is wholly free is not merged";
	return NULL;
}

static const char *check_word(const struct mb_frames *f, struct mbc_ref r, unsigned w)
{
	uint64_t W = r.L * MBC_LINE_WORDS + w, v = mbc_load_relaxed(&r.line->word[w]);
	uint64_t first = W * MBC_WORD_BITS << (MB_LEVEL_SHIFT * r.level);
	struct mbc_masks m;

	if (v && first >= f->capacity)
		return "a frame beyond the capacity is free";
	if (mbc_masks_get(f, r.level, W, &m)) {
		if (v & ~mbc_load_relaxed(m.online))
			return "a frame that is offline is free";
		if (v & mbc_load_relaxed(m.drain))
			return "a frame that is to leave is free";
	}
	if (v & mbc_home_mask(f, r, w))
		return "the frame that holds a block is free";
	return NULL;
}

static const char *check_split(const struct mb_frames *f, struct mbc_ref r)
{
	bool owned = mbc_has(&r.block->owned, r.bit);
	const char *what = NULL;

	if (mbc_has(&r.block->gone, r.bit))
		return "a line is split and gone";
	if (owned && (r.level != MB_HUGE || !mbc_line_is_empty(r)))
		return "an owned line has a set bit";
	if (r.level == MB_BASE && mbc_has(&r.block->ragged, r.bit) != (mbc_edge_find(f, r.L) != NULL))
		return "a line and its edge disagree";
	for (unsigned w = 0; w < MBC_LINE_WORDS && !what; w++)
		what = check_word(f, r, w);
	if (!what && r.level >= f->lowest && r.level < MB_GIANT && !owned)
		what = check_hints(f, r);
	if (!what && mbc_has(&r.block->plain, r.bit) && mbc_has(&r.block->special, r.bit))
		what = "a line is plain and special";
	return what;
}

/* A line and, where frames of it are split, the lines below. */
static int check_line(const struct mb_frames *f, unsigned level, uint64_t L, struct mb_flaw *flaw)
{
	struct mbc_ref r = mbc_ref_get(f, level, L);
	uint64_t first = L * MBC_LINE_FRAMES;
	const char *what;

	if (!r.block)
		return 0;
	what = mbc_is_split(r) ? check_split(f, r) : check_whole(f, r);
	if (what)
		return flaw_at(flaw, what, first << (MB_LEVEL_SHIFT * level));
	if (level == MB_BASE || !mbc_is_split(r))
		return 0;
	for (uint64_t X = first; X < first + MBC_LINE_FRAMES && X < f->lines[level - 1]; X++) {
		struct mbc_ref below = mbc_ref_get(f, level - 1, X);
		int rc;

		if (mbc_is_split(below) &&
		    mbc_has(&r.line->word[X / MBC_WORD_BITS % MBC_LINE_WORDS], mbc_bit(X)))
			return flaw_at(flaw, "a frame is free and split", X << (MB_LEVEL_SHIFT * level));
		if (mbc_is_split(below) && !mbc_is_online(f, level, X))
			return flaw_at(flaw, "a frame is offline and split", X << (MB_LEVEL_SHIFT * level));
		rc = check_line(f, level - 1, X, flaw);
		if (rc)
			return rc;
	}
	return 0;
}

static int check_edges(const struct mb_frames *f, struct mb_flaw *flaw)
{
	const struct mbc_edge *edge = (const struct mbc_edge *)mbc_at(f, f->off_edges);

	for (unsigned n = 0; n < f->edges; n++) {
		uint64_t line = mbc_load_relaxed(&edge[n].line);
		struct mbc_ref r;

		if (!line)
			continue;
		if (line > f->lines[MB_BASE])
			return flaw_at(flaw, "an edge lies beyond the end", 0);
		r = mbc_ref_get(f, MB_BASE, line - 1);
		if (!mbc_is_split(r) || !mbc_has(&r.block->ragged, r.bit))
			return flaw_at(flaw, "an edge belongs to no ragged line", (line - 1) * MBC_LINE_FRAMES);
	}
	return 0;
}

int mb_frames_validate(const struct mb_frames *f, enum mb_validate how, struct mb_flaw *flaw)
{
	int rc = check_cheap(f, flaw);

	if (rc || how == MB_VALIDATE_CHEAP)
		return rc;
	rc = check_edges(f, flaw);
	for (uint64_t L = 0; L < f->lines[MB_GIANT] && !rc; L++)
		rc = check_line(f, MB_GIANT, L, flaw);
	return rc ? rc : check_places(f, flaw);
}
