package controller

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"github.com/twmb/franz-go/pkg/kerr"
)

// running is a node under Run.
type running struct {
	*Node
	t      testing.TB
	cancel context.CancelFunc
	done   chan error
}

func config(fs vfs.FS, dir string) Config {
	return Config{NodeID: 1, Dir: dir, FS: fs, DirID: metadata.DirID{1, 1}}
}

func start(t testing.TB, cfg Config) *running {
	t.Helper()
	n, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	r := run(t, n)
	select {
	case <-n.Ready():
	case err := <-r.done:
		t.Fatal("the node ended before it was ready: ", err)
	case <-time.After(20 * time.Second):
		t.Fatal("the node is not ready")
	}
	return r
}

func run(t testing.TB, n *Node) *running {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Node: n, t: t, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- n.Run(ctx) }()
	return r
}

func (r *running) stop() {
	r.t.Helper()
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Fatal(err)
	}
}

var ctx = context.Background()

func process(b metadata.NodeID, incarnation byte) decide.RegisterBrokerRequest {
	return decide.RegisterBrokerRequest{ID: b, Incarnation: metadata.UUID{incarnation}, PreviousEpoch: -1, Dirs: []metadata.DirID{{1, byte(b)}}, Features: metadata.SupportedFeatures()}
}

// join registers a broker and lets it in.
func (r *running) join(b metadata.NodeID, incarnation byte) int64 {
	r.t.Helper()
	epoch, err := r.RegisterBroker(ctx, process(b, incarnation))
	if err != nil {
		r.t.Fatal(err)
	}
	reply, err := r.Heartbeat(ctx, decide.HeartbeatRequest{ID: b, Epoch: epoch, MetadataIndex: r.Image().Index()})
	if err != nil || reply.Fenced {
		r.t.Fatal(reply, err)
	}
	return epoch
}

func (r *running) create(name string, partitions int32) (decide.CreatedTopic, error) {
	reply, index, err := Do(ctx, r.Node, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.CreateTopicsReply], error) {
		return decide.CreateTopics(img, decide.CreateTopicsRequest{Topics: []decide.NewTopic{{Name: name, Partitions: partitions, ReplicationFactor: -1}}, NewID: r.NewTopicID}, now)
	})
	if err != nil {
		return decide.CreatedTopic{}, err
	}
	if r.Image().Index() < index {
		r.t.Errorf("answered at %d before the image reached %d", r.Image().Index(), index)
	}
	return reply.Topics[0], nil
}

func (r *running) mustCreate(name string, partitions int32) decide.CreatedTopic {
	r.t.Helper()
	c, err := r.create(name, partitions)
	if err != nil || c.Err != nil {
		r.t.Fatal(c, err)
	}
	return c
}

func TestAnEmptyDirectoryBecomesAClusterByItself(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "raft")
	n := start(t, config(vfs.OS(), dir))
	id := n.Image().ClusterID()
	if u, err := metadata.ParseUUID(id); err != nil || u.Reserved() {
		t.Fatal(id, err)
	}
	if f := n.Image().Features(); f[metadata.FeatureKRaft] != 1 {
		t.Fatal(f)
	}
	n.join(1, 1)
	n.mustCreate("t", 3)
	n.stop()

	n = start(t, config(vfs.OS(), dir))
	defer n.stop()
	if n.Image().ClusterID() != id || len(n.Image().Topic("t").Partitions) != 3 {
		t.Fatal("the second life is another cluster")
	}
}

func TestAKilledNodeHasEverythingItAnswered(t *testing.T) {
	dir := t.TempDir()
	n := start(t, config(vfs.OS(), dir))
	n.join(1, 1)
	for i := range 5 {
		n.mustCreate(fmt.Sprintf("t%d", i), 2)
		// kill -9: nothing is closed, the files stay as they are
		copied := t.TempDir()
		if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
			t.Fatal(err)
		}
		second := start(t, config(vfs.OS(), copied))
		for j := range i + 1 {
			if second.Image().Topic(fmt.Sprintf("t%d", j)) == nil {
				t.Fatalf("after %d: topic t%d is lost", i, j)
			}
		}
		second.stop()
	}
	n.stop()
}

func TestTheClusterIDIsTheOperatorsIfHeHasOne(t *testing.T) {
	cfg := config(vfs.NewMem(), "/raft")
	cfg.ClusterID = "MkU3OEVBNTcwNTJENDM2Qk"
	n := start(t, cfg)
	if n.Image().ClusterID() != cfg.ClusterID {
		t.Fatal(n.Image().ClusterID())
	}
	n.stop()
	cfg.ClusterID = "AkU3OEVBNTcwNTJENDM2Qk"
	if _, err := Open(cfg); !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
	cfg.ClusterID, cfg.DirID = "", metadata.DirID{9}
	other, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := <-run(t, other).done; !errors.Is(err, ErrForeign) {
		t.Fatal(err)
	}
}

func TestTwoNodesCannotShareADirectory(t *testing.T) {
	dir := t.TempDir()
	n := start(t, config(vfs.OS(), dir))
	defer n.stop()
	var locked *vfs.LockedError
	if _, err := Open(config(vfs.OS(), dir)); !errors.As(err, &locked) {
		t.Fatal(err)
	}
}

func TestADecisionsErrorComesBackAsItIs(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	defer n.stop()
	_, err := n.Heartbeat(ctx, decide.HeartbeatRequest{ID: 7})
	if r := decide.Refused(err); r == nil || r.Code != kerr.BrokerIDNotRegistered {
		t.Fatal(err)
	}
	_, _, err = Do(ctx, n.Node, func(*metadata.Image, time.Time) (decide.Outcome[decide.None], error) { panic("a bug") })
	if r := decide.Refused(err); r == nil || r.Code != kerr.UnknownServerError {
		t.Fatal(err)
	}
	_, _, err = Do(ctx, n.Node, func(*metadata.Image, time.Time) (decide.Outcome[decide.None], error) {
		return decide.Outcome[decide.None]{Changes: []metadata.Change{metadata.TopicDeleted{ID: metadata.TopicID{1}}}}, nil
	})
	if r := decide.Refused(err); r == nil || r.Code != kerr.UnknownServerError {
		t.Fatal(err)
	}
	n.join(1, 1)
	n.mustCreate("t", 1) // and it goes on
}

func TestAStoppedNodeRefuses(t *testing.T) {
	n := start(t, config(vfs.NewMem(), "/raft"))
	n.stop()
	_, err := n.create("t", 1)
	if r := decide.Refused(err); r == nil || r.Code != kerr.NotController {
		t.Fatal(err)
	}
	if _, err := n.Heartbeat(ctx, decide.HeartbeatRequest{}); err == nil {
		t.Fatal("a heartbeat was answered")
	}
	if n.Active() {
		t.Fatal("still active")
	}
}

func TestStartTime(t *testing.T) {
	for range 5 {
		began := time.Now()
		n := start(t, config(vfs.OS(), filepath.Join(t.TempDir(), "raft")))
		ready := time.Since(began)
		n.join(1, 1)
		n.mustCreate("t", 1)
		t.Log("ready", ready, "topic", time.Since(began))
		n.stop()
	}
}
