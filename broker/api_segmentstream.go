package broker

import (
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// SegmentStream (key 20002), version 0: batches of one partition for another replica, beside its fetches.
//
//	{1: cluster id, 2: node id, 3: broker epoch, 4: topic id, 5: partition, 6: leader epoch, 7: offset, 8: until,
//	 9: epoch of the last record below offset, 10: max bytes}
//	-> {1: code, 2: high watermark, 3: log start, 4: delay ms, 5: sum, 6: n}, then n bytes: whole batches of one segment
//
// until -1: what the leader has in sealed segments from the offset on. Else what any replica of that leader epoch has that is
// committed, below until. An offset has one position in one segment as long as the segment lives, and after a crash the log's
// end is what a replica knows of itself: so that, with topic id, partition and epoch, is all there is to resume from.
// sum: CRC-32C over the first 21 bytes of each batch, which the batch's own CRC leaves out.

// streamRequest is the request.
type streamRequest struct {
	ClusterID   string           `cbor:"1,keyasint"`
	NodeID      metadata.NodeID  `cbor:"2,keyasint"`
	BrokerEpoch int64            `cbor:"3,keyasint"`
	Topic       metadata.TopicID `cbor:"4,keyasint"`
	Index       int32            `cbor:"5,keyasint"`
	LeaderEpoch int32            `cbor:"6,keyasint"`
	Offset      int64            `cbor:"7,keyasint"`
	Until       int64            `cbor:"8,keyasint"`
	LastEpoch   int32            `cbor:"9,keyasint"`
	MaxBytes    int32            `cbor:"10,keyasint"`
}

// streamResponse is the answer up to the batches.
type streamResponse struct {
	Code          int16  `cbor:"1,keyasint"`
	HighWatermark int64  `cbor:"2,keyasint"`
	LogStart      int64  `cbor:"3,keyasint"`
	DelayMillis   int32  `cbor:"4,keyasint"`
	Sum           uint32 `cbor:"5,keyasint"`
	Bytes         int64  `cbor:"6,keyasint"`
}

// streamReply is one request from its decoding to its answer. It reads the disk, so it runs on the connection's writer; the
// batches leave as those of a fetch do.
type streamReply struct {
	s      *session
	header protocol.Header
	q      streamRequest
	p      *partition.Partition
	read   partition.RangeResult
}

func (s *session) startSegmentStream(body []byte) error {
	r := &streamReply{s: s, header: s.header}
	r.header.ClientID = nil
	if err := ownDecoder.Unmarshal(body, &r.q); err != nil {
		return fmt.Errorf("%w: SegmentStream: %w", errClose, err)
	}
	s.c.Reply(r)
	return nil
}

func (r *streamReply) Blocking() bool      { return true }
func (r *streamReply) Park(func()) bool    { return false }
func (r *streamReply) Deadline() time.Time { return time.Time{} }
func (r *streamReply) Done()               { r.read.Slice.Release() }

func (r *streamReply) Ready(time.Time) bool {
	q := &r.q
	b := r.s.b
	if q.ClusterID != b.clusterID() { // bad input 123
		r.read.Err = kerr.InconsistentClusterID
		return true
	}
	r.p = b.partitions.ByID(q.Topic, q.Index)
	if r.p == nil {
		r.read.Err = b.whyNoPartition(nil, q.Topic, q.Index, true)
		return true
	}
	r.p.ReadRange(partition.RangeRead{Replica: q.NodeID, BrokerEpoch: q.BrokerEpoch, RangeRequest: partition.RangeRequest{
		LeaderEpoch: q.LeaderEpoch, Offset: q.Offset, Until: q.Until, LastEpoch: q.LastEpoch, MaxBytes: int(q.MaxBytes)}}, &r.read)
	return true
}

func (r *streamReply) Write(o *listener.Out) error {
	n := r.read.Slice.Len()
	body, err := cbor.Marshal(streamResponse{Code: codeOf(r.read.Err), HighWatermark: r.read.HighWatermark, LogStart: r.read.LogStart,
		DelayMillis: int32(min(r.read.Delay, time.Minute) / time.Millisecond), Sum: r.read.Sum, Bytes: int64(n)})
	if err != nil {
		return err
	}
	buf := o.Buf()
	*buf = protocol.AppendOwnResponse(*buf, &r.header, body, n)
	if n == 0 {
		return nil
	}
	err = o.Send(&r.read.Slice)
	if err != nil {
		r.p.SendFailed(r.q.Offset, err)
	}
	return err
}

// decodeStream takes an answer apart. Records alias raw.
func decodeStream(raw []byte) (*partition.Range, error) {
	var r streamResponse
	rest, err := ownDecoder.UnmarshalFirst(raw, &r)
	switch {
	case err != nil:
		return nil, fmt.Errorf("SegmentStream: %w", err)
	case r.Bytes != int64(len(rest)) || r.DelayMillis < 0:
		return nil, fmt.Errorf("SegmentStream: %d bytes announced, %d came, delay %d", r.Bytes, len(rest), r.DelayMillis)
	}
	return &partition.Range{Err: kerr.ErrorForCode(r.Code), HighWatermark: r.HighWatermark, LogStart: r.LogStart,
		Delay: time.Duration(r.DelayMillis) * time.Millisecond, Sum: r.Sum, Records: rest}, nil
}
