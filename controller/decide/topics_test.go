package decide

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestDefaultsOfANewTopic(t *testing.T) {
	cases := []struct {
		name                       string
		brokers                    []metadata.NodeID
		rules                      Rules
		configs                    []string
		partitions, factor, minISR int
	}{
		{"one broker", []metadata.NodeID{1}, Rules{}, nil, 1, 1, 1},
		{"two brokers", []metadata.NodeID{1, 2}, Rules{}, nil, 1, 2, 1},
		{"five brokers", []metadata.NodeID{1, 2, 3, 4, 5}, Rules{}, nil, 1, 3, 2},
		{"settings", []metadata.NodeID{1, 2}, Rules{Partitions: 4, ReplicationFactor: 1}, nil, 4, 1, 1},
		{"min isr set", []metadata.NodeID{1, 2, 3}, Rules{}, []string{"min.insync.replicas", "1"}, 1, 3, 1},
		{"min isr above the factor", []metadata.NodeID{1, 2}, Rules{}, []string{"min.insync.replicas", "3"}, 1, 2, 2},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, c.brokers...)
			w.rules = &c.rules
			got := w.create(topic("t", -1, -1, c.configs...))[0]
			if got.Err != nil || int(got.Partitions) != c.partitions || int(got.ReplicationFactor) != c.factor {
				t.Fatalf("%+v", got)
			}
			created := w.img.Topic("t")
			p := created.Partitions[0]
			if created.ID != got.ID || int(p.MinISR) != c.minISR || !p.Durable || p.Relaxed || len(p.ISR) != c.factor || p.Leader != p.Replicas[0] {
				t.Fatalf("%+v", p)
			}
		})
	}
}

func TestTopicsThatCannotBeCreated(t *testing.T) {
	one := "1"
	cases := []struct {
		topic NewTopic
		code  *kerr.Error
		text  string
	}{
		{topic("../../etc/passwd", 1, 1), kerr.InvalidTopicException, "Topic name is invalid: '../../etc/passwd' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"},
		{topic("", 1, 1), kerr.InvalidTopicException, "Topic name is invalid: the empty string is not allowed"},
		{topic(strings.Repeat("x", 250), 1, 1), kerr.InvalidTopicException, ""},
		{topic("exists", 1, 1), kerr.TopicAlreadyExists, "Topic 'exists' already exists."},
		{topic("a_b.c", 1, 1), kerr.InvalidTopicException, "Topic 'a_b.c' collides with existing topic: a.b_c"},
		{topic("__consumer_offsets", 1, 1), kerr.InvalidTopicException, "Creation of internal topic __consumer_offsets is prohibited."},
		{topic("__transaction_state", 1, 1), kerr.InvalidTopicException, ""},
		{topic("__cluster_metadata", 1, 1), kerr.InvalidTopicException, ""},
		{topic("t", 0, 1), kerr.InvalidPartitions, "Number of partitions was set to an invalid non-positive value."},
		{topic("t", -2, 1), kerr.InvalidPartitions, ""},
		{topic("t", 1_000_000, 1), kerr.PolicyViolation, "Excessively large number of partitions per request."},
		{topic("t", 2147483647, 32767), kerr.PolicyViolation, ""},
		{topic("t", 1, 0), kerr.InvalidReplicationFactor, "Replication factor must be larger than 0, or -1 to use the default value."},
		{topic("t", 1, -2), kerr.InvalidReplicationFactor, ""},
		{topic("t", 1, 32767), kerr.InvalidReplicationFactor, "Unable to replicate the partition 32767 time(s): The target replication factor of 32767 cannot be reached because only 2 broker(s) are registered."},
		{topic("t", 1, 3), kerr.InvalidReplicationFactor, ""},
		{topic("t", 1, 1, "no.such.key", "1"), kerr.InvalidConfig, "Unknown topic config name: no.such.key"},
		{topic("t", 1, 1, "message.format.version", "3.0"), kerr.InvalidConfig, ""},
		{topic("t", 1, 1, "retention.ms", "soon"), kerr.InvalidConfig, "Invalid value soon for configuration retention.ms: Not a number of type LONG"},
		{NewTopic{Name: "t", Partitions: 1, ReplicationFactor: 1, Configs: []ConfigEntry{{"a", nil}, {"x", &one}, {"b", nil}}}, kerr.InvalidConfig, "Null value not supported for topic configs: a,b"},
		{assigned("t", []metadata.NodeID{9}), kerr.InvalidReplicaAssignment, "The manual partition assignment includes broker 9, but no such broker is registered."},
		{assigned("t", []metadata.NodeID{-1}), kerr.InvalidReplicaAssignment, ""},
		{assigned("t", []metadata.NodeID{1, 1}), kerr.InvalidReplicaAssignment, "The manual partition assignment includes the broker 1 more than once."},
		{assigned("t", nil), kerr.InvalidReplicaAssignment, "The manual partition assignment includes an empty replica list."},
		{assigned("t", []metadata.NodeID{3}), kerr.InvalidReplicaAssignment, "All brokers specified in the manual partition assignment for partition 0 are fenced or in controlled shutdown."},
		{assigned("t", []metadata.NodeID{1}, []metadata.NodeID{1, 2}), kerr.InvalidReplicaAssignment, "The manual partition assignment includes a partition with 2 replica(s), but this is not consistent with previous partitions, which have 1 replica(s)."},
		{NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{1, []metadata.NodeID{1}}}}, kerr.InvalidReplicaAssignment, "partitions should be a consecutive 0-based integer sequence"},
		{NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1}}, {0, []metadata.NodeID{1}}}}, kerr.InvalidReplicaAssignment, "Found multiple manual partition assignments for partition 0"},
		{NewTopic{Name: "t", Partitions: 1, ReplicationFactor: -1, Assignments: []Assignment{{0, []metadata.NodeID{1}}}}, kerr.InvalidRequest, "A manual partition assignment was specified, but numPartitions was not set to -1."},
		{NewTopic{Name: "t", Partitions: -1, ReplicationFactor: 1, Assignments: []Assignment{{0, []metadata.NodeID{1}}}}, kerr.InvalidRequest, "A manual partition assignment was specified, but replication factor was not set to -1."},
	}
	w := newWorld(t, 1, 2, 3)
	w.silence(3)
	w.create(topic("exists", 1, 1), topic("a.b_c", 1, 1))
	for _, c := range cases {
		index := w.img.Index()
		got := w.create(c.topic)[0]
		if got.Err == nil || got.Err.Code != c.code || (c.text != "" && got.Err.Message != c.text) || got.Name != c.topic.Name {
			t.Errorf("%.30s: %+v, not %s", c.topic.Name, got.Err, c.code.Message)
		}
		if w.img.Index() != index {
			t.Errorf("%s: something was committed", c.topic.Name)
		}
	}
}

