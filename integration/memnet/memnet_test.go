package memnet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// ground is two hosts and a connection between them, 10 ms apart.
type ground struct {
	t    *testing.T
	n    *Network
	a, b *Host
	p, q *Process     // on a, on b
	l    net.Listener // of q
	x, y net.Conn     // of p, of q
}

const latency = 10 * time.Millisecond

// bubble runs a test in virtual time; the bubble itself finds goroutines that are left.
func bubble(t *testing.T, test func(g *ground)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		g := &ground{t: t, n: New(1)}
		g.n.SetLinks(Link{Latency: latency})
		g.a, g.b = g.n.Host("10.0.0.1"), g.n.Host("10.0.0.2")
		g.p, g.q = g.a.Start(), g.b.Start()
		g.l = must(g.q.Listen("tcp", ":9092"))
		began := time.Now()
		g.x = must(g.p.Dial(t.Context(), "tcp", "10.0.0.2:9092"))
		g.y = must(g.l.Accept())
		g.took(began, 2*latency)
		test(g)
		_ = g.l.Close()
		for _, c := range []net.Conn{g.x, g.y} {
			_ = c.Close()
		}
	})
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func (g *ground) took(began time.Time, want time.Duration) {
	g.t.Helper()
	if took := time.Since(began); took != want {
		g.t.Errorf("it took %s, want %s", took, want)
	}
}

func (g *ground) write(c net.Conn, text string) {
	g.t.Helper()
	if n, err := c.Write([]byte(text)); n != len(text) || err != nil {
		g.t.Errorf("wrote %d of %q: %v", n, text, err)
	}
}

func (g *ground) read(c net.Conn, want string) {
	g.t.Helper()
	b := make([]byte, len(want))
	if n, err := io.ReadFull(c, b); err != nil || string(b) != want {
		g.t.Errorf("read %q, %v; want %q", b[:n], err, want)
	}
}

// fails checks the error of the next read.
func (g *ground) fails(c net.Conn, want error) {
	g.t.Helper()
	if n, err := c.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
		g.t.Errorf("read %d, %v; want %v", n, err, want)
	}
}

func TestBytesArriveAfterTheLatency(t *testing.T) {
	bubble(t, func(g *ground) {
		began := time.Now()
		g.write(g.x, "ping")
		g.took(began, 0)
		g.read(g.y, "ping")
		g.took(began, latency)
		g.write(g.y, "pong")
		g.read(g.x, "pong")
		g.took(began, 2*latency)
		if g.x.LocalAddr().String() != g.y.RemoteAddr().String() || g.x.RemoteAddr().String() != g.l.Addr().String() {
			t.Error(g.x.LocalAddr(), g.x.RemoteAddr(), g.y.LocalAddr(), g.y.RemoteAddr(), g.l.Addr())
		}
	})
}

func TestBandwidthIsShared(t *testing.T) {
	bubble(t, func(g *ground) {
		g.n.SetLink(g.a, g.b, Link{Latency: latency, Bandwidth: 100_000, Segment: 1000})
		began := time.Now()
		go func() {
			g.write(g.x, string(make([]byte, 400_000))) // more than the window
			g.write(g.x, "end")
		}()
		g.read(g.y, string(make([]byte, 400_000)))
		g.took(began, 4*time.Second+latency)
		g.read(g.y, "end")
	})
}

func TestAWriterWaitsForRoom(t *testing.T) {
	bubble(t, func(g *ground) {
		began := time.Now()
		_ = g.x.SetWriteDeadline(began.Add(time.Minute))
		n, err := g.x.Write(make([]byte, 2*window))
		if n != window || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(n, err)
		}
		g.took(began, time.Minute)
		_ = g.x.SetWriteDeadline(time.Time{})
		go func() { time.Sleep(time.Hour); g.read(g.y, string(make([]byte, 100))) }()
		g.write(g.x, string(make([]byte, 100)))
		g.took(began, time.Minute+time.Hour)
	})
}

