#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""
check-facts.py CORE TESTS - each numbered fact in the core's sources is cited by a test, as "line.h 2, 3" or "facts 2
and 3 of line.h"; and none is cited that is not there.
"""
import os
import re
import sys

NUMBERS = r'(\d(?:(?:, | and | to )\d)*)'


def numbers(text):
    found = {int(n) for n in re.findall(r'\d', text)}
    for a, b in re.findall(r'(\d) to (\d)', text):
        found |= set(range(int(a), int(b) + 1))
    return found


def read(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        # a citation may go on in the next line of a comment
        return f.read()


def facts(core):
    found = {}
    for name in sorted(os.listdir(core)):
        if name.endswith(('.c', '.h')):
            text = read(os.path.join(core, name))
            found[name] = {int(n) for n in re.findall(r'^ \* +(?:Fact )?([1-9])[.:] ', text, re.M)}
    return {name: nums for name, nums in found.items() if nums}


def citations(tests, names):
    cited = {name: {} for name in names}
    name = '(' + '|'.join(re.escape(n) for n in names) + ')'
    for directory, _, files in os.walk(tests):
        for file in sorted(files):
            if not file.endswith(('.c', '.h', '.pml')):
                continue
            path = os.path.join(directory, file)
            text = re.sub(r'\n\s*\*? ?', ' ', read(path))
            hits = [(m[1], m[2]) for m in re.finditer(name + r',? (?:facts? )?' + NUMBERS, text)]
            hits += [(m[2], m[1]) for m in re.finditer(r'[Ff]acts? ' + NUMBERS + ' of ' + name, text)]
            for source, which in hits:
                for n in numbers(which):
                    cited[source].setdefault(n, path)
    return cited


def main():
    core, tests = sys.argv[1:]
    known = facts(core)
    cited = citations(tests, known)
    bad = 0
    for name, nums in known.items():
        for n in sorted(nums | set(cited[name])):
            if n not in nums:
                print(f'{name}: there is no fact {n}, which {cited[name][n]} cites')
            elif n not in cited[name]:
                print(f'{name}: no test cites fact {n}')
            else:
                print(f'{name} {n}: {os.path.relpath(cited[name][n], tests)}')
                continue
            bad += 1
    return 1 if bad or not known else 0


if __name__ == '__main__':
    sys.exit(main())
