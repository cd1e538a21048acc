package gateway

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"cordwood/broker/listener"
	"cordwood/protocol"
)

const (
	// smallAnswer bytes or less are renamed in memory, so that their length is known before they leave.
	smallAnswer = 128 << 10
	// largestHeld is the largest answer that is held whole, beside those with records and the beginning of Metadata's.
	largestHeld = 8 << 20
)

// answer is what a client waits for: the next one on the connection to the broker, or one of the gateway's own.
type answer struct {
	s            *session
	key, version int16
	correlation  int32
	flexible     bool
	own          []byte
	err          error
}

var answers = sync.Pool{New: func() any { return new(answer) }}

func newAnswer(s *session, h *protocol.Header) *answer {
	a := answers.Get().(*answer)
	*a = answer{s: s, key: h.Key, version: h.Version, correlation: h.CorrelationID, flexible: h.Flexible && h.API.Key != protocol.ApiVersions}
	return a
}

// Blocking: only an answer that is there whole can be sent without waiting for the broker.
func (a *answer) Blocking() bool { return a.own == nil && !a.s.up.whole() }

// Ready waits for the answer's first bytes. What goes wrong is Write's to tell.
func (a *answer) Ready(time.Time) bool {
	if a.own == nil {
		a.err = a.s.up.begin()
	}
	return true
}

// Park is never needed: Ready waits itself.
func (a *answer) Park(func()) bool { return false }

// Deadline: none, the broker has its own.
func (a *answer) Deadline() time.Time { return time.Time{} }

// Done gives the answer back.
func (a *answer) Done() {
	*a = answer{}
	answers.Put(a)
}

// Write sends the answer, as the broker sent it but for the names of brokers.
func (a *answer) Write(o *listener.Out) error {
	if a.own != nil {
		o.Append(a.own)
		return nil
	}
	up := a.s.up
	if a.err == nil {
		a.err = a.write(o, up)
	}
	if a.err != nil {
		return a.s.lost(a.err)
	}
	up.rest()
	a.s.answered.Store(true)
	return nil
}

func (a *answer) write(o *listener.Out, up *upstream) error {
	buf := o.Buf()
	start, whole := len(*buf), up.left
	dst := binary.BigEndian.AppendUint32(*buf, uint32(whole))
	dst, err := a.header(dst, up)
	*buf = dst
	switch {
	case err != nil:
		return err
	case a.key == int16(protocol.ApiVersions):
		return a.versions(o, start)
	case protocol.Renames(a.key, a.version):
		return a.rename(o, start, whole)
	}
	return up.move(o, up.left)
}

// header takes the answer's header over and checks whose it is.
func (a *answer) header(dst []byte, up *upstream) ([]byte, error) {
	id, err := up.Next(4)
	if err != nil {
		return dst, err
	}
	if got := int32(binary.BigEndian.Uint32(id)); got != a.correlation {
		return dst, fmt.Errorf("%w: correlation id %d instead of %d", errUpstream, got, a.correlation)
	}
	dst = append(dst, id...)
	if !a.flexible {
		return dst, nil
	}
	tags, err := up.Next(1)
	if err != nil {
		return dst, err
	}
	if tags[0] != 0 { // Kafka's has none to this day
		return dst, fmt.Errorf("%w: tags in its header", errUpstream)
	}
	return append(dst, 0), nil
}

// versions offers what the broker serves and the gateway passes.
func (a *answer) versions(o *listener.Out, start int) error {
	up := a.s.up
	if up.left > protocol.FrameSmall {
		return fmt.Errorf("%w: ApiVersions of %d bytes", errUpstream, up.left)
	}
	body, err := up.append(nil, up.left)
	if err != nil {
		return err
	}
	buf := o.Buf()
	dst, err := protocol.AppendPassableVersions(*buf, a.version, body)
	if err != nil {
		return err
	}
	*buf = dst
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return nil
}

// rename passes the answer with brokers named as clients reach them.
func (a *answer) rename(o *listener.Out, start, whole int) error {
	g, room, key := a.s.g, 0, protocol.Key(a.key)
	switch {
	case whole <= smallAnswer:
	case key == protocol.Metadata: // leaves behind its brokers
	case protocol.PassesRecords(a.key):
		n := g.nodes.count() + 1
		room = protocol.RoomFor(n, n*g.longestHost())
	case whole > largestHeld:
		return fmt.Errorf("%w: %d bytes", errUpstream, whole)
	}
	g.counts.renamed.Add(1)
	f := feed{a.s.up, o, room > 0 || key == protocol.Metadata && whole > smallAnswer}
	dst, err := protocol.Rename(*o.Buf(), start, a.key, a.version, f, g.name, room)
	*o.Buf() = dst
	return err
}

// feed hands the broker's answer to protocol.Rename.
type feed struct {
	*upstream
	o    *listener.Out
	away bool // what is passed leaves at once
}

// Pass moves n bytes on without a look at them.
func (f feed) Pass(dst []byte, n int) ([]byte, error) {
	if !f.away {
		return f.append(dst, n)
	}
	*f.o.Buf() = dst
	err := f.move(f.o, n)
	return *f.o.Buf(), err
}
