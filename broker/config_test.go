package broker

import (
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"cordwood/metadata"
	"cordwood/protocol"
)

// settings makes a file of lines key=value.
func settings(lines ...string) map[string]Setting {
	out := map[string]Setting{}
	for i, l := range lines {
		key, value, _ := strings.Cut(l, "=")
		out[key] = Setting{Value: value, File: "server.properties", Line: i + 1}
	}
	return out
}

func mustRead(t *testing.T, lines ...string) Config {
	t.Helper()
	c, err := FromProperties(settings(lines...))
	if err == nil {
		err = c.Validate()
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEveryKeyIsDescribed(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range Keys() {
		if k.Doc == "" || !strings.HasSuffix(k.Doc, ".") {
			t.Errorf("%s: a doc is a sentence, not %q", k.Name, k.Doc)
		}
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		if LookupKey(k.Name) == nil {
			t.Errorf("%s is not found", k.Name)
		}
		if k.Default != "" && k.Status != Rejected {
			if err := k.Check(k.Default); err != nil {
				t.Errorf("%s refuses its default %q: %v", k.Name, k.Default, err)
			}
		}
		if k.Status == Rejected && k.Check("x") == nil {
			t.Errorf("%s is rejected, yet takes a value", k.Name)
		}
	}
	if !slices.IsSortedFunc(Keys(), func(a, b Key) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("keys are not sorted")
	}
}

// What the table says and what Defaults says must be one.
func TestWritingTheDefaultsChangesNothing(t *testing.T) {
	var lines []string
	for _, k := range Keys() {
		if k.Default != "" && k.Status != Rejected {
			lines = append(lines, k.Name+"="+k.Default)
		}
	}
	got, want := mustRead(t, lines...), mustRead(t)
	for _, c := range []*Config{&got, &want} {
		c.Static, c.Roles = nil, nil
		c.brokerID, c.listenersText, c.advertisedText, c.protocolsText, c.controllerListeners, c.votersText = 0, "", "", "", nil, nil
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("written out: %+v\ndefaults:    %+v", got, want)
	}
	if d := Defaults(); !reflect.DeepEqual(want.Listeners, d.Listeners) || !reflect.DeepEqual(want.Topic, d.Topic) {
		t.Errorf("an empty file is not the defaults: %+v", want)
	}
}

// The texts are those of the outside suites, with SASL and the authorizer taken out, and of Kafka's own samples.
func TestKafkasFilesAreAccepted(t *testing.T) {
	lone := []string{
		"process.roles=broker,controller", "node.id=1", "controller.quorum.voters=1@127.0.0.1:9193",
		"listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9193", "advertised.listeners=PLAINTEXT://127.0.0.1:9092",
		"controller.listener.names=CONTROLLER", "log.dirs=data", "cordwood.http.listener=127.0.0.1:9293", "group.initial.rebalance.delay.ms=0",
		"offsets.topic.replication.factor=1", "default.replication.factor=1", "min.insync.replicas=1",
	}
	for name, more := range map[string][]string{
		"alone":    nil,
		"kgo":      {"listeners=PLAINTEXT://127.0.0.1:9091,CONTROLLER://127.0.0.1:9491", "advertised.listeners=PLAINTEXT://127.0.0.1:9091", "controller.quorum.voters=1@127.0.0.1:9491"},
		"kafka-go": {"auto.create.topics.enable=true", "message.max.bytes=200000000", "advertised.listeners=PLAINTEXT://localhost:9092"},
		"librdkafka": {"auto.create.topics.enable=false", "num.partitions=4", "broker.rack=RACK1",
			"replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector"},
		"kafka's sample": {"controller.quorum.bootstrap.servers=localhost:9093", "listeners=PLAINTEXT://:9092,CONTROLLER://:9093",
			"inter.broker.listener.name=PLAINTEXT", "advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093",
			"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
			"num.network.threads=3", "num.io.threads=8", "socket.send.buffer.bytes=102400", "socket.receive.buffer.bytes=102400",
			"socket.request.max.bytes=104857600", "num.recovery.threads.per.data.dir=1", "share.coordinator.state.topic.replication.factor=1",
			"share.coordinator.state.topic.min.isr=1", "transaction.state.log.replication.factor=1", "transaction.state.log.min.isr=1",
			"log.retention.hours=168", "log.segment.bytes=1073741824", "log.retention.check.interval.ms=300000"},
	} {
		t.Run(name, func(t *testing.T) {
			s := settings(lone...)
			maps.Copy(s, settings(more...))
			c, err := FromProperties(s)
			if err == nil {
				err = c.Validate()
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Listeners) != 2 || c.Listeners[0].Kind != protocol.Client || c.Listeners[1].Kind != protocol.Internal {
				t.Errorf("listeners %+v", c.Listeners)
			}
		})
	}
}

// The samples of Kafka's distribution for a node with one role, and a cluster of three as its documentation has it.
func TestKafkasFilesForClustersAreAccepted(t *testing.T) {
	common := []string{
		"listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL",
		"controller.listener.names=CONTROLLER", "num.network.threads=3", "num.io.threads=8", "log.dirs=data",
	}
	for name, c := range map[string]struct {
		lines   []string
		clients int
		brokers string // listener of the other brokers
		expect  int
		known   []string // controllers
	}{
		"broker": {[]string{"process.roles=broker", "node.id=2", "controller.quorum.bootstrap.servers=localhost:9093", "listeners=PLAINTEXT://localhost:9092",
			"inter.broker.listener.name=PLAINTEXT", "advertised.listeners=PLAINTEXT://localhost:9092"}, 1, "PLAINTEXT", 0, []string{"localhost:9093"}},
		"controller": {[]string{"process.roles=controller", "node.id=1", "controller.quorum.bootstrap.servers=localhost:9093", "listeners=CONTROLLER://:9093",
			"advertised.listeners=CONTROLLER://localhost:9093"}, 0, "CONTROLLER", 1, []string{"localhost:9093"}},
		"three of both": {[]string{"process.roles=broker,controller", "node.id=3", "controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093",
			"listeners=PLAINTEXT://:9092,CONTROLLER://:9093", "inter.broker.listener.name=PLAINTEXT"}, 1, "PLAINTEXT", 3, []string{"a:9093", "b:9093", "c:9093"}},
		"three found by address": {[]string{"node.id=3", "controller.quorum.bootstrap.servers=a:9093,b:9093,c:9093", "listeners=PLAINTEXT://:9092,CONTROLLER://:9093"},
			1, "CONTROLLER", 3, []string{"a:9093", "b:9093", "c:9093"}},
		"older file of a broker": {[]string{"process.roles=broker", "node.id=4", "controller.quorum.voters=1@a:9093,2@b:9093",
			"listeners=PLAINTEXT://:9092"}, 1, "PLAINTEXT", 0, []string{"a:9093", "b:9093"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := mustRead(t, slices.Concat(common, c.lines)...)
			clients, brokers := 0, ""
			for _, l := range got.Listeners {
				if !isInternal(l.Kind) {
					clients++
				}
				if l.Name == got.amongBrokers() {
					brokers += l.Name
				}
			}
			if clients != c.clients || brokers != c.brokers || !slices.Equal(got.controllers(), c.known) || got.IsController() && got.expect() != c.expect {
				t.Errorf("%d client listeners, brokers at %q, controllers %v, %d expected", clients, brokers, got.controllers(), got.expect())
			}
		})
	}
}

func TestValuesReachTheirFields(t *testing.T) {
	c := mustRead(t, "node.id=7", "log.dirs= a , b", "log.retention.hours=2", "log.segment.bytes=2097152", "num.partitions=6",
		"max.connections=2147483647", "max.connections.per.ip=5", "cordwood.http.listener=none", "auto.create.topics.enable=FALSE",
		"offsets.retention.minutes=1", "connections.max.idle.ms=9223372036854775807", "log.flush.before.ack=false")
	for what, ok := range map[string]bool{
		"node.id":                c.NodeID == 7,
		"log.dirs":               slices.Equal(c.LogDirs, []string{"a", "b"}),
		"retention in hours":     c.Topic.Retention == 2*time.Hour,
		"segment size":           c.Topic.SegmentBytes == 2<<20,
		"num.partitions":         c.NumPartitions == 6,
		"no limit":               c.MaxConnections == 0,
		"per address":            c.MaxPerIP == 5,
		"no http":                c.HTTPAddr == "",
		"auto.create":            !c.AutoCreateTopics,
		"minutes":                c.Offsets.Retention == time.Minute,
		"as long as there is":    c.ConnectionsMaxIdle == 1<<63-1,
		"lease":                  mustRead(t, "cordwood.leader.lease=Writes").LeaderLease == LeaseWrites,
		"lag":                    mustRead(t, "replica.lag.time.max.ms=700").ReplicaLag == 700*time.Millisecond,
		"page-cache mode":        !c.Topic.FlushBeforeAck,
		"the setting is kept":    c.Static["node.id"].Line == 1,
		"older name of a number": mustRead(t, "broker.id=3").NodeID == 3,
		"newer name counts":      mustRead(t, "broker.id=3", "node.id=4").NodeID == 4,
		"older name of dirs":     slices.Equal(mustRead(t, "log.dir=x").LogDirs, []string{"x"}),
		"finer unit counts":      mustRead(t, "log.retention.hours=2", "log.retention.ms=5").Topic.Retention == 5*time.Millisecond,
	} {
		if !ok {
			t.Errorf("%s: %+v", what, c)
		}
	}
}

func TestBadSettingsAreRefusedWithPlaceAndAdvice(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  string
	}{
		{"num.partitons=3", "server.properties:1: num.partitons: unknown key; did you mean num.partitions?"},
		{"qqqqqqqqqqqqqqqqqqqqqqqqqqqqq=3", "unknown key; remove it"},
		{"num.partitions=many", "server.properties:1: num.partitions=many: expected a whole number; see `cordwood config explain num.partitions`"},
		{"num.partitions=0", "expected a number from 1 to 1000000"},
		{"num.partitions=99999999999999999999", "expected a whole number"},
		{"delete.topic.enable=yes", "expected true or false"},
		{"log.segment.bytes=many", "log.segment.bytes=many: "},
		{"log.segment.bytes=100", "at least 1048576"},
		{"log.cleanup.policy=burn", "log.cleanup.policy=burn: "},
		{"ssl.keystore.password=secret", "ssl.keystore.password: not supported by this version; remove it"},
		{"authorizer.class.name=x", "not supported"},
		{"listener.name.plaintext.ssl.client.auth=required", "keys of single listeners are about TLS and SASL, which this version does not serve"},
		{"process.roles=broker", "must know where the controllers are; set controller.quorum.bootstrap.servers"},
		{"process.roles=broker\ncontroller.quorum.voters=1@a:1", "node 1 is a voter without the role controller"},
		{"process.roles=broker\ncontroller.quorum.bootstrap.servers=a:1\nlisteners=PLAINTEXT://:1,CONTROLLER://:2", "a node that is a broker only has no controller listener"},
		{"process.roles=controller", "there is no listener CONTROLLER"},
		{"process.roles=controller\nlisteners=PLAINTEXT://:1,CONTROLLER://:2", "a node that is a controller only serves no clients"},
		{"controller.quorum.bootstrap.servers=a", "write host:port"},
		{"controller.quorum.voters=1@a:1,2@a:1", "2@a:1 is there twice"},
		{"controller.quorum.voters=1@a:1,1@b:1", "1@b:1 is there twice"},
		{"controller.quorum.voters=one@a:1", "is no id@host:port"},
		{"controller.quorum.voters=1@a", "missing port"},
		{"cordwood.bootstrap.expect=3", "nobody knows where the other controllers are"},
		{"controller.quorum.voters=1@a:1\ncordwood.bootstrap.expect=3", "controller.quorum.voters says otherwise"},
		{"cordwood.decommission=true", "a broker is decommissioned while it runs"},
		{"cordwood.leader.lease=perhaps", "expected strict, writes or off"},
		{"replica.fetch.wait.max.ms=20000", "longer than replica.lag.time.max.ms"},
		{"process.roles=broker,controller,king", "unknown role king"},
		{"controller.quorum.voters=1@a:1,2@b:1", "there is no listener CONTROLLER"},
		{"controller.quorum.voters=2@a:1", "node 1 has the role controller and is not a voter"},
		{"listeners=PLAINTEXT", "listeners=PLAINTEXT: "},
		{"listeners=", "listeners: no listener"},
		{"listeners=://:9092", "is no NAME://host:port"},
		{"listeners=PLAINTEXT://:x", "is no NAME://host:port"},
		{"listeners=PLAINTEXT://:70000", "is no NAME://host:port"},
		{"listeners=PLAINTEXT://:1,PLAINTEXT://:2", "listener PLAINTEXT is named twice"},
		{"listeners=PLAINTEXT://:1,plaintext://:2", "listener PLAINTEXT is named twice"},
		{"listeners=PLAINTEXT://:9092,EXTRA://:9092", "PLAINTEXT and EXTRA have the same port"},
		{"listeners=OTHER://:1", "no protocol for listener OTHER; add OTHER:PLAINTEXT"},
		{"listeners=SSL://:1", "listener SSL wants SSL; this version serves PLAINTEXT only"},
		{"listeners=CONTROLLER://:1", "a client listener"},
		{"advertised.listeners=PLAINTEXT://0.0.0.0:1", "is no address a client can dial"},
		{"advertised.listeners=PLAINTEXT://[::]:1", "is no address a client can dial"},
		{"advertised.listeners=PLAINTEXT://:1", "is no address a client can dial"},
		{"advertised.listeners=PLAINTEXT://host:0", "is no number from 1 to 65535"},
		{"advertised.listeners=OTHER://host:1", "there is no listener OTHER"},
		{"inter.broker.listener.name=OTHER", "there is no listener of this name"},
		{"security.inter.broker.protocol=SSL", "only PLAINTEXT is served"},
		{"log.dirs=a,a", "a directory is named twice"},
		{"log.dirs=", "no data directory"},
		{"broker.heartbeat.interval.ms=2000", "less than two heartbeats"},
	} {
		cfg, err := FromProperties(settings(strings.Split(c.lines, "\n")...))
		if err == nil {
			err = cfg.Validate()
		}
		if err == nil {
			t.Errorf("%s: accepted", c.lines)
			continue
		}
		if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %q is not in %q", c.lines, c.want, err)
		}
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: no ErrConfig inside", c.lines)
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: the value of a password is shown", c.lines)
		}
	}
}