func TestDeadlinesEndReadsOnTime(t *testing.T) {
	bubble(t, func(g *ground) {
		began := time.Now()
		_ = g.x.SetReadDeadline(began.Add(time.Second))
		_, err := g.x.Read(make([]byte, 1))
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Error(err)
		}
		g.took(began, time.Second)
		g.fails(g.x, os.ErrDeadlineExceeded) // and again at once
		g.took(began, time.Second)
		_ = g.x.SetReadDeadline(time.Time{})
		go func() { // moved while it waits: later first, then sooner
			time.Sleep(time.Second)
			_ = g.x.SetDeadline(time.Now().Add(time.Hour))
			time.Sleep(time.Second)
			_ = g.x.SetDeadline(time.Unix(1, 0))
		}()
		g.fails(g.x, os.ErrDeadlineExceeded)
		g.took(began, 3*time.Second)
		if n, err := g.x.Write([]byte("x")); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error(n, err)
		}
		_ = g.x.SetDeadline(time.Time{})
		g.write(g.y, "late")
		g.read(g.x, "late")
	})
}

func TestCloseDeliversWhatWasWritten(t *testing.T) {
	bubble(t, func(g *ground) {
		g.write(g.x, "last words")
		_ = g.x.Close()
		for _, err := range []error{
			func() error { _, err := g.x.Read(nil); return err }(), func() error { _, err := g.x.Write(nil); return err }(),
			g.x.Close(), g.x.SetDeadline(time.Time{}), g.x.(*conn).CloseWrite(),
		} {
			if !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
		g.read(g.y, "last words")
		g.fails(g.y, io.EOF)
		g.fails(g.y, io.EOF)
		if _, err := g.y.Write([]byte("hello?")); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
}

func TestCloseEndsWaitingReadsAndWrites(t *testing.T) {
	bubble(t, func(g *ground) {
		var waiting sync.WaitGroup
		waiting.Go(func() { g.fails(g.x, net.ErrClosed) })
		waiting.Go(func() {
			if _, err := g.x.Write(make([]byte, 2*window)); !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		})
		waiting.Go(func() {
			if _, err := g.y.Write(make([]byte, 2*window)); !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
		})
		synctest.Wait()
		_ = g.x.Close()
		waiting.Wait()
	})
}

func TestCloseWriteLeavesTheOtherDirection(t *testing.T) {
	bubble(t, func(g *ground) {
		g.write(g.x, "request")
		if err := g.x.(*conn).CloseWrite(); err != nil {
			t.Error(err)
		}
		if _, err := g.x.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
			t.Error(err)
		}
		all, err := io.ReadAll(g.y)
		if string(all) != "request" || err != nil {
			t.Error(string(all), err)
		}
		g.write(g.y, "answer")
		g.read(g.x, "answer")
	})
}

func TestWhatACutHoldsBackArrivesWhenItHeals(t *testing.T) {
	bubble(t, func(g *ground) {
		g.write(g.x, "before ")
		time.Sleep(latency)
		g.write(g.x, "under way ")
		g.n.Cut(g.a, g.b)
		g.write(g.x, "behind")
		g.read(g.y, "before ") // it had arrived
		began := time.Now()
		_ = g.y.SetReadDeadline(began.Add(time.Minute))
		g.fails(g.y, os.ErrDeadlineExceeded)
		_ = g.y.SetReadDeadline(time.Time{})
		_ = g.x.Close() // even if the sender is gone by then
		go func() { time.Sleep(time.Minute); g.n.Heal(g.a, g.b) }()
		g.read(g.y, "under way behind")
		g.took(began, 2*time.Minute+latency)
		g.fails(g.y, io.EOF)
	})
}

func TestACutOfOneWayLeavesTheOther(t *testing.T) {
	bubble(t, func(g *ground) {
		g.n.CutOneWay(g.b, g.a)
		g.write(g.x, "there")
		g.read(g.y, "there")
		g.write(g.y, "back")
		_ = g.x.SetReadDeadline(time.Now().Add(time.Hour))
		g.fails(g.x, os.ErrDeadlineExceeded)
		_ = g.x.SetReadDeadline(time.Time{})
		g.n.Heal(g.a, g.b)
		g.read(g.x, "back")
	})
}

func TestADialWaitsForACutToHeal(t *testing.T) {
	bubble(t, func(g *ground) {
		g.n.CutOneWay(g.b, g.a)
		began := time.Now()
		ctx, cancel := context.WithTimeout(g.t.Context(), time.Second)
		defer cancel()
		_, err := g.p.Dial(ctx, "tcp", "10.0.0.2:9092")
		var timeout net.Error
		if !errors.As(err, &timeout) || !timeout.Timeout() {
			t.Error(err)
		}
		g.took(began, time.Second)
		g.fails(must(g.l.Accept()), io.EOF) // it had come as far as b
		go func() { time.Sleep(time.Minute); g.n.Heal(g.a, g.b) }()
		began = time.Now()
		c := must(g.p.Dial(g.t.Context(), "tcp", "10.0.0.2:9092"))
		g.took(began, time.Minute+latency)
		_ = c.Close()
	})
}

func TestWhatADialMeets(t *testing.T) {
	bubble(t, func(g *ground) {
		for addr, want := range map[string]struct {
			err  error
			took time.Duration
		}{
			"10.0.0.2:1":    {syscall.ECONNREFUSED, 2 * latency},
			"127.0.0.1:1":   {syscall.ECONNREFUSED, 0},
			"10.9.9.9:9092": {syscall.ETIMEDOUT, dialTimeout},
		} {
			began := time.Now()
			if c, err := g.p.Dial(g.t.Context(), "tcp", addr); c != nil || !errors.Is(err, want.err) {
				t.Error(addr, err)
			}
			g.took(began, want.took)
		}
		var unknown *net.DNSError
		if _, err := g.p.Dial(g.t.Context(), "tcp", "elsewhere:1"); !errors.As(err, &unknown) {
			t.Error(err)
		}
		if _, err := g.q.Listen("tcp", "0.0.0.0:9092"); !errors.Is(err, syscall.EADDRINUSE) {
			t.Error(err)
		}
		_ = g.l.Close()
		if _, err := g.p.Dial(g.t.Context(), "tcp", "10.0.0.2:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		if _, err := g.l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(g.t.Context())
		cancel()
		if _, err := g.p.Dial(ctx, "tcp", "10.0.0.2:9092"); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestLoopbackIsTheHostItself(t *testing.T) {
	bubble(t, func(g *ground) {
		l := must(g.p.Listen("tcp", "127.0.0.1:0"))
		began := time.Now()
		c := must(g.p.Dial(g.t.Context(), "tcp", l.Addr().String()))
		g.took(began, 0)
		if host, _, _ := net.SplitHostPort(must(l.Accept()).RemoteAddr().String()); host != "127.0.0.1" {
			t.Error(host)
		}
		_, _ = c.Close(), l.Close()
	})
}

func TestAKilledProcessIsNoticed(t *testing.T) {
	bubble(t, func(g *ground) {
		began := time.Now()
		g.b.Kill()
		g.fails(g.y, net.ErrClosed)
		g.fails(g.x, io.EOF)
		g.took(began, latency)
		if _, err := g.p.Dial(g.t.Context(), "tcp", "10.0.0.2:9092"); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Error(err)
		}
		_ = must(g.b.Start().Listen("tcp", ":9092")).Close() // the port is free
	})
}

// The goroutines of a simulated process outlive it (M5).
func TestAProcessThatHasEndedReachesNobody(t *testing.T) {
	for name, end := range map[string]func(h *Host){"killed": (*Host).Kill, "power": func(h *Host) { h.PowerOff(); h.PowerOn() }} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(g *ground) {
				under := make(chan error)
				go func() {
					_, err := g.p.Dial(g.t.Context(), "tcp", "10.0.0.2:9092")
					under <- err
				}()
				time.Sleep(latency / 2)
				end(g.a)
				if err := <-under; !errors.Is(err, syscall.ETIMEDOUT) {
					t.Errorf("a dial that was under way: %v", err)
				}
				ctx, cancel := context.WithTimeout(g.t.Context(), time.Minute)
				defer cancel()
				if _, err := g.p.Dial(ctx, "tcp", "10.0.0.2:9092"); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("a new dial: %v", err)
				}
				if _, err := g.p.Listen("tcp", ":1"); !errors.Is(err, net.ErrClosed) {
					t.Errorf("a new listener: %v", err)
				}
				c := must(g.a.Start().Dial(g.t.Context(), "tcp", "10.0.0.2:9092"))
				_ = c.Close()
			})
		})
	}
}

