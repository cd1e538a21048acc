package metadata

import (
	"encoding/base64"
	"fmt"
)

// NodeID names a process: a broker, a voter, or both.
type NodeID int32

// NoNode stands where there is no leader.
const NoNode NodeID = -1

// UUID is 16 random bytes, written the way Kafka writes them.
type UUID [16]byte

// TopicID tells topics of one name apart over time; DirID names a log directory.
type (
	TopicID [16]byte
	DirID   [16]byte
)

var uuidText = base64.RawURLEncoding

func (u UUID) String() string    { return uuidText.EncodeToString(u[:]) }
func (t TopicID) String() string { return uuidText.EncodeToString(t[:]) }
func (d DirID) String() string   { return uuidText.EncodeToString(d[:]) }

// IsZero reports whether the id is absent.
func (u UUID) IsZero() bool    { return u == UUID{} }
func (t TopicID) IsZero() bool { return t == TopicID{} }
func (d DirID) IsZero() bool   { return d == DirID{} }

// ParseUUID reads 22 characters of base64url, Kafka's text form of a UUID.
func ParseUUID(s string) (UUID, error) {
	var u UUID
	b, err := uuidText.Strict().DecodeString(s)
	if err != nil || len(b) != len(u) {
		return u, fmt.Errorf("metadata: %q is not a uuid", s)
	}
	copy(u[:], b)
	return u, nil
}

// ParseTopicID and ParseDirID read the same form.
func ParseTopicID(s string) (TopicID, error) {
	u, err := ParseUUID(s)
	return TopicID(u), err
}

func ParseDirID(s string) (DirID, error) {
	u, err := ParseUUID(s)
	return DirID(u), err
}

// Reserved reports whether a random UUID must not be used: Kafka gives meanings to the
// values 0 and 1 (and, for directories, to all below 100), and a text form that starts
// with a dash cannot be given on a command line.
func (u UUID) Reserved() bool {
	for _, b := range u[:15] {
		if b != 0 {
			return u.String()[0] == '-'
		}
	}
	return u[15] < 100
}

// ResourceType says what a set of configs belongs to; the values are Kafka's.
type ResourceType int8

const (
	ResourceTopic         ResourceType = 2
	ResourceBroker        ResourceType = 4
	ResourceClientMetrics ResourceType = 16
	ResourceGroup         ResourceType = 32
)

func (r ResourceType) String() string {
	switch r {
	case ResourceTopic:
		return "TOPIC"
	case ResourceBroker:
		return "BROKER"
	case ResourceClientMetrics:
		return "CLIENT_METRICS"
	case ResourceGroup:
		return "GROUP"
	}
	return fmt.Sprintf("UNKNOWN(%d)", int8(r))
}

// The ids are CBOR byte strings of exactly 16 bytes: the library would cut or fill others.
func (u *UUID) UnmarshalCBOR(b []byte) error    { return unmarshalID((*[16]byte)(u), b) }
func (t *TopicID) UnmarshalCBOR(b []byte) error { return unmarshalID((*[16]byte)(t), b) }
func (d *DirID) UnmarshalCBOR(b []byte) error   { return unmarshalID((*[16]byte)(d), b) }

func unmarshalID(to *[16]byte, b []byte) error {
	if len(b) != 17 || b[0] != 0x50 {
		return fmt.Errorf("metadata: an id of %d bytes", len(b))
	}
	copy(to[:], b[1:])
	return nil
}
