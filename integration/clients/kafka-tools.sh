#!/usr/bin/env bash
# Kafka's own command-line tools and its Java client against one node: what they print is checked. make tools
# Needs a JDK 17 and Maven (for Kafka's jars). About two minutes. See lib.sh for the arguments; sections:
#   topics configs console groups offsets records logdirs versions perf verifiable java dump
. "$(dirname "$0")/lib.sh"
"$kafka" classpath >/dev/null || { echo "no Kafka jars" >&2; exit 1; }
start_node
export JDK_JAVA_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # short programs: the second compiler only costs

b=(--bootstrap-server "$bootstrap")
tool() { local name=$1 title=$2; shift 2; run "$name $title" "$kafka" tool "kafka-$name" "${b[@]}" "$@"; }
records() { seq "$1" "$2" | sed 's/.*/k&:v&/'; }
produce() {  # TOPIC FROM TO [ARGUMENTS]: records kN:vN
  local topic=$1 from=$2 to=$3; shift 3
  records "$from" "$to" >"$WORK/in"
  run "console-producer $topic" bash -c '"$@" <"$0"' "$WORK/in" "$kafka" tool kafka-console-producer "${b[@]}" --topic "$topic" --reader-property parse.key=true --reader-property key.separator=: "$@"
}

if section topics; then
  tool topics create --create --topic tools-a --partitions 3 --replication-factor 1; has '^Created topic tools-a\.$'; succeeds
  tool topics 'create again' --create --topic tools-a; has "Topic 'tools-a' already exists"
  tool topics 'create if not exists' --create --topic tools-a --if-not-exists; succeeds; lacks ERROR
  tool topics 'create by default' --create --topic tools-default; has '^Created topic'
  tool topics 'bad name' --create --topic 'tools!'; has "Topic name is invalid: 'tools!' contains one or more characters other than ASCII alphanumerics"
  tool topics 'colliding name' --create --topic tools_a.b; has '^Created topic'
  tool topics 'colliding name' --create --topic tools.a_b; has "collides with existing topic"
  tool topics 'too many replicas' --create --topic tools-many --replication-factor 3; has 'InvalidReplicationFactorException'
  tool topics 'no partitions' --create --topic tools-many --partitions 0; has 'must be greater than 0'
  tool topics assignment --create --topic tools-assigned --replica-assignment 1,1 --config cleanup.policy=compact,delete --config retention.ms=60000; has '^Created topic'
  tool topics 'unknown config' --create --topic tools-many --config bogus=1; has 'Unknown topic config name: bogus'
  tool topics 'bad config' --create --topic tools-many --config segment.bytes=1000; has 'Invalid value 1000 for configuration segment.bytes: Value must be at least 1048576'
  tool topics list --list; equals "$(printf '%s\n' tools-a tools-assigned tools-default tools_a.b)"
  tool topics describe --describe --topic tools-a
  has '^Topic: tools-a	TopicId: [A-Za-z0-9_-]{22}	PartitionCount: 3	ReplicationFactor: 1	Configs: '
  count 3 '^	Topic: tools-a	Partition: [012]	Leader: 1	Replicas: 1	Isr: 1	'
  tool topics 'describe assigned' --describe --topic tools-assigned; has 'PartitionCount: 2.*Configs:.*cleanup.policy=compact,delete' 'Configs:.*retention.ms=60000'
  tool topics 'describe all' --describe; count 4 'PartitionCount:'
  tool topics 'describe overrides' --describe --topics-with-overrides; has 'Topic: tools-assigned	'
  tool topics 'describe unavailable' --describe --unavailable-partitions; equals ''
  tool topics 'describe under-replicated' --describe --under-replicated-partitions; equals ''
  tool topics 'describe under min isr' --describe --under-min-isr-partitions; equals ''
  tool topics 'describe in pages' --describe --topic tools-a --partition-size-limit-per-response 1; count 3 '^	Topic: tools-a'
  tool topics 'describe unknown' --describe --topic tools-nope; has "Topic 'tools-nope' does not exist as expected"
  tool topics alter --alter --topic tools-a --partitions 5; succeeds; lacks ERROR
  tool topics 'alter down' --alter --topic tools-a --partitions 2; has 'InvalidPartitionsException: The topic tools-a currently has 5 partition\(s\); 2 would not be an increase'
  tool topics 'describe altered' --describe --topic tools-a; has 'PartitionCount: 5'; count 5 '	Leader: 1	'
  tool topics delete --delete --topic tools-default; succeeds
  tool topics 'delete by pattern' --delete --topic 'tools_.*'; succeeds
  tool topics 'delete unknown' --delete --topic tools-nope; has "does not exist as expected"
  tool topics 'list the rest' --list --exclude-internal; equals "$(printf '%s\n' tools-a tools-assigned)"
