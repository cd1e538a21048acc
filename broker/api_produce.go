package broker

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
	"cordwood/protocol/record"
)

// Produce (key 0), versions 3-13.
//
//	 3  record batch v2, transactional id     7  zstd            10  current leader (KIP-951)
//	 5  log start offset in the answer        8  record errors   13  topic ids
//
// A burst's requests are decoded and validated one by one, appended together (one lock and one write per
// partition), and answered in order.

// produceTimeoutMax bounds how long an acks=all answer may wait, whatever the request says (bad input 73).
const produceTimeoutMax = 15 * time.Minute

// producePart is one partition of a request: where it goes, what became of it.
type producePart struct {
	p       *partition.Partition
	append  partition.Append
	topic   []byte // aliases produceReply.names
	topicID [16]byte
	first   bool // first partition of its topic in the request
	index   int32
	err     error // kerr code inside; nil: appended or still to be
	// appendTime is the time the broker stamped, -1 where the client's counts
	appendTime int64
}

// produceReply is one Produce request from its decoding to its answer.
type produceReply struct {
	s           *session
	version     int16
	acks        int16
	correlation int32
	deadline    time.Time
	arrived     time.Time
	parts       []producePart
	names       []byte
	next        int // parts before it are settled
	waiter      partition.Waiter
	quota       *clientQuota // nil: none
	size        int          // of the request, for the quota
	throttle    int32        // milliseconds
	results     []protocol.ProduceResult
	nodes       []protocol.NodeEndpoint // of the leaders that are told (KIP-951)
}

var produceReplies = sync.Pool{New: func() any { return new(produceReply) }}

// produceStage collects the Produce requests of one burst.
type produceStage struct {
	request protocol.ProduceRequest
	rules   record.Rules
	replies []*produceReply
	began   time.Duration // when the first that a quota binds was staged; 0: there is none
	groups  []appendGroup
	groupOf map[*partition.Partition]int
}

// appendGroup is what one burst appends to one partition.
type appendGroup struct {
	p     *partition.Partition
	items []*partition.Append
}

// stageProduce decodes and validates one request; nothing is appended yet. Record bytes alias the frame, which
// stays until the burst ends.
func (s *session) stageProduce(body []byte, now time.Time) error {
	st := &s.stage
	quota := s.quota()
	if quota != nil && st.began == 0 {
		st.began = s.b.uptime()
	}
	if err := st.request.Decode(s.header.Version, body); err != nil {
		return err
	}
	q := &st.request
	r := produceReplies.Get().(*produceReply)
	r.s, r.version, r.acks, r.correlation = s, s.header.Version, q.Acks, s.header.CorrelationID
	timeout := min(max(time.Duration(q.TimeoutMillis)*time.Millisecond, 0), produceTimeoutMax)
	r.arrived = time.Now()
	r.deadline = r.arrived.Add(timeout)
	r.parts, r.names, r.next = r.parts[:0], r.names[:0], 0
	r.quota, r.size, r.throttle = quota, len(body), 0
	var in protocol.ProducePartition
	for q.Next(&in) {
		r.parts = append(r.parts, producePart{topicID: in.TopicID, first: in.NewTopic, index: in.Index, appendTime: -1})
		part := &r.parts[len(r.parts)-1]
		part.topic = r.name(in.Topic)
		part.err = s.checkProduce(q, &in, part, now)
	}
	st.replies = append(st.replies, r)
	return nil
}

// name keeps a copy of a topic name, once per run of equal names.
func (r *produceReply) name(b []byte) []byte {
	if n := len(r.parts); n > 1 && string(r.parts[n-2].topic) == string(b) {
		return r.parts[n-2].topic
	}
	from := len(r.names)
	r.names = append(r.names, b...)
	return r.names[from:len(r.names):len(r.names)]
}

