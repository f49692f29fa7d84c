/* SPDX-License-Identifier: MIT */
/* look.c - walk over runs, count, and the state of one frame: reads of the truth, each word once. */
#include "state.h"

/* The states of 64 frames of a level, as masks; what is in none of them is used. */
struct word_states {
	uint64_t offline;
	uint64_t free;
	uint64_t hole;
	uint64_t draining;
	uint64_t split; /* look one level down */
};

/* A walk in progress: runs are gathered until the state changes. */
struct walk {
	const struct mb_frames *f;
	uint64_t at;
	uint64_t end;
	struct mb_run run;
	mb_run_fn *fn;
	void *arg;
	int rc;
};

static int flush(struct walk *w)
{
	if (w->run.count && !w->rc)
		w->rc = w->fn(w->arg, &w->run);
	w->run.count = 0;
	return w->rc;
}

/* The next count base frames are in this state. */
static int put(struct walk *w, enum mb_state state, uint64_t count)
{
	count = mbc_min(count, w->end - w->at);
	if (w->run.count && w->run.state == state) {
		w->run.count += count;
	} else {
		if (flush(w))
			return w->rc;
		w->run = (struct mb_run){{w->at}, count, state};
	}
	w->at += count;
	return 0;
}

static void base_states(const struct mb_frames *f, uint64_t W, struct word_states *st)
{
	struct mbc_ref r = mbc_ref_get(f, MB_BASE, W / MBC_LINE_WORDS);
	struct mbc_masks m;
	uint64_t v;

	/* it has vanished since we were sent here: all of it was free */
	if (!mbc_is_split(r)) {
		st->free = mbc_owned_pool(f) ? 0 : MBC_FULL;
		return;
	}
	v = mbc_load_acquire(&r.line->word[W % MBC_LINE_WORDS]);

	if (mbc_owned_pool(f)) {
		st->hole = v;
		return;
	}
	if (mbc_masks_get(f, MB_BASE, W, &m)) {
		st->offline = ~mbc_load_acquire(m.online);
		st->draining = mbc_load_acquire(m.drain) & ~v;
	}
	if (mbc_has(&r.block->drain, r.bit)) {
		st->offline |= v;
		st->draining = ~v & ~st->offline;
	} else {
		st->free = v & ~st->offline;
	}
}

/* Which of the 64 frames of word W are split? */
static uint64_t split_below(const struct mb_frames *f, unsigned level, uint64_t W)
{
	uint64_t split = 0;

	for (unsigned n = 0; n < MBC_WORD_BITS; n++) {
		uint64_t X = W * MBC_WORD_BITS + n;

		if (X < f->lines[level - 1] && mbc_is_split(mbc_ref_get(f, level - 1, X)))
			split |= mbc_bit(n);
	}
	return split;
}

/* Which of the 64 giant frames of word W are holes as a whole? */
static uint64_t gone_below(const struct mb_frames *f, uint64_t W)
{
	uint64_t gone = 0;

	for (unsigned n = 0; n < MBC_WORD_BITS; n++) {
		uint64_t X = W * MBC_WORD_BITS + n;
		struct mbc_ref r;

		if (X >= f->lines[MB_HUGE])
			break;
		r = mbc_ref_get(f, MB_HUGE, X);
		if (mbc_has(&r.block->gone, r.bit))
			gone |= mbc_bit(n);
	}
	return gone;
}

static void large_states(const struct mb_frames *f, unsigned level, uint64_t W, struct word_states *st)
{
	struct mbc_ref r = mbc_ref_get(f, level, W / MBC_LINE_WORDS);
	struct mbc_masks m;

	if (mbc_masks_get(f, level, W, &m)) {
		st->offline = ~mbc_load_acquire(m.online);
		st->draining = mbc_load_acquire(m.drain);
	}
	st->free = mbc_load_acquire(&r.line->word[W % MBC_LINE_WORDS]) & ~st->offline;
	/* nothing below is split where all is free or offline */
	if (st->free != MBC_FULL && st->offline != MBC_FULL && (st->free | st->offline) != MBC_FULL) {
		/* first: one that is being opened has lines, but is not split yet */
		if (level == MB_GIANT && mbc_owned_pool(f))
			st->hole = gone_below(f, W) & ~st->free & ~st->offline;
		st->split = split_below(f, level, W) & ~st->free & ~st->offline & ~st->hole;
	}
	st->draining &= ~st->free & ~st->offline;
}

static void states_of(const struct mb_frames *f, unsigned level, uint64_t W, struct word_states *st)
{
	uint64_t begun;

	do {
		begun = mbc_look_begin(f);
		*st = (struct word_states){0};
		if (level == MB_BASE)
			base_states(f, W, st);
		else
			large_states(f, level, W, st);
	} while (mbc_look_again(f, begun));
}

/* The state of frame n of the word, and how many from there are alike. */
static enum mb_state state_at(const struct word_states *st, unsigned n, unsigned *count)
{
	static const enum mb_state names[] = {MB_OFFLINE, MB_FREE, MB_HOLE, MB_DRAINING};
	const uint64_t masks[] = {st->offline, st->free, st->hole, st->draining};
	uint64_t used = MBC_FULL, mine = 0;
	enum mb_state state = MB_USED;

