#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
mutate.py - puts a defect into a copy of one of the core's sources, so that the scheduled tests can show that
they find it.

    mutate.py NAME CORE OUT     writes the copy of the source in folder CORE
    mutate.py --list            prints NAME SOURCE of each

Where the place is not found any more the copy stays as it is and says so; its test fails then.
"""
import sys

# name: (source, what is there, what is put there, why it is wrong)
MUTANTS = {
    'split-late': (
        'line.c',
        '''	mbc_split_set_below(f, up, r);
	mbc_point(MBC_POINT_SPLIT_FILL);
	fill(f, s, r, n, got);
''',
        '''	fill(f, s, r, n, got);
	mbc_split_set_below(f, up, r);
''',
        'ones before split: a bit can be taken whose free is refused'),
    'merge-early': (
        'line.c',
        '''	if (!merge_take(r)) {
''',
        '''	mbc_and_seq(&r.block->split, ~r.bit);
	if (!merge_take(r)) {
		mbc_or_seq(&r.block->split, r.bit);
''',
        'split is cleared before the ones are taken'),
    'merge-no-settle': (
        'line.c',
        '''		if (mbc_has(&r.block->special, r.bit))
			mbc_settle_line(f, s, r);
		return false;
''',
        '''		return false;
''',
        'a merge that fails gives back what is to leave, without a look at the marks'),
    'merge-mark-stays': (
        'line.c',
        '''	mbc_split_clear(r);
	/* who drains may have marked it in between; who marks it from now on sees that it is no more */
	mbc_settle_merge(f, r);
''',
        '''	mbc_split_clear(r);
''',
        'a mark that was set while the line was merged stays for the next one'),
    'drain-mark-stays': (
        'drain.c',
        '''		if (marked)
			break;
''',
        '''		marked = true;
		break;
''',
        'a mark that was set after the line was merged stays for the next one'),
    'drain-online-first': (
        'drain.c',
        '''		mbc_and_seq(m.drain, ~gone);
		mbc_and_seq(m.online, ~gone);
''',
        '''		mbc_and_seq(m.online, ~gone);
		mbc_and_seq(m.drain, ~gone);
''',
        'what has left is offline before its mark is gone'),
    'drain-gone-early': (
        'drain.c',
        '''	if (!rc && !n && !mbc_owned_pool(f))
		n = count_lingering(f, first.n, first.n + count);
''',
        '''	(void)count_lingering;
''',
        'base frames count as offline while their line is still there'),
    'drain-split-keeps': (
        'drain.c',
        '''		mbc_slots_drop_line(f, s, level, L);
		return;
''',
        '''		return;
''',
        'a slot goes on to allocate from a line that is to leave'),
    'drain-giant-mark': (
        'drain.c',
        '''		if (!forget_late_mark(r))
			break;
''',
        '''		(void)forget_late_mark;
		break;
''',
        'the same as drain-mark-stays of a giant frame'),
    'merge-no-undo': (
        'line.c',
        '''			merge_undo(r, w);
			return false;
''',
        '''			merge_undo(r, 0);
			return false;
''',
        'a merge that fails keeps what it took'),
    'merge-no-look': (
        'line.c',
        '''	} while (!done && mbc_is_split(r) && mbc_line_is_full(f, r) && !mbc_point(MBC_POINT_MERGE_WORD));
''',
        '''	} while (0);
''',
        'the last free came while a merge had some words: nobody merges'),
    'leave-no-look': (
        'line.c',
        '''	mbc_and_seq(&r.block->held, ~r.bit);
	/* mostly it is left because nothing is left in it */
	if (!mbc_line_is_empty(r) && !(mbc_line_is_full(f, r) && mbc_merge(f, s, r)) && mbc_line_usable(r) &&
	    !mbc_line_is_empty(r) && !mbc_has(&r.block->held, r.bit))
		mbc_part_set(f, r);
''',
        '''	bool any = mbc_line_usable(r) && !mbc_line_is_empty(r);

	mbc_and_seq(&r.block->held, ~r.bit);
	if (!(mbc_line_is_full(f, r) && mbc_merge(f, s, r)) && any && !mbc_has(&r.block->held, r.bit))
		mbc_part_set(f, r);
''',
        'leaving reads the words before it clears held: fact 5'),
    'move-store': (
        'line.c',
        '''	old = mbc_swap_seq(&s->at[level], W);
''',
        '''	old = mbc_load_seq(&s->at[level]);
	mbc_store_relaxed(&s->at[level], W);
''',
        'at[] is not exchanged: two leave the line that it named'),
    'part-no-look': (
        'hint.c',
        '''		if (below(f, level, t, n)) {
			mbc_or_seq(word, mbc_bit(n));
			return;
		}
''',
        '''		(void)below(f, level, t, n);
''',
        'clearing a bit of the tree without the second look below it'),
    'free-no-settle': (
        'free.c',
        '''	if (f->in_band || mbc_leaves_perhaps(f, level, X))
		mbc_settle_free(f, s, level, X / MBC_WORD_BITS);
''',
        '',
        'freeing does not look whether the frame is to leave'),
    'vanish-no-guard': (
        'inband.c',
        '''!guarded(f, s, mbc_block_of(r.L)) &&''',
        '''(guarded(f, s, mbc_block_of(r.L)) || true) &&''',
        'a block vanishes while somebody looks into it'),
    'vanish-no-undo': (
        'inband.c',
        '''	vanish_undo(f, r, w, home);
''',
        '''	vanish_undo(f, r, 0, home);
''',
        'a block that does not vanish after all keeps what was taken'),
    'take-no-order': (
        'take.c',
        '''		if (mbc_cas_seq(word, &v, v & ~mask))
			return true;
''',
        '''		return mbc_store_release(word, v & ~mask), true;
''',
        'a frame is taken by a store'),
    'holes-split-first': (
        'holes.c',
        '''		mbc_or_seq(&up.block->owned, up.bit);
		mbc_or_seq(&up.block->split, up.bit);
''',
        '''		mbc_or_seq(&up.block->split, up.bit);
		mbc_or_seq(&up.block->owned, up.bit);
''',
        'a line of an owner looks like one of the pool for a moment'),
    'fill-home': (
        'line.c',
        '''	uint64_t v = host ? MBC_FULL & ~mbc_home_mask(f, r, 0) : MBC_FULL;
''',
        '''	uint64_t v = MBC_FULL;
''',
        'the frame that an in-band block lies in is handed out'),
    'vanish-no-split': (
        'inband.c',
        '''	    mbc_load_seq(&r.block->split) == r.bit && mbc_load_seq(&r.block->held) == r.bit &&
''',
        '''	    mbc_load_seq(&r.block->held) == r.bit &&
''',
        'a block vanishes of which another line was split meanwhile'),
    'drop-keeps-place': (
        'line.c',
        '''	if (old != MBC_NONE) {
		mbc_slot_aim_nowhere(whose, level);
''',
        '''	if (old != MBC_NONE) {
''',
        'a slot goes on to allocate from a line that was taken away'),
    'front-forgotten': (
        'free.c',
        '''		mbc_front_to_ring(f, s, level);
''',
        '''		mbc_store32_relaxed(&s->back[level], 0);
''',
        'the line in front is forgotten when another one comes there'),
    'front-not-flushed': (
        'ring.c',
        '''	mbc_front_to_ring(f, s, level);
	for (uint32_t k = 0; k < size; k++) {
''',
        '''	for (uint32_t k = 0; k < size; k++) {
''',
        'a slot that closes forgets the line in front of its ring'),
    'front-not-looked': (
        'find.c',
        '''for (uint32_t e = first; e <= last; e++) {''',
        '''for (uint32_t e = first; e < last; e++) {''',
        'who lacks memory does not look at what other slots have in front'),
    'front-two': (
        'alloc.c',
        '''	now = v & (v - 1);
''',
        '''	now = 0;
''',
        'a word in front is taken as one frame, and has two'),
    'judge-no-living': (
        'judge.c',
        '''	named = named_by_living(c, level, W);
	rest = unrecorded(c, level, W, used & ~named);
	named |= named_by_living(c, level, W);
''',
        '''	named = 0;
	rest = unrecorded(c, level, W, used & ~named);
''',
        'the judge asks the records only: what is in the hand of the living looks lost'),
    'judge-not-disturbed': (
        'judge.c',
        '''	if (used_of(f, level, W, rest) != rest || mbc_load_seq(&f->disturbed) != disturbed)
		return false;
''',
        '''	(void)disturbed;
''',
        'the judge takes a mixture of moments for one'),
    'judge-held-no-at': (
        'judge.c',
        '''at = at_names(c, L);

		hand''',
        '''at = (at_names(c, L), false);

		hand''',
        'the judge of held does not ask who allocates from the line'),
    'judge-held-no-hand': (
        'judge.c',
        '''			if (mbc_load_seq(&j->line[n]) == name)
				return true;
''',
        '''			(void)j, (void)name;
''',
        'the judge of held does not ask who has the line in hand'),
    'judge-held-disturbed': (
        'judge.c',
        '''		       (ours && mbc_load_seq(&c->f->disturbed) == disturbed && mbc_has(&r.block->held, r.bit));
''',
        '''		       (ours && (disturbed | 1));
''',
        'the judge of held takes a mixture of moments for one'),
    'judge-part-mine': (
        'judge.c',
        '''		ours = used_giant(f, W, mbc_bit(L)) && !(named_by_living(c, MB_GIANT, W) & mbc_bit(L));
		n = recorded_in_giant(c, L);
		ours = ours && n > 0 && n < MBC_LINE_FRAMES && !(named_by_living(c, MB_GIANT, W) & mbc_bit(L));
''',
        '''		ours = used_giant(f, W, mbc_bit(L)) && n > 0 && n < MBC_LINE_FRAMES;
''',
        'a giant frame whose records the living writes looks like the work of the dead'),
    'notice-nothing': (
        'intent.c',
        '''	if (judging && judging - 1 - first < count)
		mbc_add_seq(&f->disturbed, 1);
''',
        '''	(void)judging, (void)first, (void)count;
''',
        'nobody tells the judge that he was disturbed'),
    'recover-held-unjudged': (
        'recover.c',
        '''mbc_has(&r.block->held, r.bit) && mbc_judge_held(c, L))''',
        '''mbc_has(&r.block->held, r.bit))''',
        'recovery takes held away from whoever has it'),
    'recover-no-hands': (
        'recover.c',
        '''		if (name && (name & 0xff) < MB_LEVELS)''',
        '''		if (name == MBC_NONE)''',
        'recovery forgets the lines that were in hand'),
    'recover-no-gone': (
        'recover.c',
        '''		recover_gone(c);
''',
        '''		(void)recover_gone;
''',
        'recovery forgets what was leaving'),
    'recover-no-deeds': (
        'recover.c',
        '''		recover_deeds(c);
''',
        '''		(void)recover_deeds;
''',
        'recovery forgets splits and merges'),
    'recover-no-holes': (
        'recover.c',
        '''		mbc_holes_undo(c->f, first, many, what == MBC_WHAT_HOLES_ADD);
''',
        '''''',
        'recovery leaves holes half made'),
    'recover-range-lost': (
        'recover_range.c',
        '''		mbc_range_give_back(f, s, first, mbc_load_relaxed(&f->range_at), end);
''',
        '''''',
        'recovery forgets what a removal had taken'),
}

# What finds it, to be tried first. Any other scenario may, too.
SCENARIO = {
    'drain-giant-mark': 'drain-giant',
    'drain-gone-early': 'drain-gone',
    'drain-mark-stays': 'drain-last',
    'drain-online-first': 'drain-again',
    'drain-split-keeps': 'drain-split',
    'drop-keeps-place': 'take-drop',
    'free-no-settle': 'drain-giant',
    'holes-split-first': 'holes',
    'fill-home': 'block-two',
    'front-forgotten': 'front-move',
    'front-not-flushed': 'front-close',
    'front-not-looked': 'front-taken',
    'front-two': 'front',
    'judge-held-disturbed': 'dead-held',
    'judge-held-no-at': 'dead-alloc',
    'judge-held-no-hand': 'dead-alloc',
    'judge-part-mine': 'dead-part',
    'judge-no-living': 'dead-batch',
    'judge-not-disturbed': 'dead-judge',
    'notice-nothing': 'dead-judge',
    'recover-held-unjudged': 'dead-alloc',
    'recover-no-deeds': 'dead-split',
    'recover-no-gone': 'dead-leaving',
    'recover-no-hands': 'dead-alloc',
    'recover-no-holes': 'dead-holes',
    'recover-range-lost': 'dead-remove',
    'leave-no-look': 'alloc-free',
    'merge-early': 'drain-merge',
    'merge-mark-stays': 'drain-last',
    'merge-no-look': 'free-free',
    'merge-no-settle': 'drain-giant',
    'merge-no-undo': 'free-free',
    'move-store': 'take-drop',
    'part-no-look': 'vanish-alloc',
    'split-late': 'stale-split',
    'take-no-order': 'take-alloc',
    'vanish-no-guard': 'vanish-part',
    'vanish-no-split': 'block-part',
    'vanish-no-undo': 'vanish-alloc',
}


def main():
    if sys.argv[1:] == ['--list']:
        for name, (source, _, _, why) in MUTANTS.items():
            print(name, source, why)
        return
    name, core, out = sys.argv[1:]
    source, old, new, why = MUTANTS[name]
    with open(f'{core}/{source}', encoding='utf-8') as f:
        text = f.read()
    applied = text.count(old) == 1
    if applied:
        text = text.replace(old, new)
    else:
        print(f'mutate.py: {name}: the place in {source} has changed', file=sys.stderr)
    with open(out, 'w', encoding='utf-8') as f:
        f.write(text)
        f.write(f'\n/* {why} */\nint sched_mutant_applied(void);\n')
        f.write(f'int sched_mutant_applied(void)\n{{\n\treturn {int(applied)};\n}}\n')
        f.write(f'const char *sched_mutant_scenario(void);\n')
        f.write(f'const char *sched_mutant_scenario(void)\n{{\n\treturn "{SCENARIO.get(name, "")}";\n}}\n')


if __name__ == '__main__':
    main()
