/* SPDX-License-Identifier: MIT */
/* drain.c - frames that leave. */
#include "drain.h"

#include "state.h"

/* Takes of word W what is to leave, and marks it as gone. */
static void swallow(struct mb_frames *f, unsigned level, uint64_t W)
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
			return;
	} while (!mbc_cas_seq(word, &v, v & ~gone));
	mbc_and_seq(m.online, ~gone);
	mbc_and_seq(m.drain, ~gone);
}

void mbc_settle_free(struct mb_frames *f, struct mbc_slot *s, unsigned level, uint64_t W)
{
	struct mbc_ref r = mbc_pin(f, s, level, W / MBC_LINE_WORDS);

	if (!r.block)
		return;
	if (mbc_has(&r.block->special, r.bit))
		swallow(f, level, W);
	mbc_unpin(f, s);
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
		mbc_or_seq(&r.block->drain, r.bit);
		mbc_or_seq(&r.block->special, r.bit);
	} else {
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++) {
			uint64_t W = L * MBC_LINE_WORDS + w;

			mbc_or_seq(mbc_online_at(f, level, W), MBC_FULL);
			mbc_or_seq(mbc_drain_at(f, level, W), MBC_FULL);
		}
		mbc_or_seq(&r.block->special, r.bit);
		for (unsigned w = 0; w < MBC_LINE_WORDS; w++)
			swallow(f, level, L * MBC_LINE_WORDS + w);
	}
	mbc_unpin(f, s);
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
