package peer

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// handshakeVersion is the ApiVersions every node serves.
const handshakeVersion = 3

// SoftwareName is how a node calls itself in its handshake.
const SoftwareName = "cordwood"

var (
	errNoAnswer  = errors.New("no answer in time")
	errOutOfTurn = errors.New("an answer that nobody waits for")
)

// connection is one established connection.
type connection struct {
	// set once
	nc       net.Conn
	in       *bufio.Reader
	most     int
	versions versions
	calls    chan *call
	broken   chan struct{} // closed when nothing more will come
	once     sync.Once
	err      error // why; read after broken is closed

	mu      sync.Mutex
	pending []*call // in the order of their bytes
	next    int32   // correlation id
}

// call is one request on its way.
type call struct {
	frame []byte // the writer sets the correlation id
	room  []byte // for the answer, if it fits
	id    int32
	body  chan []byte // room for one
}

// correlationAt is where the correlation id stands in a frame, behind length, key and version.
const correlationAt = 8

func newConnection(nc net.Conn, most int) *connection {
	return &connection{
		nc: nc, in: bufio.NewReaderSize(nc, 32<<10), most: most, calls: make(chan *call, 16), broken: make(chan struct{}),
	}
}

func (c *connection) isBroken() bool {
	select {
	case <-c.broken:
		return true
	default:
		return false
	}
}

// fail ends the connection; the first reason counts.
func (c *connection) fail(err error) {
	c.once.Do(func() {
		c.err = err
		close(c.broken)
		_ = c.nc.Close() // nothing is left to lose
	})
}

// handshake asks what the other end serves. Nothing else is under way.
func (c *connection) handshake(ctx context.Context, clientID string) error {
	stop := context.AfterFunc(ctx, func() { _ = c.nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version, q.ClientSoftwareName, q.ClientSoftwareVersion = handshakeVersion, SoftwareName, "peer"
	if _, err := c.nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, q, 0)); err != nil {
		return fmt.Errorf("ApiVersions: %w", err)
	}
	id, body, err := readAnswer(c.in, c.most)
	if err != nil {
		return fmt.Errorf("ApiVersions: %w", err)
	}
	r := kmsg.NewPtrApiVersionsResponse()
	r.Version = handshakeVersion
	if err := r.ReadFrom(body); err != nil || id != 0 {
		return errors.New("ApiVersions: not an answer to it")
	}
	if err := kerr.ErrorForCode(r.ErrorCode); err != nil {
		return fmt.Errorf("ApiVersions: %w", err)
	}
	c.versions = make(versions, len(r.ApiKeys))
	for _, k := range r.ApiKeys {
		c.versions[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
	}
	if !stop() {
		return context.Cause(ctx) // the deadline may strike at any moment now
	}
	return nil
}

// ask hands a frame to the writer and waits for the answer's body. The reader may write into room until the connection ends,
// also when this returned an error.
func (c *connection) ask(ctx context.Context, frame, room []byte) ([]byte, error) {
	q := &call{frame: frame, room: room, body: make(chan []byte, 1)}
	select {
	case c.calls <- q:
	case <-c.broken:
		return nil, c.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	select {
	case body := <-q.body:
		return body, nil
	case <-c.broken:
		select {
		case body := <-q.body:
			return body, nil
		default:
			return nil, c.err
		}
	case <-ctx.Done():
		c.fail(errNoAnswer) // N3
		return nil, context.Cause(ctx)
	}
}

// run writes what is asked until the connection or ctx ends, and returns when the reader is gone.
func (c *connection) run(ctx context.Context) error {
	read := make(chan struct{})
	go func() {
		defer close(read)
		c.fail(c.receive())
	}()
	c.fail(c.send(ctx))
	<-read
	return c.err
}

// send writes requests, all that wait with one write.
func (c *connection) send(ctx context.Context) error {
	var buf []byte
	for {
		buf = buf[:0]
		select {
		case q := <-c.calls:
			buf = c.enqueue(buf, q)
		case <-c.broken:
			return c.err
		case <-ctx.Done():
			return ErrClosed
		}
		for more := true; more && len(buf) < 64<<10; {
			select {
			case q := <-c.calls:
				buf = c.enqueue(buf, q)
			default:
				more = false
			}
		}
		if err := c.nc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
			return err
		}
		if _, err := c.nc.Write(buf); err != nil {
			return err
		}
		if cap(buf) > 1<<20 {
			buf = nil
		}
	}
}

// enqueue gives a request its correlation id and its place among the pending ones.
func (c *connection) enqueue(buf []byte, q *call) []byte {
	c.mu.Lock()
	c.next++
	q.id = c.next
	c.pending = append(c.pending, q)
	c.mu.Unlock()
	binary.BigEndian.PutUint32(q.frame[correlationAt:], uint32(q.id))
	return append(buf, q.frame...)
}

// receive reads answers and gives each to its request.
func (c *connection) receive() error {
	for {
		id, size, err := readHead(c.in, c.most)
		if err != nil {
			return err
		}
		c.mu.Lock()
		if len(c.pending) == 0 || c.pending[0].id != id {
			c.mu.Unlock()
			return errOutOfTurn // N1
		}
		q := c.pending[0]
		c.pending[0] = nil
		c.pending = c.pending[1:]
		c.mu.Unlock()
		body := q.room[:0]
		if cap(body) < size {
			body = make([]byte, 0, max(size, 2*cap(body))) // answers grow in small steps
		}
		body = body[:size]
		if _, err := io.ReadFull(c.in, body); err != nil {
			return err
		}
		q.body <- body
	}
}

// readAnswer reads one answer of at most so many bytes, and nothing behind it.
func readAnswer(in io.Reader, most int) (id int32, body []byte, err error) {
	id, size, err := readHead(in, most)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, size)
	if _, err := io.ReadFull(in, body); err != nil {
		return 0, nil, err
	}
	return id, body, nil
}

