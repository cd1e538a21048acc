package controller

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"cordwood/controller/decide"
	"cordwood/metadata"

	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
)

// roundChanges ends a round: one more request would make the entry needlessly large.
const roundChanges = 20_000

// request is one decision that waits for the decider.
type request struct {
	ctx    context.Context
	decide func(img *metadata.Image, now time.Time) (changes []metadata.Change, alone bool, err error)
	done   chan answer // room for one
}

type answer struct {
	index uint64
	err   error
}

func (q *request) refuse(err error) { q.done <- answer{err: err} }

// Do runs a decision in the decider and returns its reply once everything it could have
// seen is committed; the index is the raft index to wait for before the caller's own image
// shows it. An error of the decision comes back as it is. When ctx ends first, the outcome
// is unknown.
func Do[R any](ctx context.Context, n *Node, f func(img *metadata.Image, now time.Time) (decide.Outcome[R], error)) (R, uint64, error) {
	var reply, none R
	q := &request{ctx: ctx, done: make(chan answer, 1)}
	q.decide = func(img *metadata.Image, now time.Time) ([]metadata.Change, bool, error) {
		out, err := f(img, now)
		reply = out.Reply // read after done only
		return out.Changes, out.Alone, err
	}
	if !n.Active() {
		return none, 0, notController()
	}
	select {
	case n.queue <- q:
	case <-ctx.Done():
		return none, 0, ctx.Err()
	case <-n.gone:
		return none, 0, notController()
	}
	select {
	case a := <-q.done:
		if a.err != nil {
			return none, 0, a.err
		}
		return reply, a.index, nil
	case <-ctx.Done():
		return none, 0, ctx.Err()
	case <-n.gone:
		return none, 0, notController()
	}
}

// decider decides while its node leads.
type decider struct {
	n       *Node
	raft    *raft.Raft
	left    *request  // taken from the queue, but for the next round
	balance time.Time // when leaderships are looked at next; zero: never
}

// office is one term of leadership. It returns nil when leadership or ctx ended.
func (d *decider) office(ctx context.Context) error {
	n := d.n
	defer func() {
		n.active.Store(false)
		if d.left != nil {
			d.left.refuse(notController())
		}
	}()
	if err := d.enter(ctx); err != nil {
		return d.over(err)
	}
	n.active.Store(true)
	defer func() { n.endSessions(time.Now()) }()
	n.suspectAll()
	d.balanceIn(n.cfg.BalanceInterval)
	select {
	case <-n.ready:
	default:
		close(n.ready)
	}
	n.log.Info("controller is active", zap.String("event", "CW-0401"), zap.Uint64("index", n.Image().Index()))
	for {
		n.judgeLate(time.Now())
		if lost, err := d.wait(ctx); lost || err != nil {
			return d.over(err)
		}
		if err := d.round(ctx); err != nil {
			return d.over(err)
		}
	}
}

// errOver ends an office without ending the node.
var errOver = errors.New("controller: no longer the leader")

func (d *decider) over(err error) error {
	if errors.Is(err, errOver) {
		return nil
	}
	return err
}

// enter waits until the whole log is applied, and makes the first facts: of a new cluster,
// and of settings that changed while nobody was in office.
func (d *decider) enter(ctx context.Context) error {
	n := d.n
	term := d.raft.CurrentTerm()
	if err := d.await(ctx, func() error { return d.raft.Barrier(0).Error() }); err != nil {
		return err
	}
	if d.raft.CurrentTerm() != term {
		term = 0 // in which of them this node led is not known
	}
	img := n.Image()
	changes, err := n.identity(img)
	if err != nil {
		return err
	}
	changes = append(changes, decide.Reconcile(img, n.cfg.Rules).Changes...)
	n.beginSessions(img, term, time.Now())
	if len(changes) == 0 {
		return nil
	}
	return d.commit(ctx, img, changes)
}

// beginSessions begins an office in a raft term; 0: it is not known. No term has two leaders, so that nobody was in office
// between two terms of this node that follow each other, and what it knows of sessions still holds (C13).
func (n *Node) beginSessions(img *metadata.Image, term uint64, now time.Time) {
	var late []metadata.NodeID
	if n.cfg.Late != nil {
		late = n.cfg.Late()
	}
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	if last := n.sessions.term; last > 0 && term == last+1 {
		n.sessions.s.Resume(img, n.sessions.ended, now)
	} else {
		n.sessions.s.Begin(img, now)
		n.sessions.s.Presume(late)
	}
	n.sessions.term = term
	n.tellLate(img)
}

