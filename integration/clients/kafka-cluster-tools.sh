#!/usr/bin/env bash
# Kafka's own administration tools against three nodes: what they print is checked, and what they do. make cluster-tools
# Needs a JDK 17 and Maven (for Kafka's jars). About four minutes. See lib.sh for the arguments; sections:
#   topics configs logdirs quorum reassign elect cluster
. "$(dirname "$0")/lib.sh"
"$kafka" classpath >/dev/null || { echo "no Kafka jars" >&2; exit 1; }
start_cluster 3 auto.create.topics.enable=false
export JDK_JAVA_OPTIONS="-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"  # short programs: the second compiler only costs

b=(--bootstrap-server "$(IFS=,; echo "${addrs[*]}")")
tool() { local name=$1 title=$2; shift 2; run "$name $title" "$kafka" tool "kafka-$name" "${b[@]}" "$@"; }
# until_has REGEX TOOL TITLE ARGUMENTS: repeats a tool until a line matches, for a minute
until_has() {
  local wanted=$1 end=$((SECONDS + 60)); shift
  while tool "$@"; ! grep -aqE -- "$wanted" "$out" && [ $SECONDS -lt $end ]; do sleep 0.5; done
  has "$wanted"
}
create() { tool topics "create $*" --create --topic "$@"; has '^Created topic'; }
# fill TOPIC RECORDS: of 10 kB
fill() { run "fill $1" "$kafka" tool kafka-producer-perf-test --topic "$1" --num-records "$2" --record-size 10000 --throughput -1 --bootstrap-server "$bootstrap" --command-property acks=all; has "^$2 records sent, .* ms max latency"; }
partition() { echo '	Topic: '"$1"'	Partition: '"$2"'	'; }
all_in_sync() {  # waits until no partition lacks a replica
  local end=$((SECONDS + 60))
  while tool topics 'under-replicated' --describe --under-replicated-partitions; [ -s "$out" ] && [ $SECONDS -lt $end ]; do sleep 0.5; done
  equals ''
}

if section topics; then
  create ct-a --partitions 6; create ct-two --partitions 3 --replication-factor 2
  create ct-assigned --replica-assignment 1:2,2:3,3:1
  tool topics describe --describe --topic ct-a
  has '^Topic: ct-a	TopicId: [A-Za-z0-9_-]{22}	PartitionCount: 6	ReplicationFactor: 3	Configs: .*min.insync.replicas=2'
  for i in 1 2 3; do count 2 "	Leader: $i	Replicas: $i,[123],[123]	Isr: [123],[123],[123]	"; done
  tool topics 'describe assigned' --describe --topic ct-assigned
  has "$(partition ct-assigned 0)Leader: 1	Replicas: 1,2	" "$(partition ct-assigned 1)Leader: 2	Replicas: 2,3	" "$(partition ct-assigned 2)Leader: 3	Replicas: 3,1	"
  tool topics 'too many replicas' --create --topic ct-many --replication-factor 4; has 'InvalidReplicationFactorException: Unable to replicate the partition 4 time\(s\): The target replication factor of 4 cannot be reached because only 3 broker\(s\) are registered'
  tool topics 'unknown broker' --create --topic ct-many --replica-assignment 1:9; has 'InvalidReplicaAssignmentException: The manual partition assignment includes broker 9, but no such broker is registered\.'
  tool topics 'a broker twice' --create --topic ct-many --replica-assignment 1:1; has 'contains? duplicate'
  tool topics 'uneven assignment' --create --topic ct-many --replica-assignment 1:2,3; has 'different replication factor|must have the same number of replicas|inconsistent'
  tool topics 'more partitions' --alter --topic ct-assigned --partitions 4 --replica-assignment 1:2,2:3,3:1,2:1; succeeds; lacks ERROR
  tool topics 'describe more' --describe --topic ct-assigned; has "$(partition ct-assigned 3)Leader: 2	Replicas: 2,1	"
  tool topics 'a partition on an unknown broker' --alter --topic ct-assigned --partitions 5 --replica-assignment 1:2,2:3,3:1,2:1,1:9; has 'InvalidReplicaAssignmentException'
  node 3 kill
  until_has "$(partition ct-two '[012]')" topics 'under-replicated' --describe --under-replicated-partitions --topic ct-two; lacks 'Isr: 3'
  until_has 'Isr: [12],[12]	' topics 'at min isr' --describe --at-min-isr-partitions --topic ct-a; count 6 '	Topic: ct-a'
  tool topics 'under min isr' --describe --under-min-isr-partitions --topic ct-two; has 'Topic: ct-two'; lacks 'Isr: [123],'
  tool topics unavailable --describe --unavailable-partitions; equals ''
  tool topics 'no leader is dead' --describe --topic ct-a; count 0 'Leader: 3	'
  tool topics 'a replica on a dead broker' --create --topic ct-dead --replica-assignment 1:3; has '^Created topic'
  tool topics 'too many for the living' --create --topic ct-rest; has 'InvalidReplicationFactorException|^Created topic'
  node 3 start; all_in_sync
  tool topics delete --delete --topic 'ct-.*'; succeeds
  tool topics list --list --exclude-internal; equals ''
