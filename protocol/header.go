package protocol

import (
	"encoding/binary"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Header is a request's header.
//
//	v1: key int16, version int16, correlation int32, client id as nullable string
//	v2: the same, then tags; for flexible versions. The client id stays as it is.
type Header struct {
	API           *API
	Key, Version  int16
	CorrelationID int32
	ClientID      []byte // aliases the frame (P6)
	ClientIDNull  bool
	Flexible      bool
}

// Unsupported reports an ApiVersions request from a newer client: its body must
// not be read, its answer is AppendApiVersionsUnsupported (trap 1).
func (h *Header) Unsupported() bool { return h.Version > h.API.Max }

// ParseHeader reads the header of a frame and returns the body behind it. Its
// error is a *CloseError (bad inputs 7, 17-30). It allocates nothing on success.
//
// The version gate is here, because the header's own form hangs on the version.
// Only ApiVersions passes with a version above ours. Whether the key belongs on
// this listener and this connection's state is the caller's question.
func ParseHeader(frame []byte, h *Header) (body []byte, err error) {
	return parseHeader(frame, h, Lookup)
}

func parseHeader(frame []byte, h *Header, lookup func(int16) *API) (body []byte, err error) {
	c := cursor{b: frame}
	*h = Header{Key: c.int16(), Version: c.int16(), CorrelationID: c.int32()}
	if c.bad {
		return nil, c.close(h.Key, h.Version)
	}
	h.API = lookup(h.Key)
	switch {
	case h.API == nil:
		return nil, refuse(ReasonKey, h.Key, h.Version)
	case h.Version < h.API.Min, h.Version > h.API.Max && h.API.Key != ApiVersions:
		return nil, refuse(ReasonVersion, h.Key, h.Version)
	case len(frame) > h.API.MaxFrame:
		return nil, refuse(ReasonSize, h.Key, h.Version)
	}
	h.ClientID = c.text(false, true)
	h.ClientIDNull = h.ClientID == nil
	h.Flexible = h.API.IsFlexible(h.Version)
	if h.Flexible {
		c.skipTags()
	}
	if c.bad {
		return nil, c.close(h.Key, h.Version)
	}
	return frame[c.at:], nil
}

// AppendResponseHeader appends what stands between a frame's length and its
// body: the correlation id, and for flexible versions an empty tag section.
// ApiVersions never has one, since its reader does not know yet what the broker
// can do (trap 1).
func AppendResponseHeader(dst []byte, key, version int16, correlation int32) []byte {
	dst = kbin.AppendInt32(dst, correlation)
	if a := Lookup(key); a != nil && a.Key != ApiVersions && a.IsFlexible(version) {
		dst = append(dst, 0)
	}
	return dst
}

// AppendResponse appends r as a whole frame. It sets r's version to h's.
func AppendResponse(dst []byte, h *Header, r kmsg.Response) []byte {
	r.SetVersion(h.Version)
	start := len(dst)
	dst = AppendResponseHeader(append(dst, 0, 0, 0, 0), h.Key, h.Version, h.CorrelationID)
	return finish(r.AppendTo(dst), start)
}

// AppendOwnResponse appends the answer to one of our own keys as a whole frame, but for the last bytes of it: so many
// follow from elsewhere.
func AppendOwnResponse(dst []byte, h *Header, body []byte, follow int) []byte {
	start := len(dst)
	dst = AppendResponseHeader(append(dst, 0, 0, 0, 0), h.Key, h.Version, h.CorrelationID)
	dst = append(dst, body...)
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4+follow))
	return dst
}

// AppendOwnRequest appends a request of one of our own keys as a whole frame. Its
// client id is null.
func AppendOwnRequest(dst []byte, key Key, correlation int32, body []byte) []byte {
	start := len(dst)
	dst = kbin.AppendInt16(append(dst, 0, 0, 0, 0), int16(key))
	dst = kbin.AppendInt16(dst, 0)
	dst = kbin.AppendInt32(dst, correlation)
	dst = kbin.AppendInt16(dst, -1)
	return finish(append(dst, body...), start)
}

// finish writes the length of the frame that began at start and ends now.
func finish(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}
