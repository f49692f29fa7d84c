#!/bin/sh
# SPDX-License-Identifier: MIT
# count-instructions.sh PROGRAM [ALLOC FREE] - A7: the common path takes less than 100 instructions (or at most so
# many), the uncommon one at most 1,000. Counted by callgrind, per call of the functions of count-instructions.c.
set -eu
if ! command -v valgrind >/dev/null || ! command -v callgrind_annotate >/dev/null; then
	echo "valgrind is not installed: nothing can be counted (apt-get install valgrind)"
	exit 77
fi
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
# Without debugging information, which not every valgrind can read (clang's DWARF 5); the symbols suffice.
objcopy --strip-debug "$1" "$out/program"
if ! valgrind --tool=callgrind --callgrind-out-file="$out/cg" "$out/program" 2>"$out/err"; then
	cat "$out/err"
	exit 1
fi
# The tree view has, for each function that was called: inclusive instructions, its name, and how often.
callgrind_annotate --inclusive=yes --threshold=100 --tree=calling "$out/cg" | tr -d , >"$out/tree"
status=0
check() { # function, most
	line=$(grep -E "> .*:$1 \([0-9]+x\)" "$out/tree" | head -n 1)
	if [ -z "$line" ]; then
		echo "$1: not found in the profile"
		status=1
		return
	fi
	total=$(echo "$line" | awk '{ print $1 }')
	calls=$(echo "$line" | sed -E 's/.*\(([0-9]+)x\).*/\1/')
	each=$((total / calls))
	echo "$1: $each instructions a call (at most $2)"
	[ "$each" -le "$2" ] || status=1
}
check common_alloc "${2:-99}"
check common_free "${3:-99}"
check uncommon_split_both 1000
check uncommon_split 1000
check uncommon_merge 1000
check uncommon_ring 1000
check uncommon_huge 1000
exit $status
