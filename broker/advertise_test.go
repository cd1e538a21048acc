package broker

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"testing"
)

func TestAClientIsToldTheAddressItReached(t *testing.T) {
	tcp := func(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
	for _, c := range []struct {
		name, local, remote, gateway, published string
		want                                    string
	}{
		{"loopback", "127.0.0.1:9092", "127.0.0.1:40000", "", "", "127.0.0.1:9092"},
		{"another loopback address", "127.0.0.2:9092", "127.0.0.1:40000", "", "", "127.0.0.2:9092"},
		{"IPv6 loopback", "[::1]:9092", "[::1]:40000", "", "", "::1:9092"},
		{"IPv4 on an IPv6 socket", "[::ffff:10.0.0.5]:9092", "[::ffff:10.0.0.9]:40000", "", "", "10.0.0.5:9092"},
		{"same network", "10.0.0.5:9092", "10.0.0.9:40000", "", "", "10.0.0.5:9092"},
		{"another interface", "192.168.1.5:9092", "192.168.1.9:40000", "", "", "192.168.1.5:9092"},
		{"link-local, whose zone means nothing to the client", "[fe80::1%eth0]:9092", "[fe80::2%eth0]:40000", "", "", "fe80::1:9092"},
		{"the container's host", "172.17.0.2:9092", "172.17.0.1:40000", "172.17.0.1", "", "localhost:9092"},
		{"the container's host, IPv6 socket", "[::ffff:172.17.0.2]:9092", "[::ffff:172.17.0.1]:40000", "172.17.0.1", "", "localhost:9092"},
		{"the container's host, another port", "172.17.0.2:9092", "172.17.0.1:40000", "172.17.0.1", "19092", "localhost:19092"},
		{"a port that is none", "172.17.0.2:9092", "172.17.0.1:40000", "172.17.0.1", "70000", "localhost:9092"},
		{"another container", "172.17.0.2:9092", "172.17.0.3:40000", "172.17.0.1", "19092", "172.17.0.2:9092"},
	} {
		gateway, _ := netip.ParseAddr(c.gateway)
		host, port := advertise(tcp(c.local), tcp(c.remote), "registered", 1, gateway, c.published)
		if got := fmt.Sprintf("%s:%d", host, port); got != c.want {
			t.Errorf("%s: told %s, want %s", c.name, got, c.want)
		}
	}
	pipe, _ := net.Pipe()
	if host, port := advertise(pipe.LocalAddr(), pipe.RemoteAddr(), "registered", 1, netip.Addr{}, ""); host != "registered" || port != 1 {
		t.Errorf("not TCP: told %s:%d", host, port)
	}
}

func TestTheGatewayIsFoundInTheRoutingTable(t *testing.T) {
	hex := func(addr string) string {
		b := netip.MustParseAddr(addr).As4()
		return fmt.Sprintf("%08X", binary.NativeEndian.Uint32(b[:]))
	}
	head := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	local := "eth0\t" + hex("172.17.0.0") + "\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n"
	for name, c := range map[string]struct{ routes, want string }{
		"a default route":    {head + local + "eth0\t00000000\t" + hex("172.17.0.1") + "\t0003\t0\t0\t0\t00000000\t0\t0\t0\n", "172.17.0.1"},
		"none":               {head + local, "invalid IP"},
		"without a gateway":  {head + "eth0\t00000000\t00000000\t0001\n", "invalid IP"},
		"not a number":       {"eth0 00000000 gateway\n", "invalid IP"},
		"too large a number": {"eth0 00000000 1FFFFFFFF\n", "invalid IP"},
		"cut off":            {"eth0 00000000", "invalid IP"},
		"nothing":            {"", "invalid IP"},
	} {
		if got := parseGateway(c.routes).String(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestTheRoutableHostIsAnAddress(t *testing.T) {
	host := RoutableHost()
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.IsUnspecified() {
		t.Errorf("%q: %v", host, err)
	}
}
