/* SPDX-License-Identifier: MIT */
/* recover.c - completes or undoes what a dead slot was in the middle of. See recover.h. */
#include "recover.h"

#include "drain.h"
#include "free.h"
#include "hint.h"
#include "holes.h"
#include "range.h"
#include "state.h"

/* How often all of it is gone through while somebody alive stands in the way. */
#define ROUNDS 20u

/* ---- frames ----------------------------------------------------------------------------------------- */

static void give_back(struct mbc_court *c, unsigned level, uint64_t W, uint64_t mask)
{
	for (uint64_t m = mask; m; m &= m - 1)
		mbc_holes_clear(c->f, level, W * MBC_WORD_BITS + mbc_lowest(m));
	c->out->freed += (uint64_t)mbc_popcount(mask) << (MB_LEVEL_SHIFT * level);
	mbc_free_own_mask(c->f, c->mine, level, W, mask);
}

void mbc_recover_huge(struct mbc_court *c, uint64_t W, uint64_t mask)
{
	uint64_t lost = mbc_judge_frames(c, MB_HUGE, W, mask);

	if (lost)
		give_back(c, MB_HUGE, W, lost);
}

/*
 * A giant frame that is recorded in part: its owner was killed while he wrote or cleared the records. It
 * becomes huge frames, and those without a record go.
 */
static void split_used(struct mbc_court *c, uint64_t L)
{
	struct mbc_ref r = mbc_ref_get(c->f, MB_HUGE, L);

	mbc_holes_clear(c->f, MB_GIANT, L);
	mbc_or_seq(&r.block->split, r.bit);
	mbc_settle_split(c->f, c->mine, MB_HUGE, L);
}

static bool is_pools_line(struct mbc_ref r)
{
	return mbc_is_split(r) && !mbc_has(&r.block->owned, r.bit);
}

void mbc_recover_giant(struct mbc_court *c, uint64_t L)
{
	struct mbc_ref r;
	uint64_t lost;

	if (L >= c->f->lines[MB_HUGE])
		return;
	r = mbc_ref_get(c->f, MB_HUGE, L);
	if (!mbc_is_online(c->f, MB_GIANT, L))
		return;
	if (!is_pools_line(r) && mbc_judge_part(c, L))
		split_used(c, L);
	for (unsigned w = 0; w < MBC_LINE_WORDS && is_pools_line(r); w++)
		mbc_recover_huge(c, L * MBC_LINE_WORDS + w, MBC_FULL);
	lost = mbc_judge_frames(c, MB_GIANT, L / MBC_WORD_BITS, mbc_bit(L));
	if (lost)
		give_back(c, MB_GIANT, L / MBC_WORD_BITS, lost);
}

/* ---- lines ------------------------------------------------------------------------------------------ */

void mbc_recover_line(struct mbc_court *c, unsigned level, uint64_t L)
{
	struct mb_frames *f = c->f;
	struct mbc_ref r;

	if (L >= f->lines[level])
		return;
	r = mbc_ref_get(f, level, L);
	if (level == MB_HUGE && mbc_has(&r.block->held, r.bit) && mbc_judge_held(c, L)) {
		c->out->lines++;
		mbc_and_seq(&r.block->held, ~r.bit);
	}
	/* what was freed, and was to leave */
	for (unsigned w = 0; w < MBC_LINE_WORDS && is_pools_line(r); w++)
		mbc_settle_free(f, c->mine, level, L * MBC_LINE_WORDS + w);
	/* as when a line is left: fact 5 of line.h */
	if (is_pools_line(r) && !mbc_line_is_empty(r) && !mbc_has(&r.block->held, r.bit) &&
	    !(level == MB_HUGE && mbc_line_is_full(f, r) && mbc_merge(f, c->mine, r)))
		mbc_part_set(f, r);
	mbc_part_mend(f, level, mbc_block_of(L));
}

/* The lines that the dead slot had in its hands; held: those of level 1, for `held` alone. */
static void recover_hands(struct mbc_court *c)
{
	const struct mbc_journal *j = mbc_journal_of(c->f, c->dead);

	for (unsigned n = 0; n < MBC_HANDS; n++) {
		uint64_t name = mbc_load_relaxed(&j->line[n]);

		if (name && (name & 0xff) < MB_LEVELS)
			mbc_recover_line(c, (unsigned)(name & 0xff), (name >> 8) - 1);
	}
}

