#!/bin/sh
# Runs every fuzz target of the module, one after another, for so long each (default 60s), and fails if one finds
# something. What a target finds is in its package's testdata/fuzz; commit it together with the fix.
#
#	integration/fuzz.sh [TIME [PACKAGE...]]
#
# An input that reaches new code is not made smaller for longer than half a second: without that bound it takes the whole minute.
#
# Example: integration/fuzz.sh 15s ./protocol/...
set -u
cd "$(dirname "$0")/.."
length=${1:-60s}
[ $# -gt 0 ] && shift
[ $# -gt 0 ] || set -- ./...

failed=0 count=0
for package in $(go list "$@"); do
	listed=$(go test -list '^Fuzz' "$package") || {
		echo "$listed" >&2
		failed=$((failed + 1))
		continue
	}
	for target in $(echo "$listed" | grep '^Fuzz'); do
		count=$((count + 1))
		if out=$(go test -run '^$' -fuzz "^$target\$" -fuzztime "$length" -fuzzminimizetime 500ms "$package" 2>&1); then
			echo "ok    $package $target: $(echo "$out" | grep -o 'execs: [0-9]*' | tail -1)"
		else
			failed=$((failed + 1))
			echo "FAIL  $package $target"
			echo "$out" | tail -40
		fi
	done
done
echo "$count fuzz targets, $length each, $failed failed"
[ "$failed" -eq 0 ] && [ "$count" -gt 0 ]