fi

if section configs; then
  tool topics create --create --topic tools-c --if-not-exists
  t=(--entity-type topics --entity-name tools-c)
  tool configs 'topic has none' "${t[@]}" --describe; equals 'Dynamic configs for topic tools-c are:'
  tool configs 'topic all' "${t[@]}" --describe --all
  has '^  cleanup.policy=delete sensitive=false synonyms=\{DEFAULT_CONFIG:log.cleanup.policy=delete\}' '^  retention.ms=604800000 ' '^  max.message.bytes=1048588 sensitive=false synonyms=\{DEFAULT_CONFIG:message.max.bytes=1048588\}'
  tool configs 'topic add' "${t[@]}" --alter --add-config 'retention.ms=1000000,segment.bytes=2097152,cleanup.policy=[compact,delete]'; has '^Completed updating config for topic tools-c\.$'
  tool configs 'topic describe' "${t[@]}" --describe; has '^  retention.ms=1000000 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:retention.ms=1000000' '^  segment.bytes=2097152 ' '^  cleanup.policy=compact,delete '
  tool configs 'topic delete' "${t[@]}" --alter --delete-config retention.ms,cleanup.policy; has '^Completed'
  tool configs 'topic describe' "${t[@]}" --describe; has '^  segment.bytes=2097152 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:segment.bytes=2097152, DEFAULT_CONFIG:log.segment.bytes=1073741824\}'; lacks retention.ms
  tool configs 'topic bad value' "${t[@]}" --alter --add-config retention.ms=x; has 'InvalidConfigurationException: Invalid value x for configuration retention.ms: Not a number of type LONG'
  tool configs 'topic unknown key' "${t[@]}" --alter --add-config bogus=1; has 'InvalidConfigurationException: Unknown topic config name: bogus'
  tool configs 'unknown topic' --entity-type topics --entity-name tools-nope --describe; has "The topic 'tools-nope' doesn't exist"
  tool configs 'unknown topic' --entity-type topics --entity-name tools-nope --alter --add-config retention.ms=1; has "UnknownTopicOrPartitionException"
  tool configs 'broker default add' --entity-type brokers --entity-default --alter --add-config log.retention.ms=123456789; has '^Completed updating default config for brokers in the cluster\.$'
  tool configs 'broker default describe' --entity-type brokers --entity-default --describe; has '^  log.retention.ms=123456789 sensitive=false synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=123456789\}'
  tool configs 'topic inherits' "${t[@]}" --describe --all; has '^  retention.ms=123456789 sensitive=false synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=123456789'
  tool configs 'broker default delete' --entity-type brokers --entity-default --alter --delete-config log.retention.ms; has '^Completed'
  n=(--entity-type brokers --entity-name 1)
  tool configs 'broker add' "${n[@]}" --alter --add-config log.segment.bytes=2000000; has '^Completed updating config for broker 1\.$'
  tool configs 'broker describe' "${n[@]}" --describe; has '^  log.segment.bytes=2000000 sensitive=false synonyms=\{DYNAMIC_BROKER_CONFIG:log.segment.bytes=2000000, DEFAULT_CONFIG:log.segment.bytes=1073741824\}'
  tool configs 'broker delete' "${n[@]}" --alter --delete-config log.segment.bytes; has '^Completed'
  tool configs 'broker describe' "${n[@]}" --describe; equals 'Dynamic configs for broker 1 are:'
  tool configs 'broker all' "${n[@]}" --describe --all; has '^  broker.rack=null ' '^  node.id=1 sensitive=false synonyms=\{STATIC_BROKER_CONFIG:node.id=1' '^  log.segment.bytes=1073741824 '
  tool configs 'broker read-only' "${n[@]}" --alter --add-config process.roles=broker; has 'Cannot update these configs dynamically: (\[|Set\()process.roles'
  tool configs 'client quota add' --entity-type clients --entity-name tools --alter --add-config producer_byte_rate=1000000; has '^Completed updating config for client tools'
  tool configs 'client quota describe' --entity-type clients --entity-name tools --describe; has "client-id 'tools' are producer_byte_rate=1000000.0"
  tool configs 'client quota delete' --entity-type clients --entity-name tools --alter --delete-config producer_byte_rate; has '^Completed'
  tool configs 'client metrics add' --entity-type client-metrics --entity-name tools --alter --add-config metrics=a,interval.ms=1000; has '^Completed'
  tool configs 'client metrics describe' --entity-type client-metrics --entity-name tools --describe; has '^  interval.ms=1000 '
  tool configs 'group add' --entity-type groups --entity-name tools-g --alter --add-config consumer.session.timeout.ms=50000
  lacks 'UnsupportedVersion|UNKNOWN_SERVER'
