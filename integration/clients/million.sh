#!/usr/bin/env bash
# A million records of 1 KB with every codec, through `cordwood dev`, `cordwood produce` and `cordwood consume`: count
# and checksum must be equal on both sides. Usage: million.sh [COUNT]; CORDWOOD is the binary (default bin/cordwood).
set -euo pipefail
count=${1:-1000000}
bin=$(realpath "${CORDWOOD:-bin/cordwood}")
work=$(mktemp -d)
cd "$work"
"$bin" dev >dev.log 2>&1 &
pid=$!
trap 'kill $pid 2>/dev/null; wait $pid 2>/dev/null; rm -rf "$work"' EXIT
for _ in $(seq 200); do "$bin" topic list >/dev/null 2>&1 && break; sleep 0.05; done
sum() { sed -n 's/.*"checksum": *"\{0,1\}\([^",}]*\).*/\1/p; s/.*"records": *\([0-9]*\).*/\1/p' | sort | paste -sd' '; }
for codec in none gzip snappy lz4 zstd; do
  began=$(date +%s.%N)
  in=$("$bin" produce "million-$codec" -z "$codec" --count "$count" --size 1024 --format json 2>/dev/null)
  half=$(date +%s.%N)
  out=$("$bin" consume "million-$codec" -o start:end --checksum --format json 2>/dev/null)
  ended=$(date +%s.%N)
  a=$(sum <<<"$in") b=$(sum <<<"$out")
  printf '%-7s produced %s  consumed %s  (%.1f s, %.1f s)\n' "$codec" "$a" "$b" "$(bc <<<"$half-$began")" "$(bc <<<"$ended-$half")"
  [ -n "$a" ] && [ "$a" = "$b" ] && grep -qw "$count" <<<"$a" || { echo "$codec: not equal"; echo "$in"; echo "$out"; exit 1; }
  "$bin" topic delete "million-$codec" >/dev/null 2>&1 || true
done
echo "all equal"
