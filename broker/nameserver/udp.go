package nameserver

import (
	"context"
	"encoding/binary"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// readBuffer holds queries that come while others are answered: some thousand.
const readBuffer = 1 << 20

// serveUDP answers datagrams one after another: a flood of queries takes one core, and the kernel drops the rest. It returns
// when the socket is closed.
func (s *Server) serveUDP(ctx context.Context) error {
	in, out, control := make([]byte, maxQuery+1), make([]byte, 0, maxUDP), make([]byte, 128)
	for turn := uint32(0); ; turn++ {
		n, oobn, _, from, err := s.udp.ReadMsgUDPAddrPort(in, control)
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
				return nil
			}
			pause(ctx) // out of memory, or a report about an earlier reply: it passes
			continue
		}
		s.counts.udp.Add(1)
		reply := s.respond(query{wire: in[:n], from: from.Addr().Unmap(), udp: true, turn: turn}, out)
		if len(reply) == 0 {
			continue
		}
		// who is gone, or cannot be reached, asks again or does not
		_, _, _ = s.udp.WriteMsgUDPAddrPort(reply, source(control[:oobn]), from)
	}
}

// askDestination has the kernel tell to which of this host's addresses a datagram came: a socket that is bound to all of
// them would answer from whichever it likes, and resolvers take no answer from a stranger. IPv6 alone or IPv4 alone will do.
func askDestination(c *net.UDPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var four, six error
	err = raw.Control(func(fd uintptr) {
		four = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		six = unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	if err == nil && four != nil && six != nil {
		err = four
	}
	return err
}

// source turns what the kernel said of a datagram's destination into the order to reply from there; in place. The interface
// is left to the routes: a reply need not leave where its query came in.
func source(control []byte) []byte {
	for rest := control; len(rest) > 0; {
		if len(rest) < unix.SizeofCmsghdr { // the parser looks at a whole header first
			return nil
		}
		h, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			return nil
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			binary.NativeEndian.PutUint32(data[0:4], 0)
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			binary.NativeEndian.PutUint32(data[16:20], 0)
		default: // nothing else was asked for
			return nil
		}
		rest = next
	}
	return control
}