fi

if section console; then
  tool topics create --create --topic tools-console --partitions 2
  for codec in none gzip snappy lz4 zstd; do produce tools-console 1 100 --compression-codec "$codec"; succeeds; lacks 'ERROR|WARN'; done
  produce tools-console 1 10 --producer-property acks=1 --producer-property enable.idempotence=false; succeeds
  tool console-consumer all --topic tools-console --from-beginning --max-messages 510 --timeout-ms 10000 --formatter-property print.key=true --formatter-property print.offset=true --formatter-property print.partition=true
  has '^Processed a total of 510 messages$'; count 5 '	k77	v77$'; has '^Partition:[01]	Offset:[0-9]+	k1	v1$'
  tool console-consumer 'partition and offset' --topic tools-console --partition 0 --offset 3 --max-messages 1 --timeout-ms 10000 --formatter-property print.offset=true; has '^Offset:3	v'
  tool console-consumer latest --topic tools-console --partition 0 --offset latest --timeout-ms 1500; has '^Processed a total of 0 messages$'
  tool console-consumer 'read committed' --topic tools-console --from-beginning --isolation-level read_committed --max-messages 510 --timeout-ms 10000; has '^Processed a total of 510 messages$'
  tool console-consumer group --topic tools-console --group tools-console-group --from-beginning --max-messages 510 --timeout-ms 10000; has '^Processed a total of 510 messages$'
  tool console-consumer 'group again' --topic tools-console --group tools-console-group --timeout-ms 3000; has '^Processed a total of 0 messages$'
  produce tools-console 900 901
  tool console-consumer 'group goes on' --topic tools-console --group tools-console-group --max-messages 2 --timeout-ms 10000; has '^v900$' '^v901$'
  produce tools-auto 1 3; succeeds
  tool console-consumer 'automatic topic' --topic tools-auto --from-beginning --max-messages 3 --timeout-ms 10000; has '^v1$' '^v2$' '^v3$' '^Processed a total of 3 messages$'
fi

