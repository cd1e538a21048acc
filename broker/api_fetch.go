package broker

import (
	"fmt"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// Fetch (key 1), versions 4-18.
//
//	 4  read committed     9  current leader epoch    12  last fetched epoch     15  replica state (tagged)
//	 5  log start offset   11 rack                    13  topic ids              17  replica directory
//	 7  sessions                                                                 18  follower's high watermark
//
// The answer is read when it is at the head of its connection's queue. Too little to read: it parks on the
// partitions' high watermarks until there is enough, an error, or max_wait is over (trap 28).

// fetchWaitMax bounds max_wait, whatever the request says (bad input 133).
const fetchWaitMax = 5 * time.Minute

// fetchPart is one partition of a fetch: what is asked, and what was read.
type fetchPart struct {
	p       *partition.Partition
	topic   []byte
	topicID [16]byte
	index   int32
	ask     partition.ReadRequest
	follow  partition.FollowerRequest // instead of ask, from a follower
	session *sessionPartition
	err     error           // not read at all
	prefer  metadata.NodeID // is to be asked instead; NoNode: nobody is
	waiter  partition.Waiter
	read    partition.ReadResult
}

// fetchReply is one Fetch request from its decoding to its answer.
type fetchReply struct {
	s           *session
	body        []byte // own copy: the request outlives the burst
	request     protocol.FetchRequest
	correlation int32
	arrived     time.Time
	deadline    time.Time
	quota       *clientQuota  // nil: none
	began, busy time.Duration // the present look's start and the time of those before, for the quota
	started     bool
	parked      bool
	code        int16
	sessionID   int32
	session     *fetchSession
	full        bool // mention every partition
	follower    bool // another broker fetches, to replicate
	told        []protocol.FetchedPartition
	nodes       []protocol.NodeEndpoint // of the leaders that are told (KIP-951)
	parts       []fetchPart
	sent        []int // index in parts of each told partition
	encoder     protocol.FetchEncoder
}

// keepParts bounds what the pool keeps of requests that name many partitions without a session: 10,000 are 6 MB, and whoever
// really reads so many has a session (bad input 134).
const keepParts = 1024

var fetchReplies = sync.Pool{New: func() any { return new(fetchReply) }}

// startFetch decodes a Fetch; what it asks for is looked up when its turn comes.
func (s *session) startFetch(body []byte) error {
	r := fetchReplies.Get().(*fetchReply)
	r.body = append(r.body[:0], body...)
	if err := r.request.Decode(s.header.Version, r.body); err != nil {
		fetchReplies.Put(r)
		return err
	}
	r.s, r.correlation, r.nodes = s, s.header.CorrelationID, r.nodes[:0]
	r.follower = r.request.ReplicaID >= 0 && s.l.servesBrokers()
	if !r.follower && s.l.internal() {
		fetchReplies.Put(r)
		return fmt.Errorf("%w: consumers fetch at the listeners for clients", errClose)
	}
	if r.quota, r.busy = s.quota(), 0; r.follower {
		r.quota = nil
	}
	r.started, r.parked, r.code, r.session, r.sessionID, r.full = false, false, 0, nil, 0, true
	r.parts, r.told, r.sent = r.parts[:0], r.told[:0], r.sent[:0]
	wait := min(max(time.Duration(r.request.MaxWaitMillis)*time.Millisecond, 0), fetchWaitMax)
	r.arrived = time.Now()
	r.deadline = r.arrived.Add(wait)
	s.c.Reply(r)
	return nil
}

func (r *fetchReply) Blocking() bool      { return false }
func (r *fetchReply) Deadline() time.Time { return r.deadline }

// Ready reads every partition, in the order of the request or session (trap 27), and decides whether to answer.
func (r *fetchReply) Ready(now time.Time) bool {
	if r.quota != nil {
		r.began = r.s.b.uptime()
	}
	if !r.started {
		r.started = true
		r.begin(now)
	}
	if r.code != 0 {
		r.encode()
		return true
	}
	r.unpark()
	limit := r.quota.fetchLimit(min(int(r.request.MaxBytes), r.s.b.cfg.FetchMaxBytes))
	got, failed, held := r.read(now, limit)
	enough := got >= min(int(r.request.MinBytes), limit) && !held
	if enough || failed || len(r.parts) == 0 || !now.Before(r.deadline) {
		if r.quota == nil || !r.throttled() {
			r.encode()
		}
		return true
	}
	if r.quota != nil {
		r.busy += r.s.b.uptime() - r.began
	}
	r.release()
	return false
}

// begin settles the session and lists the partitions.
func (r *fetchReply) begin(now time.Time) {
	q, sessions := &r.request, r.s.b.sessions
	switch {
	case q.SessionEpoch == fetchEpochFinal || q.SessionEpoch == fetchEpochInitial:
		if q.SessionID != 0 {
			sessions.end(q.SessionID)
		}
		if q.SessionEpoch == fetchEpochInitial && q.Version >= 7 {
			r.session = sessions.create(q.Version >= 13, r.follower, now)
		}
	default:
		s, err := sessions.use(q.SessionID, q.SessionEpoch, q.Version >= 13, now)
		if err != nil {
			r.code = codeOf(err)
			return
		}
		r.session, r.full = s, false
	}
	if r.session == nil {
		r.parts = slices.Grow(r.parts, len(q.Partitions))
		for i := range q.Partitions {
			in := &q.Partitions[i]
			f := r.add(in.Topic, in.TopicID, in.Index, in.FetchOffset, in.CurrentLeaderEpoch, in.LastFetchedEpoch, in.MaxBytes)
			r.followAs(f, in.LogStart, in.HighWatermark, in.Durable)
		}
		return
	}
	r.sessionID = r.session.id
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	r.session.update(q)
	r.parts = slices.Grow(r.parts, r.session.order.Len())
	for e := r.session.order.Front(); e != nil; e = e.Next() {
		p := e.Value.(*sessionPartition)
		f := r.add(p.name, p.key.id, p.key.index, p.offset, p.epoch, p.lastEpoch, p.maxBytes)
		f.session = p
		r.followAs(f, p.logStart, p.highWatermark, p.durable)
	}
}

// add puts one partition on the list.
func (r *fetchReply) add(topic []byte, id [16]byte, index int32, offset int64, epoch, lastEpoch, maxBytes int32) *fetchPart {
	b := r.s.b
	n := len(r.parts)
	if n < cap(r.parts) {
		r.parts = r.parts[:n+1] // the waiter inside is reused
	} else {
		r.parts = append(r.parts, fetchPart{})
	}
	f := &r.parts[n]
	f.topic, f.topicID, f.index, f.session, f.err, f.prefer = topic, id, index, nil, nil, metadata.NoNode
	if r.request.Version >= 13 {
		f.p = b.partitions.ByID(id, index)
	} else {
		f.p = b.partitions.Lookup(topic, index)
	}
	switch {
	case r.request.ReplicaID >= 0 && !r.follower:
		f.err = kerr.TopicAuthorizationFailed // a follower's fetch belongs on the internal listener (bad input 115)
	case f.p == nil:
		f.err = b.whyNoPartition(topic, id, index, r.request.Version >= 13)
	}
	f.ask = partition.ReadRequest{
		Offset: offset, LeaderEpoch: epoch, LastFetchedEpoch: lastEpoch,
		MaxBytes: int(maxBytes), Committed: r.request.Isolation == 1, FromFollower: r.request.Version >= 11,
	}
	return f
}

// read reads for whoever asks. A consumer of a broker that leaves is held until the next leader is known, who is then
// named in the answer; what was read meanwhile is not shown (held).
func (r *fetchReply) read(now time.Time, limit int) (got int, failed, held bool) {
	if r.follower {
		got, failed = r.readTails(limit)
		return got, failed, false
	}
	if r.s.b.lease.leaving() && now.Before(r.deadline) {
		if got, failed = r.readAll(limit, true); !failed {
			return got, false, true
		}
		r.release()
	}
	r.refuse() // also when a parked answer leaves
	got, failed = r.readAll(limit, false)
	return got, failed, false
}

// refuse takes out what this broker may not show now (R18).
func (r *fetchReply) refuse() {
	b := r.s.b
	if b.lease.over(false) == nil && b.handover.isOpen() {
		return
	}
	for i := range r.parts {
		if f := &r.parts[i]; f.err == nil {
			if refused := b.mayRead(f.p); refused != nil {
				f.err = refused
			}
		}
	}
}

// yieldAfterReads partitions have taken half a millisecond.
const yieldAfterReads = 256

// readAll reads within limit bytes. The first partition with data returns its first batch whole, whatever its size
// (trap 27); the others obey what is left. Other connections are let in between, for 10,000 partitions take 20 ms.
func (r *fetchReply) readAll(limit int, held bool) (got int, failed bool) {
	left := limit
	for i := range r.parts {
		f := &r.parts[i]
		if i%yieldAfterReads == yieldAfterReads-1 {
			runtime.Gosched()
		}
		if f.err != nil {
			failed = true
			continue
		}
		ask := f.ask
		ask.Whole = got == 0
		ask.MaxBytes = max(min(ask.MaxBytes, left), 0)
		if f.prefer = r.prefer(f); f.prefer != metadata.NoNode {
			ask.Whole, ask.MaxBytes = false, 0
		}
		f.p.Read(ask, &f.read)
		switch {
		case f.read.Err != nil || f.read.DivergingEnd >= 0:
			f.prefer = metadata.NoNode
			failed = true // answered at once (trap 28)
			continue
		case f.prefer != metadata.NoNode, held && f.read.AtFollower: // the latter has no next leader to wait for
			failed = true
		}
		n := f.read.Slice.Len()
		got += n
		left -= n
	}
	return got, failed
}

// Park registers with every partition; the first high watermark that moves wakes the reply.
func (r *fetchReply) Park(wake func()) bool {
	r.unpark() // a wake that is on its way may still read the waiters
	r.parked = true
	for i := range r.parts {
		f := &r.parts[i]
		f.waiter.Wake = wake
		if r.follower {
			if !r.parkAtTail(f) {
				return false
			}
			continue
		}
		if !f.p.Await(&f.waiter, f.read.HighWatermark+1, f.read.Epoch) {
			r.unpark()
			return false
		}
	}
	return true
}

func (r *fetchReply) unpark() {
	if !r.parked {
		return
	}
	r.parked = false
	for i := range r.parts {
		r.parts[i].waiter.Cancel()
	}
}

// release gives back what was read without being sent.
func (r *fetchReply) release() {
	for i := range r.parts {
		r.parts[i].read.Slice.Release()
	}
}

// encode builds the frame without the record bytes, and settles the session.
func (r *fetchReply) encode() {
	if r.session != nil {
		r.session.mu.Lock()
		defer r.session.mu.Unlock()
	}
	if r.full {
		r.told, r.sent = slices.Grow(r.told, len(r.parts)), slices.Grow(r.sent, len(r.parts))
	}
	for i := range r.parts {
		f := &r.parts[i]
		out := r.tell(f)
		if f.session != nil && !f.session.news(&out) && !r.full {
			f.read.Slice.Release()
			continue
		}
		r.told = append(r.told, out)
		r.sent = append(r.sent, i)
		if f.session != nil && out.RecordsLen > 0 && f.session.at != nil {
			r.session.order.MoveToBack(f.session.at) // whoever had data is served last next time
		}
	}
	r.encoder.Encode(r.request.Version, r.correlation, 0, r.code, r.sessionID, r.told, r.nodes)
}

// tell is the partition's part of the answer.
func (r *fetchReply) tell(f *fetchPart) protocol.FetchedPartition {
	version := r.request.Version
	var out protocol.FetchedPartition
	out.Clear()
	out.Topic, out.TopicID, out.Index = f.topic, f.topicID, f.index
	err := f.err
	if err == nil {
		err = f.read.Err
	}
	if err != nil {
		out.Code = codeOf(err)
		if out.Code == kerr.KafkaStorageError.Code && version <= 5 {
			out.Code = kerr.NotLeaderForPartition.Code // trap 32
		}
		if r.follower || f.err == nil && f.read.AtFollower {
			out.LogStart = f.read.LogStart // a follower that is out of range begins there, a consumer knows that it has to leave
		}
		if !r.follower {
			out.CurrentLeader = r.hint(f)
		}
		return out
	}
	if f.read.DivergingEnd >= 0 {
		out.Diverging = protocol.EpochEnd{Epoch: f.read.DivergingEpoch, End: f.read.DivergingEnd}
	}
	out.HighWatermark, out.LastStable, out.LogStart = f.read.HighWatermark, f.read.LastStable, f.read.LogStart
	out.RecordsLen, out.PreferredReplica = f.read.Slice.Len(), int32(f.prefer)
	if f.ask.Committed {
		out.Aborted = []protocol.AbortedTxn{}
	}
	for _, a := range f.read.Aborted {
		out.Aborted = append(out.Aborted, protocol.AbortedTxn{ProducerID: a.ProducerID, FirstOffset: a.FirstOffset})
	}
	return out
}

// Write sends header bytes and records by turns.
func (r *fetchReply) Write(o *listener.Out) error {
	m := r.s.b.metrics
	from := 0
	for k, at := range r.encoder.Marks {
		f := &r.parts[r.sent[k]]
		n := f.read.Slice.Len()
		if f.err != nil || f.read.Err != nil || n == 0 {
			continue
		}
		o.Append(r.encoder.Bytes[from:at])
		from = at
		if err := o.Send(&f.read.Slice); err != nil {
			f.p.SendFailed(f.ask.Offset, err)
			return err
		}
		if !r.follower {
			m.fetched(n)
		}
	}
	o.Append(r.encoder.Bytes[from:])
	if !r.follower {
		m.answered(keyFetch, time.Since(r.arrived))
	}
	return nil
}

func (r *fetchReply) Done() {
	r.unpark()
	for i := range r.parts {
		f := &r.parts[i]
		f.read.Slice.Release()
		f.p, f.topic, f.session, f.err = nil, nil, nil, nil
		f.read = partition.ReadResult{}
	}
	clear(r.told)
	reused := r.session != nil || cap(r.parts) <= keepParts
	r.s, r.session, r.quota = nil, nil, nil
	if reused {
		fetchReplies.Put(r)
	}
}
