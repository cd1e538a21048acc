//go:build process

package netns

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// within runs f on a thread that is in a host's namespace; the thread ends with it.
func within(t *testing.T, l *Lab, host int, f func()) {
	t.Helper()
	ns, err := os.Open("/run/netns/" + l.Namespace(host))
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			failed <- err
			return
		}
		f()
		failed <- nil
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// pair is a connection from host 0 to host 1.
func pair(t *testing.T, l *Lab) (zero, one net.Conn) {
	t.Helper()
	var listener net.Listener
	var err error
	within(t, l, 1, func() { listener, err = net.Listen("tcp", l.Addr(1)+":0") })
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	within(t, l, 0, func() { zero, err = net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second) })
	if err != nil {
		t.Fatal(err)
	}
	if one, err = listener.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = zero.Close(); _ = one.Close() })
	return zero, one
}

// arrives says whether a byte that is sent comes out at the other end in time.
func arrives(t *testing.T, from, to net.Conn, most time.Duration) bool {
	t.Helper()
	if _, err := from.Write([]byte{1}); err != nil {
		t.Fatal(err)
	}
	_ = to.SetReadDeadline(time.Now().Add(most))
	_, err := to.Read(make([]byte, 1))
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal(err)
	}
	return err == nil
}

func TestACutGoesOneWayAndHeals(t *testing.T) {
	l, err := New(t, 2)
	if err != nil {
		t.Skip(err)
	}
	zero, one := pair(t, l)
	if !arrives(t, zero, one, 5*time.Second) || !arrives(t, one, zero, 5*time.Second) {
		t.Fatal("nothing passes though nothing is cut")
	}
	if err := l.Cut(0, 1); err != nil {
		t.Fatal(err)
	}
	if arrives(t, zero, one, 300*time.Millisecond) {
		t.Error("a packet passed where the network is cut")
	}
	if !arrives(t, one, zero, 5*time.Second) {
		t.Error("a packet was lost in the direction that is not cut")
	}
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	if !arrives(t, zero, one, 20*time.Second) {
		t.Error("what was sent does not arrive after the network healed")
	}
}

func TestAHostThatIsCutOffIsSilent(t *testing.T) {
	l, err := New(t, 2)
	if err != nil {
		t.Skip(err)
	}
	if err := l.Separate(1, append(l.Others(1), Outside)...); err != nil {
		t.Fatal(err)
	}
	// Not refused: a refusal would be a sign of life (R19).
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	_, err = new(net.Dialer).DialContext(ctx, "tcp", l.Addr(1)+":9")
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("dialing it says %v", err)
	}
	if err := l.Heal(); err != nil {
		t.Fatal(err)
	}
	if _, err = net.DialTimeout("tcp", l.Addr(1)+":9", 5*time.Second); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("after the network healed dialing says %v", err)
	}
}