if section groups; then
  tool topics create --create --topic tools-g --partitions 2
  produce tools-g 1 50; g=(--group tools-group)
  tool console-consumer tools-g --topic tools-g "${g[@]}" --from-beginning --max-messages 50 --timeout-ms 10000; has 'total of 50'
  c=consumer-groups
  tool $c list --list; has '^tools-group$'
  tool $c 'list states' --list --state; has '^tools-group +Empty'
  tool $c 'list stable' --list --state stable; lacks tools-group
  tool $c 'list types' --list --type; has '^tools-group +Classic'
  tool groups list --list; has '^tools-group +Classic +consumer'
  tool $c describe --describe "${g[@]}"; has "^Consumer group 'tools-group' has no active members"; count 2 '^tools-group +tools-g +[01] +([0-9]+) +[0-9]+ +0 +- +- +-'
  tool $c state --describe "${g[@]}" --state; has "^tools-group +$bootstrap +\(1\) +- +Empty +0"
  tool $c members --describe "${g[@]}" --members --verbose; has 'has no active members'
  tool $c 'all groups' --describe --all-groups; has '^tools-group +tools-g'
  tool $c unknown --describe --group tools-none; has 'GroupIdNotFoundException: Group tools-none not found'
  reset() { local title=$1; shift; tool $c "reset $title" --reset-offsets "${g[@]}" "$@"; }
  reset 'dry run' --topic tools-g --to-earliest --dry-run; count 2 '^tools-group +tools-g +[01] +0$'
  reset 'not yet' --topic tools-g --to-current --dry-run; lacks '^tools-group +tools-g +[01] +0$'
  reset earliest --topic tools-g --to-earliest --execute; count 2 '^tools-group +tools-g +[01] +0$'
  reset offset --topic tools-g:0 --to-offset 7 --execute; has '^tools-group +tools-g +0 +7$'
  reset shift --all-topics --shift-by 2 --execute; has '^tools-group +tools-g +0 +9$' '^tools-group +tools-g +1 +2$'
  reset 'shift below' --topic tools-g --shift-by -100 --execute; count 2 '^tools-group +tools-g +[01] +0$'
  reset 'offset beyond' --topic tools-g:1 --to-offset 100000 --dry-run; lacks ' 100000$'
  reset datetime --topic tools-g --to-datetime 2020-01-01T00:00:00.000 --execute; count 2 '^tools-group +tools-g +[01] +0$'
  reset duration --topic tools-g --by-duration PT1H --execute; count 2 '^tools-group +tools-g +[01] +0$'
  reset 'future' --topic tools-g --to-datetime 2099-01-01T00:00:00.000 --dry-run; lacks ' 0$'
  reset current --topic tools-g --to-current --export --dry-run; count 2 '^tools-g,[01],0$'
  printf 'tools-g,0,4\ntools-g,1,5\n' >"$WORK/reset.csv"
  reset file --from-file "$WORK/reset.csv" --execute; has '^tools-group +tools-g +0 +4$' '^tools-group +tools-g +1 +5$'
  reset latest --all-topics --to-latest --execute
  tool $c 'after latest' --describe "${g[@]}"; count 2 '^tools-group +tools-g +[01] +([0-9]+) +[0-9]+ +0 '
  tool $c 'a new group' --reset-offsets --group tools-new --topic tools-g --to-earliest --execute; count 2 '^tools-new +tools-g +[01] +0$'
  tool $c 'delete offsets' --delete-offsets "${g[@]}" --topic tools-g:0; has 'Request succeeded' '^tools-g +0 +Successful'
  tool $c 'after delete offsets' --describe "${g[@]}"; has '^tools-group +tools-g +1'; lacks '^tools-group +tools-g +0'
  "$kafka" tool kafka-console-consumer "${b[@]}" --topic tools-g --group tools-live >/dev/null 2>&1 & live=$!
  for _ in $(seq 1 20); do tool $c 'live group' --describe --group tools-live; grep -q 'console-consumer-' "$out" && break; sleep 0.5; done
  count 2 '^tools-live +tools-g +[01] .*console-consumer-.* /127.0.0.1 +console-consumer'
  tool $c 'live members' --describe --group tools-live --members --verbose; has '^tools-live +console-consumer-.*/127.0.0.1 .* 2 .*tools-g:0,1|tools-g\(0,1\)'
  tool $c 'live state' --describe --group tools-live --state; has '^tools-live .* range +Stable +1'
  tool $c 'reset of a live group' --reset-offsets --group tools-live --topic tools-g --to-earliest --execute; has 'Assignments can only be reset if the group .* is inactive'
  tool $c 'delete of a live group' --delete --group tools-live; has 'GroupNotEmptyException'
  tool $c 'delete offsets of a live group' --delete-offsets --group tools-live --topic tools-g; has 'GroupSubscribedToTopicException|subscribed'
  kill "$live" 2>/dev/null; wait "$live" 2>/dev/null
  tool $c delete --delete "${g[@]}"; has "Deletion of requested consumer groups \('tools-group'\) was successful"
  tool $c 'delete again' --delete "${g[@]}"; has 'GroupIdNotFoundException'
  tool $c 'list without' --list; lacks '^tools-group$'