// readHead reads what comes before an answer's body, and says how long that is.
func readHead(in io.Reader, most int) (id int32, size int, err error) {
	var head [8]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, 0, err
	}
	length := int64(binary.BigEndian.Uint32(head[:4]))
	if length < 4 || length > int64(most) {
		return 0, 0, fmt.Errorf("an answer of %d bytes", length) // N2
	}
	return int32(binary.BigEndian.Uint32(head[4:])), int(length - 4), nil
}

// encodeRequest makes the frame of a request in the version both ends serve.
func encodeRequest(clientID string, r kmsg.Request) func(versions) ([]byte, int16, error) {
	return func(v versions) ([]byte, int16, error) {
		version, err := v.settleOn(r)
		if err != nil {
			return nil, 0, err
		}
		want := r.GetVersion()
		r.SetVersion(version)
		frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(clientID)).AppendRequest(nil, r, 0)
		r.SetVersion(want)
		return frame, version, nil
	}
}

// encodeOwn makes the frame of one of our own messages.
func encodeOwn(key protocol.Key, body []byte) func(versions) ([]byte, int16, error) {
	return func(v versions) ([]byte, int16, error) {
		if _, ok := v[int16(key)]; !ok {
			return nil, 0, fmt.Errorf("api key %d: %w", key, ErrNotServed)
		}
		return protocol.AppendOwnRequest(nil, key, 0, body), 0, nil
	}
}

// decode reads an answer's header and body.
func decode(r kmsg.Response, version int16, body []byte) error {
	r.SetVersion(version)
	if r.IsFlexible() && r.Key() != int16(protocol.ApiVersions) {
		in := kbin.Reader{Src: body}
		for tags := in.Uvarint(); tags > 0; tags-- {
			_, size := in.Uvarint(), in.Uvarint()
			in.Span(int(size))
			if !in.Ok() {
				return errors.New("an answer with a broken header")
			}
		}
		body = in.Src
	}
	if err := r.ReadFrom(body); err != nil {
		return fmt.Errorf("answer to %s: %w", kmsg.NameForKey(r.Key()), err)
	}
	return nil
}