/* A line that a slot held, or that its ring remembers. */
static void recover_held(struct mbc_court *c)
{
	struct mb_frames *f = c->f;
	struct mbc_slot *dead = c->dead;

	c->out->lines += mbc_load_relaxed(&dead->at[MB_HUGE]) != MBC_NONE;
	mbc_slot_drop(f, c->mine, dead, MB_HUGE);
	mbc_store_relaxed(&dead->at[MB_GIANT], MBC_NONE);
	for (unsigned n = 0; n < MBC_RING1; n++) {
		mbc_a32 *entry = &dead->ring[MBC_RING0 + n];
		uint32_t L = mbc_load32_relaxed(entry);

		if (!L)
			continue;
		mbc_recover_line(c, MB_HUGE, L - 1);
		if (!c->again)
			mbc_store32_release(entry, 0);
	}
}

/* ---- the journal ------------------------------------------------------------------------------------ */

/* Counts what was done for an entry: it was half done if that gave something back. */
static void count(const struct mbc_court *c, uint64_t freed, uint64_t *as)
{
	*as += c->out->freed != freed;
}

static void recover_named(struct mbc_court *c, const struct mbc_named *n, unsigned level)
{
	uint64_t W = mbc_load_relaxed(&n->W), mask = mbc_load_relaxed(&n->mask);
	uint64_t giant = W / MBC_LINE_WORDS;

	if (W >= c->f->lines[level] * MBC_LINE_WORDS)
		return;
	if (level == MB_HUGE) {
		mbc_recover_huge(c, W, mask);
		mbc_recover_line(c, MB_HUGE, giant);
		mbc_recover_line(c, MB_GIANT, giant / MBC_LINE_FRAMES);
		return;
	}
	for (uint64_t m = mask; m; m &= m - 1) {
		giant = W * MBC_WORD_BITS + mbc_lowest(m);
		mbc_recover_giant(c, giant);
		mbc_recover_line(c, MB_HUGE, giant);
	}
	mbc_recover_line(c, MB_GIANT, W / MBC_LINE_WORDS);
}

/* Holes are their owner's still: what the records say is given back afterwards. */
static void recover_holes(struct mbc_court *c, uint64_t what, uint64_t first, uint64_t many)
{
	if (first >= c->f->capacity || many > c->f->capacity - first ||
	    !c->recorded(c->arg, MB_HUGE, (mb_frame){first & ~(uint64_t)(MBC_LINE_FRAMES - 1)}))
		return;
	if (what == MBC_WHAT_HOLES_MERGE) {
		mbc_holes_merged(c->f, first);
		c->out->completed++;
	} else {
		mbc_holes_undo(c->f, first, many, what == MBC_WHAT_HOLES_ADD);
		c->out->undone++;
	}
}

static void recover_frames(struct mbc_court *c)
{
	const struct mbc_named *n = &mbc_journal_of(c->f, c->dead)->frames;
	uint64_t what = mbc_load_relaxed(&n->what), freed = c->out->freed, level = what >> 8;

	switch (what & 0xff) {
	case MBC_WHAT_HOLES_ADD:
	case MBC_WHAT_HOLES_REMOVE:
	case MBC_WHAT_HOLES_MERGE:
		recover_holes(c, what & 0xff, mbc_load_relaxed(&n->W), mbc_load_relaxed(&n->mask));
		break;
	case MBC_WHAT_GOT:
	case MBC_WHAT_FREE:
		if (level != MB_HUGE && level != MB_GIANT)
			break;
		recover_named(c, n, (unsigned)level);
		count(c, freed, (what & 0xff) == MBC_WHAT_GOT ? &c->out->undone : &c->out->completed);
		break;
	default:
		break;
	}
}

static void recover_deeds(struct mbc_court *c)
{
	const struct mbc_journal *j = mbc_journal_of(c->f, c->dead);

	for (unsigned n = 0; n < MBC_DEEDS; n++) {
		uint64_t deed = mbc_load_relaxed(&j->deed[n]), L = deed >> 8, freed = c->out->freed;

		if (!(deed & 0xff) || L >= c->f->lines[MB_HUGE])
			continue;
		/* first, or the line cannot be merged */
		mbc_recover_line(c, MB_HUGE, L);
		mbc_recover_giant(c, L);
		if (is_pools_line(mbc_ref_get(c->f, MB_HUGE, L)))
			mbc_settle_split(c->f, c->mine, MB_HUGE, L);
		mbc_recover_line(c, MB_HUGE, L);
		mbc_recover_line(c, MB_GIANT, L / MBC_LINE_FRAMES);
		count(c, freed, (deed & 0xff) == MBC_DEED_SPLIT ? &c->out->undone : &c->out->completed);
	}
}

