/* SPDX-License-Identifier: MIT */
/* recover_range.c - a change of ranges whose thread was killed: completed or undone. See range.h for its steps.
 */
#include "range.h"
#include "recover.h"

/* The piece that an addition was at: online perhaps, and then perhaps freed, and then perhaps somebody's. */
static bool add_piece_again(struct mbc_court *c, struct mbc_piece p)
{
	struct mb_frames *f = c->f;

	if (p.level == MB_GIANT) {
		if (!mbc_has(mbc_online_at(f, MB_GIANT, p.W), p.mask))
			return false;
		for (uint64_t m = p.mask; m; m &= m - 1)
			mbc_recover_giant(c, p.W * MBC_WORD_BITS + mbc_lowest(m));
		mbc_recover_line(c, MB_GIANT, p.W / MBC_LINE_WORDS);
		mbc_range_plain(f, p.W / MBC_LINE_WORDS);
		return true;
	}
	if (!mbc_is_online(f, MB_GIANT, p.W / MBC_LINE_WORDS) ||
	    !mbc_has(mbc_online_at(f, MB_HUGE, p.W), p.mask))
		return false;
	mbc_recover_huge(c, p.W, p.mask);
	mbc_recover_line(c, MB_HUGE, p.W / MBC_LINE_WORDS);
	mbc_recover_line(c, MB_GIANT, p.W / MBC_LINE_WORDS / MBC_LINE_FRAMES);
	return true;
}

static void complete_add(struct mbc_court *c, struct mbc_slot *s, uint64_t end)
{
	struct mb_frames *f = c->f;
	uint64_t at = mbc_load_relaxed(&f->range_at);
	struct mbc_piece p;

	if (at >= end)
		return;
	p = mbc_piece_at(f, at, end, false);
	if (add_piece_again(c, p)) {
		if (c->again)
			return;
		at = p.next;
		mbc_range_reach(f, &f->range_at, at);
	}
	mbc_range_add_from(f, s, at, end);
}

/* What a giant frame that was being forgotten still says. */
static void tidy_again(struct mb_frames *f)
{
	uint64_t giant = mbc_load_relaxed(&f->range_tidy);

	if (giant && giant <= f->lines[MB_HUGE] && !mbc_is_online(f, MB_GIANT, giant - 1))
		mbc_giant_tidied(f, giant - 1);
	mbc_range_reach(f, &f->range_tidy, 0);
}

static void go_on(struct mbc_court *c, struct mbc_slot *s)
{
	struct mb_frames *f = c->f;
	uint64_t op = mbc_load_relaxed(&f->range_op), first = mbc_load_relaxed(&f->range_first);
	uint64_t end = mbc_load_relaxed(&f->range_end);

	if (op == MBC_RANGE_NONE || first > end || end > f->capacity)
		return;
	switch (op) {
	case MBC_RANGE_ADD:
		complete_add(c, s, end);
		break;
	case MBC_RANGE_TAKE:
		mbc_range_give_back(f, s, first, mbc_load_relaxed(&f->range_at), end);
		c->out->undone++;
		return;
	case MBC_RANGE_FORGET:
		mbc_range_forget(f, s, mbc_load_relaxed(&f->range_gone), end);
		break;
	default:
		/* one that cuts through a frame in use would have failed, and has marked nothing */
		(void)mbc_drain(f, s, first, end);
		break;
	}
	c->out->completed += !c->again;
}

bool mb_ranges_are_changing(const struct mb_frames *f)
{
	/* seq: pairs with the compare-and-swap in mbc_range_lock(), and with the release in mbc_range_unlock() */
	return mbc_load_seq(&f->range_lock) != 0;
}

int mb_ranges_recover(struct mb_frames *f, mb_slot mine, mb_recorded_fn *recorded, void *arg,
		      struct mb_recovery *out)
{
	struct mbc_slot *s = mbc_slot_get(f, mine);
	struct mbc_court c = {.f = f, .mine = s, .recorded = recorded, .arg = arg, .out = out};
	int rc = 0;

	if (!s)
		return -MBC_EBADF;
	if (!mbc_owned_pool(f))
		return -MBC_EPERM;
	if (!recorded || !out)
		return -MBC_EINVAL;
	if (!mbc_load_seq(&f->range_lock))
		return 0;
	mbc_intend_none(f, s);
	tidy_again(f);
	c.dead = mbc_slot_at(f, f->slots);
	if (mbc_load32_seq(&c.dead->state) != MBC_SLOT_CLOSED) {
		mbc_store32_release(&c.dead->state, MBC_SLOT_DEAD);
		rc = mbc_recover_slot(&c);
	}
	if (rc)
		return rc;
	go_on(&c, mbc_range_open(f));
	if (c.again)
		return -MBC_EAGAIN;
	mbc_range_unlock(f, c.dead);
	return 0;
}
