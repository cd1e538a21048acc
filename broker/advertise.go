package broker

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
)

// advertised.listeners=auto: a client is told the address by which it evidently reached this broker, so that no
// address has to be configured.
//
//	client comes from            it is told
//	loopback                     the loopback address it dialled
//	the default gateway          localhost: the client sits on the container's host, the port was published there
//	anywhere else                the address of this socket, which the client could reach
//
// With a remapped port (-p 19092:9092) no server can see the outer port: CORDWOOD_ADVERTISED_PORT says it.

// Advertise is the host and port for the client at remote, which came in at local. host and port are what this
// broker registered, for connections that are not TCP.
func Advertise(local, remote net.Addr, host string, port int32) (string, int32) {
	return advertise(local, remote, host, port, defaultGateway(), os.Getenv("CORDWOOD_ADVERTISED_PORT"))
}

func advertise(local, remote net.Addr, host string, port int32, gateway netip.Addr, published string) (string, int32) {
	at, ok := addrPort(local)
	if !ok {
		return host, port
	}
	from, ok := addrPort(remote)
	if ok && gateway.IsValid() && from.Addr() == gateway {
		if p, err := strconv.ParseUint(published, 10, 16); err == nil && p > 0 {
			return "localhost", int32(p)
		}
		return "localhost", int32(at.Port())
	}
	return at.Addr().WithZone("").String(), int32(at.Port())
}

func addrPort(a net.Addr) (netip.AddrPort, bool) {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}, false
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), ap.IsValid()
}

// defaultGateway is the IPv4 default gateway inside a container; invalid elsewhere, where a client at the gateway is
// an ordinary one.
var defaultGateway = sync.OnceValue(func() netip.Addr {
	if _, err := os.Stat("/.dockerenv"); err != nil {
		return netip.Addr{}
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return netip.Addr{}
	}
	return parseGateway(string(routes))
})

// parseGateway finds the gateway of the default route in the kernel's table: interface, destination, gateway, …, the
// addresses as hexadecimal numbers of the machine's byte order.
func parseGateway(routes string) netip.Addr {
	for _, line := range strings.Split(routes, "\n") {
		f := strings.Fields(line)
		if len(f) < 3 || f[1] != "00000000" {
			continue
		}
		g, err := strconv.ParseUint(f[2], 16, 32)
		if err != nil || g == 0 {
			continue
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(g))
		return netip.AddrFrom4(b)
	}
	return netip.Addr{}
}

// RoutableHost is an address of this machine that others can reach: the first global unicast one, IPv4 first;
// loopback on a machine that has none.
func RoutableHost() string {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return "127.0.0.1"
	}
	best := ""
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || !n.IP.IsGlobalUnicast() {
			continue
		}
		if n.IP.To4() != nil {
			return n.IP.String()
		}
		if best == "" {
			best = n.IP.String()
		}
	}
	if best == "" {
		return "127.0.0.1"
	}
	return best
}
