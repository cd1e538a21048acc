package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap/zaptest"
)

// fakeBroker answers requests as a test says; Metadata requests of the prober it answers itself.
type fakeBroker struct {
	t    *testing.T
	l    net.Listener
	id   int32
	open sync.WaitGroup

	mu     sync.Mutex
	reply  func(r request) []byte // body behind the correlation id; nil: the connection ends
	seen   []request
	probes int
}

// request is a frame as it came.
type request struct {
	key, version int16
	correlation  int32
	frame        []byte
}

// newFakeBroker listens at an own port and closes with the test.
func newFakeBroker(t *testing.T, id int32, reply func(r request) []byte) *fakeBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{t: t, l: l, id: id, reply: reply}
	b.open.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			b.open.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(b.close)
	return b
}

func (b *fakeBroker) close() { _ = b.l.Close() }

func (b *fakeBroker) addr() string { return b.l.Addr().String() }

func (b *fakeBroker) host() (string, int32) {
	a := b.l.Addr().(*net.TCPAddr)
	return a.IP.String(), int32(a.Port)
}

func (b *fakeBroker) serve(nc net.Conn) {
	defer nc.Close()
	for {
		r, err := readRequest(nc)
		if err != nil {
			return
		}
		body := b.answer(r)
		if body == nil {
			return
		}
		if len(body) == 0 {
			continue // acks=0
		}
		out := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
		out = binary.BigEndian.AppendUint32(out, uint32(r.correlation))
		if _, err := nc.Write(append(out, body...)); err != nil {
			return
		}
	}
}

func (b *fakeBroker) answer(r request) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	if strings.Contains(string(r.frame), "cordwood-gateway") {
		b.probes++
		host, port := b.host()
		m := kmsg.NewPtrMetadataResponse()
		m.Version = 1
		m.Brokers = []kmsg.MetadataResponseBroker{{NodeID: b.id, Host: host, Port: port}}
		return m.AppendTo(nil)
	}
	b.seen = append(b.seen, r)
	return b.reply(r)
}

func (b *fakeBroker) requests() []request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.seen
}

func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(r, frame)
	return frame, err
}

func readRequest(r io.Reader) (request, error) {
	f, err := readFrame(r)
	if err != nil || len(f) < 8 {
		return request{}, errors.Join(err, io.ErrUnexpectedEOF)
	}
	return request{
		key: int16(binary.BigEndian.Uint16(f)), version: int16(binary.BigEndian.Uint16(f[2:])),
		correlation: int32(binary.BigEndian.Uint32(f[4:])), frame: f,
	}, nil
}

// startGateway runs a gateway with a port per broker before the given addresses; change, if set, may change its configuration.
func startGateway(t *testing.T, change func(c *Config), upstream ...string) (*Gateway, Addrs) {
	t.Helper()
	ready := make(chan Addrs, 1)
	c := Defaults()
	c.Addr, c.PortBase, c.HTTPAddr, c.Upstream = "127.0.0.1:0", 0, "", upstream
	c.HealthInterval, c.DrainTimeout, c.Log = 50*time.Millisecond, 2*time.Second, zaptest.NewLogger(t)
	c.Ready = func(a Addrs) { ready <- a }
	if change != nil {
		change(&c)
	}
	g, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	})
	return g, <-ready
}

// client is a raw connection.
type client struct {
	t *testing.T
	net.Conn
}

func dialTo(t *testing.T, addr string) *client {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second)) // a test that hangs fails
	return &client{t, nc}
}

// requestFrame is a whole request.
func requestFrame(r kmsg.Request, correlation int32) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("test")).AppendRequest(nil, r, correlation)
}

func (c *client) send(frames ...[]byte) {
	c.t.Helper()
	var all []byte
	for _, f := range frames {
		all = append(all, f...)
	}
	if _, err := c.Write(all); err != nil {
		c.t.Fatal(err)
	}
}

// receive reads an answer and returns its correlation id and what follows it.
func (c *client) receive() (int32, []byte) {
	c.t.Helper()
	f, err := readFrame(c)
	if err != nil {
		c.t.Fatalf("no answer: %v", err)
	}
	return int32(binary.BigEndian.Uint32(f)), f[4:]
}

// ended waits for the end of the connection and returns how it came.
func (c *client) ended() error {
	c.t.Helper()
	_, err := io.Copy(io.Discard, c)
	if errors.Is(err, context.DeadlineExceeded) {
		c.t.Fatal("the connection goes on")
	}
	return err
}