func assigned(name string, replicas ...[]metadata.NodeID) NewTopic {
	n := NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1}
	for i, r := range replicas {
		n.Assignments = append(n.Assignments, Assignment{int32(i), r})
	}
	return n
}

func TestEachTopicOfARequestIsAnsweredForItself(t *testing.T) {
	w := newWorld(t, 1)
	got := w.create(topic("twice", 1, 1), topic("good", 2, 1), topic("twice", 1, 1), topic("a.b", 1, 1), topic("a_b", 1, 1), topic("bad", 1, 5))
	var codes []string
	for _, g := range got {
		code := "-"
		if g.Err != nil {
			code = g.Err.Code.Message
		}
		codes = append(codes, g.Name+" "+code)
	}
	want := []string{"twice INVALID_REQUEST", "good -", "twice INVALID_REQUEST", "a.b -", "a_b INVALID_TOPIC_EXCEPTION", "bad INVALID_REPLICATION_FACTOR"}
	if !slices.Equal(codes, want) || w.img.TopicCount() != 2 {
		t.Fatal(codes)
	}
}

func TestValidateOnlyAnswersAndCreatesNothing(t *testing.T) {
	w := newWorld(t, 1)
	out, err := CreateTopics(w.img, CreateTopicsRequest{Topics: []NewTopic{topic("t", 3, 1, "retention.ms", "5")}, ValidateOnly: true, NewID: w.newID}, w.now)
	if err != nil || len(out.Changes) != 0 || out.Reply.Topics[0].Partitions != 3 || out.Reply.Topics[0].Configs["retention.ms"] != "5" {
		t.Fatalf("%+v %v", out, err)
	}
}

