package partition

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment"
)

// Damage on disk is mended from another replica (R16): the range's batches are fetched again, from the leader or, by the
// leader, from a replica in sync, and put in their place.
//
//	recovery, scrub ──▶ segment.Fault ──▶ mender, one per Set ──▶ Link.ReadRange ──▶ check ──▶ Log.Mend
//	read error ──▶ suspects ──▶ scrub of that segment, now ──┘         └─ from nobody: CORRUPT_MESSAGE stays, tried again
//
// Only what is committed is mended, for that is the same on every replica (I4); a damaged tail waits until it is.

// mend runs until ctx ends.
func (s *Set) mend(ctx context.Context) {
	m := &mender{set: s}
	t := time.NewTicker(s.cfg.MendInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		case <-s.damage:
		}
		for p := range s.Each() {
			if st := p.standing.Load(); ctx.Err() == nil && st.log != nil && !p.dir().isFailed() {
				m.log(ctx, p, st)
			}
		}
	}
}

// mender is that goroutine's.
type mender struct {
	set     *Set
	scratch []record.Batch
}

// log mends what can be mended of one log.
func (m *mender) log(ctx context.Context, p *Partition, st *standing) {
	for _, f := range st.log.Faults() {
		if f.To <= st.start() || f.To > p.hw.Load() { // on its way out, or perhaps not what the leader has
			continue
		}
		var why error
		for _, from := range p.intact(st) {
			if why = m.mend(ctx, p, st, from, &f); why == nil || ctx.Err() != nil {
				break
			}
		}
		if why != nil && ctx.Err() == nil {
			m.set.counters.mendErrors.Add(1)
			p.dir().complain("CW-0520", "damaged range cannot be mended now", p, why)
		}
	}
}

// intact is who may have what this replica lost: the leader first, then the others in sync.
func (p *Partition) intact(st *standing) (from []metadata.NodeID) {
	if st.role == Offline || p.set.cfg.Link == nil {
		return nil
	}
	members := st.isr
	if st.role == Follower && st.leader != metadata.NoNode {
		members = append([]metadata.NodeID{st.leader}, members...)
	}
	for _, id := range members {
		if id != p.set.cfg.Self && !slices.Contains(from, id) {
			from = append(from, id)
		}
	}
	return from
}

// errThrottled: there is another source, or another time.
var errThrottled = errors.New("the source is throttled")

// mend mends one range from one replica. f is what is left of it. A throttle is waited for, but not as long as the next pass.
func (m *mender) mend(ctx context.Context, p *Partition, st *standing, from metadata.NodeID, f *segment.Fault) error {
	whole, bytes, got := *f, 0, time.Now()
	for f.From < f.To {
		a, err := m.set.cfg.Link.ReadRange(ctx, from, &RangeRequest{PartitionID: PartitionID{p.topic.id, p.index},
			Lane: slices.Index(m.set.dirs, p.dir()), LeaderEpoch: st.epoch, Offset: f.From, Until: f.To, LastEpoch: -1, MaxBytes: mendBytes})
		switch {
		case err != nil:
			return err
		case a.Err != nil:
			return fmt.Errorf("from broker %d: %w", from, a.Err)
		case a.Delay > 0 && time.Since(got) > m.set.cfg.MendInterval:
			return fmt.Errorf("from broker %d: %w", from, errThrottled)
		case a.Delay > 0:
			if !pauseFor(ctx, a.Delay) {
				return ctx.Err()
			}
			continue
		case len(a.Records) == 0:
			return fmt.Errorf("from broker %d: nothing at %d", from, f.From)
		}
		batches, err := checkRange(a, m.scratch[:0])
		m.scratch = batches[:0]
		if err != nil {
			m.set.counters.damaged.Add(1)
			return fmt.Errorf("%w: from broker %d: %w", kerr.CorruptMessage, from, err)
		}
		rest, err := st.log.Mend(*f, batches)
		clear(batches)
		if errors.Is(err, segment.ErrOutOfRange) || errors.Is(err, segment.ErrClosed) {
			return nil // gone meanwhile
		}
		if errors.Is(err, segment.ErrFailed) {
			p.dir().appendFailed(p, err)
		}
		if err != nil {
			return err
		}
		bytes, got = bytes+len(a.Records), time.Now()
		*f = rest
	}
	m.set.counters.mended.Add(1)
	p.dir().log.Info("damaged range mended from another replica", zap.String("event", "CW-0519"), zap.String("partition", p.name()),
		zap.String("file", whole.File), zap.Int64("from", whole.From), zap.Int64("to", whole.To), zap.Int("bytes", bytes), zap.Int32("source", int32(from)))
	return nil
}

// mendBytes is how much of a range is asked for at once.
const mendBytes = 1 << 20

// pauseFor reports whether ctx goes on.
func pauseFor(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}

// suspect is a segment that could not be read.
type suspect struct {
	log  *segment.Log
	base int64
}

// SendFailed tells that bytes from offset on could not be sent to a client. If it is the disk that does not give them, the
// segment is looked at.
func (p *Partition) SendFailed(offset int64, err error) {
	if isUnreadable(err) {
		p.dir().readFailed(p, err)
		p.distrust(offset)
	}
}

// isUnreadable: the disk says so itself. A socket never does.
func isUnreadable(err error) bool {
	return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.EBADMSG) || errors.Is(err, syscall.EUCLEAN) || errors.Is(err, segment.ErrCorrupt) || errors.Is(err, io.ErrUnexpectedEOF)
}

// distrust has the scrub look at the segment that holds an offset, unless its damage is known. One at a time: others will be
// read again.
func (p *Partition) distrust(offset int64) {
	l := p.standing.Load().log
	if l == nil || l.IsDamaged(offset) {
		return
	}
	base := l.SegmentOf(offset)
	if base < 0 {
		return
	}
	select {
	case p.dir().suspects <- suspect{l, base}:
	default:
	}
}