fi

if section offsets; then
  tool topics create --create --topic tools-o --partitions 1
  produce tools-o 1 20; produce tools-o 21 40 --compression-codec lz4
  offset() { tool get-offsets "$1" --topic tools-o --time "$1"; if [ "$2" = - ]; then equals ''; else equals "tools-o:0:$2"; fi; }
  for x in -1 latest; do offset $x 40; done
  for x in -2 earliest -4 earliest-local; do offset $x 0; done
  for x in -5 latest-tiered; do offset $x -; done
  tool get-offsets max-timestamp --topic tools-o --time -3; has '^tools-o:0:[0-9]+$'
  tool get-offsets max-timestamp --topic tools-o --time max-timestamp; has '^tools-o:0:[0-9]+$'
  offset 1000 0
  offset 4000000000000 -
  tool get-offsets partitions --topic-partitions 'tools-o:0-1'; equals tools-o:0:40
  tool get-offsets pattern --topic 'tools-.*' --exclude-internal-topics; has '^tools-o:0:40$'
  tool topics create --create --topic tools-empty
  tool get-offsets empty --topic tools-empty --time -3; equals ''
fi

if section records; then
  tool topics create --create --topic tools-r --partitions 2
  produce tools-r 1 60
  tool get-offsets before --topic tools-r; end=$(sed -n 's/tools-r:1://p' "$out")
  echo '{"version":1,"partitions":[{"topic":"tools-r","partition":0,"offset":10},{"topic":"tools-r","partition":1,"offset":-1}]}' >"$WORK/delete.json"
  tool delete-records both --offset-json-file "$WORK/delete.json"; has 'partition: tools-r-0	low_watermark: 10' "partition: tools-r-1	low_watermark: $end"
  tool get-offsets after --topic tools-r --time earliest; equals "$(printf 'tools-r:0:10\ntools-r:1:%s' "$end")"
  tool console-consumer 'after deletion' --topic tools-r --partition 0 --offset earliest --max-messages 1 --timeout-ms 10000 --formatter-property print.offset=true; has '^Offset:10	'
  echo '{"version":1,"partitions":[{"topic":"tools-r","partition":0,"offset":100000}]}' >"$WORK/delete.json"
  tool delete-records beyond --offset-json-file "$WORK/delete.json"; has 'OffsetOutOfRangeException'
fi

if section logdirs; then
  tool topics create --create --topic tools-l --partitions 2
  produce tools-l 1 100
  tool log-dirs describe --describe --topic-list tools-l
  has '^Received log directory information from brokers 1$' '"broker":1,' "\"logDir\":\"$data\"" '"partition":"tools-l-0","size":[1-9][0-9]*,"offsetLag":0,"isFuture":false' '"partition":"tools-l-1"' '"error":null'
  tool log-dirs 'describe all' --describe --broker-list 1; has 'tools-l-0'
fi

if section versions; then
  tool broker-api-versions all; has "^$bootstrap \(id: 1 rack: null isFenced: false\) -> \(" 'Produce\(0\): 0 to 13 \[usable: 13\]' 'Fetch\(1\): 4 to 1[78]' 'Metadata\(3\): 0 to 13'
  tool cluster id cluster-id; run 'cluster cluster-id' "$kafka" tool kafka-cluster cluster-id "${b[@]}"; has '^Cluster ID: [A-Za-z0-9_-]{22}$'
  run 'cluster list-endpoints' "$kafka" tool kafka-cluster list-endpoints "${b[@]}"; has "^1 +127.0.0.1 +${bootstrap#*:} +null +unfenced +broker"
  tool reassign-partitions list --list; has 'No partition reassignments found'
  tool features describe describe; has '^Feature: metadata.version' '^Feature: kraft.version'
fi

if section perf; then
  tool topics create --create --topic tools-p --partitions 4
  for codec in none zstd; do
    run "producer-perf-test $codec" "$kafka" tool kafka-producer-perf-test --topic tools-p --num-records 20000 --record-size 200 --throughput -1 --bootstrap-server "$bootstrap" --command-property compression.type=$codec
    has '^20000 records sent, .* ms max latency'
  done
  tool consumer-perf-test all --topic tools-p --num-records 40000 --timeout 20000; succeeds; has ', 40000, '
  run e2e-latency "$kafka" tool kafka-e2e-latency --bootstrap-server "$bootstrap" --topic tools-p --num-records 200 --producer-acks all --record-size 100; has '^Avg latency: ' '^Percentiles: '
