package listener

import (
	"encoding/binary"
	"fmt"

	"cordwood/protocol"
)

const (
	prefixLen = 4 // int32 length before every frame
	headerMin = 8 // key, version, correlation id: the shortest request header there is
	// A frame above smallFrame is checked against its key's own limit as soon as its key is there.
	smallFrame = 64 << 10
	// maxBurst bounds what a session stages at once.
	maxBurst = 128
)

// lengthError is a length prefix that no request can have. Its text holds the number and a guess, never other bytes.
type lengthError struct {
	length int32
	max    int
	hint   string
}

func (e *lengthError) Error() string {
	s := fmt.Sprintf("frame length %d is outside %d..%d", e.length, headerMin, e.max)
	if e.hint != "" {
		s += ": " + e.hint
	}
	return s
}

// cut appends all complete frames at the start of b to dst, at most maxBurst. used is the number of bytes they take;
// need is the size, with prefix, of the frame behind them, as far as it is known. After an error the frames before the
// bad one are valid.
func cut(dst [][]byte, b []byte, maxFrame int, lookup func(int16) *protocol.API) (frames [][]byte, used, need int, err error) {
	need = prefixLen
	for len(b)-used >= prefixLen && len(dst) < maxBurst {
		n := int(int32(binary.BigEndian.Uint32(b[used:])))
		if n < headerMin || n > maxFrame {
			return dst, used, 0, &lengthError{length: int32(n), max: maxFrame, hint: hint(b[used:])}
		}
		end := used + prefixLen + n
		if end > len(b) {
			if n > smallFrame {
				err = checkKey(b[used+prefixLen:], n, lookup)
			}
			return dst, used, prefixLen + n, err
		}
		dst = append(dst, b[used+prefixLen:end:end])
		used = end
	}
	return dst, used, need, nil
}

// checkKey refuses a large frame by its first bytes: only few keys may have one, and nothing is kept for the others.
func checkKey(frame []byte, n int, lookup func(int16) *protocol.API) error {
	if len(frame) < 4 {
		return nil
	}
	key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
	api := lookup(key)
	if api == nil {
		return &protocol.CloseError{Reason: protocol.ReasonKey, Key: key, Version: version}
	}
	if api.MaxFrame > 0 && n > api.MaxFrame {
		return &protocol.CloseError{Reason: protocol.ReasonSize, Key: key, Version: version}
	}
	return nil
}

// hint guesses what a client speaks whose first bytes make no frame (bad inputs 10, 11, 13).
func hint(b []byte) string {
	if len(b) >= 3 && b[0] == 0x16 && b[1] == 3 && b[2] <= 4 {
		return "looks like TLS on a plaintext listener"
	}
	if len(b) < prefixLen {
		return ""
	}
	switch string(b[:prefixLen]) {
	case "GET ", "POST", "PUT ", "HEAD", "OPTI", "DELE", "PATC", "CONN", "PRI ":
		return "looks like HTTP"
	case "SSH-":
		return "looks like SSH"
	}
	return ""
}
