package controller

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/segment/vfs"

	"go.uber.org/zap"
)

// Config of a node. NodeID, Dir and FS must be set.
type Config struct {
	NodeID         metadata.NodeID
	ClusterID      string // what meta.properties says; empty: a new cluster makes its own
	Dir            string // of the raft files; made if missing
	DirID          metadata.DirID
	FS             vfs.FS
	Log            *zap.Logger
	Rand           io.Reader        // default crypto/rand
	Now            func() time.Time // wall clock for decisions; default time.Now
	SessionTimeout time.Duration    // of brokers; default 3 s
	DiskStall      time.Duration    // default 5 s: a StoreLogs that takes longer ends the node (R17)

	// Dial opens a raft stream to another voter; nil: there is none.
	Dial func(ctx context.Context, to metadata.NodeID) (net.Conn, error)
}

// Node is one controller.
type Node struct{}

var errNotYet = errors.New("controller: not yet")

// Open reads the directory; an empty one needs no format step.
func Open(cfg Config) (*Node, error) { return nil, errNotYet }

// Run starts raft and the decider, and returns when all their goroutines are gone.
func (n *Node) Run(ctx context.Context) error { return errNotYet }

// Image is the newest committed image this node has; never nil.
func (n *Node) Image() *metadata.Image { return metadata.Empty() }

// Active reports whether this node decides.
func (n *Node) Active() bool { return false }

// Ready is closed when the node has been active once, with the whole log applied.
func (n *Node) Ready() <-chan struct{} { return nil }

// Do runs a decision in the decider and returns its reply once everything it could have
// seen is committed; the index is the raft index to wait for before the caller's own image
// shows it.
func Do[R any](ctx context.Context, n *Node, f func(img *metadata.Image, now time.Time) (decide.Outcome[R], error)) (R, uint64, error) {
	var none R
	return none, 0, errNotYet
}

// RegisterBroker decides a registration and returns the broker epoch.
func (n *Node) RegisterBroker(ctx context.Context, req decide.RegisterBrokerRequest) (epoch int64, err error) {
	return 0, errNotYet
}

// Heartbeat keeps a broker's session and moves it between its states.
func (n *Node) Heartbeat(ctx context.Context, req decide.HeartbeatRequest) (decide.HeartbeatReply, error) {
	return decide.HeartbeatReply{}, errNotYet
}

// Feed is what happened after an index: Entries in order, or, if they are gone, Image.
type Feed struct {
	Index   uint64 // of the newest entry
	Image   *metadata.Image
	Entries []FeedEntry
}

// FeedEntry is one committed raft entry.
type FeedEntry struct {
	Index   uint64
	Changes []metadata.Change
}

// Changes returns what came after from, waiting up to wait for the first of it.
func (n *Node) Changes(ctx context.Context, from uint64, wait time.Duration) (Feed, error) {
	return Feed{}, errNotYet
}

// NewTopicID returns a random id that Kafka's tools can be given.
func (n *Node) NewTopicID() metadata.UUID { return metadata.UUID{} }