// checkProduce finds the partition and validates its batch, outside any lock.
func (s *session) checkProduce(q *protocol.ProduceRequest, in *protocol.ProducePartition, part *producePart, now time.Time) error {
	if q.Acks < -1 || q.Acks > 1 {
		return kerr.InvalidRequiredAcks // per partition (trap 8, bad input 72)
	}
	if q.TransactionalID != nil {
		return errNoTransactions
	}
	if q.Version >= 13 {
		part.p = s.b.partitions.ByID(in.TopicID, in.Index)
	} else {
		part.p = s.b.partitions.Lookup(in.Topic, in.Index)
	}
	if part.p == nil {
		return s.b.whyNoPartition(in.Topic, in.TopicID, in.Index, q.Version >= 13)
	}
	if refused := s.b.mayWrite(part.p); refused != nil {
		return refused
	}
	if metadata.InternalTopic(part.p.Topic()) && !s.l.internal() {
		return kerr.InvalidTopicException // clients never write coordinator records (trap 18, bad input 127)
	}
	rules := &s.stage.rules
	*rules = *part.p.Rules()
	rules.Now = now.UnixMilli()
	batch, err := s.validator.Validate(in.Records, rules)
	if err != nil {
		return err
	}
	if record.Batch(in.Records).Codec() == record.Zstd && q.Version < 7 {
		return kerr.UnsupportedCompressionType // trap 9
	}
	if int64(len(batch)) > part.p.Config().SegmentBytes {
		return kerr.RecordListTooLarge // trap 12
	}
	if batch.Transactional() {
		return fmt.Errorf("%w: a transactional batch needs a transactional id", kerr.InvalidRecord) // bad input 63
	}
	part.append = partition.Append{Batch: batch, Acks: q.Acks}
	return nil
}

// flushStage appends everything staged, one call per partition, and hands the answers over in order.
func (s *session) flushStage(time.Time) error {
	st := &s.stage
	if len(st.replies) == 0 {
		return nil
	}
	for _, r := range st.replies {
		for i := range r.parts {
			if part := &r.parts[i]; part.err == nil {
				st.group(part.p, &part.append)
			}
		}
	}
	for i := range st.groups {
		g := &st.groups[i]
		g.p.Append(g.items)
		s.b.metrics.produced(g.items)
		clear(g.items)
		g.p, g.items = nil, g.items[:0]
	}
	st.groups = st.groups[:0]
	clear(st.groupOf)
	var failed error
	var share time.Duration // of the time this took
	if st.began != 0 {
		share, st.began = (s.b.uptime()-st.began)/time.Duration(len(st.replies)), 0
	}
	for i, r := range st.replies {
		st.replies[i] = nil
		if r.quota != nil {
			r.charge(share)
		}
		if err := r.handOver(); err != nil && failed == nil {
			failed = err
		}
	}
	st.replies = st.replies[:0]
	return failed
}

// group adds an append to its partition's group. Few partitions are found by a scan, many by a map.
func (st *produceStage) group(p *partition.Partition, a *partition.Append) {
	const scan = 8
	n := len(st.groups)
	for i := n - 1; i >= 0 && i >= n-scan; i-- {
		if st.groups[i].p == p {
			st.groups[i].items = append(st.groups[i].items, a)
			return
		}
	}
	if n > scan {
		if st.groupOf == nil {
			st.groupOf = make(map[*partition.Partition]int)
		}
		if i, ok := st.groupOf[p]; ok {
			st.groups[i].items = append(st.groups[i].items, a)
			return
		}
	}
	if n < cap(st.groups) {
		st.groups = st.groups[:n+1]
	} else {
		st.groups = append(st.groups, appendGroup{})
	}
	g := &st.groups[n]
	g.p, g.items = p, append(g.items[:0], a)
	if st.groupOf != nil || n >= scan {
		if st.groupOf == nil {
			st.groupOf = make(map[*partition.Partition]int)
		}
		st.groupOf[p] = n
	}
}

// handOver gives the reply to the connection. acks=0 has no answer; an error closes the connection, for the client
// could not learn of it otherwise (trap 8).
func (r *produceReply) handOver() error {
	for i := range r.parts {
		part := &r.parts[i]
		if part.err == nil {
			part.err = part.append.Err
		}
		if part.err == nil && part.append.Batch.LogAppendTime() {
			part.appendTime = part.append.Batch.MaxTimestamp()
		}
		part.append.Batch = nil
		if part.err != nil && r.acks == 0 {
			err := fmt.Errorf("%w: produce without acknowledgement failed: %w", errClose, part.err)
			r.Done()
			return err
		}
	}
	if r.acks == 0 {
		r.Done()
		return nil
	}
	r.s.c.Reply(r)
	return nil
}

