package partition

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"cordwood/segment"
)

// journaler writes what many logs have not synced into the directory's journal: one file, one fsync. The logs' own
// files are synced when the journal is full, and at a clean stop; after a crash the journal is replayed onto them.
// It is used by one worker at a time (flusher.round).
type journaler struct {
	journal *segment.Journal
	buf     []byte
}

// maxEntry bounds what one log may have in a round; a log that got more is synced by itself.
const maxEntry = 256 << 10

// journalRound makes all that is queued durable by one write and one fsync. mu is held before and after.
func (f *flusher) journalRound(n int) {
	round := f.queue.drain()
	f.round = true
	for _, p := range round {
		p.flush.Store(flushSyncing)
	}
	f.mu.Unlock()
	f.since[n].Store(f.dir.set.clock())
	began := time.Now()
	alive := func() { f.since[n].Store(f.dir.set.clock()) }
	written, rest, err := f.journal.write(round, alive)
	if err == nil {
		alive() // what the watchdog measures is the disk's time, not that of copying
		err = f.journal.journal.Commit()
	}
	f.dir.counters.journaled(len(written), time.Since(began))
	for _, w := range written {
		if err == nil {
			w.log.MarkDurable(w.entry)
			w.p.synced()
		}
	}
	f.since[n].Store(0)
	if err != nil && !isFull(err) && !lacksDescriptor(err) {
		f.dir.fail(fmt.Errorf("journal: %w", err))
	}
	f.mu.Lock()
	f.round = false
	for _, w := range written {
		switch {
		case err != nil: // nothing for the journal to write with: each log has its own room and file already
			rest = append(rest, w.p)
		case f.done(w.p):
			f.hire()
		}
	}
	for _, p := range rest {
		p.flush.Store(flushQueued)
		f.direct.push(p)
		f.hire()
	}
	if n := f.queue.len(); n <= f.from { // too few for a round: for those that let them wait for one
		for range n {
			f.hire()
		}
	}
}

// written is an entry that is in the journal once it is committed.
type written struct {
	p     *Partition
	log   *segment.Log
	entry segment.Entry
}

// write appends the unsynced part of each log to the journal, and returns those that must be synced by themselves. When
// the journal is full in between, what it had of the round is synced into the logs' own files instead; those logs are
// returned as written all the same, for they are as durable as the others once these are committed.
func (j *journaler) write(round []*Partition, alive func()) (in []written, rest []*Partition, err error) {
	for i, p := range round {
		st := p.standing.Load()
		if st.log == nil || !st.durable {
			rest = append(rest, p)
			continue
		}
		e, buf, ok, err := st.log.Unsynced(j.buf[:0], maxEntry)
		if err != nil || !ok {
			rest = append(rest, p) // its own sync finds out what is wrong
			continue
		}
		j.buf = buf
		err = j.journal.Append(st.log, e)
		if errors.Is(err, segment.ErrJournalFull) {
			if err = j.reset(alive); err == nil {
				err = j.journal.Append(st.log, e)
			}
			if errors.Is(err, segment.ErrJournalFull) { // larger than the whole journal
				rest = append(rest, p)
				continue
			}
		}
		if err != nil {
			return in, append(rest, round[i:]...), err // those in the round share its fate
		}
		e.Data = nil
		in = append(in, written{p, st.log, e})
	}
	return in, rest, nil
}

// reset syncs every log that has entries, those of the round in the making too, and empties the journal. It calls alive
// after each, since all together may take longer than one stuck sync may.
func (j *journaler) reset(alive func()) error {
	var g errgroup.Group
	g.SetLimit(maxSyncs)
	for _, l := range j.journal.Logs() {
		g.Go(func() error {
			_, err := l.Sync()
			alive()
			if errors.Is(err, segment.ErrClosed) {
				return nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return j.journal.Reset()
}
