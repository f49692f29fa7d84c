/* SPDX-License-Identifier: MIT */
/*
 * recover.h - a slot whose thread was killed at any instruction; pools with owners only.
 *
 * Its journal (intent.h) names all that may be half done. For each frame named there is one question, whether
 * it is nobody's, and for each line another, whether the dead slot has `held` of it. The living go on
 * meanwhile, so the answers come from a judge (judge.c); what follows from them is done by the core's own
 * operations, by the slot of whoever recovers:
 *
 *   a frame that is nobody's    is freed. So a split that was cut gives its words back one by one, and the last
 *                               one merges the line; a merge that was cut likewise; a free is completed
 *   `held` that is the dead's   is cleared, and the line published or merged, as if it had been left
 *   a line that is named        gets its part bit and its place in the tree, if something in it is free
 *   a run of holes              is put back as it was
 *
 * The judge is right. Suppose that a frame x has its bit clear and is in the hand or the record of somebody
 * alive during the judgement (so it is wrong to free it), and let the judge have looked at the bit, the
 * intents, the records and the intents again, in this order, and have found nothing, and `disturbed` unchanged.
 *
 *  1. At the first look x was recorded or named by a living slot (intent.h, fact 1).
 *  2. If named: at the second look it was not, so that intent was retired in between. Its slot looked at
 *     `judging` before: either it saw that x is judged and counted up `disturbed`, against the assumption; or
 *     its change of the truth, and for an allocation the record, came before the judgement began. The latter
 *     for a free would have set the bit. So x was recorded.
 *  3. If recorded: at the third look it was not, so an intent to free it was set in between. At the fourth look
 *     it was not there (any more), so it was retired; its slot changed the truth after the judgement began, saw
 *     that x is judged, and counted up `disturbed` before. Against the assumption.
 *
 * A frame that is nobody's stays so: nobody can take it, since its bit is clear, nor free it. So the answer
 * stays right until it is acted upon. Two dead slots may name the same frame: the first to be recovered frees
 * it, and for the second it is then free, or somebody's.
 */
#ifndef MBC_RECOVER_H
#define MBC_RECOVER_H

#include "line.h"

struct mbc_court {
	struct mb_frames *f;
	struct mbc_slot *mine; /* whoever recovers */
	struct mbc_slot *dead;
	mb_recorded_fn *recorded;
	void *arg;
	struct mb_recovery *out;
	bool again; /* somebody alive stood in the way */
};

/* Those frames of a mask in word W (level 2: one frame) that are nobody's. */
uint64_t mbc_judge_frames(struct mbc_court *c, unsigned level, uint64_t W, uint64_t mask);
/* Giant frame L is allocated whole, and recorded in part only: is that the work of the dead? */
bool mbc_judge_part(struct mbc_court *c, uint64_t L);
/* Has the dead slot `held` of line L of level 1? */
bool mbc_judge_held(struct mbc_court *c, uint64_t L);

/* Completes or undoes what the slot c->dead was in the middle of, and closes it. */
int mbc_recover_slot(struct mbc_court *c);
/* Frees what of giant frame L is nobody's. */
void mbc_recover_giant(struct mbc_court *c, uint64_t L);
/* Frees those frames of a mask in word W of level 1 that are nobody's. */
void mbc_recover_huge(struct mbc_court *c, uint64_t W, uint64_t mask);
/* A line's hints may be half made. */
void mbc_recover_line(struct mbc_court *c, unsigned level, uint64_t L);

#endif
