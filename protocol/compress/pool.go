package compress

import (
	"errors"
	"io"
)

// ErrCorrupt wraps every failure to decompress but one.
var ErrCorrupt = errors.New("corrupt compressed data")

// ErrTooLarge is the one: the output passes the caller's limit.
var ErrTooLarge error = tooLarge{}

type tooLarge struct{}

func (tooLarge) Error() string  { return "decompressed data is larger than allowed" }
func (tooLarge) TooLarge() bool { return true }

// Pool holds idle readers and writers. It may be used by many goroutines.
type Pool struct{}

func New() *Pool { return &Pool{} }

func (p *Pool) Reader(codec int8, src []byte, limit int64) (io.ReadCloser, error) {
	return nil, errors.New("compress: not written yet")
}

func (p *Pool) Compress(codec int8, level int, dst, src []byte) ([]byte, error) {
	return nil, errors.New("compress: not written yet")
}