func TestInternalTopicsAreCreatedByTheBrokerOnly(t *testing.T) {
	w := newWorld(t, 1)
	out, err := CreateTopics(w.img, CreateTopicsRequest{Topics: []NewTopic{topic("__consumer_offsets", 50, -1, "cleanup.policy", "compact"), topic("__cluster_metadata", 1, 1)}, Internal: true, NewID: w.newID}, w.now)
	got := do(w, out, err).Topics
	if got[0].Err != nil || got[1].Err == nil || !w.img.Topic("__consumer_offsets").Internal {
		t.Fatalf("%+v", got)
	}
	grown, err := CreatePartitions(w.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: "__consumer_offsets", Count: 60}}}, w.now)
	wantCode(t, do(w, grown, err).Topics[0].Err, kerr.InvalidTopicException)
	deleted, err := DeleteTopics(w.img, DeleteTopicsRequest{Topics: []TopicRef{{Name: "__consumer_offsets"}}}, w.now)
	wantCode(t, do(w, deleted, err).Topics[0].Err, kerr.InvalidTopicException)
}

func TestDeletedTopicsLeaveTheirNameFreeAtOnce(t *testing.T) {
	w := newWorld(t, 1)
	first := w.create(topic("t", 1, 1))[0].ID
	second := w.create(topic("u", 1, 1))[0].ID
	out, err := DeleteTopics(w.img, DeleteTopicsRequest{Topics: []TopicRef{{Name: "t"}, {ID: second}}}, w.now)
	for _, d := range do(w, out, err).Topics {
		if d.Err != nil || d.Name == "" || d.ID.IsZero() {
			t.Fatalf("%+v", d)
		}
	}
	if again := w.create(topic("t", 1, 1))[0]; again.Err != nil || again.ID == first {
		t.Fatalf("%+v", again)
	}
}

func TestTopicsThatCannotBeDeleted(t *testing.T) {
	w := newWorld(t, 1)
	id := w.create(topic("t", 1, 1))[0].ID
	cases := map[string]struct {
		refs []TopicRef
		code *kerr.Error
		text string
	}{
		"nothing given": {[]TopicRef{{}}, kerr.InvalidRequest, "Neither topic name nor id were specified."},
		"both given":    {[]TopicRef{{"t", id}}, kerr.InvalidRequest, "You may not specify both topic name and topic id."},
		"unknown name":  {[]TopicRef{{Name: "u"}}, kerr.UnknownTopicOrPartition, ""},
		"unknown id":    {[]TopicRef{{ID: metadata.TopicID{9}}}, kerr.UnknownTopicID, ""},
		"name twice":    {[]TopicRef{{Name: "t"}, {Name: "t"}}, kerr.InvalidRequest, "Duplicate topic name."},
		"id twice":      {[]TopicRef{{ID: id}, {ID: id}}, kerr.InvalidRequest, "Duplicate topic id."},
		"name and id":   {[]TopicRef{{Name: "t"}, {ID: id}}, kerr.InvalidRequest, "The provided topic name maps to an ID that was already supplied."},
	}
	for name, c := range cases {
		out, err := DeleteTopics(w.img, DeleteTopicsRequest{Topics: c.refs}, w.now)
		if err != nil || len(out.Changes) > 0 {
			t.Fatal(name, err, out.Changes)
		}
		for _, d := range out.Reply.Topics {
			if d.Err == nil || d.Err.Code != c.code || (c.text != "" && d.Err.Message != c.text) {
				t.Errorf("%s: %+v", name, d.Err)
			}
		}
	}
}