/*
 * Frame X was to leave. Taken, it goes offline; one that is nobody's, is not known to be taken and is not to
 * leave (any more), is another dead slot's.
 */
static void recover_gone_frame(struct mbc_court *c, unsigned level, uint64_t X, bool left)
{
	uint64_t W = X / MBC_WORD_BITS, bit = mbc_bit(X);
	struct mbc_masks m;

	if (!mbc_masks_get(c->f, level, W, &m) || !mbc_has(m.online, bit) ||
	    !mbc_judge_frames(c, level, W, bit))
		return;
	if (!left && !mbc_has(m.drain, bit)) {
		give_back(c, level, W, bit);
		return;
	}
	mbc_and_seq(m.drain, ~bit);
	mbc_and_seq(m.online, ~bit);
	c->out->freed += UINT64_C(1) << (MB_LEVEL_SHIFT * level);
}

static void recover_gone(struct mbc_court *c)
{
	const struct mbc_named *n = &mbc_journal_of(c->f, c->dead)->gone;
	bool own = c->dead == mbc_slot_at(c->f, c->f->slots);
	uint64_t what = mbc_load_relaxed(&n->what), W = mbc_load_relaxed(&n->W), unlocked = 0;
	uint64_t level = what >> 8, freed = c->out->freed;

	if (!what || (level != MB_HUGE && level != MB_GIANT) || W >= c->f->lines[level] * MBC_LINE_WORDS)
		return;
	/* who changes ranges changes these masks too */
	if (!own && !mbc_cas_seq(&c->f->range_lock, &unlocked, 1)) {
		c->again = true;
		return;
	}
	for (uint64_t m = mbc_load_relaxed(&n->mask); m; m &= m - 1)
		recover_gone_frame(c, (unsigned)level, W * MBC_WORD_BITS + mbc_lowest(m),
				   (what & 0xff) == MBC_WHAT_LEFT);
	/* and what is free still, and was to be taken */
	mbc_recover_line(c, (unsigned)level, W / MBC_LINE_WORDS);
	count(c, freed, &c->out->completed);
	if (!own)
		mbc_store_release(&c->f->range_lock, 0);
}

static void clear_journal(struct mbc_court *c)
{
	struct mbc_journal *j = mbc_journal_of(c->f, c->dead);

	mbc_store_release(&j->frames.what, MBC_WHAT_NONE);
	mbc_store_release(&j->gone.what, MBC_WHAT_NONE);
	for (unsigned n = 0; n < MBC_DEEDS; n++)
		mbc_store_release(&j->deed[n], MBC_DEED_NONE);
	for (unsigned n = 0; n < MBC_HANDS; n++)
		mbc_store_release(&j->line[n], 0);
	mbc_store32_release(&c->dead->turn[MB_HUGE], 0);
}

int mbc_recover_slot(struct mbc_court *c)
{
	for (unsigned round = 0; round < ROUNDS; round++) {
		c->again = false;
		recover_held(c);
		recover_hands(c);
		recover_gone(c);
		recover_deeds(c);
		recover_frames(c);
		/* once more: what was freed may have filled a line whose hints were half made */
		recover_hands(c);
		if (!c->again) {
			clear_journal(c);
			mbc_store32_release(&c->dead->state, MBC_SLOT_CLOSED);
			return 0;
		}
		mbc_pause();
	}
	return -MBC_EAGAIN;
}

int mb_slot_recover(struct mb_frames *f, mb_slot mine, mb_slot dead, mb_recorded_fn *recorded, void *arg,
		    struct mb_recovery *out)
{
	struct mbc_slot *s = mbc_slot_get(f, mine);
	struct mbc_court c = {.f = f, .mine = s, .recorded = recorded, .arg = arg, .out = out};
	uint32_t opening = MBC_SLOT_OPENING;

	if (!s)
		return -MBC_EBADF;
	if (!mbc_owned_pool(f))
		return -MBC_EPERM;
	if (dead.n >= f->slots || dead.n == mine.n || !recorded || !out)
		return -MBC_EINVAL;
	mbc_intend_none(f, s);
	c.dead = mbc_slot_at(f, dead.n);
	/* one that was being opened holds nothing */
	if (mbc_load32_seq(&c.dead->state) == MBC_SLOT_CLOSED ||
	    mbc_cas32_seq(&c.dead->state, &opening, MBC_SLOT_CLOSED))
		return 0;
	mbc_store32_release(&c.dead->state, MBC_SLOT_DEAD);
	return mbc_recover_slot(&c);
}
