package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/broker/nameserver"
	"cordwood/broker/peer"
	"cordwood/controller"
	"cordwood/coordinator"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol/compress"
	"cordwood/segment/vfs"
)

// Why a start fails, for the exit code.
var (
	ErrConfig = errors.New("configuration") // 78
	ErrLocked = errors.New("data directory is in use")
	ErrDisk   = errors.New("disk") // 74
)

// Broker is one process of a cluster: broker, and controller where its roles say so.
type Broker struct {
	// set by Open
	cfg        Config
	log        *zap.Logger
	codecs     *compress.Pool
	handlers   map[int16]*api
	metrics    *metrics
	sessions   *fetchSessions
	partitions *partition.Set
	controller *controller.Node // nil: the node is a broker only
	groups     *coordinator.Runtime
	listeners  []*boundListener
	http       *httpServer
	names      *nameserver.Server // nil: there is none
	dirs       []dataDir
	peers      *peer.Pool
	lease      *lease
	orphans    *orphans
	handover   *handover
	doubts     doubts

	incarnation   [16]byte
	previousEpoch int64        // from the clean-shutdown file; -1 after a crash
	epoch         atomic.Int64 // this registration's broker epoch; 0 before

	cluster     atomic.Pointer[string] // id of the cluster the data belongs to; empty: not known yet
	controllers *controllers
	published   atomic.Pointer[publication]
	lateness    atomic.Pointer[lateness]   // nil: nothing was told yet
	quotas      atomic.Pointer[quotaTable] // nil: there are none
	meters      *meters
	started     time.Time     // the zero of uptime
	ready       chan struct{} // closed when this broker serves
	stopping    atomic.Bool
	hurry       chan struct{} // the next heartbeat is due at once
	placed      chan struct{} // a replica may be in another directory than the image says
	producers   producerIDs
	deleted     deletedNames
	tasks       chan func(context.Context)
	fatal       chan error // why the process must end
}

// Addrs is where a running broker listens; the port file holds it as JSON.
type Addrs struct {
	Listeners map[string]string `json:"listeners"`
	Internal  string            `json:"internal"`
	HTTP      string            `json:"http,omitempty"`
	DNS       string            `json:"dns,omitempty"`
	NodeID    int32             `json:"node_id"`
	PID       int               `json:"pid"`
}

// Open prepares a broker: directories locked, logs recovered, addresses bound. Nothing is served before Run.
func Open(cfg Config) (*Broker, error) {
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.FS == nil {
		cfg.FS = vfs.OS()
	}
	if cfg.Listen == nil {
		cfg.Listen = net.Listen
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := &Broker{
		cfg: cfg, log: cfg.Log, codecs: compress.New(), metrics: new(metrics),
		sessions: newFetchSessions(cfg.FetchSessions), previousEpoch: -1,
		started: time.Now(),
		tasks:   make(chan func(context.Context), 1024), fatal: make(chan error, 1), hurry: make(chan struct{}, 1), placed: make(chan struct{}, 1), ready: make(chan struct{}),
	}
	b.meters = newMeters(cfg.Quota, b.metrics)
	b.lease = newLease(cfg.LeaderLease, cfg.SessionTimeout)
	b.orphans, b.handover = newOrphans(), newHandover(b.lease)
	b.publish(metadata.Empty())
	b.handlers = b.dispatchTable()
	for _, step := range []func() error{b.openDirs, b.openPeers, b.openPartitions, b.openController, b.openGroups, b.listen, b.listenHTTP, b.listenDNS} {
		if err := step(); err != nil {
			b.abandon()
			return nil, err
		}
	}
	return b, nil
}

// Addrs names the bound addresses.
func (b *Broker) Addrs() Addrs {
	a := Addrs{Listeners: make(map[string]string), NodeID: int32(b.cfg.NodeID), PID: os.Getpid()}
	for _, l := range b.listeners {
		if l.internal() {
			a.Internal = l.l.Addr().String()
		} else {
			a.Listeners[l.cfg.Name] = l.l.Addr().String()
		}
	}
	if b.http != nil {
		a.HTTP = b.http.listener.Addr().String()
	}
	if b.names != nil {
		a.DNS = b.names.Addr()
	}
	return a
}

func (b *Broker) now() time.Time { return b.cfg.Now() }

// whyNoPartition is the error for a partition that is not hosted here: it does not exist, or somebody else leads it.
func (b *Broker) whyNoPartition(topic []byte, id [16]byte, index int32, byID bool) error {
	img := b.image()
	var t *metadata.Topic
	if byID {
		if t = img.TopicByID(id); t == nil {
			return kerr.UnknownTopicID
		}
	} else if t = img.TopicOf(topic); t == nil {
		return kerr.UnknownTopicOrPartition
	}
	if t.Partition(index) == nil {
		return kerr.UnknownTopicOrPartition
	}
	return kerr.NotLeaderForPartition
}

// notReady says why this broker is not serving yet, or any more; empty when it is.
func (b *Broker) notReady() string {
	self := b.image().Broker(b.cfg.NodeID)
	switch {
	case b.stopping.Load():
		return "stopping"
	case !b.cfg.IsBroker():
	case self == nil:
		return "not registered with the controller"
	case self.Fenced:
		return "fenced: registered, waiting for the metadata to arrive"
	}
	select {
	case <-b.ready:
		return ""
	default:
		return "starting"
	}
}

// awaitImage waits until this broker's image has reached a raft index (B4).
func (b *Broker) awaitImage(ctx context.Context, index uint64) error {
	for {
		p := b.published.Load()
		if p.image.Index() >= index {
			return nil
		}
		select {
		case <-p.next:
		case <-ctx.Done():
			return fmt.Errorf("%w: waiting for metadata at index %d", kerr.RequestTimedOut, index)
		}
	}
}
