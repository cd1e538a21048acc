package abuse

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// patience is how long an answer or an end is waited for.
const patience = 60 * time.Second

// Conn is a connection on which anything may be sent.
type Conn struct {
	*net.TCPConn
	correlation int32
}

// Dial opens a connection.
func Dial(addr string) (*Conn, error) {
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		return nil, err
	}
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	return &Conn{TCPConn: c.(*net.TCPConn)}, nil
}

// Play plays a case on a connection of its own.
func (g *Ground) Play(c Case) error {
	conn, err := Dial(g.Addr)
	if err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	defer conn.Close()
	if err := c.Play(conn); err != nil {
		return fmt.Errorf("%s: %w", c, err)
	}
	return nil
}

// prefixed puts the length in front of a frame.
func prefixed(frame []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(frame))), frame...)
}

// header is a request header up to the client id.
func header(key, version int, correlation int32) []byte {
	b := be16(key)
	b = append(b, be16(version)...)
	return binary.BigEndian.AppendUint32(b, uint32(correlation))
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }
func be32(n int) []byte { return binary.BigEndian.AppendUint32(nil, uint32(n)) }

// frame is a whole request frame with the given body.
func frame(key, version int, flexible bool, body ...[]byte) []byte {
	b := kbin.AppendNullableString(header(key, version, 7), kmsg.StringPtr("abuse"))
	if flexible {
		b = append(b, 0)
	}
	for _, part := range body {
		b = append(b, part...)
	}
	return prefixed(b)
}

// request is the frame of a well-formed request.
func request(q kmsg.Request, correlation int32) []byte {
	b := kbin.AppendNullableString(header(int(q.Key()), int(q.GetVersion()), correlation), kmsg.StringPtr("abuse"))
	if q.IsFlexible() {
		b = append(b, 0)
	}
	return prefixed(q.AppendTo(b))
}

// Send writes a request and does not wait for its answer.
func (c *Conn) Send(q kmsg.Request) error {
	c.correlation++
	_, err := c.Write(request(q, c.correlation))
	return err
}

// Receive reads the next answer, which must be the one to request number correlation.
func (c *Conn) Receive(q kmsg.Request, correlation int32) (kmsg.Response, error) {
	b, err := c.frame()
	if err != nil {
		return nil, err
	}
	if got := int32(binary.BigEndian.Uint32(b)); got != correlation {
		return nil, fmt.Errorf("answer to request %d, want %d", got, correlation)
	}
	b = b[4:]
	resp := q.ResponseKind()
	if resp.IsFlexible() && q.Key() != 18 {
		if len(b) == 0 || b[0] != 0 {
			return nil, errors.New("no empty tag section in the answer's header")
		}
		b = b[1:]
	}
	if err := resp.ReadFrom(b); err != nil {
		return nil, fmt.Errorf("answer to api key %d version %d: %w", q.Key(), q.GetVersion(), err)
	}
	return resp, nil
}

// maxAnswer is larger than any answer here.
const maxAnswer = 64 << 20

// frame reads one answer without its length.
func (c *Conn) frame() ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxAnswer {
		return nil, fmt.Errorf("an answer of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		return nil, fmt.Errorf("half an answer: %w", err)
	}
	return b, nil
}

// Ask sends a request and reads its answer.
func (c *Conn) Ask(q kmsg.Request) (kmsg.Response, error) {
	if err := c.Send(q); err != nil {
		return nil, err
	}
	return c.Receive(q, c.correlation)
}

// Alive checks that the connection still serves.
func (c *Conn) Alive() error {
	if _, err := c.Ask(kmsg.NewPtrApiVersionsRequest()); err != nil {
		return fmt.Errorf("the connection does not stay: %w", err)
	}
	return nil
}

// Closed checks that the connection ends, and that nothing is answered before.
func (c *Conn) Closed() error {
	n, err := c.Read(make([]byte, 1))
	switch {
	case n > 0:
		return errors.New("answered, and should have been closed")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("left open")
	}
	return nil
}
