package partition

import "time"

// Stats is what a Set counts. Counters only grow.
type Stats struct {
	Partitions, Leaders, Offline, UnderMinISR int
	OpenFiles                                 int
	Dirs                                      []DirStats
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
	ScrubMismatches int64 // segments that differ from their seal although every batch is good
}

// Stats counts everything; it goes through all partitions.
func (s *Set) Stats() Stats {
	st := Stats{OpenFiles: s.files.Open()}
	for p := range s.Each() {
		st.Partitions++
		switch role, _ := p.Role(); role {
		case Leader:
			st.Leaders++
			if p.standing.Load().underMinISR {
				st.UnderMinISR++
			}
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
		}
		for i := range ds.SyncBuckets {
			ds.SyncBuckets[i] = c.syncBuckets[i].Load()
			ds.JournalBuckets[i] = c.roundBuckets[i].Load()
		}
		st.Dirs = append(st.Dirs, ds)
	}
	return st
}