	for (unsigned k = 0; k < 4; k++) {
		used &= ~masks[k];
		if (masks[k] >> n & 1 && !mine) {
			mine = masks[k];
			state = names[k];
		}
	}
	if (!mine)
		mine = used & ~st->split;
	mine = ~(mine >> n);
	/* the n bits that were shifted in are set by now, so that it is never more than are left of the word */
	*count = mine ? mbc_lowest(mine) : MBC_WORD_BITS;
	return state;
}

static int walk_word(struct walk *w, unsigned level);

/* One frame of a level that is split. */
static int walk_line(struct walk *w, unsigned level, uint64_t L)
{
	uint64_t end = (L + 1) << (MB_LEVEL_SHIFT * (level + 1));

	while (w->at < end && w->at < w->end)
		if (walk_word(w, level))
			return w->rc;
	return 0;
}

/* The rest of the word that the walk is in. */
static int walk_word(struct walk *w, unsigned level)
{
	unsigned shift = MB_LEVEL_SHIFT * level;
	uint64_t W = w->at >> shift >> 6;
	struct word_states st;

	states_of(w->f, level, W, &st);
	while (w->at < w->end && w->at >> shift >> 6 == W) {
		uint64_t X = w->at >> shift;
		unsigned n = (unsigned)(X % MBC_WORD_BITS), count;

		if (st.split >> n & 1) {
			if (walk_line(w, level - 1, X))
				return w->rc;
		} else {
			enum mb_state state = state_at(&st, n, &count);

			if (put(w, state, ((X + count) << shift) - w->at))
				return w->rc;
		}
	}
	return 0;
}

int mb_frames_walk(const struct mb_frames *f, mb_frame first, uint64_t count, mb_run_fn *fn, void *arg)
{
	struct walk w = {.f = f, .at = first.n, .end = first.n + count, .fn = fn, .arg = arg};

	if (!count)
		return -MBC_EINVAL;
	if (first.n >= f->capacity || count > f->capacity - first.n)
		return -MBC_ERANGE;
	while (w.at < w.end)
		if (walk_word(&w, MB_GIANT))
			return w.rc;
	return flush(&w);
}

static int keep_state(void *arg, const struct mb_run *run)
{
	*(enum mb_state *)arg = run->state;
	return 0;
}

enum mb_state mb_frame_state(const struct mb_frames *f, mb_frame frame)
{
	enum mb_state state = MB_OFFLINE;

	if (mb_frames_walk(f, frame, 1, keep_state, &state))
		return MB_OFFLINE;
	return state;
}

/* ---- count ------------------------------------------------------------------------------------------ */

/* 64 frames of a level; what is offline follows in the end. */
static void count_word(unsigned level, const struct word_states *st, struct mb_frames_count *c)
{
	uint64_t used = ~(st->offline | st->free | st->hole | st->split);
	unsigned shift = MB_LEVEL_SHIFT * level;

	for (unsigned l = 0; l <= level; l++)
		c->whole[l] += (uint64_t)mbc_popcount(st->free) << (shift - MB_LEVEL_SHIFT * l);
	c->holes += (uint64_t)mbc_popcount(st->hole) << shift;
	c->used += (uint64_t)mbc_popcount(used) << shift;
}

/* A line of base frames that is split, and of which no more than that need be known: nearly all are. */
static bool count_plain(const struct mb_frames *f, uint64_t L, struct mb_frames_count *c)
{
	struct mbc_ref r;
	uint64_t free = 0;

	if (f->in_band || mbc_owned_pool(f))
		return false;
	r = mbc_ref_get(f, MB_BASE, L);
	if (!mbc_is_split(r) || mbc_has(&r.block->special, r.bit))
		return false;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
		free += mbc_popcount(mbc_load_acquire(&r.line->word[w]));
	c->whole[MB_BASE] += free;
	c->used += MBC_LINE_FRAMES - free;
	return true;
}

/* One line that is split, and those below it. */
static void count_line(const struct mb_frames *f, unsigned level, uint64_t L, struct mb_frames_count *c)
{
	c->lines += level < MB_GIANT;
	if (level == MB_BASE && count_plain(f, L, c))
		return;
	for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
		struct word_states st;

		if ((L * MBC_LINE_WORDS + w) * MBC_WORD_BITS << (MB_LEVEL_SHIFT * level) >= f->capacity)
			return;
		states_of(f, level, L * MBC_LINE_WORDS + w, &st);
		count_word(level, &st, c);
		for (uint64_t m = st.split; m; m &= m - 1)
			count_line(f, level - 1, (L * MBC_LINE_WORDS + w) * MBC_WORD_BITS + mbc_lowest(m), c);
	}
}

void mb_frames_count(const struct mb_frames *f, struct mb_frames_count *out)
{
	*out = (struct mb_frames_count){.capacity = f->capacity};
	for (uint64_t L = 0; L < f->lines[MB_GIANT]; L++)
		count_line(f, MB_GIANT, L, out);
	out->free = out->whole[MB_BASE];
	out->offline = out->capacity - out->free - out->holes - out->used;
}