func TestEveryProblemIsReported(t *testing.T) {
	_, err := FromProperties(settings("num.partitons=3", "log.segment.bytes=many", "node.id=-4"))
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 3 {
		t.Errorf("three problems are %d lines: %q", len(lines), lines)
	}
}

func TestListenersAndTheInternalOne(t *testing.T) {
	for _, c := range []struct {
		lines string
		want  []ListenerConfig
	}{
		{"", Defaults().Listeners},
		{"listeners=PLAINTEXT://127.0.0.1:0", []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal}}},
		{"listeners=CONTROLLER://:9093,PLAINTEXT://:9092", []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: ":9092", Kind: protocol.Client},
			{Name: "CONTROLLER", Protocol: "PLAINTEXT", Addr: ":9093", Kind: protocol.Internal}}},
		{"listeners=IN://:1,OUT://:2\nlistener.security.protocol.map=IN:PLAINTEXT,OUT:PLAINTEXT\nadvertised.listeners=OUT://broker.example.com:30000", []ListenerConfig{
			{Name: "IN", Protocol: "PLAINTEXT", Addr: ":1", Kind: protocol.Client},
			{Name: "OUT", Protocol: "PLAINTEXT", Addr: ":2", Advertised: "broker.example.com:30000", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal}}},
		{"listeners=PLAINTEXT://:9092,RAFT://:9093\ncontroller.listener.names=raft", []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: ":9092", Kind: protocol.Client},
			{Name: "RAFT", Protocol: "PLAINTEXT", Addr: ":9093", Kind: protocol.Internal}}},
		{"listeners=PLAINTEXT://[::1]:9092\nadvertised.listeners=auto", []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: "[::1]:9092", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal}}},
		{"advertised.listeners=PLAINTEXT://h:1", []ListenerConfig{
			{Name: "PLAINTEXT", Protocol: "PLAINTEXT", Addr: ":9092", Advertised: "h:1", Kind: protocol.Client},
			{Name: "INTERNAL", Protocol: "PLAINTEXT", Addr: "127.0.0.1:0", Kind: protocol.Internal}}},
	} {
		var lines []string
		if c.lines != "" {
			lines = strings.Split(c.lines, "\n")
		}
		if got := mustRead(t, lines...).Listeners; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s\n got %+v\nwant %+v", c.lines, got, c.want)
		}
	}
}

