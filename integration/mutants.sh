#!/usr/bin/env bash
# Breaks one rule of the bug zoo after another and demands that the tests notice.
#
#   integration/mutants.sh [z21 z26 ...]        without arguments: every rule that can be broken
#
# A file that begins with "//go:build z21" breaks rule Z21 when the tag is set. For each tag the tests named after the
# rule (TestZ21...; where a package has none, all its tests) must pass without the tag, and one must fail with it: a rule
# whose breach nobody notices is not tested. A mutant that does not compile counts as not noticed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# Rules that must stay breakable, so that a deleted mutant is noticed as well.
required="z1 z2 z3 z4 z5 z6 z7 z8 z9 z10 z11 z12 z13 z14 z15 z16 z17 z18 z19 z20 z21 z22 z25 z26 z27 z28 z29 z30 z31 z32 z33 z34 z35 z36 z37 z38"
log=$(mktemp) && trap 'rm -f "$log"' EXIT

breakable=$(grep -rhoE --include='*.go' '^//go:build z[0-9]+$' . | awk '{print $2}' | sort -uV)
tags=${*:-$breakable}
missing=$(comm -23 <(tr ' ' '\n' <<<"$required" | sort) <(sort <<<"$breakable"))
bad=0
if [ $# = 0 ] && [ -n "$missing" ]; then
  echo "no file breaks: $(paste -sd' ' <<<"$missing")"
  bad=1
fi
tests() {  # PACKAGE PATTERN ARGUMENTS...: the tests of a package named after a rule, or all of them
  local package=$1 pattern=$2; shift 2
  [ "$(go test -list "$pattern" "$package" 2>/dev/null | grep -c '^Test')" -gt 0 ] || pattern=.
  go test -count=1 -timeout 300s -run "$pattern" "$@" "$package"
}
for tag in $tags; do
  pattern="Z${tag#z}([^0-9]|\$)"
  packages=$({ grep -rlE --include='*.go' "^//go:build $tag\$" .; grep -rlE --include='*_test.go' "^func Test\w*$pattern" . | grep -v '^./integration/'; } |
    xargs -r -n1 dirname | sort -u)
  noticed=""
  for package in $packages; do
    if ! tests "$package" "$pattern" >"$log" 2>&1; then
      echo "$tag: the tests of $package fail although the rule is kept:"; grep -vE '^ok' "$log" | tail -20; bad=1
      continue
    fi
    tests "$package" "$pattern" -tags "$tag" >"$log" 2>&1
    grep -qE '^--- FAIL|^panic:' "$log" &&
      noticed+=" $package: $(grep -oE '^--- FAIL: \S+' "$log" | awk '{print $3}' | head -3 | paste -sd' ')"
  done
  if [ -n "$noticed" ]; then printf '%-4s noticed by%s\n' "$tag" "$noticed"; else
    echo "$tag: not noticed by $(paste -sd' ' <<<"$packages"):"; tail -5 "$log"; bad=1
  fi
done
exit $bad
