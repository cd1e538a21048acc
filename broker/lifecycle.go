package broker

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/controller"
	"cordwood/metadata"
	"cordwood/protocol"
)

// The life of a broker:
//
//	Open:  directories locked and read -> logs recovered -> controller, groups -> addresses bound
//	Run:   controller -> registration (R1) -> feed -> heartbeat until unfenced -> serving
//	stop:  not ready -> leaderships given away -> listeners drained -> groups, feed -> logs closed, clean files (R2)
//	       -> controller
//
// Each room runs under its own context, so that a stop can end them one after another.

// room is a running part of the broker: end it, and wait until its goroutines are gone.
type room struct {
	name string
	stop context.CancelFunc
	done chan struct{}
	err  error
}

// rooms starts parts of the broker and notices the first that fails.
type rooms struct {
	failed chan *room
	all    sync.WaitGroup
}

// start runs a room under a context of its own.
func (r *rooms) start(name string, run func(context.Context) error) *room {
	ctx, stop := context.WithCancel(context.Background())
	m := &room{name: name, stop: stop, done: make(chan struct{})}
	r.all.Add(1)
	go func() {
		defer r.all.Done()
		defer close(m.done)
		m.err = run(ctx)
		if ctx.Err() == nil { // it ended by itself
			select {
			case r.failed <- m:
			default:
			}
		}
	}()
	return m
}

// end stops a room and waits for it.
func (m *room) end() error {
	if m == nil {
		return nil
	}
	m.stop()
	<-m.done
	if m.err == nil || ended(m.err) {
		return nil
	}
	return fmt.Errorf("%s: %w", m.name, m.err)
}

// Run serves until ctx ends or a room fails, then stops in order. nil: a clean stop. Only when a disk hangs it does not wait
// for the goroutines that hang with it.
func (b *Broker) Run(ctx context.Context) error {
	rs := &rooms{failed: make(chan *room, 1)}
	var started []*room
	begin := func(name string, run func(context.Context) error) *room {
		m := rs.start(name, run)
		started = append(started, m)
		return m
	}
	if b.http != nil {
		begin("http", b.http.run)
	}
	begin("peers", b.peers.Run)
	var ctrl, heart *room
	if b.controller != nil {
		ctrl = begin("controller", b.controller.Run)
	}
	logs := begin("partitions", b.partitions.Run)
	groups := begin("groups", b.groups.Run)
	bg := begin("background", b.runBackground)
	feed := begin("metadata feed", b.followFeed)
	if b.cfg.IsBroker() {
		heart = begin("heartbeat", b.beat)
		begin("log ends", b.reportEnds)
		begin("directories", b.tellPlacements)
	}
	serve := begin("listeners", b.serve)
	begin("readiness", b.awaitReady)
	if b.names != nil {
		begin("dns", b.names.Run)
		begin("names", b.showNames)
	}

	var failure error
	select {
	case <-ctx.Done():
	case failure = <-b.fatal:
	case m := <-rs.failed:
		failure = fmt.Errorf("%s ended: %w", m.name, m.err)
		if errors.Is(m.err, controller.ErrForeign) {
			failure = fmt.Errorf("%w: %w", ErrConfig, failure)
		}
		if errors.Is(m.err, controller.ErrDiskStalled) || errors.Is(m.err, controller.ErrDiskFailed) {
			failure = fmt.Errorf("%w: %w", ErrDisk, failure)
		}
		b.log.Error("a room ended", zap.String("room", m.name), zap.Error(m.err))
	}
	stopped := make(chan error, 1)
	go func() {
		err := b.stop(failure == nil, serve, bg, groups, heart, feed, logs, ctrl)
		for _, m := range started {
			err = errors.Join(err, m.end())
		}
		rs.all.Wait()
		stopped <- err
	}()
	select {
	case err := <-stopped:
		return errors.Join(failure, err)
	case <-b.patience(failure):
		b.log.Error("the stop waits for the disk: ending without it", zap.Error(failure))
		return failure
	}
}

// patience ends the wait for a stop whose disk has failed: what hangs in the kernel with it cannot be waited for, and a
// process that stays has no leaders and no successor (R16).
func (b *Broker) patience(failure error) <-chan time.Time {
	if !errors.Is(failure, ErrDisk) {
		return nil
	}
	return time.After(b.cfg.DiskStall)
}

