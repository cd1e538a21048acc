# Sourced by the scripts beside it: one node or several of the system under test on loopback, and checks that count.
#
#   SCRIPT.sh [cordwood|kafka] [SECTION...]
#
# cordwood runs $CORDWOOD (default bin/cordwood) on free ports with empty data directories; kafka runs Apache Kafka
# itself, which must pass the same checks. $SHARED (default ../shared beside the checkout) has kafka.sh, which says where
# Kafka's jars are. $WORK keeps every output; it is removed after a run without a failure unless it was given.
set -uo pipefail
clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd); root=$(cd "$clients/../.." && pwd)
SHARED=${SHARED:-$root/../shared}; kafka=$SHARED/peers/kafka/kafka.sh
CORDWOOD=${CORDWOOD:-$root/bin/cordwood}
system=${1:-cordwood}; [ $# -gt 0 ] && shift
keep=${WORK:-}; WORK=${WORK:-$(mktemp -d)}; mkdir -p "$WORK"
nodes=(); checks=0; failures=0; at=""; out=$WORK/none

case $system in cordwood|kafka) ;; *) echo "usage: $0 [cordwood|kafka] [SECTION...]" >&2; exit 2 ;; esac

# start_node [KEY=VALUE...]: one node; sets bootstrap, and data to its directory
start_node() { start_cluster 1 "$@"; data=${dirs[1]}; }

# start_cluster N [KEY=VALUE...]: nodes 1 to N, broker and controller each; sets addrs and dirs by node, bootstrap to addrs[1]
start_cluster() {
  local n=$1 port=${PORT:-29392} i; shift
  if [ "$system" = kafka ]; then
    local jars; jars=$("$kafka" classpath) || exit
    mkdir -p "$WORK/peer"; ln -sfn "${jars%/\*}" "$WORK/peer/lib"; export KAFKA_PEER=$WORK/peer
    "$kafka" start -n "$n" -p "$port" -m "${HEAP:-512m}" "$@" || exit
    for i in $(seq 1 "$n"); do addrs[i]=127.0.0.1:$((port + i - 1)); dirs[i]=$WORK/peer/node-$i/data; nodes[i]=kafka; done
    bootstrap=${addrs[1]}
    return
  fi
  settings=(cordwood.http.listener=none group.initial.rebalance.delay.ms=0)
  if [ "$n" -gt 1 ]; then  # they must know each other's ports before they have them
    until port=$((20000 + RANDOM % 10000)) && ! taken "$port" $((2 * n)); do :; done
    local voters; voters=$(for i in $(seq 1 "$n"); do echo "$i@127.0.0.1:$((port + n + i - 1))"; done | paste -sd,)
    settings+=("controller.quorum.voters=$voters" default.replication.factor=3 min.insync.replicas=2)
  fi
  settings+=("$@")
  for i in $(seq 1 "$n"); do
    dirs[i]=$WORK/data-$i; listen[i]=PLAINTEXT://127.0.0.1:0
    [ "$n" = 1 ] || listen[i]=PLAINTEXT://127.0.0.1:$((port + i - 1)),CONTROLLER://127.0.0.1:$((port + n + i - 1))
    spawn "$i"
  done
  for i in $(seq 1 "$n"); do serving "$i"; done
  bootstrap=${addrs[1]}
}

taken() { local p; for p in $(seq "$1" $(($1 + $2 - 1))); do (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null && return 0; done; return 1; }

spawn() {  # NODE: starts its process
  local arguments=() kv
  for kv in node.id="$1" listeners="${listen[$1]}" "${settings[@]}"; do arguments+=(--override "$kv"); done
  rm -f "$WORK/ports-$1"
  "$CORDWOOD" serve --data-dir "${dirs[$1]}" --port-file "$WORK/ports-$1" "${arguments[@]}" >>"$WORK/cordwood-$1.log" 2>&1 &
  nodes[$1]=$!
}

serving() {  # NODE: waits until it serves
  for _ in $(seq 1 300); do
    [ -s "$WORK/ports-$1" ] && break
    kill -0 "${nodes[$1]}" 2>/dev/null || { echo "broker $1 ended:" >&2; tail -5 "$WORK/cordwood-$1.log" >&2; exit 1; }
    sleep 0.1
  done
  addrs[$1]=$(grep -oE '"PLAINTEXT":"127\.0\.0\.1:[0-9]+' "$WORK/ports-$1" | grep -oE '127.*')
  [ -n "${addrs[$1]}" ] || { echo "broker $1 did not serve within 30 s" >&2; exit 1; }
}

# node NODE start|stop|kill: one node of a cluster; stop waits
node() {
  if [ "$system" = kafka ]; then env -u JDK_JAVA_OPTIONS "$kafka" node "$1" "$2"; return; fi
  case $2 in
    start) spawn "$1"; serving "$1" ;;
    stop) kill "${nodes[$1]}" && wait "${nodes[$1]}" ;;
    kill) kill -9 "${nodes[$1]}" && wait "${nodes[$1]}" 2>/dev/null ;;
  esac
}

stop_node() {  # all of them, cleanly
  [ ${#nodes[@]} -gt 0 ] || return 0
  if [ "$system" = kafka ]; then nodes=(); "$kafka" stop; return; fi
  local rc=0 pid
  for pid in "${nodes[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${nodes[@]}"; do wait "$pid" || rc=$?; done
  nodes=(); return $rc
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
  grep -avE '^NOTE: Picked up|^Picked up|WARN .*Connection to node .* could not be established' "$out.all" >"$out"; rm -f "$out.all"
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
