package decide

import (
	"fmt"
	"testing"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// world is a cluster that has nothing but its metadata: what the decider would commit is
// applied at once and every rule of the image is checked after every step.
type world struct {
	t     testing.TB
	img   *metadata.Image
	s     *Sessions
	now   time.Time
	rules *Rules
	ids   byte
	inc   byte
}

const timeout = 3 * time.Second

func newWorld(t testing.TB, brokers ...metadata.NodeID) *world {
	w := &world{t: t, img: metadata.Empty(), s: NewSessions(timeout), now: time.Unix(1000, 0), rules: &Rules{}}
	w.commit([]metadata.Change{metadata.ClusterCreated{ClusterID: "cluster"}})
	for _, b := range brokers {
		w.start(b)
	}
	return w
}

func (w *world) commit(changes []metadata.Change) {
	w.t.Helper()
	if len(changes) == 0 {
		return
	}
	next, err := w.img.With(w.img.Index()+1, changes)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := next.Check(); err != nil {
		w.t.Fatal(err)
	}
	w.img = next
}

func do[R any](w *world, out Outcome[R], err error) R {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.commit(out.Changes)
	return out.Reply
}

func dir(b metadata.NodeID, n byte) metadata.DirID { return metadata.DirID{0: 1, 1: byte(b), 2: n} }

func (w *world) newID() metadata.UUID {
	w.ids++
	return metadata.UUID{0: 1, 1: w.ids, 2: w.ids * 7, 15: w.ids}
}

// process is a new incarnation of a broker on its disk.
func (w *world) process(b metadata.NodeID, previous int64) RegisterBrokerRequest {
	w.inc++
	return RegisterBrokerRequest{ID: b, ClusterID: "cluster", Incarnation: metadata.UUID{1, w.inc, byte(w.ids)}, PreviousEpoch: previous, Dirs: []metadata.DirID{dir(b, 0)}}
}

func (w *world) register(req RegisterBrokerRequest) {
	w.t.Helper()
	req.Rules = w.rules
	out, err := RegisterBroker(w.img, w.s, req, w.now)
	do(w, out, err)
}

func (w *world) heartbeat(b metadata.NodeID, wantShutdown bool) HeartbeatReply {
	w.t.Helper()
	out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: b, Epoch: w.img.Broker(b).Epoch, MetadataIndex: w.img.Index(), WantShutdown: wantShutdown, Rules: w.rules}, w.now)
	return do(w, out, err)
}

// start registers a broker that was never seen and lets it in.
func (w *world) start(b metadata.NodeID) {
	w.t.Helper()
	w.register(w.process(b, -1))
	w.heartbeat(b, false)
}

// shutDown goes through a controlled shutdown and returns the epoch of the clean file.
func (w *world) shutDown(b metadata.NodeID) int64 {
	w.t.Helper()
	epoch := w.img.Broker(b).Epoch
	for range 3 {
		if w.heartbeat(b, true).ShouldShutDown {
			return epoch
		}
		for o := range w.img.Brokers() {
			if o.ID != b && !o.Fenced {
				w.heartbeat(o.ID, false)
			}
		}
	}
	w.t.Fatal("the broker was never told to stop")
	return 0
}

// silence lets brokers miss their session.
func (w *world) silence(silent ...metadata.NodeID) {
	w.t.Helper()
	w.now = w.now.Add(timeout + time.Millisecond)
	for o := range w.img.Brokers() {
		gone := false
		for _, b := range silent {
			gone = gone || b == o.ID
		}
		if !gone && !o.Fenced {
			w.s.Touch(o.ID, w.img.Index(), w.now)
		}
	}
	w.commit(FenceExpired(w.img, w.s, w.rules, w.now).Changes)
}

// proposal is what the leader of a partition would send for that ISR, if it knew what the controller knows.
func (w *world) proposal(topic string, index int32, isr ...metadata.NodeID) AlterPartitionRequest {
	t := w.img.Topic(topic)
	p := t.Partitions[index]
	c := ISRChange{Topic: t.ID, Index: index, LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch}
	for _, n := range isr {
		m := ISRMember{ID: n, BrokerEpoch: -1}
		if b := w.img.Broker(n); b != nil {
			m.BrokerEpoch = b.Epoch
		}
		c.ISR = append(c.ISR, m)
	}
	req := AlterPartitionRequest{Broker: p.Leader, Rules: w.rules, Changes: []ISRChange{c}}
	if b := w.img.Broker(p.Leader); b != nil {
		req.Epoch = b.Epoch
	}
	return req
}

// propose commits what one proposal comes to.
func (w *world) propose(req AlterPartitionRequest) AlteredPartition {
	w.t.Helper()
	out, err := AlterPartition(w.img, req, w.now)
	reply := do(w, out, err).Partitions[0]
	if reply.Partition != nil {
		if p := w.img.TopicByID(reply.Topic).Partition(reply.Index); p.PartitionEpoch != reply.Partition.PartitionEpoch || !same(p, reply.Partition) {
			w.t.Fatalf("answered %+v, committed %+v", reply.Partition, p)
		}
	}
	return reply
}

// alter lets a partition's leader change the ISR.
func (w *world) alter(topic string, index int32, isr ...metadata.NodeID) {
	w.t.Helper()
	if err := w.propose(w.proposal(topic, index, isr...)).Err; err != nil {
		w.t.Fatal(err)
	}
}

// alterQuietly is alter without the check of the whole image, which is slow for many partitions.
func (w *world) alterQuietly(topic string, index int32, isr ...metadata.NodeID) {
	w.t.Helper()
	out, err := AlterPartition(w.img, w.proposal(topic, index, isr...), w.now)
	if err != nil || out.Reply.Partitions[0].Err != nil {
		w.t.Fatal(err, out.Reply.Partitions[0].Err)
	}
	next, err := w.img.With(w.img.Index()+1, out.Changes)
	if err != nil {
		w.t.Fatal(err)
	}
	w.img = next
}

func (w *world) create(topics ...NewTopic) []CreatedTopic {
	w.t.Helper()
	out, err := CreateTopics(w.img, CreateTopicsRequest{Topics: topics, Rules: w.rules, NewID: w.newID}, w.now)
	return do(w, out, err).Topics
}

func topic(name string, partitions int32, factor int16, configs ...string) NewTopic {
	t := NewTopic{Name: name, Partitions: partitions, ReplicationFactor: factor}
	for i := 0; i < len(configs); i += 2 {
		t.Configs = append(t.Configs, ConfigEntry{configs[i], &configs[i+1]})
	}
	return t
}

func (w *world) set(r ConfigResource, key, value string) *Refusal {
	w.t.Helper()
	out, err := IncrementalAlterConfigs(w.img, IncrementalAlterConfigsRequest{Rules: w.rules,
		Resources: []AlteredConfigs{{r, []ConfigOp{{OpSet, key, &value}}}}}, w.now)
	return do(w, out, err).Resources[0].Err
}

// is fails unless the partition is as described: "isr 1,2 elr 3 known leader 1".
func (w *world) is(topic string, index int32, want string) {
	w.t.Helper()
	p := w.img.Topic(topic).Partitions[index]
	if got := fmt.Sprintf("isr %v elr %v known %v leader %d", p.ISR, p.ELR, p.LastKnownELR, p.Leader); got != want {
		w.t.Fatalf("%s-%d: %s\nwant: %s", topic, index, got, want)
	}
}

func wantCode(t testing.TB, err error, code *kerr.Error) {
	t.Helper()
	r := Refused(err)
	if r == nil || r.Code != code {
		t.Fatalf("%v, not %s", err, code.Message)
	}
}
