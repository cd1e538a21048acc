package listener

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"cordwood/protocol"
)

func TestCutTakesAllCompleteFrames(t *testing.T) {
	b := append(op(1, 'e'), op(2, 'e')...)
	b = append(b, op(3, 'e')[:9]...)
	frames, used, need, err := cut(nil, b, 100, protocol.Lookup)
	if err != nil || len(frames) != 2 || used != 26 || need != 13 {
		t.Fatalf("%d frames, used %d, need %d, %v", len(frames), used, need, err)
	}
	for _, f := range frames {
		if cap(f) != len(f) {
			t.Fatal("a session could append into the next frame")
		}
	}
}

func TestCutTakesOneBurstAtATime(t *testing.T) {
	b := bytes.Repeat(op(1, 'e'), maxBurst+5)
	frames, used, _, err := cut(nil, b, 100, protocol.Lookup)
	if err != nil || len(frames) != maxBurst || used != maxBurst*13 {
		t.Fatalf("%d frames, used %d, %v", len(frames), used, err)
	}
}

func TestCutKeepsTheFramesBeforeABadOne(t *testing.T) {
	frames, used, _, err := cut(nil, append(op(1, 'e'), length(1<<31-1)...), 100, protocol.Lookup)
	var bad *lengthError
	if !errors.As(err, &bad) || len(frames) != 1 || used != 13 {
		t.Fatalf("%d frames, used %d, %v", len(frames), used, err)
	}
}

// FuzzCut feeds bytes through the read buffer in pieces of every size and compares with a plain parse.
func FuzzCut(f *testing.F) {
	f.Add(append(op(1, 'e'), op(2, 'e')...), uint16(3))
	f.Add(frame(0, 1, make([]byte, 70<<10)), uint16(5000))
	f.Add(append(frame(0, 1, make([]byte, 2000)), "GET / HTTP/1.1"...), uint16(1))
	f.Add(length(100<<20, 0, 18, 0, 0), uint16(1))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint16) {
		const limit = 1 << 20
		want, wantBad := plainParse(stream, limit)
		var held atomic.Int64
		mem := NewMemory(8 << 20)
		in := input{mem: mem, gauge: &held}
		var got [][]byte
		need, bad := prefixLen, error(nil)
		arrived := 0
		for rest := stream; len(rest) > 0 && bad == nil; {
			if wait := in.fit(need); wait != 0 {
				t.Fatalf("no memory for %d bytes", wait)
			}
			n := copy(in.buf.b[in.w:], rest[:min(len(rest), int(piece)+1)])
			if n == 0 {
				t.Fatal("no room to read into")
			}
			in.read(n)
			rest, arrived = rest[n:], arrived+n
			if held.Load() > int64(max(2*arrived, 0)+maxBuffer) {
				t.Fatalf("%d bytes held after %d arrived", held.Load(), arrived)
			}
			for {
				var frames [][]byte
				var used int
				frames, used, need, bad = cut(nil, in.bytes(), limit, protocol.Lookup)
				for _, f := range frames {
					got = append(got, bytes.Clone(f))
				}
				in.r += used
				if len(frames) == 0 || bad != nil {
					break
				}
			}
		}
		if len(got) != len(want) || (bad != nil) != wantBad {
			t.Fatalf("%d frames, bad %v; want %d, %v", len(got), bad, len(want), wantBad)
		}
		for i := range got {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("frame %d differs", i)
			}
		}
		in.release()
		if held.Load() != 0 || !mem.sem.TryAcquire(8<<20) {
			t.Fatal("memory was not given back")
		}
	})
}

