/* SPDX-License-Identifier: MIT */
/* state.c - what became of a frame. */
#include "state.h"

struct mbc_edge *mbc_edge_find(const struct mb_frames *f, uint64_t L)
{
	struct mbc_edge *edge = (struct mbc_edge *)mbc_at(f, f->off_edges);

	for (unsigned n = 0; n < f->edges; n++)
		if (mbc_load_acquire(&edge[n].line) == L + 1)
			return &edge[n];
	return NULL;
}

bool mbc_masks_get(const struct mb_frames *f, unsigned level, uint64_t W, struct mbc_masks *out)
{
	struct mbc_ref r = mbc_ref_get(f, level, W / MBC_LINE_WORDS);
	struct mbc_edge *edge;

	if (!r.block || !mbc_has(&r.block->special, r.bit))
		return false;
	if (level > 0) {
		*out = (struct mbc_masks){mbc_online_at(f, level, W), mbc_drain_at(f, level, W)};
		return true;
	}
	if (!mbc_has(&r.block->ragged, r.bit))
		return false;
	edge = mbc_edge_find(f, r.L);
	if (!edge)
		return false;
	*out =
	    (struct mbc_masks){&edge->online.word[W % MBC_LINE_WORDS], &edge->drain.word[W % MBC_LINE_WORDS]};
	return true;
}

bool mbc_is_online(const struct mb_frames *f, unsigned level, uint64_t X)
{
	struct mbc_masks m;

	/* the topmost masks always hold: a line that nobody added has none of them set */
	if (level == MB_GIANT)
		return mbc_has(mbc_online_at(f, level, X / MBC_WORD_BITS), mbc_bit(X));
	return !mbc_masks_get(f, level, X / MBC_WORD_BITS, &m) || mbc_has(m.online, mbc_bit(X));
}

bool mbc_is_draining(const struct mb_frames *f, unsigned level, uint64_t X)
{
	struct mbc_masks m;
	struct mbc_ref r = mbc_ref_get(f, level, X / MBC_LINE_FRAMES);

	if (!r.block || !mbc_has(&r.block->special, r.bit))
		return false;
	if (level == 0 && mbc_has(&r.block->drain, r.bit))
		return true;
	return mbc_masks_get(f, level, X / MBC_WORD_BITS, &m) && mbc_has(m.drain, mbc_bit(X));
}

uint64_t mbc_home_mask(const struct mb_frames *f, struct mbc_ref r, unsigned w)
{
	uint64_t home;

	if (r.level != 0 || !f->in_band || !mbc_has(&r.block->host, r.bit))
		return 0;
	home = ((uintptr_t)r.block - (uintptr_t)f) >> f->base_shift;
	return home / MBC_WORD_BITS == r.L * MBC_LINE_WORDS + w ? mbc_bit(home) : 0;
}

static bool bit_is_set(struct mbc_ref r, uint64_t X)
{
	return mbc_has(&r.line->word[X / MBC_WORD_BITS % MBC_LINE_WORDS], mbc_bit(X));
}

/* One level-0 frame, whose huge frame is split and online. */
static int check_base(const struct mb_frames *f, struct mbc_ref r, uint64_t X)
{
	if (!mbc_is_online(f, MB_BASE, X))
		return -MBC_ENXIO;
	if (mbc_home_mask(f, r, X / MBC_WORD_BITS % MBC_LINE_WORDS) & mbc_bit(X))
		return -MBC_ENXIO;
	if (bit_is_set(r, X))
		return mbc_has(&r.block->drain, r.bit) ? -MBC_ENXIO : -MBC_EALREADY;
	return 0;
}

static int check_used(const struct mb_frames *f, unsigned level, uint64_t X)
{
	uint64_t giant = X >> (MB_LEVEL_SHIFT * (MB_GIANT - level));
	uint64_t huge = level == MB_BASE ? X >> MB_LEVEL_SHIFT : X;
	struct mbc_ref top = mbc_ref_get(f, MB_GIANT, giant / MBC_LINE_FRAMES);
	struct mbc_ref r = mbc_ref_get(f, MB_HUGE, giant);

	if (!mbc_is_online(f, MB_GIANT, giant))
		return -MBC_ENXIO;
	if (bit_is_set(top, giant))
		return -MBC_EALREADY;
	if (level == MB_GIANT)
		return !mbc_is_split(r) || mbc_has(&r.block->owned, r.bit) ? 0 : -MBC_ENOENT;
	if (!mbc_is_split(r) || mbc_has(&r.block->owned, r.bit))
		return -MBC_ENOENT;
	if (!mbc_is_online(f, MB_HUGE, huge))
		return -MBC_ENXIO;
	if (bit_is_set(r, huge))
		return -MBC_EALREADY;
	r = mbc_ref_get(f, MB_BASE, huge);
	if (level == MB_HUGE)
		return !mbc_is_split(r) || mbc_owned_pool(f) ? 0 : -MBC_ENOENT;
	return mbc_is_split(r) ? check_base(f, r, X) : -MBC_ENOENT;
}

int mbc_check_used(const struct mb_frames *f, unsigned level, uint64_t X)
{
	uint64_t begun;
	int rc;

	do {
		begun = mbc_look_begin(f);
		rc = check_used(f, level, X);
	} while (mbc_look_again(f, begun));
	return rc;
}
