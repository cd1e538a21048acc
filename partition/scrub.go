package partition

import (
	"context"
	"slices"
	"strings"
	"time"

	"cordwood/segment"
)

// The scrub of a directory reads every sealed segment once in ScrubInterval (R16), log after log in the order of their
// names, at the rate that this needs and no faster, and writes the seals of segments that were rolled.
const (
	// minScrubRate lets a pass over a small directory end in a sensible time; maxScrubRate, bytes a second, is what a disk
	// under load does not notice: above 25 TB a directory a pass takes longer than a week.
	minScrubRate = 1 << 20
	maxScrubRate = 64 << 20
)

// scrubRate is the bytes a second that a pass needs: done after two thirds of its interval, for logs grow meanwhile.
func scrubRate(left int64, sinceBegin, interval time.Duration) int64 {
	until := interval*2/3 - sinceBegin
	if until <= 0 {
		return maxScrubRate
	}
	return min(max(int64(float64(left)/until.Seconds()), minScrubRate), maxScrubRate)
}

// scrubber is the scrub of one directory; its goroutine's.
type scrubber struct {
	dir      *directory
	interval time.Duration
	point    segment.ScrubPoint
	saved    segment.ScrubPoint
	at       *segment.Scrub // the segment under way; nil between two
	rate     int64
	looked   int64 // Set.clock of the last look at a suspect
}

// scrub runs until ctx ends.
func (d *directory) scrub(ctx context.Context) {
	cfg := &d.set.cfg
	x := &scrubber{dir: d, interval: cfg.ScrubInterval}
	if err := x.load(); err != nil {
		d.upkeepFailed("position of the scrub", err)
	}
	saves := time.NewTicker(cfg.CheckpointInterval)
	next := time.NewTimer(cfg.InitialDelay)
	defer func() { saves.Stop(); next.Stop(); x.release(); x.save() }()
	if x.interval < 0 {
		next.Stop()
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-saves.C:
			x.seal()
			x.save()
		case q := <-d.suspects:
			x.look(ctx, q)
		case <-next.C:
			next.Reset(x.step())
		}
	}
}

func (x *scrubber) now() time.Time { return x.dir.set.cfg.Now() }

func (x *scrubber) load() (err error) {
	d := x.dir
	if d.isFailed() {
		return nil
	}
	x.point, err = segment.ReadScrubPoint(d.set.cfg.FS, d.path, x.now(), d.log)
	if x.interval > 0 && x.point.Began.After(x.now().Add(x.interval)) {
		x.point.Began = x.now() // the clock was wrong then, or the interval longer
	}
	x.saved = x.point
	return err
}

func (x *scrubber) save() {
	d := x.dir
	if x.point == x.saved || d.isFailed() {
		return
	}
	x.saved = x.point
	if err := segment.WriteScrubPoint(d.set.cfg.FS, d.path, x.point); err != nil {
		d.upkeepFailed("position of the scrub", err)
	}
}

// seal writes the seals that are due.
func (x *scrubber) seal() {
	d := x.dir
	for l := range d.set.logs(d) {
		if d.isFailed() {
			return
		}
		if !l.SealDue() {
			continue
		}
		if err := l.Seal(); err != nil {
			d.upkeepFailed("seal of "+l.Name(), err)
		}
	}
}

// step does a piece of work and says when to do the next.
func (x *scrubber) step() time.Duration {
	d := x.dir
	if d.isFailed() {
		x.release()
		return time.Hour
	}
	if wait := x.point.Began.Sub(x.now()); wait > 0 {
		return min(wait, time.Hour) // wall time may jump
	}
	if x.at == nil && !x.begin() {
		return time.Second
	}
	if x.at == nil { // the pass is over
		d.counters.scrubPasses.Add(1)
		x.point = segment.ScrubPoint{Began: x.point.Began.Add(x.interval)}
		if now := x.now(); x.point.Began.Before(now) {
			x.point.Began = now
		}
		x.save()
		return time.Second
	}
	n, done, err := x.at.Step()
	d.counters.scrubbed.Add(n)
	if err != nil {
		d.upkeepFailed("scrub of "+x.point.Log, err)
	}
	if done || err != nil {
		x.end()
	}
	return time.Duration(float64(n) / float64(x.rate) * float64(time.Second))
}

// suspectPause is how long after a look at a suspect there is no other: what cannot be read need not be damaged.
const suspectPause = 10 * time.Second

// look checks one segment that could not be read, out of turn and as fast as the disk gives it.
func (x *scrubber) look(ctx context.Context, q suspect) {
	d := x.dir
	if d.isFailed() || d.set.clock()-x.looked < int64(suspectPause) && x.looked > 0 {
		return
	}
	x.looked = d.set.clock()
	at, err := q.log.Scrub(q.base)
	if at == nil || at.Base() != q.base { // not sealed yet, or gone
		if at != nil {
			at.Close()
		}
		return
	}
	defer at.Close()
	for done := false; !done && err == nil && ctx.Err() == nil; {
		var n int64
		n, done, err = at.Step()
		d.counters.scrubbed.Add(n)
	}
	if err != nil {
		d.upkeepFailed("scrub of "+q.log.Name(), err)
	}
	d.counted(at)
}

// begin takes the next segment of the pass; there is none when at stays nil. false: it could not be told.
func (x *scrubber) begin() bool {
	logs, left := x.rest()
	for _, l := range logs {
		if l.Name() != x.point.Log {
			x.point.Log, x.point.From = l.Name(), 0
		}
		at, err := l.Scrub(x.point.From)
		if err != nil {
			x.dir.upkeepFailed("scrub of "+l.Name(), err)
		}
		if at != nil {
			x.at, x.rate = at, scrubRate(left, x.now().Sub(x.point.Began), x.interval)
			return true
		}
		x.point.From = allChecked
		if err != nil {
			return false
		}
		left -= l.Size()
	}
	return true
}

// allChecked as From: nothing is left to check in that log.
const allChecked = 1<<63 - 1

// rest is the logs that the pass has not been through, by name, and how many bytes they hold.
func (x *scrubber) rest() (logs []*segment.Log, left int64) {
	for l := range x.dir.set.logs(x.dir) {
		name := l.Name()
		if name < x.point.Log || name == x.point.Log && x.point.From == allChecked {
			continue
		}
		logs, left = append(logs, l), left+l.Size()
	}
	slices.SortFunc(logs, func(a, b *segment.Log) int { return strings.Compare(a.Name(), b.Name()) })
	return logs, left
}

// end counts the findings of the segment that is done.
func (x *scrubber) end() {
	x.dir.counted(x.at)
	x.point.From = x.at.Base() + 1
	x.release()
}

func (d *directory) counted(at *segment.Scrub) {
	c := &d.counters
	c.scrubFaults.Add(int64(len(at.Faults)))
	if at.Mismatch {
		c.scrubMismatches.Add(1)
	}
	if len(at.Faults) > 0 {
		notify(d.set.damage)
	}
}

func (x *scrubber) release() {
	if x.at != nil {
		x.at.Close()
		x.at = nil
	}
}
