#!/bin/sh
# SPDX-License-Identifier: MIT
# check-imports.sh LIBRARY - A1: the core's objects import nothing but one another.
set -eu
nm=${NM:-nm}
undefined=$("$nm" "$1" | awk '$1 == "U" { print $2 }' | sort -u)
defined=$("$nm" "$1" | awk 'NF == 3 { print $3 }' | sort -u)
status=0
for symbol in $undefined; do
	case $symbol in
	__asan_*|__ubsan_*|__tsan_*|__sanitizer_*|__gcov_*|__llvm_*)
		echo "built with instrumentation ($symbol): nothing to see here"
		exit 77
		;;
	_GLOBAL_OFFSET_TABLE_)
		continue
		;;
	esac
	if ! echo "$defined" | grep -qx "$symbol"; then
		echo "the core imports $symbol"
		status=1
	fi
done
[ $status = 0 ] && echo "the core imports nothing"
exit $status