// stop ends the rooms from the top floor down; the logs are closed when nothing appends any more (R2, B7).
func (b *Broker) stop(clean bool, serve, bg, groups, heart, feed, logs, ctrl *room) error {
	b.stopping.Store(true)
	b.drain(protocol.Client)
	if clean {
		b.leave() // other nodes still reach this one meanwhile
	}
	b.drain(protocol.Internal)
	var errs []error
	for _, m := range []*room{serve, bg, groups, heart, feed, logs} {
		errs = append(errs, m.end())
	}
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.ShutdownTimeout)
	defer cancel()
	if clean {
		errs = append(errs, b.partitions.Close(ctx, b.epoch.Load()))
	} else {
		errs = append(errs, b.partitions.Abandon())
	}
	errs = append(errs, ctrl.end())
	return errors.Join(errs...)
}

// drain lets the listeners of a kind take no more requests.
func (b *Broker) drain(kind protocol.Listener) {
	for _, l := range b.listeners {
		if l.kind&kind != 0 {
			l.l.Drain()
		}
	}
}

// awaitReady opens the gate of the sessions once this broker is registered and unfenced. Connections are accepted from
// the start: a client that comes early waits for its first answer, not for its next dial.
func (b *Broker) awaitReady(ctx context.Context) error {
	for b.unready() {
		p := b.published.Load()
		if !b.unready() {
			break
		}
		select {
		case <-p.next:
		case <-ctx.Done():
			return nil
		}
	}
	close(b.ready)
	b.log.Info("serving", zap.Any("addresses", b.Addrs().Listeners), zap.String("http", b.Addrs().HTTP), zap.Strings("data", b.cfg.LogDirs),
		zap.Bool("durable", b.cfg.Topic.FlushBeforeAck), zap.String("cluster", b.image().ClusterID()), zap.String("version", Version))
	if b.cfg.Ready != nil {
		b.cfg.Ready(b.Addrs())
	}
	<-ctx.Done()
	return nil
}

func (b *Broker) unready() bool {
	if !b.cfg.IsBroker() {
		return b.image().ClusterID() == ""
	}
	self := b.image().Broker(b.cfg.NodeID)
	return self == nil || self.Fenced || self.Epoch != b.epoch.Load()
}

// voterIDs are the first members of the quorum, where the configuration names them.
func (b *Broker) voterIDs() []metadata.NodeID {
	var out []metadata.NodeID
	for _, v := range b.cfg.Voters {
		out = append(out, v.ID)
	}
	return out
}

// openController opens the controller's log under the first data directory.
func (b *Broker) openController() (err error) {
	if !b.cfg.IsController() {
		return nil
	}
	b.controller, err = controller.Open(controller.Config{
		NodeID: b.cfg.NodeID, ClusterID: b.clusterID(), Dir: filepath.Join(b.dirs[0].path, "raft"),
		DirID: b.dirs[0].id, FS: b.cfg.FS, Log: b.log.Named("controller"), Rules: b.rules(),
		SessionTimeout: b.cfg.SessionTimeout, DiskStall: b.cfg.DiskStall,
		BalanceInterval: b.cfg.balanceInterval(), BalancePercent: b.cfg.ImbalancePercent,
		Voters: b.voterIDs(), Expect: b.cfg.expect(), Greet: b.greet, Dial: b.dialRaft, Probe: b.probe(), Late: b.late, Led: b.ledBy,
	})
	if errors.Is(err, controller.ErrForeign) {
		return fmt.Errorf("%w: log.dirs: %w", ErrConfig, err)
	}
	if err != nil {
		return fmt.Errorf("%w: controller: %w", ErrDisk, err)
	}
	return nil
}

// ErrKilled is why Run returns after Kill.
var ErrKilled = errors.New("killed")

// Kill makes Run end as a crash would: nothing is handed over, and no file tells of a clean stop (R2). Connections that
// are open get what is queued for them; who wants them to break breaks them first.
func (b *Broker) Kill() {
	select {
	case b.fatal <- ErrKilled:
	default: // it ends already
	}
}

// background starts a short task that ends with the broker.
func (b *Broker) background(task func(ctx context.Context)) {
	select {
	case b.tasks <- task:
	default:
		b.log.Warn("a background task was dropped: too many are waiting")
	}
}

// runBackground runs tasks until ctx ends, then waits for them.
func (b *Broker) runBackground(ctx context.Context) error {
	var g errgroup.Group
	g.SetLimit(16)
	for {
		select {
		case task := <-b.tasks:
			g.Go(func() error { task(ctx); return nil })
		case <-ctx.Done():
			return g.Wait()
		}
	}
}
