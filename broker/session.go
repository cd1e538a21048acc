package broker

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"cordwood/broker/listener"
	"cordwood/metadata"
	"cordwood/protocol"
	"cordwood/protocol/record"
)

// session serves the frames of one connection. Burst runs on the connection's reader; replies it hands over run
// on the reader or the writer, one at a time.
type session struct {
	b *Broker
	c *listener.Conn
	l *boundListener

	// owned by the reader
	header    protocol.Header
	validator record.Validator
	stage     produceStage
	admitted  bool         // the broker was ready once
	limits    *clientQuota // of the last request's client, while quotas are set

	beats atomic.Int64 // node id and 1 of the broker whose heartbeats came here; 0: none did
	muted atomic.Int64 // time since the broker's start until which a quota mutes the connection; 0: it does not

	// set once by ApiVersions (KIP-511), read by the log only
	software string
}

func (s *session) Close() {
	s.b.metrics.connectionClosed()
	if id := s.beats.Load(); id != 0 && s.b.isActive() {
		s.b.controller.Suspect(metadata.NodeID(id - 1)) // R19
	}
}

// errClose ends a connection without an answer (trap 2); its text is the reason in the log.
var errClose = errors.New("connection closed by protocol")

// Burst serves complete frames in order. Produce requests are staged and appended together at the end of the
// burst or before the first request of another kind, so that order holds (B1).
func (s *session) Burst(frames [][]byte) error {
	if !s.admitted && !s.l.internal() { // nodes need each other to become ready
		select {
		case <-s.b.ready:
			s.admitted = true
		case <-s.c.Context().Done():
			return errClose
		}
	}
	if s.muted.Load() != 0 && !s.unmuted() {
		return errClose
	}
	now := s.b.now()
	for _, f := range frames {
		body, err := protocol.ParseHeader(f, &s.header)
		if err != nil {
			return s.closeAfterStage(err)
		}
		api := protocol.Lookup(s.header.Key)
		if err := s.admit(api); err != nil {
			return s.closeAfterStage(err)
		}
		s.b.metrics.request(s.header.Key, len(f))
		if s.header.Key == keyProduce {
			if err := s.stageProduce(body, now); err != nil {
				return s.closeAfterStage(err)
			}
			continue
		}
		if err := s.flushStage(now); err != nil {
			return err
		}
		if err := s.start(body, len(f)); err != nil {
			return err
		}
	}
	return s.flushStage(now)
}

// closeAfterStage appends what came before the bad frame: it was complete and in order.
func (s *session) closeAfterStage(why error) error {
	if err := s.flushStage(s.b.now()); err != nil {
		return err
	}
	return why
}

// admit is the version gate: it stands before any decoding (B2). ApiVersions above our range is let through, to be
// answered with UNSUPPORTED_VERSION in version 0 (trap 1).
func (s *session) admit(api *protocol.API) error {
	h := &s.header
	if api == nil || api.Listeners&s.l.kind == 0 {
		return fmt.Errorf("%w: api key %d is not served on this listener", errClose, h.Key)
	}
	if !api.Serves(h.Version) && h.Key != keyApiVersions {
		return fmt.Errorf("%w: %s version %d is not served", errClose, api.Name, h.Version)
	}
	return nil
}

// start hands over the reply of a request that begins at the head of the queue.
func (s *session) start(body []byte, size int) error {
	switch {
	case s.header.Key == keyFetch:
		return s.startFetch(body)
	case s.header.Key >= int16(protocol.RaftStream):
		return s.startOwn(body)
	}
	return s.startPlain(body)
}

// startPlain decodes a request of the ordinary kind. Decode errors close the connection (trap 2).
func (s *session) startPlain(body []byte) error {
	h := s.header
	a := s.b.handlers[h.Key]
	if a == nil {
		return fmt.Errorf("%w: api key %d has no handler", errClose, h.Key)
	}
	r := &plainReply{s: s, header: h, api: a, arrived: time.Now(), quota: s.quota()}
	if h.Key == keyApiVersions && !protocol.Lookup(h.Key).Serves(h.Version) {
		r.tooNew = true
		s.c.Reply(r)
		return nil
	}
	req, err := protocol.Decode(&h, body)
	if err != nil {
		return err
	}
	r.req = req
	if r.quota != nil {
		r.busy = time.Since(r.arrived)
	}
	r.header.ClientID = append([]byte(nil), h.ClientID...) // the frame is gone after the burst (listener, L10)
	s.c.Reply(r)
	return nil
}
