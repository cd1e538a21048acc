package record

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
)

var errNotDone = errors.New("record: not written yet")

type Rules struct {
	MaxBytes        int
	MaxDecompressed int64
	KeyRequired     bool
	LogAppendTime   bool
	Now             int64
	BeforeMax       int64
	AfterMax        int64
	Compression     Codec
	Recompress      bool
	Level           int
	Codecs          Codecs
}

type RecordError struct {
	Index   int32
	Message string
}

type Invalid struct {
	Code    *kerr.Error
	Message string
	Records []RecordError
}

func (i *Invalid) Error() string { return i.Message + ": " + i.Code.Message }
func (i *Invalid) Unwrap() error { return i.Code }

type Validator struct{}

func (v *Validator) Validate(records []byte, r *Rules) (Batch, error) { return nil, errNotDone }

// CheckStored is the check of followers and of recovery: header sanity and CRC, no look at the records.
func (b Batch) CheckStored() error { return errNotDone }

type Header struct{ Key, Value []byte }

type Record struct {
	OffsetDelta    int32
	TimestampDelta int64
	Offset         int64
	Timestamp      int64
	Key, Value     []byte
	Headers        []Header
	Attributes     int8
}

type Iter struct{}

func (b Batch) Records(c Codecs, limit int64) *Iter { return nil }
func (it *Iter) Next() bool                         { return false }
func (it *Iter) Record() *Record                    { return nil }
func (it *Iter) Err() error                         { return errNotDone }
func (it *Iter) Close()                             {}

// FirstAt finds the first record with a timestamp of at least ts.
func (b Batch) FirstAt(ts int64, c Codecs, limit int64) (offset, timestamp int64, ok bool, err error) {
	return 0, 0, false, errNotDone
}

// MaxTimestampOffset finds the first record that has the batch's largest timestamp.
func (b Batch) MaxTimestampOffset(c Codecs, limit int64) (offset, timestamp int64, err error) {
	return 0, 0, errNotDone
}

type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32
}

type BuilderOptions struct {
	Codec         Codec
	Level         int
	Codecs        Codecs
	Producer      *Producer // nil: none
	Transactional bool
	Control       bool
	BaseTimestamp int64
}

type Builder struct{}

func NewBuilder(o BuilderOptions) *Builder                              { return nil }
func (b *Builder) Append(ts int64, key, value []byte, headers []Header) {}
func (b *Builder) Len() int                                             { return 0 }
func (b *Builder) Count() int                                           { return 0 }
func (b *Builder) Build() (Batch, error)                                { return nil, errNotDone }

type ControlType int16

const (
	Abort  ControlType = 0
	Commit ControlType = 1
)

type Control struct {
	Version          int16
	Type             ControlType
	CoordinatorEpoch int32
}

func ParseControl(r *Record) (Control, error) { return Control{}, errNotDone }
func BuildControl(c Control, producerID int64, producerEpoch int16, timestamp int64) Batch {
	return nil
}
