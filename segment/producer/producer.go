package producer

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// remembered is how many batches of a producer are kept, which is how many a client may have in flight (trap 19).
const remembered = 5

// none stands for a missing sequence, offset or epoch.
const none = -1

// batch is what is kept of a batch.
type batch struct {
	lastOffset, timestamp     int64
	lastSequence, offsetDelta int32
}

// firstSequence goes back over the wrap from 0 to 2^31-1 (bad input 65).
func (b *batch) firstSequence() int32 {
	return int32(uint32(b.lastSequence-b.offsetDelta) & (1<<31 - 1))
}

// producer is one producer of a log.
type producer struct {
	id               int64
	end              int64 // behind the last batch or marker applied (P2)
	txnFirst         int64 // first offset of the open transaction, or none
	timestamp        int64 // of the last batch or marker
	used             int64 // when last seen; 0 since a snapshot was read
	older, newer     *producer
	coordinatorEpoch int32
	epoch            int16
	next             uint8 // slot in batches for the next one
	count            uint8 // how many of batches are filled
	batches          [remembered]batch
}

// newest is the i-th last batch.
func (p *producer) newest(i int) *batch {
	return &p.batches[(int(p.next)+2*remembered-1-i)%remembered]
}

func (p *producer) lastSequence() int32 {
	if p.count == 0 {
		return none
	}
	return p.newest(0).lastSequence
}

// find looks for a batch with exactly these sequences.
func (p *producer) find(first, last int32) *batch {
	for i := range int(p.count) {
		if b := p.newest(i); b.lastSequence == last && b.firstSequence() == first {
			return b
		}
	}
	return nil
}

// begin enters an epoch; the sequences of another one mean nothing in it.
func (p *producer) begin(epoch int16) {
	if p.epoch != epoch {
		p.epoch, p.count = epoch, 0
	}
}

func (p *producer) push(b batch) {
	p.batches[p.next] = b
	p.next = (p.next + 1) % remembered
	p.count = min(p.count+1, remembered)
}

// accepts says whether a batch of this epoch and first sequence may follow.
func (p *producer) accepts(epoch int16, first int32) error {
	switch {
	case epoch < p.epoch:
		return fmt.Errorf("producer %d has epoch %d, the batch %d: %w", p.id, p.epoch, epoch, kerr.InvalidProducerEpoch)
	case p.epoch == none: // only an imported snapshot has it
		return nil
	case epoch > p.epoch && first != 0:
		return fmt.Errorf("producer %d begins epoch %d with sequence %d: %w", p.id, epoch, first,
			kerr.OutOfOrderSequenceNumber)
	case epoch > p.epoch:
		return nil
	}
	last := p.lastSequence()
	if int64(first) == int64(last)+1 || first == 0 && last == 1<<31-1 {
		return nil
	}
	return fmt.Errorf("producer %d goes from sequence %d to %d: %w", p.id, last, first, kerr.OutOfOrderSequenceNumber)
}
