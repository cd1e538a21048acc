package listener

import (
	"context"
	"net"
	"time"

	"go.uber.org/zap"

	"cordwood/protocol"
)

// Handler opens a session for every accepted connection.
type Handler interface{ Open(c *Conn) Session }

// Session serves the frames of one connection.
type Session interface {
	// Burst serves complete frames (without length prefix) in order. They alias the read buffer and are valid until
	// it returns. It calls Conn.Reply for each answer, in order. An error closes the connection.
	Burst(frames [][]byte) error
	// Close is called once, after the connection's goroutines are done.
	Close()
}

// Config says what a listener accepts and how long it waits.
type Config struct {
	Name    string
	Kind    protocol.Listener
	Addr    string
	Listen  func(network, addr string) (net.Listener, error) // default net.Listen
	Handler Handler
	Log     *zap.Logger

	MaxFrame       int           // bytes after the length prefix; default 100 MiB
	IdleTimeout    time.Duration // default 10 min
	FrameTimeout   time.Duration // default 30 s
	WriteTimeout   time.Duration // default 30 s
	DrainTimeout   time.Duration // default 2 s
	MaxConnections int           // 0: no limit
	MaxPerIP       int           // 0: no limit
	ConnectionRate float64       // connections per second and address; 0: no limit
	ReserveFiles   int           // file descriptors kept free for this listener
	Memory         *Memory       // nil: no limit
}

// Listener is one bound address and its connections.
type Listener struct{ cfg Config }

// New binds the listener's address.
func New(cfg Config) (*Listener, error) { return &Listener{cfg: cfg}, nil }

func (l *Listener) Name() string                  { return l.cfg.Name }
func (l *Listener) Kind() protocol.Listener       { return l.cfg.Kind }
func (l *Listener) Addr() net.Addr                { return nil }
func (l *Listener) Run(ctx context.Context) error { return nil }
func (l *Listener) Drain()                        {}
func (l *Listener) Stats() Stats                  { return Stats{} }

// Stats counts since the start; Open is the present number.
type Stats struct {
	Open               int64
	Accepted, Requests int64
	BytesIn, BytesOut  int64
	AcceptErrors       int64
	Closed, Rejected   map[string]int64 // by reason: a small fixed set
}

// Memory bounds what all connections together hold for frames larger than their first buffer.
type Memory struct{}

func NewMemory(limit int64) *Memory { return &Memory{} }
