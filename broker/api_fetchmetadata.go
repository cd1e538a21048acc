package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/protocol"
)

// Our own keys on the internal listener: Kafka's frames, version 0, CBOR bodies with integer keys.
//
//	20000 RaftStream     {1: cluster id, 2: node id}  -> {1: code}, then the connection is raft's
//	20001 FetchMetadata  {1: cluster id, 2: node id, 3: broker epoch, 4: from index, 5: max wait ms, 6: [broker ids]}
//	                     -> {1: code, 2: index, 3: [{1: index, 2: changes}], 4: image, 5: [broker ids]}
//	20002 SegmentStream  api_segmentstream.go
//	20003 Hello          controller.Hello both ways: who is there before there is a quorum
//	20004 PeerLost       {1: cluster id, 2: node id, 3: id of the broker to which it lost a connection} -> {1: code}
//	20005 LogEnds        {1: cluster id, 2: node id, 3: broker epoch, 4: [{1: topic id, 2: index, 3: leader epoch, 4: last epoch,
//	                     5: end, 6: durable end, 7: clean}]} -> {1: code}
//	20006 StoodDown      {1: cluster id, 2: node id, 3: index, 4: [broker ids]} -> {1: code, 2: [those that may still serve]}
//
// FetchMetadata is the metadata feed: what was committed after an index, or the whole image when the entries are no
// longer at hand. It waits for the first change. Beside it are the brokers that are late: those that the asker knows of, and
// those that there are.

// feedRequest asks the active controller for what came after an index.
type feedRequest struct {
	ClusterID     string          `cbor:"1,keyasint"`
	NodeID        metadata.NodeID `cbor:"2,keyasint"`
	BrokerEpoch   int64           `cbor:"3,keyasint"`
	FromIndex     uint64          `cbor:"4,keyasint"`
	MaxWaitMillis int32           `cbor:"5,keyasint"`

	Late []metadata.NodeID `cbor:"6,keyasint,omitempty"`
}

// feedResponse holds entries, or an image, or neither when nothing happened in time.
type feedResponse struct {
	Code    int16       `cbor:"1,keyasint"`
	Index   uint64      `cbor:"2,keyasint,omitempty"`
	Entries []feedEntry `cbor:"3,keyasint,omitempty"`
	Image   []byte      `cbor:"4,keyasint,omitempty"`

	Late []metadata.NodeID `cbor:"5,keyasint,omitempty"`
}

// feedEntry is one committed entry; Changes is as metadata encodes them.
type feedEntry struct {
	Index   uint64 `cbor:"1,keyasint"`
	Changes []byte `cbor:"2,keyasint"`
}

// ownDecoder takes what other nodes say with small bounds: the peer is not trusted.
var ownDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxNestedLevels: 4, MaxArrayElements: 16, MaxMapPairs: 16, TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// feedDecoder takes what the active controller says, as many entries as its ring holds, and what it is asked then: however
// many brokers are late.
var feedDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxNestedLevels: 8, MaxArrayElements: 1 << 16, MaxMapPairs: 16, TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// ownReply is the answer to one of our own keys.
type ownReply struct {
	s      *session
	header protocol.Header
	serve  func(ctx context.Context) (any, error)
	answer any
	err    error
}

func (r *ownReply) Blocking() bool      { return true }
func (r *ownReply) Park(func()) bool    { return false }
func (r *ownReply) Deadline() time.Time { return time.Time{} }
func (r *ownReply) Done()               {}

func (r *ownReply) Ready(time.Time) bool {
	r.answer, r.err = r.serve(r.s.c.Context())
	return true
}

func (r *ownReply) Write(o *listener.Out) error {
	if r.err != nil {
		return r.err
	}
	body, err := cbor.Marshal(r.answer)
	if err != nil {
		return err
	}
	buf := o.Buf()
	*buf = protocol.AppendOwnResponse(*buf, &r.header, body, 0)
	return nil
}

// startOwn serves one of our own keys. They come on the internal listener only, as the table says.
func (s *session) startOwn(body []byte) error {
	r := &ownReply{s: s, header: s.header}
	r.header.ClientID = nil
	switch protocol.Key(s.header.Key) {
	case protocol.FetchMetadata:
		var q feedRequest
		if err := feedDecoder.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("%w: FetchMetadata: %w", errClose, err)
		}
		r.serve = func(ctx context.Context) (any, error) { return s.b.fetchMetadata(ctx, &q), nil }
	case protocol.RaftStream:
		var q raftRequest
		if err := ownDecoder.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("%w: RaftStream: %w", errClose, err)
		}
		refused := s.b.admitsRaft(&q)
		if errors.Is(refused, errClose) {
			return refused
		}
		r.serve = func(context.Context) (any, error) { return feedResponse{Code: codeOf(refused)}, nil }
		if refused == nil {
			s.c.TakeOver(s.b.raftStream)
		}
	case protocol.SegmentStream:
		return s.startSegmentStream(body)
	case protocol.Hello:
		body = append([]byte(nil), body...)
		r.serve = func(context.Context) (any, error) { return s.b.helloed(body) }
	case protocol.PeerLost:
		var q lostRequest
		if err := ownDecoder.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("%w: PeerLost: %w", errClose, err)
		}
		r.serve = func(context.Context) (any, error) { return s.b.peerLost(&q), nil }
	case protocol.LogEnds:
		var q endsRequest
		if err := endsDecoder.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("%w: LogEnds: %w", errClose, err)
		}
		r.serve = func(ctx context.Context) (any, error) { return s.b.logEndsTold(ctx, &q), nil }
	case protocol.StoodDown:
		var q stoodDownRequest
		if err := ownDecoder.Unmarshal(body, &q); err != nil {
			return fmt.Errorf("%w: StoodDown: %w", errClose, err)
		}
		r.serve = func(context.Context) (any, error) { return s.b.stoodDown(&q), nil }
	default:
		return fmt.Errorf("%w: api key %d has no handler", errClose, s.header.Key)
	}
	s.c.Reply(r)
	return nil
}

// fetchMetadata answers from the active controller of this process.
func (b *Broker) fetchMetadata(ctx context.Context, q *feedRequest) feedResponse {
	switch {
	case !b.isActive():
		return feedResponse{Code: kerr.NotController.Code}
	case q.ClusterID != "" && q.ClusterID != b.controller.Image().ClusterID(): // bad input 123
		return feedResponse{Code: kerr.InconsistentClusterID.Code}
	}
	wait := min(max(time.Duration(q.MaxWaitMillis)*time.Millisecond, 0), feedWait)
	feed, err := b.controller.Changes(ctx, q.FromIndex, q.Late, wait)
	if err != nil || !b.isActive() { // who has lost its office meanwhile does not know who is late
		return feedResponse{Code: kerr.NotController.Code}
	}
	out := feedResponse{Index: feed.Index, Late: feed.Late}
	if feed.Image != nil {
		if out.Image, err = metadata.EncodeImage(feed.Image); err != nil {
			return feedResponse{Code: kerr.UnknownServerError.Code}
		}
	}
	for _, e := range feed.Entries {
		changes, err := metadata.EncodeChanges(e.Changes)
		if err != nil {
			return feedResponse{Code: kerr.UnknownServerError.Code}
		}
		out.Entries = append(out.Entries, feedEntry{Index: e.Index, Changes: changes})
	}
	return out
}
