package main

import "sync"

// ledger says whether what was acknowledged can be read. Records are numbered; a reader goes through each partition in the
// order of its offsets.
//
//	acknowledged ──▶ awaited ──read──▶ read
//	                    └──another record is there, or the reader has passed──▶ lost
//	read before its acknowledgement came ──▶ early ──acknowledged──▶ read
//
// Locks: mu, of everything; producer, reader and screen share it.
type ledger struct {
	mu                sync.Mutex
	acked, read, lost int64
	partitions        map[int32]*ledgerPartition
}

// ledgerPartition is one partition. Early holds a record for ever whose acknowledgement never comes: few do.
type ledgerPartition struct {
	next    int64           // offset of what is read next
	awaited map[int64]int64 // offset of an acknowledged record: its number
	early   map[int64]int64
}

func newLedger() *ledger { return &ledger{partitions: map[int32]*ledgerPartition{}} }

func (l *ledger) partition(index int32) *ledgerPartition {
	p := l.partitions[index]
	if p == nil {
		p = &ledgerPartition{awaited: map[int64]int64{}, early: map[int64]int64{}}
		l.partitions[index] = p
	}
	return p
}

// acknowledged counts a record that the cluster promised to keep.
func (l *ledger) acknowledged(partition int32, offset, number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.acked++
	p := l.partition(partition)
	if offset >= p.next {
		if _, taken := p.awaited[offset]; taken {
			l.lost++ // two records cannot both be there
		}
		p.awaited[offset] = number
		return
	}
	was, seen := p.early[offset]
	delete(p.early, offset)
	if seen && was == number {
		l.read++
		return
	}
	l.lost++
}

// found counts a record that was read.
func (l *ledger) found(partition int32, offset, number int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.partition(partition)
	if offset < p.next {
		return // read again
	}
	if offset > p.next { // compaction aside, no offset is left out
		for at := range p.awaited {
			if at < offset {
				delete(p.awaited, at)
				l.lost++
			}
		}
	}
	p.next = offset + 1
	wanted, awaited := p.awaited[offset]
	delete(p.awaited, offset)
	switch {
	case !awaited:
		p.early[offset] = number
	case wanted == number:
		l.read++
	default:
		l.lost++
	}
}

// counts are the counters at one moment: acknowledged records are read, lost, or still to be read.
func (l *ledger) counts() (acked, read, lost int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.acked, l.read, l.lost
}
