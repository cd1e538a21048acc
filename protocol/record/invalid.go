package record

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
)

// RecordError is what is wrong with one record of a refused batch (trap 10).
type RecordError struct {
	Index   int32
	Message string
}

// maxRecordErrors bounds the answer to a batch of many bad records. Clients fail the whole batch anyway.
const maxRecordErrors = 100

// Invalid is why a batch is refused: the code for the partition, and from Produce v8 on the rest.
type Invalid struct {
	Code    *kerr.Error
	Message string
	Records []RecordError
}

func (i *Invalid) Error() string { return i.Message + ": " + i.Code.Message }
func (i *Invalid) Unwrap() error { return i.Code }

func invalidRecord(message string) *Invalid {
	return &Invalid{Code: kerr.InvalidRecord, Message: message}
}

func corrupt(format string, args ...any) *Invalid {
	return &Invalid{Code: kerr.CorruptMessage, Message: fmt.Sprintf(format, args...)}
}

func tooLarge(what string, size int, most int) *Invalid {
	return &Invalid{Code: kerr.MessageTooLarge, Message: fmt.Sprintf("%s is %d bytes, at most %d are allowed", what, size, most)}
}

// ofCodec is the answer to a payload that cannot be decompressed (bad inputs 74-78).
func ofCodec(err error, most int64) *Invalid {
	var large interface{ TooLarge() bool }
	if errors.As(err, &large) && large.TooLarge() {
		return &Invalid{Code: kerr.MessageTooLarge, Message: fmt.Sprintf("The batch decompresses to more than %d bytes", most)}
	}
	return corrupt("The batch cannot be decompressed: %v", err)
}