fi

if section verifiable; then
  tool topics create --create --topic tools-v --partitions 3
  tool verifiable-producer 2000 --topic tools-v --max-messages 2000 --throughput -1 --acks -1; count 2000 '"name":"producer_send_success"'; has '"acked":2000'
  tool verifiable-consumer 2000 --topic tools-v --group-id tools-v --max-messages 2000 --reset-policy earliest --enable-autocommit; has '"name":"partitions_assigned"' '"name":"records_consumed"'
fi

rolls=3000
if section java; then
  run 'java client' java -Xmx512m -Dlog4j2.configurationFile="$SHARED/peers/kafka/log4j2-tools.yaml" -cp "$("$kafka" classpath)" "$clients/KafkaClient.java" "$bootstrap" $rolls
  succeeds; has '^ok java-rolls holds 15000 records' '^ok all of them come back'; lacks '^FAILED|Exception'
  grep -aE '^(ok|FAILED)' "$out" | sed 's/^/   /'
fi

# dump NAME PATTERN ARGUMENTS: Kafka's dump tool on some files of java-rolls
dump() { local title=$1 files; shift; files=$(ls "$data"/java-rolls-0/*."$1" | paste -sd,); shift; run "dump-log $title" "$kafka" tool kafka-dump-log "$@" --files "$files"; }
check_dump() {
  local segments; segments=$(ls "$data"/java-rolls-0/*.log | wc -l)
  at="dump-log $1"; if [ "$segments" -ge 4 ]; then passed 'several segments'; else failed "$segments segments"; fi
  dump "$1 log" log --deep-iteration; succeeds; count 15000 '^\| offset: '; lacks 'isvalid: false|Exception|Found|not found|[Ii]nvalid|[Mm]ismatch'
  for codec in none gzip snappy lz4 zstd; do has "compresscodec: $codec .*isvalid: true"; done
  dump "$1 print" log --print-data-log; count 15000 ' payload: '
  for index in index timeindex; do
    dump "$1 $index" $index; has '^(offset|timestamp): '; lacks 'Exception|Mismatches|[Nn]ot found|Found|[Ii]nvalid'
    dump "$1 $index verify" $index --verify-index-only; succeeds; lacks 'Exception|Mismatches|[Nn]ot found|Found'
  done
  dump "$1 index sanity" index --index-sanity-check; count "$(ls "$data"/java-rolls-0/*.index | wc -l)" 'passed sanity check'
  dump "$1 snapshot" snapshot; has '^producerId: [0-9]+ producerEpoch: 0 coordinatorEpoch: -1 currentTxnFirstOffset: OptionalLong.empty lastTimestamp: [0-9]+ firstSequence: [0-9]+ lastSequence: [0-9]+ lastOffset: '; lacks Exception
}
if section dump; then
  [ -d "$data/java-rolls-0" ] || { echo "dump needs the section java" >&2; exit 2; }
  check_dump serving
  at='clean stop'; if stop_node >"$WORK/stop.txt" 2>&1; then passed 'exit code 0'; else failed "exit code $?"; fi
  check_dump stopped
  dump 'stopped timeindex sanity' timeindex --index-sanity-check; count "$(ls "$data"/java-rolls-0/*.timeindex | wc -l)" 'passed sanity check'
  files=$(find "$data" -path '*__consumer_offsets-*.log' -size +0 | paste -sd,)
  run 'dump-log offsets' "$kafka" tool kafka-dump-log --offsets-decoder --files "$files"
  has 'key: \{"type":"1","data":\{"group":"java-rolls","topic":"java-rolls","partition":0\}\} payload: \{"version":"[0-9]","data":\{"offset":15000' 'key: \{"type":"2","data":\{"group":"java-group-Range"\}\} payload: \{"version":"[0-9]+","data":\{"protocolType":"consumer","generation":'
  lacks 'Exception|isvalid: false'
fi
summary
