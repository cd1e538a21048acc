package broker

import (
	"container/list"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/protocol"
)

// Incremental fetch sessions (KIP-227): a client names its partitions once and afterwards only what changed; the
// answer holds only partitions with news. librdkafka never uses sessions, Java and franz-go always do.
//
//	epoch  0: make a session (and end the one named)       id 0 in the answer: no session, go on without
//	epoch -1: no session (and end the one named)
//	epoch  n: the n-th fetch of the session; anything else is INVALID_FETCH_SESSION_EPOCH; 2^31-1 wraps to 1

const (
	fetchEpochInitial int32 = 0
	fetchEpochFinal   int32 = -1
	// fetchSessionIdle is how long a session must be unused before another one may take its slot.
	fetchSessionIdle = 2 * time.Minute
)

// fetchKey names a partition inside a session: by topic id from version 13 on, by name before.
type fetchKey struct {
	id    [16]byte
	name  string
	index int32
}

// sessionPartition is what a session remembers of one partition.
type sessionPartition struct {
	key  fetchKey
	name []byte // as in key
	// what the client asked for last
	offset    int64
	epoch     int32
	lastEpoch int32
	logStart  int64
	maxBytes  int32
	// what a follower said
	highWatermark int64
	durable       bool
	// what the client was told last
	toldHighWatermark int64
	toldLogStart      int64
	at                *list.Element
}

// fetchSession is one client's set of partitions. Only the request in progress uses it; mu guards against a client
// that uses one session on two connections.
type fetchSession struct {
	id   int32
	byID bool // its partitions are named by topic id

	mu    sync.Mutex
	epoch int32 // the epoch the next request must have
	parts map[fetchKey]*sessionPartition
	order *list.List // of *sessionPartition: served from the front; partitions that had data go to the back

	lastUsed time.Time // guarded by fetchSessions.mu
	slot     *list.Element
}

// fetchSessions is the table of sessions: bounded, the longest unused one gives way after two minutes (bad input 135).
type fetchSessions struct {
	limit int

	mu   sync.Mutex
	byID map[int32]*fetchSession
	lru  *list.List // of *fetchSession, least recently used first
}

func newFetchSessions(limit int) *fetchSessions {
	return &fetchSessions{limit: limit, byID: make(map[int32]*fetchSession), lru: list.New()}
}

// create makes a session, or returns nil when the table is full of sessions in use. byID: it names topics by id. A
// follower always gets one: nobody else asks for so many partitions so often.
func (t *fetchSessions) create(byID, follower bool, now time.Time) *fetchSession {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.byID) >= t.limit {
		oldest := t.lru.Front()
		if oldest == nil || !follower && now.Sub(oldest.Value.(*fetchSession).lastUsed) < fetchSessionIdle {
			return nil
		}
		t.drop(oldest.Value.(*fetchSession))
	}
	s := &fetchSession{byID: byID, epoch: 1, parts: make(map[fetchKey]*sessionPartition), order: list.New(), lastUsed: now}
	for s.id == 0 || t.byID[s.id] != nil {
		s.id = rand.Int32N(math.MaxInt32) + 1
	}
	t.byID[s.id] = s
	s.slot = t.lru.PushBack(s)
	return s
}

// use finds a session for an incremental request and checks its epoch, and that it names topics as the session does: else
// its partitions could not be found under the other kind of name (trap 30).
func (t *fetchSessions) use(id, epoch int32, byID bool, now time.Time) (*fetchSession, error) {
	t.mu.Lock()
	s := t.byID[id]
	if s != nil {
		s.lastUsed = now
		t.lru.MoveToBack(s.slot)
	}
	t.mu.Unlock()
	if s == nil {
		return nil, kerr.FetchSessionIDNotFound
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.epoch != epoch {
		return nil, kerr.InvalidFetchSessionEpoch
	}
	if s.byID != byID {
		return nil, kerr.FetchSessionTopicIDError
	}
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	return s, nil
}

// end forgets a session; an unknown id is no error.
func (t *fetchSessions) end(id int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s := t.byID[id]; s != nil {
		t.drop(s)
	}
}

func (t *fetchSessions) drop(s *fetchSession) {
	delete(t.byID, s.id)
	t.lru.Remove(s.slot)
}

// count is the number of sessions, for the metrics.
func (t *fetchSessions) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.byID)
}

// update takes over what a request says: partitions added or changed, partitions forgotten. Called under s.mu.
func (s *fetchSession) update(q *protocol.FetchRequest) {
	for i := range q.Forgotten {
		f := &q.Forgotten[i]
		k := fetchKey{id: f.TopicID, name: string(f.Topic), index: f.Index}
		if p := s.parts[k]; p != nil {
			s.order.Remove(p.at)
			delete(s.parts, k)
		}
	}
	for i := range q.Partitions {
		in := &q.Partitions[i]
		k := fetchKey{id: in.TopicID, name: string(in.Topic), index: in.Index}
		p := s.parts[k]
		if p == nil {
			p = &sessionPartition{key: k, name: []byte(k.name), toldHighWatermark: -1, toldLogStart: -1}
			p.at = s.order.PushBack(p)
			s.parts[k] = p
		}
		p.offset, p.epoch, p.lastEpoch = in.FetchOffset, in.CurrentLeaderEpoch, in.LastFetchedEpoch
		p.logStart, p.maxBytes = in.LogStart, in.MaxBytes
		p.highWatermark, p.durable = in.HighWatermark, in.Durable
	}
}

// news reports whether the answer must mention the partition, and notes what is told. Called under s.mu.
func (p *sessionPartition) news(out *protocol.FetchedPartition) bool {
	// Where a history ends is news, whatever epoch it is told with: -1 when none of the asker's is known.
	if out.Code != 0 || out.Diverging.End >= 0 {
		p.toldHighWatermark, p.toldLogStart = -1, -1 // mentioned again when the error is over
		return true
	}
	changed := out.RecordsLen > 0 || out.PreferredReplica >= 0 || out.HighWatermark != p.toldHighWatermark || out.LogStart != p.toldLogStart
	p.toldHighWatermark, p.toldLogStart = out.HighWatermark, out.LogStart
	return changed
}