func TestLostPowerLeavesHalfOpenConnections(t *testing.T) {
	bubble(t, func(g *ground) {
		g.write(g.y, "never")
		g.b.PowerOff()
		g.fails(g.y, net.ErrClosed)
		g.write(g.x, "into the void")
		began := time.Now()
		_ = g.x.SetReadDeadline(began.Add(time.Hour))
		g.fails(g.x, os.ErrDeadlineExceeded)
		_ = g.x.SetReadDeadline(time.Time{})
		g.l = must(g.b.Start().Listen("tcp", ":9092"))
		go func() { time.Sleep(time.Minute); g.b.PowerOn() }()
		c := must(g.p.Dial(g.t.Context(), "tcp", "10.0.0.2:9092"))
		g.took(began, time.Hour+time.Minute+2*latency)
		_ = c.Close()
		g.write(g.x, "still there?")
		g.fails(g.x, syscall.ECONNRESET)
		g.took(began, time.Hour+time.Minute+4*latency)
		if _, err := g.x.Write([]byte("?")); !errors.Is(err, syscall.ECONNRESET) {
			t.Error(err)
		}
	})
}

func TestAResetEndsBothEnds(t *testing.T) {
	bubble(t, func(g *ground) {
		g.n.Reset(g.a, g.b)
		for _, c := range []net.Conn{g.x, g.y} {
			if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
				t.Error(err)
			}
			g.fails(c, syscall.ECONNRESET)
		}
	})
}

