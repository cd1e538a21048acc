#!/usr/bin/env bash
# kcat (librdkafka) against one node: produce with each codec, consume, list, offsets by time. make kcat. Seconds.
# See lib.sh for the arguments; sections: list codecs consume query group
. "$(dirname "$0")/lib.sh"
command -v kcat >/dev/null || { echo "kcat is not installed" >&2; exit 1; }
start_node num.partitions=2
LIMIT=30
k() { local title=$1; shift; run "kcat $title" kcat -b "$bootstrap" -m 10 "$@"; }
put() { local title=$1; shift; run "kcat $title" bash -c 'kcat -m 10 -b "$0" "$@" <"$IN"' "$bootstrap" "$@"; succeeds; }
export IN=$WORK/in

if section list; then
  k 'empty list' -L; has '^ 1 brokers:$' "^  broker 1 at ${bootstrap} \(controller\)$"
  seq 3 >"$IN"; put 'automatic topic' -P -t kcat-auto
  k list -L -t kcat-auto; has '^  topic "kcat-auto" with 2 partitions:$'; count 2 'partition [01], leader 1, replicas: 1, isrs: 1$'
  k 'list as JSON' -L -J -t kcat-auto; has '"partitions":\[\{"partition":0,"leader":1,"replicas":\[\{"id":1\}\],"isrs":\[\{"id":1\}\]\}'
fi

if section codecs; then
  for codec in none gzip snappy lz4 zstd; do
    seq 2000 | sed 's/.*/k&:value-& of a record with a text that can be compressed/' >"$IN"
    put "produce $codec" -P -t "kcat-$codec" -K : -z "$codec" -X acks=all
    k "consume $codec" -C -t "kcat-$codec" -e -q -K :
    if diff <(sort "$IN") <(sort "$out") >/dev/null; then passed 'all records'; else failed 'the records are not those produced'; fi
  done
  seq 2000 | sed 's/.*/idempotent-&/' >"$IN"
  put idempotent -P -t kcat-idempotent -p 0 -z lz4 -X enable.idempotence=true -X linger.ms=1
  k 'consume idempotent' -C -t kcat-idempotent -p 0 -e -q; equals "$(cat "$IN")"
  put 'without an acknowledgement' -P -t kcat-acks0 -p 0 -X acks=0
  k 'consume acks=0' -C -t kcat-acks0 -p 0 -c 2000 -q; equals "$(cat "$IN")"
fi

if section consume; then
  printf 'a:1\nb:\n:3\n' >"$IN"; put 'nulls and headers' -P -t kcat-shape -p 0 -K : -Z -H one=1 -H two=2 -H empty=
  k 'nulls and headers' -C -t kcat-shape -p 0 -e -q -Z -f '%t %p %o %K %k %S %s %h\n'
  equals "$(printf '%s\n' 'kcat-shape 0 0 1 a 1 1 one=1,two=2,empty=' 'kcat-shape 0 1 1 b -1 NULL one=1,two=2,empty=' 'kcat-shape 0 2 -1 NULL 1 3 one=1,two=2,empty=')"
  seq 0 99 >"$IN"; put hundred -P -t kcat-hundred -p 0
  k 'from an offset' -C -t kcat-hundred -p 0 -o 42 -c 1 -q; equals 42
  k 'from the end' -C -t kcat-hundred -p 0 -o -5 -e -q; equals "$(seq 95 99)"
  k 'from the beginning' -C -t kcat-hundred -p 0 -o beginning -c 3 -q; equals "$(seq 0 2)"
  k 'read committed' -C -t kcat-hundred -p 0 -e -q -X isolation.level=read_committed; equals "$(seq 0 99)"
fi

if section query; then
  seq 10 >"$IN"; before=$(date +%s%3N); put 'before the pause' -P -t kcat-query -p 0
  sleep 0.2; between=$(date +%s%3N); sleep 0.2
  put 'after the pause' -P -t kcat-query -p 0
  k beginning -Q -t kcat-query:0:-2; equals 'kcat-query [0] offset 0'
  k end -Q -t kcat-query:0:-1; equals 'kcat-query [0] offset 20'
  k before -Q -t "kcat-query:0:$before"; equals 'kcat-query [0] offset 0'
  k between -Q -t "kcat-query:0:$between"; equals 'kcat-query [0] offset 10'
  k future -Q -t kcat-query:0:4000000000000; equals 'kcat-query [0] offset -1'
  k 'consume between' -C -t kcat-query -p 0 -o "s@$between" -e -q; equals "$(seq 10)"
  k 'consume until' -C -t kcat-query -p 0 -o "s@$before" -o "e@$between" -e -q; equals "$(seq 10)"
fi

if section group; then
  seq 500 >"$IN"; put produce -P -t kcat-group
  k 'group reads all' -q -X auto.offset.reset=earliest -e -G kcat-group kcat-group
  if diff <(sort "$IN") <(sort "$out") >/dev/null; then passed 'all records'; else failed 'the records are not those produced'; fi
  k 'group has read' -q -X auto.offset.reset=earliest -e -G kcat-group kcat-group; equals ''
  seq 501 600 >"$IN"; put 'produce more' -P -t kcat-group
  k 'group goes on' -q -X auto.offset.reset=earliest -e -G kcat-group kcat-group
  if diff <(sort "$IN") <(sort "$out") >/dev/null; then passed 'the new records'; else failed 'not just the new records'; fi
fi
summary
