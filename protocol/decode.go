package protocol

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Decode decodes a body with kmsg. Its error is a *CloseError. Nothing of the
// message aliases the body (P6), which is copied once it is known to be good.
func Decode(h *Header, body []byte) (kmsg.Request, error) {
	a := Lookup(h.Key)
	if a == nil || a.Key >= firstOwn {
		return nil, refuse(ReasonKey, h.Key, h.Version)
	}
	if !a.Serves(h.Version) {
		return nil, refuse(ReasonVersion, h.Key, h.Version)
	}
	if err := Guard(h.Key, h.Version, body); err != nil {
		return nil, err
	}
	r := kmsg.RequestForKey(h.Key)
	r.SetVersion(h.Version)
	// kmsg copies strings, but its byte fields and unknown tags alias what it reads.
	if err := r.ReadFrom(bytes.Clone(body)); err != nil {
		// Not reached while P3 holds; kept, so that a hole in the schema table
		// costs a connection and not the process.
		return nil, refuse(ReasonCut, h.Key, h.Version)
	}
	return r, nil
}