// exchange sends random bytes over several connections while links come and go, and returns when each piece came.
func exchange(t *testing.T, seed uint64) (trace []string) {
	synctest.Test(t, func(t *testing.T) {
		n := New(seed)
		n.SetLinks(Link{Latency: time.Millisecond, Jitter: 5 * time.Millisecond, Bandwidth: 1 << 20, Segment: 1500})
		a, b := n.Host("10.0.0.1"), n.Host("10.0.0.2")
		p, l := a.Start(), must(b.Start().Listen("tcp", ":1"))
		traces := make([][]string, 4)
		var all sync.WaitGroup
		for i := range traces {
			x := must(p.Dial(t.Context(), "tcp", "10.0.0.2:1"))
			y := must(l.Accept())
			sent := make([]byte, 50_000)
			rng := rand.New(rand.NewPCG(seed, uint64(i)))
			for j := range sent {
				sent[j] = byte(rng.Uint32())
			}
			all.Go(func() {
				for rest := sent; len(rest) > 0; {
					piece := rest[:min(len(rest), 1+rng.IntN(5000))]
					_ = must(x.Write(piece))
					rest = rest[len(piece):]
					time.Sleep(time.Duration(rng.IntN(int(20 * time.Millisecond))))
				}
				_ = x.Close()
			})
			all.Go(func() {
				began := time.Now()
				var got []byte
				for b := make([]byte, 4000); ; {
					n, err := y.Read(b)
					got = append(got, b[:n]...)
					traces[i] = append(traces[i], fmt.Sprint(i, n, time.Since(began)))
					if err != nil {
						break
					}
				}
				if !bytes.Equal(got, sent) {
					t.Errorf("seed %d: connection %d carried %d bytes of %d, or others", seed, i, len(got), len(sent))
				}
				_ = y.Close()
			})
		}
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, 99))
			for range 5 {
				time.Sleep(time.Duration(rng.IntN(int(100 * time.Millisecond))))
				n.CutOneWay(a, b)
				time.Sleep(time.Duration(rng.IntN(int(time.Second))))
				n.Heal(a, b)
			}
		})
		all.Wait()
		_ = l.Close()
		trace = slices.Concat(traces...)
	})
	return trace
}

func TestASeedGivesOneRun(t *testing.T) {
	for seed := range uint64(10) {
		one, two := exchange(t, seed), exchange(t, seed)
		if !slices.Equal(one, two) {
			t.Errorf("seed %d: two runs differ", seed)
		}
		if slices.Equal(one, exchange(t, seed+100)) {
			t.Errorf("seed %d: another seed gives the same run", seed)
		}
	}
}

func TestHTTPWorksOverIt(t *testing.T) {
	bubble(t, func(g *ground) {
		l := must(g.q.Listen("tcp", ":80"))
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(w, r.Body)
		})}
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(l) })
		transport := &http.Transport{DialContext: g.p.Dial, IdleConnTimeout: time.Minute}
		client := &http.Client{Transport: transport}
		for range 3 {
			r := must(client.Post("http://10.0.0.2/", "text/plain", bytes.NewReader(make([]byte, 1<<20))))
			if body := must(io.ReadAll(r.Body)); len(body) != 1<<20 {
				t.Error(len(body))
			}
			_ = r.Body.Close()
		}
		transport.CloseIdleConnections()
		_ = server.Shutdown(g.t.Context())
		served.Wait()
	})
}
