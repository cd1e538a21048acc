package nameserver

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A reply keeps to the address its query came to, and not to the interface.
func TestTheRouteOfAReplyIsTheKernels(t *testing.T) {
	four := unix.PktInfo4(&unix.Inet4Pktinfo{Ifindex: 7, Spec_dst: [4]byte{10, 0, 0, 1}, Addr: [4]byte{10, 0, 0, 1}})
	six := unix.PktInfo6(&unix.Inet6Pktinfo{Ifindex: 7, Addr: [16]byte{0xfd, 15: 1}})
	want := string(unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{10, 0, 0, 1}, Addr: [4]byte{10, 0, 0, 1}})) +
		string(unix.PktInfo6(&unix.Inet6Pktinfo{Addr: [16]byte{0xfd, 15: 1}}))
	if got := source(append(four, six...)); string(got) != want {
		t.Errorf("%x becomes %x", append(four, six...), got)
	}
	for _, odd := range [][]byte{nil, {1, 2, 3}, unix.UnixRights(0), four[:len(four)-8]} {
		if got := source(odd); len(got) != 0 {
			t.Errorf("%x becomes %x", odd, got)
		}
	}
}
