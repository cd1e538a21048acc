package protocol

import "strconv"

// Reason says why a connection is closed without an answer. Its String is a
// metric label: few, fixed, never a client's bytes.
type Reason uint8

const (
	ReasonCut      Reason = iota // frame or body ends too early
	ReasonKey                    // unknown api key
	ReasonVersion                // version outside our range
	ReasonListener               // the key is not served on this listener
	ReasonSize                   // frame larger than its key may have
	ReasonLength                 // negative or impossible length
	ReasonVarint                 // varint too long
	ReasonNull                   // null where the schema has none
	ReasonUTF8                   // string is not UTF-8
	ReasonTag                    // tags repeated, not ascending or too many
	ReasonBudget                 // decoding would take too much memory
	ReasonTrailing               // bytes after the body's end
)

var reasonNames = [...]string{
	ReasonCut: "cut", ReasonKey: "key", ReasonVersion: "version", ReasonListener: "listener", ReasonSize: "size",
	ReasonLength: "length", ReasonVarint: "varint", ReasonNull: "null", ReasonUTF8: "utf8", ReasonTag: "tag",
	ReasonBudget: "budget", ReasonTrailing: "trailing",
}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// CloseError tells the listener to close the connection without an answer
// (trap 2). It holds numbers only, so it may be logged as it is (P7).
type CloseError struct {
	Reason       Reason
	Key, Version int16
}

func (e *CloseError) Error() string {
	return "protocol: " + e.Reason.String() + " (key " + strconv.Itoa(int(e.Key)) +
		", version " + strconv.Itoa(int(e.Version)) + ")"
}

func refuse(why Reason, key, version int16) error {
	return &CloseError{Reason: why, Key: key, Version: version}
}