func TestSuggestionsAreNear(t *testing.T) {
	for wrong, want := range map[string]string{
		"num.partition": "num.partitions", "log.dris": "log.dirs", "advertised.listener": "advertised.listeners", "x": "",
		"something.else.altogether": "", strings.Repeat("n", 1<<20): "",
	} {
		if got := Suggest(wrong); got != want {
			t.Errorf("%.40s: %q, want %q", wrong, got, want)
		}
	}
	if got := SuggestTopicKey("retention.m"); got != "retention.ms" {
		t.Errorf("retention.m: %q", got)
	}
}

func TestTopicKeysAreDescribed(t *testing.T) {
	for _, k := range metadata.TopicKeys() {
		d := LookupTopicKey(k.Name)
		if d == nil || d.Doc != k.Doc || d.Check(k.Default) != nil && k.Default != "" {
			t.Errorf("%s: %+v", k.Name, d)
		}
		for _, b := range d.Brokers {
			if LookupKey(b) == nil {
				t.Errorf("%s takes its default from %s, which is no key", k.Name, b)
			}
		}
	}
	if LookupTopicKey("nope") != nil {
		t.Error("an unknown config is described")
	}
}

func FuzzListeners(f *testing.F) {
	f.Add("PLAINTEXT://:9092,CONTROLLER://[::1]:9093", "PLAINTEXT://h:1", "A:PLAINTEXT", "CONTROLLER", "A")
	f.Add("a://b://c:1,,://", "auto", ":,:", ",", "")
	f.Fuzz(func(t *testing.T, listeners, advertised, protocols, controllers, inter string) {
		c, err := FromProperties(map[string]Setting{
			"listeners": {Value: listeners}, "advertised.listeners": {Value: advertised}, "listener.security.protocol.map": {Value: protocols},
			"controller.listener.names": {Value: controllers}, "inter.broker.listener.name": {Value: inter},
		})
		if err != nil || c.Validate() != nil {
			return
		}
		internal, names := 0, map[string]bool{}
		for _, l := range c.Listeners {
			if isInternal(l.Kind) {
				internal++
			}
			if names[l.Name] || checkAddr(l.Addr, true) != nil || l.Advertised != "" && checkAddr(l.Advertised, false) != nil {
				t.Errorf("%q, %q: accepted %+v", listeners, advertised, c.Listeners)
			}
			names[l.Name] = true
		}
		if internal != 1 {
			t.Errorf("%q: %d internal listeners", listeners, internal)
		}
	})
}

func TestTheReplicaSelectorIsOneOfKafkas(t *testing.T) {
	const key, names = "replica.selector.class=", "org.apache.kafka.common.replica."
	for value, aware := range map[string]bool{"": false, names + "LeaderSelector": false, names + "RackAwareReplicaSelector": true} {
		if c := mustRead(t, key+value); c.RackAware != aware {
			t.Errorf("%q: rack-aware %v", value, c.RackAware)
		}
	}
	if _, err := FromProperties(settings(key + "com.example.Mine")); err == nil {
		t.Error("a class that is not there is taken")
	}
}
