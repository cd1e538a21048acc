package listener

import (
	"sync/atomic"

	"cordwood/protocol"
)

// reason says why a connection ended or was not let in. The texts are metric labels.
type reason uint8

const (
	reasonEOF            reason = iota // the client closed its half
	reasonIdle                         // no byte for IdleTimeout
	reasonFrameTimeout                 // a frame did not arrive in time (bad inputs 6, 131)
	reasonHandshake                    // TLS: not in time, or not TLS, or no agreement (bad inputs 12, 98-100)
	reasonLength                       // length prefix out of bounds (bad inputs 1-5, 7, 10-13)
	reasonMemory                       // no memory for a large frame in time
	reasonRefused                      // the session refused the request
	reasonRead                         // reset by the client, or the network
	reasonGone                         // the client was gone before its answer was sent
	reasonWrite                        // could not send
	reasonWriteTimeout                 // the client does not read (bad input 15)
	reasonPanic                        // a bug of ours (L8)
	reasonShutdown                     // the listener stopped
	reasonTakenOver                    // the session took the connection over and is done with it
	reasonMaxConnections               // not let in
	reasonMaxPerIP                     // not let in
	reasonRate                         // not let in
	reasonAccept                       // accept failed; never a connection's
	reasons
)

var reasonNames = [reasons]string{
	"eof", "idle", "frame_timeout", "tls_handshake", "bad_length", "memory", "refused", "read_error", "client_gone", "write_error", "write_timeout",
	"panic", "shutdown", "taken_over", "max_connections", "max_per_ip", "rate", "accept_error",
}

func (r reason) String() string { return reasonNames[r] }

// polite reasons leave queued answers their time.
func (r reason) polite() bool {
	switch r {
	case reasonEOF, reasonLength, reasonRefused, reasonShutdown:
		return true
	}
	return false
}

// expected reasons are part of normal life and only logged for debugging.
func (r reason) expected() bool {
	switch r {
	case reasonEOF, reasonIdle, reasonRead, reasonGone, reasonShutdown, reasonTakenOver:
		return true
	}
	return false
}

// refusals is the number of protocol's close reasons that are counted apart.
const refusals = 32

// counters are shared by all connections of a listener; bumped per burst, not per request.
type counters struct {
	accepted, acceptErrors atomic.Int64
	requests, bursts       atomic.Int64
	bytesIn, bytesOut      atomic.Int64
	buffers                atomic.Int64
	closed                 [reasons]atomic.Int64
	refused                [refusals]atomic.Int64
}

// Stats counts since the start; Open is the present number.
type Stats struct {
	Open                   int64
	Accepted, AcceptErrors int64
	Requests, Bursts       int64
	BytesIn, BytesOut      int64
	BufferBytes            int64            // held by read buffers at present
	Closed                 map[string]int64 // connections ended or not let in, by reason: a small fixed set
	Refused                map[string]int64 // requests that closed their connection, by protocol.Reason
}

// Stats reads the counters.
func (l *Listener) Stats() Stats {
	l.mu.Lock()
	open := len(l.conns)
	l.mu.Unlock()
	s := Stats{
		Open:         int64(open),
		Accepted:     l.counts.accepted.Load(),
		AcceptErrors: l.counts.acceptErrors.Load(),
		Requests:     l.counts.requests.Load(),
		Bursts:       l.counts.bursts.Load(),
		BytesIn:      l.counts.bytesIn.Load(),
		BytesOut:     l.counts.bytesOut.Load(),
		BufferBytes:  l.counts.buffers.Load(),
		Closed:       map[string]int64{},
		Refused:      map[string]int64{},
	}
	for r := range reasonAccept {
		s.Closed[r.String()] = l.counts.closed[r].Load()
	}
	for i := range l.counts.refused {
		if n := l.counts.refused[i].Load(); n > 0 {
			s.Refused[protocol.Reason(i).String()] = n
		}
	}
	return s
}