fi

if section configs; then
  create ct-c --partitions 3
  tool configs 'cluster default add' --entity-type brokers --entity-default --alter --add-config log.retention.ms=123456789; has '^Completed updating default config for brokers in the cluster\.$'
  tool configs 'cluster default describe' --entity-type brokers --entity-default --describe; has '^  log.retention.ms=123456789 sensitive=false synonyms=\{DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=123456789\}'
  for i in 1 2 3; do
    tool configs "broker $i" --entity-type brokers --entity-name $i --describe --all; has '^  log.retention.ms=123456789 .*DYNAMIC_DEFAULT_BROKER_CONFIG' "^  node.id=$i .*STATIC_BROKER_CONFIG:node.id=$i" '^  min.insync.replicas=2 '
  done
  tool configs 'topic inherits' --entity-type topics --entity-name ct-c --describe --all; has '^  retention.ms=123456789 '
  tool configs 'broker 2 add' --entity-type brokers --entity-name 2 --alter --add-config log.segment.bytes=2000000,leader.replication.throttled.rate=0; has '^Completed updating config for broker 2\.$'
  tool configs 'broker 2 describe' --entity-type brokers --entity-name 2 --describe
  has '^  log.segment.bytes=2000000 .*synonyms=\{DYNAMIC_BROKER_CONFIG:log.segment.bytes=2000000' '^  leader.replication.throttled.rate=0 '
  tool configs 'broker 3 has none' --entity-type brokers --entity-name 3 --describe; equals 'Dynamic configs for broker 3 are:'
  tool configs 'every broker' --entity-type brokers --describe; has '^Dynamic configs for broker 1 are:$' '^Dynamic configs for broker 2 are:$' '^Dynamic configs for broker 3 are:$' '^Default configs for brokers in the cluster are:$'
  tool configs 'negative rate' --entity-type brokers --entity-name 2 --alter --add-config follower.replication.throttled.rate=-1; has 'InvalidConfigurationException|InvalidRequestException|ConfigException'
  tool configs 'unknown broker' --entity-type brokers --entity-name 9 --alter --add-config log.segment.bytes=2000000; lacks '^Completed'
  tool configs 'delete' --entity-type brokers --entity-name 2 --alter --delete-config log.segment.bytes,leader.replication.throttled.rate; has '^Completed'
  tool configs 'cluster default delete' --entity-type brokers --entity-default --alter --delete-config log.retention.ms; has '^Completed'
  t=(--entity-type topics --entity-name ct-c)
  tool configs 'throttled replicas' "${t[@]}" --alter --add-config 'leader.replication.throttled.replicas=[0:1,1:2],follower.replication.throttled.replicas=*'; has '^Completed'
  tool configs 'describe throttled replicas' "${t[@]}" --describe; has '^  leader.replication.throttled.replicas=0:1,1:2 ' '^  follower.replication.throttled.replicas=\* '
  tool configs 'bad throttled replicas' "${t[@]}" --alter --add-config 'leader.replication.throttled.replicas=x'; has 'InvalidConfigurationException'
  tool configs 'min isr' "${t[@]}" --alter --add-config min.insync.replicas=1; has '^Completed'
  tool configs 'describe min isr' "${t[@]}" --describe; has '^  min.insync.replicas=1 sensitive=false synonyms=\{DYNAMIC_TOPIC_CONFIG:min.insync.replicas=1'
