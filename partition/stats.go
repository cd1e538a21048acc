package partition

import (
	"sync/atomic"
	"time"
)

// Stats is what a Set counts. Counters only grow.
type Stats struct {
	Partitions, Leaders, Offline, UnderMinISR int
	UnderReplicated                           int   // led here, with replicas that are not in sync
	Fetchers                                  int   // leaders followed, times directories
	Moving                                    int   // on their way to another directory
	MaxLag                                    int64 // records that the followers here are behind at most
	Replication                               ReplicationStats
	OpenFiles                                 int
	Dirs                                      []DirStats
}

// ReplicationStats counts what fetchers and ISR changes met.
type ReplicationStats struct {
	Expansions, Shrinks int64 // of ISRs led here, as committed
	FetchErrors         int64 // fetches that failed as a whole
	PartitionErrors     int64 // answers that could not be used
	Damaged             int64 // answers with a batch that fails its checks; never appended
	Truncations         int64 // because of another history
	Halted              int64 // replicas stopped because their leader lacks committed records
	Streams             int64 // replicas that take sealed segments now
	StreamBytes         int64 // of sealed segments, appended
	Mended              int64 // damaged ranges that were put right from another replica
	MendErrors          int64 // tries that failed
	Moved               int64 // replicas that are in another directory of this broker than before
	CopyBytes           int64 // of replicas on their way to another directory
}

// replication is ReplicationStats while it is counted.
type replication struct {
	expansions, shrinks, fetchErrors, partitionErrors, damaged, truncations, halted, streams, streamBytes, mended, mendErrors, moved, copyBytes atomic.Int64
}

func (r *replication) stats() ReplicationStats {
	return ReplicationStats{Expansions: r.expansions.Load(), Shrinks: r.shrinks.Load(), FetchErrors: r.fetchErrors.Load(),
		PartitionErrors: r.partitionErrors.Load(), Damaged: r.damaged.Load(), Truncations: r.truncations.Load(), Halted: r.halted.Load(),
		Streams: r.streams.Load(), StreamBytes: r.streamBytes.Load(),
		Mended: r.mended.Load(), MendErrors: r.mendErrors.Load(), Moved: r.moved.Load(), CopyBytes: r.copyBytes.Load()}
}

// SyncBounds are the upper bounds of SyncBuckets and JournalBuckets; the last bucket has none.
var SyncBounds = [...]time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	250 * time.Millisecond, 500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second,
}

// DirStats is one directory's share.
type DirStats struct {
	Path     string
	Online   bool
	Replicas int64

	Appends       int64 // writes to logs
	Batches       int64 // accepted batches
	AppendedBytes int64
	Refused       int64 // appends refused by a full disk
	ReadErrors    int64
	Syncs         int64
	SyncTime      time.Duration // sum
	SyncBuckets   [len(SyncBounds) + 1]int64

	JournalRounds  int64
	JournalLogs    int64 // sum over the rounds
	JournalTime    time.Duration
	JournalBuckets [len(SyncBounds) + 1]int64

	Scrubbed        int64 // bytes read by the scrub
	ScrubPasses     int64 // over the whole directory
	ScrubFaults     int64 // damaged ranges it found
	DamagedRanges   int64 // there are now
	ScrubMismatches int64 // segments that differ from their seal although every batch is good
}

// Stats counts everything; it goes through all partitions.
func (s *Set) Stats() Stats {
	st := Stats{OpenFiles: s.files.Open(), Fetchers: s.fetchers.count(), Replication: s.counters.stats()}
	damaged := map[*directory]int64{}
	for p := range s.Each() {
		st.Partitions++
		if p.move.Load() != nil {
			st.Moving++
		}
		if l := p.standing.Load().log; l != nil {
			damaged[p.dir()] += int64(len(l.Faults()))
		}
		switch role, _ := p.Role(); role {
		case Leader:
			st.Leaders++
			s := p.standing.Load()
			if s.underMinISR {
				st.UnderMinISR++
			}
			if s.missing > 0 {
				st.UnderReplicated++
			}
		case Follower:
			st.MaxLag = max(st.MaxLag, p.lag.Load())
		case Offline:
			st.Offline++
		}
	}
	for _, d := range s.dirs {
		c := &d.counters
		ds := DirStats{
			Path: d.path, Online: !d.isFailed(), Replicas: d.replicas.Load(),
			Appends: c.appends.Load(), Batches: c.batches.Load(), AppendedBytes: c.bytes.Load(),
			Refused: c.refused.Load(), ReadErrors: c.readErrors.Load(),
			Syncs: c.syncs.Load(), SyncTime: time.Duration(c.syncTime.Load()),
			JournalRounds: c.rounds.Load(), JournalLogs: c.roundLogs.Load(), JournalTime: time.Duration(c.roundTime.Load()),
			Scrubbed: c.scrubbed.Load(), ScrubPasses: c.scrubPasses.Load(),
			ScrubFaults: c.scrubFaults.Load(), ScrubMismatches: c.scrubMismatches.Load(),
			DamagedRanges: damaged[d],
		}
		for i := range ds.SyncBuckets {
			ds.SyncBuckets[i] = c.syncBuckets[i].Load()
			ds.JournalBuckets[i] = c.roundBuckets[i].Load()
		}
		st.Dirs = append(st.Dirs, ds)
	}
	return st
}
