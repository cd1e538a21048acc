package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Over TCP come those whose answer was cut, and few others: what there is of it is bounded, in number and in time.
const (
	maxConnections = 64
	maxQuestions   = 100             // on one connection
	idle           = 5 * time.Second // from one query to the end of the next
	slow           = 2 * time.Second // for a reply to be taken
)

// serveTCP accepts connections until the socket is closed, and waits for them.
func (s *Server) serveTCP(ctx context.Context) error {
	var open sync.WaitGroup
	defer open.Wait()
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			pause(ctx) // out of descriptors: it passes
			continue
		}
		select {
		case s.slots <- struct{}{}:
		default:
			s.counts.refusedConnections.Add(1)
			_ = c.Close() // refused: nothing to lose
			continue
		}
		s.counts.connections.Add(1)
		open.Go(func() {
			ends := context.AfterFunc(ctx, func() { _ = c.Close() })
			s.converse(c)
			ends()
			_ = c.Close()
			s.counts.connections.Add(-1)
			<-s.slots
		})
	}
}

// converse answers the queries of a connection in order. A query that is none ends it.
func (s *Server) converse(c net.Conn) {
	from := netip.Addr{}
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		from = a.AddrPort().Addr().Unmap()
	}
	var in [2 + maxQuery]byte
	out := make([]byte, 2, 2+maxUDP) // grows for the rare long reply
	for turn := range uint32(maxQuestions) {
		if c.SetReadDeadline(time.Now().Add(idle)) != nil {
			return
		}
		if _, err := io.ReadFull(c, in[:2]); err != nil {
			return
		}
		n := int(binary.BigEndian.Uint16(in[:]))
		if n > maxQuery {
			s.counts.add(outcome{verdict: malformed})
			return
		}
		if _, err := io.ReadFull(c, in[2:2+n]); err != nil {
			return
		}
		s.counts.tcp.Add(1)
		reply := s.respond(query{wire: in[2 : 2+n], from: from, turn: turn}, out[2:])
		if len(reply) == 0 {
			return
		}
		out = append(out[:2], reply...) // most replies are there already
		binary.BigEndian.PutUint16(out, uint16(len(reply)))
		if c.SetWriteDeadline(time.Now().Add(slow)) != nil {
			return
		}
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}