fi

if section logdirs; then
  create ct-l --partitions 3; fill ct-l 100
  tool log-dirs describe --describe --topic-list ct-l
  has '^Received log directory information from brokers 1,2,3$' '"broker":1,' '"broker":2,' '"broker":3,' '"error":null'
  for i in 1 2 3; do has "\"logDir\":\"${dirs[i]}\""; done
  at='log-dirs three copies'; n=$(grep -aoE '"partition":"ct-l-[012]","size":[1-9][0-9]*,"offsetLag":0,"isFuture":false' "$out" | wc -l); if [ "$n" = 9 ]; then passed '9 logs'; else failed "$n logs, not 9"; fi
  tool log-dirs 'one broker' --describe --broker-list 2 --topic-list ct-l; has '^Received log directory information from brokers 2$'; lacks '"broker":1,'
  tool log-dirs 'unknown broker' --describe --broker-list 9; has 'do not exist: 9|not exist'
fi

if section quorum; then
  tool metadata-quorum status describe --status
  has '^ClusterId: +[A-Za-z0-9_-]{22}$' '^LeaderId: +[123]$' '^LeaderEpoch: +[1-9][0-9]*$' '^HighWatermark: +[1-9][0-9]*$' '^MaxFollowerLag: +[0-9]+$' '^MaxFollowerLagTimeMs: +[0-9]+$' '^CurrentVoters: +\[.*"id": 1,.*"id": 2,.*"id": 3,' 'CONTROLLER://127.0.0.1:[0-9]+' '^CurrentObservers: +\[\]$'
  tool metadata-quorum replication describe --replication
  has '^NodeId.*DirectoryId.*LogEndOffset.*Lag.*LastFetchTimestamp.*LastCaughtUpTimestamp.*Status'
  count 1 'Leader[ 	]*$'; count 2 'Follower[ 	]*$'; count 3 '^[123] *	'
  tool metadata-quorum 'human readable' describe --replication --human-readable; has 'ms ago'
  leader=$(sed -n 's/^\([123]\)[[:space:]].*Leader.*/\1/p' "$out"); other=$((leader % 3 + 1))
  node "$other" kill
  until_has '^MaxFollowerLagTimeMs: +[1-9][0-9]{3,}' metadata-quorum 'a follower is gone' describe --status; has "^LeaderId: +$leader\$"
  node "$other" start
  node "$leader" kill
  until_has "^LeaderId: +[^$leader]\$" metadata-quorum 'another leads' describe --status
  node "$leader" start; all_in_sync
fi