// The buffer of a large frame is outside the heap, never moves and holds no more than came.
func TestALargeFrameGrowsInPlace(t *testing.T) {
	var held atomic.Int64
	in := input{gauge: &held}
	const size = 5<<20 + 123
	var first *byte
	for arrived := 0; arrived < size; {
		in.fit(size)
		if held.Load() > int64(2*arrived+maxBuffer) {
			t.Fatalf("%d bytes held after %d arrived", held.Load(), arrived)
		}
		if in.buf.class == classMapped {
			if first == nil {
				first = &in.buf.b[0]
			}
			if first != &in.buf.b[0] || cap(in.buf.b) != size {
				t.Fatalf("the buffer moved, or is of %d bytes, after %d arrived", cap(in.buf.b), arrived)
			}
		}
		n := min(len(in.buf.b)-in.w, 100_000)
		for i := range n {
			in.buf.b[in.w+i] = byte((arrived + i) % 251)
		}
		in.read(n)
		arrived += n
	}
	if first == nil || in.w != size {
		t.Fatalf("%d bytes, in a mapping: %v", in.w, first != nil)
	}
	for i, b := range in.bytes() {
		if b != byte(i%251) {
			t.Fatalf("byte %d is %d", i, b)
		}
	}
	in.r = in.w
	in.fit(100)
	if in.buf.class == classMapped || held.Load() > maxBuffer {
		t.Fatalf("%d bytes held after the frame", held.Load())
	}
	in.release()
	if held.Load() != 0 {
		t.Fatalf("%d bytes held at last", held.Load())
	}
}

func plainParse(b []byte, limit int) (frames [][]byte, bad bool) {
	for len(b) >= prefixLen {
		n := int(int32(binary.BigEndian.Uint32(b)))
		if n < headerMin || n > limit {
			return frames, true
		}
		if len(b) < prefixLen+n {
			if n > smallFrame && len(b) >= prefixLen+4 {
				api := protocol.Lookup(int16(binary.BigEndian.Uint16(b[prefixLen:])))
				return frames, api == nil || n > api.MaxFrame
			}
			return frames, false
		}
		frames = append(frames, b[prefixLen:prefixLen+n])
		b = b[prefixLen+n:]
	}
	return frames, false
}

func TestTheTableOfAddressesIsBounded(t *testing.T) {
	p := newPeers(2, 1)
	now := time.Now()
	var keep netip.Addr
	for i := range maxPeers + 1000 {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(i))
		a := netip.AddrFrom4(b)
		if _, ok := p.admit(a, now); !ok {
			t.Fatal("refused a first connection")
		}
		if i == 0 {
			keep = a
			continue
		}
		p.leave(a)
	}
	if len(p.byAddr) > maxPeers {
		t.Fatalf("%d addresses", len(p.byAddr))
	}
	if e := p.byAddr[keep]; e == nil || e.open != 1 {
		t.Fatal("an address with a connection was forgotten")
	}
}

func TestARateRefillsWithTime(t *testing.T) {
	p := newPeers(0, 2)
	now := time.Now()
	a := netip.MustParseAddr("10.0.0.1")
	admitted := 0
	for range 100 { // ten seconds
		if _, ok := p.admit(a, now); ok {
			admitted++
			p.leave(a)
		}
		now = now.Add(100 * time.Millisecond)
	}
	if admitted < 20 || admitted > 22 {
		t.Fatalf("%d admitted in ten seconds at two a second", admitted)
	}
}

func TestTheRateOfAnAddressMayChange(t *testing.T) {
	rates := map[netip.Addr]float64{}
	p := newPeers(0, 0)
	p.rateOf = func(a netip.Addr) float64 { return rates[a] }
	now := time.Now()
	slow, other := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2")
	burst := func(a netip.Addr) (admitted int) {
		for range 50 {
			if _, ok := p.admit(a, now); ok {
				admitted++
				defer p.leave(a)
			}
		}
		return admitted
	}
	if got := burst(slow); got != 50 {
		t.Errorf("no rate is set: %d admitted", got)
	}
	rates[slow] = 5
	if got := burst(slow); got != 5 {
		t.Errorf("at five a second: %d admitted at once", got)
	}
	if got := burst(other); got != 50 {
		t.Errorf("another address: %d admitted", got)
	}
	now = now.Add(200 * time.Millisecond)
	if got := burst(slow); got != 1 {
		t.Errorf("after a fifth of a second: %d admitted", got)
	}
	delete(rates, slow)
	if got := burst(slow); got != 50 || len(p.byAddr) != 0 {
		t.Errorf("the rate is gone: %d admitted, %d addresses kept", got, len(p.byAddr))
	}
}
