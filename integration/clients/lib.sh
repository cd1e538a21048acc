# Sourced by the scripts beside it: one node of the system under test on loopback, and checks that count.
#
#   SCRIPT.sh [cordwood|kafka] [SECTION...]
#
# cordwood runs $CORDWOOD (default bin/cordwood) on a free port with an empty data directory; kafka runs Apache Kafka
# itself, which must pass the same checks. $SHARED (default ../shared beside the checkout) has kafka.sh; $KAFKA_PEER
# is where its jars are. $WORK keeps every output; it is removed after a run without a failure unless it was given.
set -uo pipefail
clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); root=$(cd "$clients/../.." && pwd)
SHARED=${SHARED:-$root/../shared}; kafka=$SHARED/peers/kafka/kafka.sh
export KAFKA_PEER=${KAFKA_PEER:-/var/tmp/kafka-peer}
CORDWOOD=${CORDWOOD:-$root/bin/cordwood}
system=${1:-cordwood}; [ $# -gt 0 ] && shift
keep=${WORK:-}; WORK=${WORK:-$(mktemp -d)}; mkdir -p "$WORK"
jars=$KAFKA_PEER
node=0; checks=0; failures=0; at=""; out=$WORK/none

case $system in cordwood|kafka) ;; *) echo "usage: $0 [cordwood|kafka] [SECTION...]" >&2; exit 2 ;; esac

# start_node [KEY=VALUE...]: sets bootstrap and data
start_node() {
  if [ "$system" = kafka ]; then
    "$kafka" classpath >/dev/null || exit
    local port=${PORT:-29392}
    mkdir -p "$WORK/peer"; ln -sfn "$jars/lib" "$WORK/peer/lib"; export KAFKA_PEER=$WORK/peer
    "$kafka" start -p "$port" -m "${HEAP:-512m}" "$@" || exit
    bootstrap=127.0.0.1:$port; data=$WORK/peer/node-1/data
    return
  fi
  data=$WORK/data
  local arguments=() kv
  for kv in node.id=1 listeners=PLAINTEXT://127.0.0.1:0 cordwood.http.listener=none group.initial.rebalance.delay.ms=0 "$@"; do arguments+=(--override "$kv"); done
  "$CORDWOOD" serve --data-dir "$data" --port-file "$WORK/ports" "${arguments[@]}" >>"$WORK/cordwood.log" 2>&1 &
  node=$!
  for _ in $(seq 1 300); do
    [ -s "$WORK/ports" ] && break
    kill -0 $node 2>/dev/null || { echo "the broker ended:" >&2; tail -5 "$WORK/cordwood.log" >&2; exit 1; }
    sleep 0.1
  done
  bootstrap=$(grep -oE '127\.0\.0\.1:[0-9]+' "$WORK/ports" | head -1)
  [ -n "$bootstrap" ] || { echo "the broker did not serve within 30 s" >&2; exit 1; }
}

stop_node() {
  if [ "$system" = kafka ]; then "$kafka" stop; return; fi
  [ "$node" = 0 ] && return
  kill "$node" && wait "$node"; local rc=$?
  node=0; return $rc
}

finish() {
  local rc=$?
  stop_node >/dev/null 2>&1
  if [ "$failures" -gt 0 ] || [ $rc -ne 0 ]; then echo "outputs are in $WORK"; exit 1; fi
  [ -n "$keep" ] || rm -rf "$WORK"
  exit $rc
}
trap finish EXIT

# run NAME COMMAND...: its output, with errors, goes to $out; the checks after it look there
run() {
  at=$1; shift
  out=$WORK/$(printf '%03d' "$checks")-${at//[^a-zA-Z0-9]/-}.txt
  timeout "${LIMIT:-120}" "$@" >"$out.all" 2>&1; status=$?
  grep -avE '^NOTE: Picked up|^Picked up' "$out.all" >"$out"; rm -f "$out.all"
  return 0
}

passed() { checks=$((checks + 1)); [ -z "${VERBOSE:-}" ] || echo "ok   $at: $1"; }
failed() { checks=$((checks + 1)); failures=$((failures + 1)); echo "FAIL $at: $1"; head -c 1500 "$out" | sed 's/^/     | /'; }

has() { for r; do if grep -aqE -- "$r" "$out"; then passed "has $r"; else failed "no line matches $r"; fi; done; }
lacks() { for r; do if grep -aqE -- "$r" "$out"; then failed "a line matches $r"; else passed "lacks $r"; fi; done; }
count() { local n; n=$(grep -acE -- "$2" "$out"); if [ "$n" = "$1" ]; then passed "$1 times $2"; else failed "$n lines match $2, not $1"; fi; }
equals() { if [ "$(cat "$out")" = "$1" ]; then passed "as expected"; else failed "is not: $1"; fi; }
succeeds() { if [ "$status" = 0 ]; then passed "exit code 0"; else failed "exit code $status"; fi; }

# section NAME: whether it is wanted
wanted=("$@")
section() { [ ${#wanted[@]} = 0 ] || [[ " ${wanted[*]} " == *" $1 "* ]] || return 1; echo "== $1"; }
summary() { echo "$checks checks on $system, $failures failed"; [ "$failures" = 0 ]; }