plan() { local p=$1 sep=''; shift; printf '{"version":1,"partitions":['; for r; do printf '%s{"topic":"%s","partition":%s,"replicas":[%s],"log_dirs":["any"%s]}' "$sep" "$p" "${r%%=*}" "${r#*=}" "$(tr -dc , <<<"${r#*=}" | sed 's/,/,"any"/g')"; sep=,; done; echo ']}'; }
if section reassign; then
  ra=reassign-partitions
  create ct-r --replica-assignment 1:2,2:1 --config min.insync.replicas=1; fill ct-r 500
  echo '{"topics":[{"topic":"ct-r"}],"version":1}' >"$WORK/topics.json"
  tool $ra generate --topics-to-move-json-file "$WORK/topics.json" --broker-list 2,3 --generate
  has '^Current partition replica assignment$' '^Proposed partition reassignment configuration$' '"topic":"ct-r","partition":0,"replicas":\[1,2\]' '"topic":"ct-r","partition":0,"replicas":\[[23],[23]\]'
  grep -a '^{' "$out" | tail -1 >"$WORK/generated.json"
  tool $ra execute --reassignment-json-file "$WORK/generated.json" --execute; has '^Successfully started partition reassignments for ct-r-0,ct-r-1$'
  until_has '^Reassignment of partition ct-r-1 is completed\.$' $ra verify --reassignment-json-file "$WORK/generated.json" --verify; has '^Reassignment of partition ct-r-0 is completed\.$'
  tool topics moved --describe --topic ct-r; count 2 'Replicas: [23],[23]	Isr: [23],[23]	'
  plan ct-r 0=1,2,3 1=3,1 >"$WORK/plan.json"
  tool $ra 'execute throttled' --reassignment-json-file "$WORK/plan.json" --execute --throttle 1000
  has '^The inter-broker throttle limit was set to 1000 B/s$' '^Successfully started partition reassignments for ct-r-0,ct-r-1$'
  tool $ra list --list; has '^Current partition reassignments:$' '^ct-r-0: replicas: .*adding: 1\.' '^ct-r-1: replicas: .*adding: 1\. removing: 2\.'
  tool $ra 'verify in progress' --reassignment-json-file "$WORK/plan.json" --verify --preserve-throttles; count 2 '^Reassignment of partition ct-r-[01] is still in progress\.$'
  tool configs 'the throttle is a config' --entity-type brokers --describe; count 6 '^  (leader|follower).replication.throttled.rate=1000 '
  tool configs 'the throttled replicas' --entity-type topics --entity-name ct-r --describe; has '^  leader.replication.throttled.replicas=.*0:[23]' '^  follower.replication.throttled.replicas=.*0:1'
  tool $ra 'execute twice' --reassignment-json-file "$WORK/plan.json" --execute; has 'Cannot execute because there is an existing partition assignment'
  tool $ra 'a higher throttle' --reassignment-json-file "$WORK/plan.json" --execute --additional --throttle 2000; has '^The inter-broker throttle limit was set to 2000 B/s$'
  tool $ra cancel --reassignment-json-file "$WORK/plan.json" --cancel
  has '^Successfully cancelled partition reassignments for: ct-r-0,ct-r-1$' 'Clearing broker-level throttles on brokers 1,2,3$' '^Clearing topic-level throttles on topic ct-r$'
  tool $ra 'nothing to cancel' --reassignment-json-file "$WORK/plan.json" --cancel; has 'None of the specified partition reassignments are active'
  tool $ra 'list after cancel' --list; has 'No partition reassignments found'
  tool $ra 'verify after cancel' --reassignment-json-file "$WORK/plan.json" --verify; has 'There is no active reassignment of partition ct-r-0, but replica set is [23],[23] rather than 1,2,3'
  tool configs 'no throttle is left' --entity-type brokers --describe; lacks 'throttled.rate'
  tool $ra 'throttle of nothing' --reassignment-json-file "$WORK/plan.json" --execute --throttle 0; has '^The inter-broker throttle limit was set to 0 B/s$' '^Successfully started'
  sleep 2
  tool $ra 'nothing moves' --reassignment-json-file "$WORK/plan.json" --verify --preserve-throttles; has 'is still in progress'
  tool $ra 'throttle lifted' --reassignment-json-file "$WORK/plan.json" --execute --additional --throttle 1000000000; has '^The inter-broker throttle limit was set to 1000000000 B/s$'
  until_has '^Reassignment of partition ct-r-0 is completed\.$' $ra 'verify at last' --reassignment-json-file "$WORK/plan.json" --verify
  until_has '^Clearing topic-level throttles on topic ct-r$' $ra 'throttles are cleared' --reassignment-json-file "$WORK/plan.json" --verify
  tool topics 'three replicas' --describe --topic ct-r; has "$(partition ct-r 0).*Replicas: 1,2,3	" "$(partition ct-r 1).*Replicas: 3,1	"
  plan ct-r 0=1,9 >"$WORK/plan.json"
  tool $ra 'unknown broker' --reassignment-json-file "$WORK/plan.json" --execute; has 'Unknown broker id 9'
  plan ct-none 0=1,2 >"$WORK/plan.json"
  tool $ra 'unknown topic' --reassignment-json-file "$WORK/plan.json" --execute; has 'ct-none'; lacks 'Successfully'
fi

if section elect; then
  e=leader-election
  create ct-e --replica-assignment 2:3,3:2 --config min.insync.replicas=1; fill ct-e 10
  tool $e 'not needed' --election-type preferred --all-topic-partitions; succeeds; lacks 'Error|Exception'
  node 2 stop; until_has "$(partition ct-e 0)Leader: 3	" topics 'another leads' --describe --topic ct-e
  tool $e 'preferred is down' --election-type preferred --topic ct-e --partition 0; has 'PreferredLeaderNotAvailableException|preferred leader'
  node 2 start; all_in_sync
  tool $e preferred --election-type preferred --topic ct-e --partition 0; has '^Successfully completed leader election \(PREFERRED\) for partitions ct-e-0$'
  tool topics 'preferred leads' --describe --topic ct-e; has "$(partition ct-e 0)Leader: 2	"
  tool $e 'preferred again' --election-type preferred --topic ct-e --partition 0; has '^Valid replica already elected for partitions ct-e-0$'
  echo '{"partitions":[{"topic":"ct-e","partition":0},{"topic":"ct-e","partition":1}]}' >"$WORK/elect.json"
  tool $e file --election-type preferred --path-to-json-file "$WORK/elect.json"; succeeds; lacks Exception
  tool $e 'unknown partition' --election-type preferred --topic ct-e --partition 7; has 'UnknownTopicOrPartitionException|does not exist'
  node 3 kill; until_has "$(partition ct-e 0)Leader: 2	Replicas: 2,3	Isr: 2	" topics 'one is left' --describe --topic ct-e
  fill ct-e 10
  node 2 kill; node 3 start  # two of three: there is a quorum, and the one replica that lacks the last records
  until_has "$(partition ct-e 0)Leader: none	" topics 'none leads' --describe --topic ct-e
  tool $e 'unclean, preferred refuses' --election-type preferred --topic ct-e --partition 0; lacks '^Successfully'
  tool topics unavailable --describe --unavailable-partitions; has "$(partition ct-e 0)"
  tool $e unclean --election-type unclean --topic ct-e --partition 0; has '^Successfully completed leader election \(UNCLEAN\) for partitions ct-e-0$'
  tool topics 'unclean leads' --describe --topic ct-e; has "$(partition ct-e 0)Leader: 3	"
  tool $e 'unclean again' --election-type unclean --topic ct-e --partition 0; has '^Valid replica already elected for partitions ct-e-0$'
  node 2 start; all_in_sync
fi

if section cluster; then
  endpoints() { run "cluster $1" "$kafka" tool kafka-cluster list-endpoints "${b[@]}" "${@:2}"; }
  run 'cluster cluster-id' "$kafka" tool kafka-cluster cluster-id "${b[@]}"; has '^Cluster ID: [A-Za-z0-9_-]{22}$'
  endpoints list-endpoints; for i in 1 2 3; do has "^$i +127.0.0.1 +${addrs[i]#*:} +null +unfenced +broker"; done
  run 'cluster unregister unknown' "$kafka" tool kafka-cluster unregister "${b[@]}" --id 9; lacks '^Broker 9 is no longer registered'; has 'BrokerIdNotRegisteredException|not registered|9'
  node 3 stop
  until_fenced() { local end=$((SECONDS + 60)); while endpoints fenced --include-fenced-brokers; ! grep -aqE '^3 .* fenced ' "$out" && [ $SECONDS -lt $end ]; do sleep 0.5; done; }
  until_fenced; has "^3 +127.0.0.1 +${addrs[3]#*:} +null +fenced +broker"
  endpoints 'the living'; lacks '^3 '
  run 'cluster unregister' "$kafka" tool kafka-cluster unregister "${b[@]}" --id 3; has '^Broker 3 is no longer registered\.$'
  endpoints 'two are left' --include-fenced-brokers; lacks '^3 '
  run 'cluster unregister again' "$kafka" tool kafka-cluster unregister "${b[@]}" --id 3; lacks '^Broker 3 is no longer registered'
  node 3 start
  endpoints 'it comes back'; has "^3 +127.0.0.1 +${addrs[3]#*:} +null +unfenced +broker"
fi
summary