func TestGrowingTopics(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.create(topic("t", 2, 1), topic("u", 1, 2))
	one := [][]metadata.NodeID{{2}}
	cases := []struct {
		more MorePartitions
		code *kerr.Error
		text string
	}{
		{MorePartitions{Name: "x", Count: 3}, kerr.UnknownTopicOrPartition, ""},
		{MorePartitions{Name: "t", Count: 2}, kerr.InvalidPartitions, "Topic already has 2 partition(s)."},
		{MorePartitions{Name: "t", Count: -1}, kerr.InvalidPartitions, "The topic t currently has 2 partition(s); -1 would not be an increase."},
		{MorePartitions{Name: "t", Count: 2147483647}, kerr.PolicyViolation, ""},
		{MorePartitions{Name: "t", Count: 4, Assignments: one}, kerr.InvalidReplicaAssignment, "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified."},
		{MorePartitions{Name: "u", Count: 2, Assignments: one}, kerr.InvalidReplicaAssignment, ""},
		{MorePartitions{Name: "t", Count: 3, Assignments: [][]metadata.NodeID{{7}}}, kerr.InvalidReplicaAssignment, ""},
		{MorePartitions{Name: "t", Count: 3, Assignments: one}, nil, ""},
		{MorePartitions{Name: "u", Count: 12}, nil, ""},
	}
	for _, c := range cases {
		out, err := CreatePartitions(w.img, CreatePartitionsRequest{Topics: []MorePartitions{c.more}, Rules: w.rules}, w.now)
		got := do(w, out, err).Topics[0].Err
		switch {
		case (got == nil) != (c.code == nil):
			t.Errorf("%+v: %v", c.more, got)
		case got != nil && (got.Code != c.code || (c.text != "" && got.Message != c.text)):
			t.Errorf("%+v: %v", c.more, got)
		}
	}
	if len(w.img.Topic("t").Partitions) != 3 || w.img.Topic("t").Partitions[2].Leader != 2 || len(w.img.Topic("u").Partitions) != 12 {
		t.Fatal("not grown as asked")
	}
	out, err := CreatePartitions(w.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: "t", Count: 9}, {Name: "t", Count: 9}}}, w.now)
	for _, g := range do(w, out, err).Topics {
		wantCode(t, g.Err, kerr.InvalidRequest)
	}
	out, err = CreatePartitions(w.img, CreatePartitionsRequest{Topics: []MorePartitions{{Name: "t", Count: 9}}, ValidateOnly: true}, w.now)
	if err != nil || out.Reply.Topics[0].Err != nil || len(out.Changes) != 0 {
		t.Fatal(err, out)
	}
}

func TestReplicasAreSpreadOverBrokersAndRacks(t *testing.T) {
	for racks := 1; racks <= 4; racks++ {
		for brokers := 1; brokers <= 9; brokers++ {
			w := newWorld(t)
			for b := range brokers {
				req := w.process(metadata.NodeID(b), -1)
				req.Rack = fmt.Sprint(b % racks)
				w.register(req)
				w.heartbeat(metadata.NodeID(b), false)
			}
			for factor := 1; factor <= min(4, brokers); factor++ {
				name := fmt.Sprintf("t%d", factor)
				w.create(topic(name, int32(brokers*4), int16(factor)))
				checkSpread(t, w, w.img.Topic(name), factor, min(racks, brokers, factor), brokers)
			}
		}
	}
}

func checkSpread(t *testing.T, w *world, topic *metadata.Topic, factor, racks, brokers int) {
	t.Helper()
	leads, holds := map[metadata.NodeID]int{}, map[metadata.NodeID]int{}
	for _, p := range topic.Partitions {
		seen := map[string]bool{}
		for _, n := range p.Replicas {
			seen[w.img.Broker(n).Rack] = true
			holds[n]++
		}
		leads[p.Leader]++
		if len(p.Replicas) != factor || len(seen) < racks {
			t.Fatalf("%v in racks %v", p.Replicas, seen)
		}
	}
	for b := range brokers {
		if n := leads[metadata.NodeID(b)]; n != 4 {
			t.Fatalf("%d brokers, factor %d: broker %d leads %d of %d", brokers, factor, b, n, len(topic.Partitions))
		}
	}
	if racks == 1 && brokers > 1 {
		for b, n := range holds {
			if n < 2*factor || n > 6*factor {
				t.Fatalf("broker %d holds %d of %d replicas", b, n, len(topic.Partitions)*factor)
			}
		}
	}
}

func TestDirectoriesFillEvenly(t *testing.T) {
	w := newWorld(t)
	req := w.process(1, -1)
	req.Dirs = []metadata.DirID{dir(1, 0), dir(1, 1), dir(1, 2)}
	w.register(req)
	w.heartbeat(1, false)
	w.create(topic("a", 4, 1), topic("b", 3, 1))
	w.create(topic("c", 2, 1))
	count := map[metadata.DirID]int{}
	for t := range w.img.Topics() {
		for _, p := range t.Partitions {
			count[p.Dir(1)]++
		}
	}
	for _, d := range req.Dirs {
		if count[d] != 3 {
			t.Fatal(count)
		}
	}
}
