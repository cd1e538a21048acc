package partition

import (
	"errors"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"cordwood/segment"
)

// ReadRequest is one partition of a consumer's fetch.
type ReadRequest struct {
	Offset           int64
	LeaderEpoch      int32 // the leader epoch the client believes in; -1: not checked
	LastFetchedEpoch int32 // epoch of the last record it has; -1: not checked
	MaxBytes         int
	Whole            bool // the first batch even if it alone is larger than MaxBytes (trap 27)
	Committed        bool // read_committed: up to the last stable offset, with the aborted transactions
	FromFollower     bool // a follower may answer too, up to the high watermark that it knows (KIP-392)
}

// ReadResult is the answer. Without an error the Slice must be released.
type ReadResult struct {
	HighWatermark, LastStable, LogStart int64 // -1 with an error; a follower's log start comes also with OFFSET_OUT_OF_RANGE
	Epoch                               int32 // leader epoch it was read in, for Await
	AtFollower                          bool  // this replica does not lead
	Slice                               segment.Slice
	Aborted                             []segment.AbortedTxn
	DivergingEpoch                      int32 // -1: the client's last epoch is in the log (KIP-320)
	DivergingEnd                        int64
	Throttled                           bool  // FollowerRead: there are records, but the replica's rate is used up
	Err                                 error // a kerr code, or nil
}

// Read reads whole batches below the high watermark, or the last stable offset, without a lock. A follower does so up to the
// high watermark that it knows, while it is informed (P21).
func (p *Partition) Read(r ReadRequest, out *ReadResult) {
	for {
		*out = ReadResult{DivergingEpoch: -1, DivergingEnd: -1}
		st, refused := p.leading()
		if refused != nil && r.FromFollower && p.isInformed(st) && !p.dir().isFailed() {
			refused = nil
		}
		out.Epoch, out.AtFollower = st.epoch, st.role != Leader
		if refused == nil {
			refused = st.fence(r.LeaderEpoch)
		}
		if refused == nil {
			refused = p.read(st, &r, out)
		}
		if p.standing.Load() != st { // the offsets may be another standing's
			out.Slice.Release()
			continue
		}
		if refused != nil {
			out.Err = refused
			out.HighWatermark, out.LastStable = -1, -1 // trap 29
			// A client that is told where a follower's log starts goes back to the leader, instead of starting over.
			if !out.AtFollower || refused != kerr.OffsetOutOfRange {
				out.LogStart = -1
			}
		}
		return
	}
}

// isInformed reports whether a follower may be read from: its leader found no other history in its log in this leader epoch,
// and answers. Before the first, records that an unclean election gave up may be among those it knows as committed; without
// the second, whoever waits here for records waits in vain, and the leader would be asked in the end.
func (p *Partition) isInformed(st *standing) bool {
	if st.role != Follower || p.agreed.Load() != st.epoch {
		return false
	}
	f := p.fetches.Load()
	if f == nil {
		return false
	}
	answered := f.answered.Load()
	return answered > 0 && time.Duration(p.set.clock()-answered) <= p.set.cfg.MaxLag
}

func (p *Partition) read(st *standing, r *ReadRequest, out *ReadResult) *kerr.Error {
	out.LastStable = p.lso.Load() // before the high watermark (P3)
	out.HighWatermark = p.hw.Load()
	out.LogStart = st.start()
	if r.LastFetchedEpoch >= 0 && (st.role == Leader || st.log != nil && r.LastFetchedEpoch < st.log.LastEpoch()) {
		if e, end := p.epochEnd(st, r.LastFetchedEpoch); e < r.LastFetchedEpoch || end < r.Offset {
			if e < 0 {
				return kerr.OffsetOutOfRange
			}
			out.DivergingEpoch, out.DivergingEnd = e, end
			return nil
		}
	}
	limit := out.HighWatermark
	if r.Committed {
		limit = out.LastStable
	}
	switch {
	case r.Offset > st.end() && st.role == Follower: // the leader may have it; out of range would reset the consumer (R14)
		return kerr.OffsetNotAvailable
	case r.Offset < out.LogStart, r.Offset > st.end():
		return kerr.OffsetOutOfRange
	case r.Offset >= limit: // trap 29: not an error up to the log end
		return nil
	}
	return p.slice(st, r, limit, out)
}

func (p *Partition) slice(st *standing, r *ReadRequest, limit int64, out *ReadResult) *kerr.Error {
	var err error
	out.Slice, err = st.log.View().Slice(r.Offset, limit, r.MaxBytes, r.Whole)
	if err == nil && r.Committed && out.Slice.Len() > 0 {
		out.Aborted, err = st.log.AbortedIn(r.Offset, out.Slice.End()) // trap 25: only what overlaps
		if err != nil {
			out.Slice.Release()
			out.Slice = segment.Slice{}
		}
	}
	return p.readFailed(r.Offset, err)
}

// sliceOf reads from a standing's log or, where the replica has moved to another directory since, from the one that is the same.
func (p *Partition) sliceOf(st *standing, offset, limit int64, maxBytes int, whole bool) (segment.Slice, error) {
	slice, err := st.log.View().Slice(offset, limit, maxBytes, whole)
	if now := p.standing.Load().log; err != nil && now != nil && now != st.log {
		return now.View().Slice(offset, limit, maxBytes, whole)
	}
	return slice, err
}

// readFailed translates what a log answers to a read at an offset (-1: anywhere). A damaged range or an I/O error concerns this range only, and
// has the scrub look at it (R16).
func (p *Partition) readFailed(offset int64, err error) *kerr.Error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, segment.ErrOutOfRange): // trimmed since we looked
		return kerr.OffsetOutOfRange
	case errors.Is(err, segment.ErrClosed):
		return kerr.NotLeaderForPartition
	}
	p.dir().readFailed(p, err)
	if isUnreadable(err) {
		p.distrust(offset)
	}
	if errors.Is(err, segment.ErrCorrupt) {
		return kerr.CorruptMessage
	}
	return kerr.KafkaStorageError
}

// epochEnd answers where an epoch ends in the log. In a leader's, the current one ends at the log end, whether or not it has
// begun on disk, and the one before where the current one began (Z4).
func (p *Partition) epochEnd(st *standing, epoch int32) (int32, int64) {
	switch {
	case epoch == st.epoch && st.role == Leader:
		return epoch, st.end()
	case epoch < 0 || epoch > st.epoch || st.log == nil:
		return -1, -1
	case st.role == Follower || mutant == 4:
		return st.log.EndOffsetFor(epoch)
	}
	if last := st.log.LastEpoch(); last >= 0 && last <= epoch { // ours has not begun on disk, so it has no record
		return last, st.epochStart
	}
	return st.log.EndOffsetFor(epoch)
}