// endSessions notes when there was nobody any more to whom brokers could speak.
func (n *Node) endSessions(now time.Time) {
	n.sessions.mu.Lock()
	defer n.sessions.mu.Unlock()
	n.sessions.ended = now
}

// identity makes the first facts of a new cluster, and refuses to go on with the metadata
// of another cluster or with another node's disk.
func (n *Node) identity(img *metadata.Image) ([]metadata.Change, error) {
	self := metadata.VoterRecorded{ID: n.cfg.NodeID, Dir: n.cfg.DirID}
	if img.ClusterID() == "" {
		f := n.founded.Load()
		id := f.ClusterID
		if id == "" {
			id = n.NewTopicID().String()
		}
		changes := []metadata.Change{metadata.ClusterCreated{ClusterID: id}}
		for _, v := range f.Voters {
			changes = append(changes, metadata.VoterRecorded{ID: v.ID, Dir: v.Dir})
		}
		return append(changes, metadata.InitialFeatures()...), nil
	}
	if n.cfg.ClusterID != "" && n.cfg.ClusterID != img.ClusterID() {
		return nil, fmt.Errorf("%w: it is of cluster %s, this node of %s", ErrForeign, img.ClusterID(), n.cfg.ClusterID)
	}
	for _, v := range img.Voters() {
		if v.ID != n.cfg.NodeID || v.Dir == n.cfg.DirID || n.cfg.DirID.IsZero() {
			continue
		}
		if v.Dir.IsZero() {
			return []metadata.Change{self}, nil
		}
		return nil, fmt.Errorf("%w: node %d is recorded with directory %s, this is %s", ErrForeign, v.ID, v.Dir, n.cfg.DirID)
	}
	return nil, nil
}

// wait sleeps until there is something to decide.
func (d *decider) wait(ctx context.Context) (lost bool, err error) {
	n := d.n
	if d.left != nil {
		return false, nil
	}
	var due <-chan time.Time
	img := n.Image()
	n.sessions.mu.Lock()
	deadline, pending := n.sessions.s.NextDeadline(img)
	lateFrom, punctual := n.sessions.s.NextLate(img)
	n.sessions.mu.Unlock()
	if pending {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		due = timer.C
	}
	var late <-chan time.Time
	if punctual {
		timer := time.NewTimer(time.Until(lateFrom))
		defer timer.Stop()
		late = timer.C
	}
	var uneven <-chan time.Time
	if !d.balance.IsZero() {
		timer := time.NewTimer(time.Until(d.balance))
		defer timer.Stop()
		uneven = timer.C
	}
	select {
	case d.left = <-n.queue:
		return false, nil
	case <-due:
		d.forgive(deadline)
		return false, nil
	case <-late:
		return false, nil
	case <-uneven:
		return false, nil
	case <-d.raft.LeaderCh():
		return true, nil // even if it was regained: begin anew, with a barrier
	case <-n.guard.fatal:
		return false, n.guard.cause
	case <-ctx.Done():
		return true, nil
	}
}

// forgive grants everybody a new session when this process was stopped itself: heartbeats
// may lie unread, and silence proves nothing.
func (d *decider) forgive(deadline time.Time) {
	late := time.Since(deadline)
	if late < d.n.cfg.SessionTimeout/6 {
		return
	}
	d.n.log.Warn("controller was stopped for a while: all sessions begin anew", zap.String("event", "CW-0406"), zap.Duration("late", late))
	d.n.sessions.mu.Lock()
	defer d.n.sessions.mu.Unlock()
	d.n.sessions.s.Grant(d.n.Image(), time.Now())
}

// round decides everything that is queued and due, commits it as one entry and answers.
func (d *decider) round(ctx context.Context) error {
	n := d.n
	r := round{base: n.Image(), log: n.log}
	r.scratch = r.base
	d.fence(&r)
	d.rebalance(&r)
	defer n.setFencing(nil)
	for r.open() {
		q := d.next()
		if q == nil {
			break
		}
		if q.ctx.Err() != nil {
			q.refuse(q.ctx.Err())
			continue
		}
		if !r.decide(q) {
			d.left = q
			break
		}
	}
	if len(r.asked) == 0 && len(r.changes) == 0 {
		return nil
	}
	n.counters.rounds.Add(1)
	n.counters.decisions.Add(uint64(len(r.asked)))
	var err error
	if len(r.changes) > 0 {
		err = d.commit(ctx, r.base, r.changes)
	} else {
		err = d.verify(ctx) // answers must not come from a deposed leader (Z30)
	}
	if err != nil {
		r.refuse(notController())
		return err
	}
	r.answer(n.Image().Index())
	return nil
}

// next takes one request without waiting.
func (d *decider) next() *request {
	if q := d.left; q != nil {
		d.left = nil
		return q
	}
	select {
	case q := <-d.n.queue:
		return q
	default:
		return nil
	}
}