func (r *produceReply) Blocking() bool      { return false }
func (r *produceReply) Deadline() time.Time { return r.deadline }

// Ready reports whether every partition is settled: refused, appended (acks=1), committed (acks=all) or out of time.
func (r *produceReply) Ready(now time.Time) bool {
	for ; r.next < len(r.parts); r.next++ {
		part := &r.parts[r.next]
		if part.err != nil || r.acks != -1 {
			r.disown(part)
			continue
		}
		done, err := part.p.Acked(part.append.Last, part.append.Epoch)
		switch {
		case done && err == nil:
			if lapsed := r.s.b.lease.over(true); lapsed != nil { // again: it may have been parked for long (R18)
				part.err = lapsed
			}
		case done:
			part.err = err
		case !now.Before(r.deadline):
			part.err = kerr.RequestTimedOut // appended, may still commit (trap 15)
		default:
			return false
		}
	}
	return true
}

// disown takes back a refusal that only the leader may give, when this broker cannot know any more that it leads. A producer
// whose sequence or epoch is refused begins a new epoch and sends again what it has under way, parts of which may be there
// already. Who was stopped since the request came, and succeeded, lacks what its successor has acknowledged (R18, Z36).
func (r *produceReply) disown(part *producePart) {
	if !errors.Is(part.err, kerr.OutOfOrderSequenceNumber) && !errors.Is(part.err, kerr.InvalidProducerEpoch) {
		return
	}
	if lapsed := r.s.b.lease.over(true); lapsed != nil {
		part.err = lapsed
	}
}

// Park waits for the first unsettled partition only: those behind it are looked at when it is settled.
func (r *produceReply) Park(wake func()) bool {
	part := &r.parts[r.next]
	r.waiter.Cancel() // a wake that is on its way may still read it
	r.waiter.Wake = wake
	return part.p.AwaitAck(&r.waiter, part.append.Last, part.append.Epoch)
}

func (r *produceReply) Write(o *listener.Out) error {
	r.results, r.nodes = r.results[:0], r.nodes[:0]
	for i := range r.parts {
		out := r.parts[i].result()
		if r.parts[i].err != nil {
			leader := r.hint(&r.parts[i])
			out.LeaderID, out.LeaderEpoch = leader.ID, leader.Epoch
		}
		r.results = append(r.results, out)
	}
	buf := o.Buf()
	*buf = protocol.AppendProduceResponse(*buf, r.version, r.correlation, r.throttle, r.results, r.nodes)
	r.s.b.metrics.answered(keyProduce, time.Since(r.arrived))
	return nil
}

// result is the partition's part of the answer.
func (p *producePart) result() protocol.ProduceResult {
	var out protocol.ProduceResult
	out.Clear()
	out.Topic, out.TopicID, out.NewTopic, out.Index = p.topic, p.topicID, p.first, p.index
	if p.err == nil {
		out.BaseOffset, out.LogAppendTime, out.LogStart = p.append.Base, p.appendTime, p.append.LogStart
		return out
	}
	out.Code = codeOf(p.err)
	var invalid *record.Invalid
	if errors.As(p.err, &invalid) {
		out.Message = invalid.Message
		for _, e := range invalid.Records {
			out.Records = append(out.Records, protocol.RecordError{Index: e.Index, Message: e.Message})
		}
	} else if m := messageOf(p.err); m != nil {
		out.Message = *m
	}
	return out
}

func (r *produceReply) Done() {
	r.waiter.Cancel()
	for i := range r.parts {
		r.parts[i] = producePart{}
	}
	clear(r.results)
	r.s, r.quota = nil, nil
	produceReplies.Put(r)
}

// errNoTransactions is what a transactional producer gets until transactions exist.
var errNoTransactions = fmt.Errorf("%w: transactions are not served by this version of Cordwood", kerr.InvalidRequest)
