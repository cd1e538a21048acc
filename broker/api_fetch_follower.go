package broker

import (
	"math"

	"cordwood/metadata"
	"cordwood/partition"
)

// A follower's fetch is a consumer's with another way of reading: FollowerRead judges the position, counts it in the
// tracker and reads up to the log end, all in one snapshot (R3). The answer waits for records, or for a high watermark
// that the follower does not know and already could use.

// followAs completes what a follower says of one partition.
func (r *fetchReply) followAs(f *fetchPart, logStart, highWatermark int64, durable bool) {
	if !r.follower {
		return
	}
	if highWatermark == math.MaxInt64 {
		highWatermark = -1 // it did not say
	}
	f.follow = partition.FollowerRequest{
		Replica: metadata.NodeID(r.request.ReplicaID), BrokerEpoch: r.request.ReplicaEpoch,
		FetchPosition: partition.FetchPosition{
			LeaderEpoch: f.ask.LeaderEpoch, Offset: f.ask.Offset, LastEpoch: f.ask.LastFetchedEpoch, LogStart: logStart,
			HighWatermark: highWatermark, Durable: durable, MaxBytes: f.ask.MaxBytes,
		},
	}
}

// readTails is readAll for a follower; failed says that there is something to tell besides records.
func (r *fetchReply) readTails(limit int) (got int, failed bool) {
	left := limit
	for i := range r.parts {
		f := &r.parts[i]
		if f.err != nil {
			failed = true
			continue
		}
		ask := f.follow
		ask.Whole = got == 0
		ask.MaxBytes = max(min(ask.MaxBytes, left), 0)
		f.p.FollowerRead(ask, &f.read)
		n := f.read.Slice.Len()
		got += n
		left -= n
		if f.read.Err != nil || f.read.DivergingEnd >= 0 || min(f.read.HighWatermark, ask.Offset) > max(ask.HighWatermark, 0) {
			failed = true
		}
	}
	return got, failed
}

// parkAtTail waits for news of one partition. When there are some that could not be read (a throttled replica), the
// answer leaves as it is.
func (r *fetchReply) parkAtTail(f *fetchPart) bool {
	if f.p.AwaitTail(&f.waiter, f.follow.Offset, f.read.HighWatermark, f.read.Epoch) {
		return true
	}
	r.unpark()
	return false
}