// fence decides what is due by the clock.
func (d *decider) fence(r *round) {
	d.n.sessions.mu.Lock()
	now := time.Now()
	if next, pending := d.n.sessions.s.NextDeadline(r.base); pending && !next.After(now) {
		d.n.sessions.s.Vouch(r.base, d.n.cfg.NodeID, now)
	}
	out := decide.FenceExpired(r.base, d.n.sessions.s, d.n.cfg.Rules, now)
	d.n.sessions.fencing = out.Reply
	d.n.sessions.mu.Unlock()
	if len(out.Changes) == 0 {
		return
	}
	if err := r.add(out.Changes); err != nil {
		d.n.log.Error("a fencing does not fit the image", zap.String("event", "CW-0407"), zap.Error(err))
		return
	}
	d.n.log.Warn("brokers are fenced: no heartbeat", zap.String("event", "CW-0408"), zap.Any("brokers", out.Reply))
}

// commit proposes facts and waits until they are part of the image, or this is no longer
// the leader.
func (d *decider) commit(ctx context.Context, base *metadata.Image, changes []metadata.Change) error {
	data, err := command{stamp: base.Index(), claim: d.n.fsm.claim.Swap(nil), changes: changes}.encode()
	if err != nil {
		return err
	}
	d.n.sessions.mu.Lock()
	d.n.sessions.s.Take(base, changes)
	d.n.sessions.mu.Unlock()
	if mutant == 13 {
		d.raft.Apply(data, 0)
		return nil
	}
	began := time.Now()
	var future raft.ApplyFuture
	if err := d.await(ctx, func() error { future = d.raft.Apply(data, 0); return future.Error() }); err != nil {
		return err
	}
	if err, refused := future.Response().(error); refused {
		// Another leader's entry came between (C1), or the node is about to stop.
		d.n.log.Info("a round was refused", zap.String("event", "CW-0409"), zap.Error(err))
		return errOver
	}
	d.n.counters.commit(time.Since(began), len(data))
	return nil
}

// verify is Node.verify for a round that decided nothing.
func (d *decider) verify(ctx context.Context) error {
	switch err := d.n.verify(ctx); {
	case d.n.guard.failed() != nil:
		return d.n.guard.cause
	case err != nil:
		return errOver
	}
	return nil
}

// await asks raft something and waits for the answer, unless the node ends first.
func (d *decider) await(ctx context.Context, question func() error) error {
	select {
	case err := <-d.n.ask(question):
		if err != nil {
			return errOver
		}
		return nil
	case <-d.n.guard.fatal:
		return d.n.guard.cause
	case <-ctx.Done():
		return errOver // Run waits for the answer before it shuts raft down
	}
}

// round is what one entry will hold.
type round struct {
	base    *metadata.Image
	scratch *metadata.Image // base and what was decided so far
	changes []metadata.Change
	asked   []*request
	errs    []error // of asked
	alone   bool
	log     *zap.Logger
}

func (r *round) open() bool { return !r.alone && len(r.changes) < roundChanges }

// decide asks one request's decision; false if it wants an entry of its own and this is
// not one any more.
func (r *round) decide(q *request) bool {
	changes, alone, err := r.ask(q)
	if alone && len(r.changes) > 0 {
		return false
	}
	if err == nil {
		err = r.add(changes)
	}
	r.alone = alone
	r.asked, r.errs = append(r.asked, q), append(r.errs, err)
	return true
}

// ask keeps a decision that panics from taking the node along: it has changed nothing.
func (r *round) ask(q *request) (changes []metadata.Change, alone bool, err error) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("a decision panicked", zap.String("event", "CW-0410"), zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
			changes, alone, err = nil, false, unexpected()
		}
	}()
	return q.decide(r.scratch, time.Now())
}

func unexpected() error {
	return &decide.Refusal{Code: kerr.UnknownServerError, Message: "The controller could not decide."}
}

func (r *round) add(changes []metadata.Change) error {
	if len(changes) == 0 {
		return nil
	}
	next, err := r.scratch.With(r.scratch.Index()+1, changes)
	if err != nil {
		r.log.Error("a decision does not fit the image", zap.String("event", "CW-0407"), zap.Error(err))
		return unexpected()
	}
	r.scratch, r.changes = next, append(r.changes, changes...)
	return nil
}

func (r *round) answer(index uint64) {
	for i, q := range r.asked {
		q.done <- answer{index: index, err: r.errs[i]}
	}
}

func (r *round) refuse(err error) {
	for _, q := range r.asked {
		q.refuse(err)
	}
}
