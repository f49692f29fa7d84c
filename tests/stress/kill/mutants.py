#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
mutants.py - leaves an intent out of a copy of one of the core's sources, so that kill-core can show that it finds
what is lost then.

    mutants.py NAME CORE OUT       writes the copy of the source in folder CORE
    mutants.py --run PROGRAM...    each (kill-core-NAME) must find that something is lost in its case

Where the place is not found any more the copy stays as it is; its test fails then.
"""
import os
import subprocess
import sys

# name: (source, case, what is there, what is put there)
MUTANTS = {
    'got': ('line.c', 'alloc from the held word',
            '			mbc_intend_got(f, s, r.level, got->W, got->mask);\n', ''),
    'split': ('line.c', 'alloc by splitting',
              'mbc_deed_begin(f, s, MBC_DEED_SPLIT, L)', 'MBC_DEEDS - 1'),
    'merge': ('line.c', 'free, and merge',
              'mbc_deed_begin(f, s, MBC_DEED_MERGE, r.L)', 'MBC_DEEDS - 1'),
    'hand': ('intent.c', "alloc from a line that is nobody's",
             '		mbc_store_release(&j->line[at], name);\n	return at;\n', '		return MBC_NO_HAND;\n	return at;\n'),
    'free': ('free.c', 'free',
             '	retire = mbc_intend_free(f, s, level, X);\n',
             '	retire = true;\n	mbc_intend_none(f, s);\n'),
    'leave': ('drain.c', 'drain a range',
              '		mbc_intend_gone(f, s, level, W, gone);\n', ''),
    'add': ('range.c', 'add a range, in part',
            '''		add_piece(f, s, p);
		x = p.next;
		mbc_range_reach(f, &f->range_at, x);
''',
            '''		x = p.next;
		mbc_range_reach(f, &f->range_at, x);
		add_piece(f, s, p);
'''),
    'remove': ('remove.c', 'remove a range',
               '			mbc_range_reach(f, &f->range_at, x);\n', ''),
    'tree': ('recover.c', 'free into a full line',
             '		mbc_part_set(f, r);\n', '		(void)r;\n'),
}


def write(name, core, out):
    source, _, old, new = MUTANTS[name]
    with open(f'{core}/{source}', encoding='utf-8') as f:
        text = f.read()
    if text.count(old) != 1:
        print(f'mutants.py: {name}: the place in {source} has changed', file=sys.stderr)
    with open(out, 'w', encoding='utf-8') as f:
        f.write(text.replace(old, new) if text.count(old) == 1 else text)


def run(programs):
    missed = 0
    for program in programs:
        name = os.path.basename(program).removeprefix('kill-core-')
        case = MUTANTS[name][1]
        done = subprocess.run([program, '--only', case, '--deep', '0', '--real', '0'], check=False,
                              stdout=subprocess.PIPE, encoding='utf-8')
        if done.returncode == 77:
            print(done.stdout.strip())
            return 77
        found = done.returncode == 1 and 'FAILED' in done.stdout
        last = done.stdout.strip().splitlines()[-1:] or ['nothing was said']
        print(f'{name:<8} {"" if found else "NOT FOUND: "}{last[0]}')
        missed += not found
    return 1 if missed else 0


def main():
    if sys.argv[1:2] == ['--run']:
        sys.exit(run(sys.argv[2:]))
    write(*sys.argv[1:])


if __name__ == '__main__':
    main()
