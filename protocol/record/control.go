package record

import (
	"encoding/binary"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ControlType is what a control record says.
type ControlType int16

const (
	Abort  ControlType = 0
	Commit ControlType = 1
)

func (t ControlType) String() string {
	switch t {
	case Abort:
		return "abort"
	case Commit:
		return "commit"
	}
	return fmt.Sprintf("control type %d", int16(t))
}

// Control is the marker that ends a transaction of one producer in one partition: the only record of a control batch.
//
//	key    version int16 = 0 | type int16
//	value  version int16 = 0 | coordinatorEpoch int32
type Control struct {
	Version          int16 // of the value
	Type             ControlType
	CoordinatorEpoch int32
}

// ParseControl reads the record of a control batch. Newer versions may be longer, never shorter. Of a type that is
// neither Abort nor Commit, only the type is read: such records say nothing about transactions.
func ParseControl(r *Record) (Control, error) {
	if len(r.Key) < 4 {
		return Control{}, fmt.Errorf("the key of a control record has %d bytes: %w", len(r.Key), kerr.CorruptMessage)
	}
	if v := int16(binary.BigEndian.Uint16(r.Key)); v < 0 {
		return Control{}, fmt.Errorf("the key of a control record has version %d: %w", v, kerr.CorruptMessage)
	}
	c := Control{Type: ControlType(binary.BigEndian.Uint16(r.Key[2:]))}
	if c.Type != Abort && c.Type != Commit {
		return c, nil
	}
	if len(r.Value) < 6 {
		return Control{}, fmt.Errorf("a transaction marker has %d bytes: %w", len(r.Value), kerr.CorruptMessage)
	}
	c.Version = int16(binary.BigEndian.Uint16(r.Value))
	if c.Version < 0 {
		return Control{}, fmt.Errorf("a transaction marker has version %d: %w", c.Version, kerr.CorruptMessage)
	}
	c.CoordinatorEpoch = int32(binary.BigEndian.Uint32(r.Value[2:]))
	return c, nil
}

// BuildControl makes the control batch of c. It has no sequence: markers are not part of a producer's numbering.
func BuildControl(c Control, producerID int64, producerEpoch int16, timestamp int64) Batch {
	key := binary.BigEndian.AppendUint16(make([]byte, 0, 4), 0)
	key = binary.BigEndian.AppendUint16(key, uint16(c.Type))
	value := binary.BigEndian.AppendUint16(make([]byte, 0, 6), uint16(c.Version))
	value = binary.BigEndian.AppendUint32(value, uint32(c.CoordinatorEpoch))
	b := NewBuilder(BuilderOptions{
		Producer:      &Producer{ID: producerID, Epoch: producerEpoch, Sequence: -1},
		Transactional: true,
		Control:       true,
		BaseTimestamp: timestamp,
	})
	b.Append(timestamp, key, value, nil)
	batch, err := b.Build()
	if err != nil {
		panic("record: one small record is refused: " + err.Error())
	}
	return batch
}
