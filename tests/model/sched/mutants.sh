#!/bin/sh
# SPDX-License-Identifier: MIT
# mutants.sh - each of the programs given must find the defect that its core has.
failed=0
for program in "$@"; do
	name=${program##*/test-sched-}
	if out=$("$program" --mutant 2>&1); then
		printf '%-18s %s\n' "$name" "$(printf '%s\n' "$out" | grep FAILED)"
	else
		printf '%-18s NOT FOUND: %s\n' "$name" "$(printf '%s\n' "$out" | tail -n 1)"
		failed=1
	fi
done
exit $failed
