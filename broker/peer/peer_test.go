package peer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// node is the other end: it reads requests and answers them as serve says.
type node struct {
	t     *testing.T
	dials atomic.Int32
	serve func(c net.Conn, key, version int16, id int32, body []byte) bool // false: the connection ends
	down  atomic.Bool
	mu    sync.Mutex
	conns []net.Conn
	wait  sync.WaitGroup
}

func (n *node) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	if n.down.Load() {
		return nil, errors.New("refused")
	}
	n.dials.Add(1)
	a, b := net.Pipe()
	n.accept(b)
	return a, nil
}

func (n *node) accept(c net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conns = append(n.conns, c)
	n.wait.Go(func() {
		defer c.Close()
		for {
			var head [4]byte
			if _, err := io.ReadFull(c, head[:]); err != nil {
				return
			}
			frame := make([]byte, binary.BigEndian.Uint32(head[:]))
			if _, err := io.ReadFull(c, frame); err != nil {
				return
			}
			key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
			id := int32(binary.BigEndian.Uint32(frame[4:]))
			if key == int16(protocol.ApiVersions) {
				r := protocol.NewApiVersionsResponse(version, protocol.Client|protocol.Internal, nil, 0)
				h := protocol.Header{Key: key, Version: version, CorrelationID: id}
				if _, err := c.Write(protocol.AppendResponse(nil, &h, r)); err != nil {
					return
				}
				continue
			}
			n.mu.Lock()
			serve := n.serve
			n.mu.Unlock()
			if !serve(c, key, version, id, frame) {
				return
			}
		}
	})
}

// nowServes changes how requests are answered.
func (n *node) nowServes(f func(c net.Conn, key, version int16, id int32, body []byte) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.serve = f
}

func (n *node) breakAll() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conns {
		_ = c.Close()
	}
}

// metadataAnswer answers a Metadata request with the cluster id given.
func metadataAnswer(version int16, id int32, cluster string) []byte {
	r := kmsg.NewPtrMetadataResponse()
	r.ClusterID = &cluster
	h := protocol.Header{Key: 3, Version: version, CorrelationID: id}
	return protocol.AppendResponse(nil, &h, r)
}

func echo(c net.Conn, _, version int16, id int32, _ []byte) bool {
	_, err := c.Write(metadataAnswer(version, id, "cluster"))
	return err == nil
}

func metadataRequest() *kmsg.MetadataRequest {
	q := kmsg.NewPtrMetadataRequest()
	q.Version = 99 // more than anybody serves
	return q
}

// inBubble runs f with a pool whose connections lead to n, in virtual time.
func inBubble(t *testing.T, n *node, f func(t *testing.T, p *Pool)) {
	synctest.Test(t, func(t *testing.T) {
		n.t = t
		p := NewPool(Config{Dial: n.dial, ClientID: "test", MaxAnswer: 1 << 20})
		f(t, p)
		p.Close()
		n.breakAll()
		n.wait.Wait()
	})
}

func TestARequestIsAskedInTheVersionBothEndsServe(t *testing.T) {
	n := &node{serve: echo}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		q := metadataRequest()
		r, err := p.Ask(t.Context(), "a:1", Control, q)
		if err != nil {
			t.Fatal(err)
		}
		got := r.(*kmsg.MetadataResponse)
		if most := protocol.Lookup(3).Max; got.Version != most || *got.ClusterID != "cluster" || q.Version != 99 {
			t.Errorf("version %d of %d, cluster %q, request left at %d", got.Version, most, *got.ClusterID, q.Version)
		}
		unknown := kmsg.NewPtrFindCoordinatorRequest()
		unknown.Version = -1
		if _, err := p.Ask(t.Context(), "a:1", Control, unknown); err == nil || !strings.Contains(err.Error(), "no longer served") {
			t.Errorf("a version below the other end's gives %v", err)
		}
	})
}

func TestRequestsArePipelinedOnOneConnection(t *testing.T) {
	var held []func()
	n := &node{}
	n.serve = func(c net.Conn, _, version int16, id int32, _ []byte) bool {
		held = append(held, func() { _, _ = c.Write(metadataAnswer(version, id, fmt.Sprint(id))) })
		if len(held) == 8 { // only then is the first one answered
			for _, answer := range held {
				answer()
			}
		}
		return true
	}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		var all sync.WaitGroup
		seen := make([]string, 8)
		for i := range seen {
			all.Go(func() {
				r, err := p.Ask(t.Context(), "a:1", Control, metadataRequest())
				if err != nil {
					t.Error(err)
					return
				}
				seen[i] = *r.(*kmsg.MetadataResponse).ClusterID
			})
		}
		all.Wait()
		unique := map[string]bool{}
		for _, s := range seen {
			unique[s] = true
		}
		if len(unique) != 8 || n.dials.Load() != 1 {
			t.Errorf("answers %v over %d connections", seen, n.dials.Load())
		}
	})
}

func TestPurposesDoNotShareAConnection(t *testing.T) {
	n := &node{serve: func(c net.Conn, key, version int16, id int32, f []byte) bool {
		if key == int16(protocol.FetchMetadata) {
			return true // parked for ever
		}
		return echo(c, key, version, id, f)
	}}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		ctx, cancel := context.WithCancel(t.Context())
		parked := make(chan error)
		go func() {
			_, err := p.AskOwn(ctx, "a:1", Feed, protocol.FetchMetadata, []byte{0xa0})
			parked <- err
		}()
		synctest.Wait()
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Error(err)
		}
		cancel()
		if err := <-parked; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAConnectionThatBreaksIsMadeAnewForTheNextRequest(t *testing.T) {
	n := &node{serve: echo}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		for range 3 {
			if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
				t.Fatal(err)
			}
			n.breakAll()
			synctest.Wait()
		}
		if n.dials.Load() != 3 {
			t.Errorf("%d dials", n.dials.Load())
		}
	})
}

func TestANodeThatIsDownIsDialedLessAndLessOften(t *testing.T) {
	n := &node{serve: echo}
	n.down.Store(true)
	inBubble(t, n, func(t *testing.T, p *Pool) {
		for range 5000 { // every millisecond
			if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err == nil {
				t.Fatal("answered by nobody")
			}
			time.Sleep(time.Millisecond)
		}
		if n := p.Stats().Failures; n < 10 || n > 20 {
			t.Errorf("%d dials in five seconds", n)
		}
		time.Sleep(backoffMax)
		n.down.Store(false)
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Error(err)
		}
	})
}

func TestARequestWithoutAnAnswerEndsItsConnection(t *testing.T) {
	n := &node{serve: func(net.Conn, int16, int16, int32, []byte) bool { return true }}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := p.Ask(ctx, "a:1", Control, metadataRequest()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		n.nowServes(echo)
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Error(err)
		}
		if n.dials.Load() != 2 {
			t.Errorf("%d dials: what is behind an unanswered request waits with it", n.dials.Load())
		}
	})
}

// fetchAnswer answers a Fetch request with one partition's record bytes.
func fetchAnswer(c net.Conn, version int16, id int32, records []byte) bool {
	r := kmsg.NewPtrFetchResponse()
	r.Topics = []kmsg.FetchResponseTopic{{Partitions: []kmsg.FetchResponseTopicPartition{{RecordBatches: records}}}}
	h := protocol.Header{Key: 1, Version: version, CorrelationID: id}
	_, err := c.Write(protocol.AppendResponse(nil, &h, r))
	return err == nil
}

func TestAnAnswerTakesTheMemoryOfTheOneBefore(t *testing.T) {
	sizes := []int{1000, 50, 1100, 1900} // the third needs more memory, of which it gets twice as much
	answered := 0
	n := &node{}
	n.serve = func(c net.Conn, _, version int16, id int32, _ []byte) bool {
		answered++
		return fetchAnswer(c, version, id, bytes.Repeat([]byte{byte(answered)}, sizes[answered-1]))
	}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		var memory, before []byte
		for i, size := range sizes {
			q := kmsg.NewPtrFetchRequest()
			q.Version = 18
			r, err := p.AskInto(t.Context(), "a:1", Fetching(0), q, &memory)
			if err != nil {
				t.Fatal(err)
			}
			records := r.(*kmsg.FetchResponse).Topics[0].Partitions[0].RecordBatches
			if !bytes.Equal(records, bytes.Repeat([]byte{byte(i + 1)}, size)) {
				t.Errorf("answer %d: %d bytes of %d", i, len(records), size)
			}
			if same := cap(before) > 0 && &memory[0] == &before[0]; same != (i == 1 || i == 3) {
				t.Errorf("answer %d is in the memory of the one before: %v", i, same)
			}
			before = memory
		}
	})
}

// The reader may still be writing into the memory of a request that was given up.
func TestMemoryIsNotUsedAgainAfterAnError(t *testing.T) {
	n := &node{serve: func(net.Conn, int16, int16, int32, []byte) bool { return true }}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		memory := make([]byte, 1000)
		if _, err := p.AskInto(ctx, "a:1", Fetching(0), kmsg.NewPtrFetchRequest(), &memory); err == nil || memory != nil {
			t.Errorf("%v, and %d bytes are left for the next", err, len(memory))
		}
	})
}

func TestAnUnusedConnectionIsGivenUpInTheEnd(t *testing.T) {
	n := &node{serve: echo}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Fatal(err)
		}
		n.breakAll()
		time.Sleep(retireAfter + time.Second)
		synctest.Wait()
		if s := p.Stats(); s.Clients != 0 {
			t.Errorf("%d clients are left", s.Clients)
		}
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Error(err)
		}
	})
}

func TestForwardedRequestsTakeTurns(t *testing.T) {
	var parked atomic.Int32
	n := &node{}
	n.serve = func(c net.Conn, k, version int16, id int32, f []byte) bool {
		parked.Add(1)
		time.Sleep(time.Second)
		return echo(c, k, version, id, f)
	}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		began := time.Now()
		var all sync.WaitGroup
		for range 2 * forwarders {
			all.Go(func() {
				if _, err := p.Forward(t.Context(), "a:1", metadataRequest()); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if d := time.Since(began); d != 2*time.Second || n.dials.Load() != forwarders {
			t.Errorf("%v over %d connections", d, n.dials.Load())
		}
	})
}

func TestAPoolThatHasEndedAsksNobody(t *testing.T) {
	n := &node{serve: echo}
	inBubble(t, n, func(t *testing.T, p *Pool) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- p.Run(ctx) }()
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
			t.Fatal(err)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}

func TestAPeerThatTalksNonsenseLosesItsConnection(t *testing.T) {
	for name, nonsense := range map[string]func(version int16, id int32) []byte{
		"too long":     func(int16, int32) []byte { return []byte{0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1} },
		"negative":     func(int16, int32) []byte { return []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1} },
		"too short":    func(int16, int32) []byte { return []byte{0, 0, 0, 3, 0, 0, 0, 1} },
		"another's id": func(v int16, id int32) []byte { return metadataAnswer(v, id+1, "x") },
		"answered twice": func(v int16, id int32) []byte {
			return append(metadataAnswer(v, id, "x"), metadataAnswer(v, id, "x")...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := &node{}
			n.serve = func(c net.Conn, _, version int16, id int32, _ []byte) bool {
				_, err := c.Write(nonsense(version, id))
				return err == nil
			}
			inBubble(t, n, func(t *testing.T, p *Pool) {
				_, err := p.Ask(t.Context(), "a:1", Control, metadataRequest())
				if (err == nil) != (name == "answered twice") {
					t.Error(err)
				}
				synctest.Wait()
				n.nowServes(echo)
				if _, err := p.Ask(t.Context(), "a:1", Control, metadataRequest()); err != nil {
					t.Error(err)
				}
				if n.dials.Load() != 2 {
					t.Errorf("%d dials", n.dials.Load())
				}
			})
		})
	}
}

func TestAnswersOfAnyBytesDoNotPanic(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 1))
	whole := metadataAnswer(12, 1, "cluster")[8:]
	for range 20_000 {
		body := append([]byte(nil), whole[:rng.IntN(len(whole)+1)]...)
		for range rng.IntN(4) {
			if len(body) > 0 {
				body[rng.IntN(len(body))] = byte(rng.Uint32())
			}
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("seed %d: % x: %v", seed, body, p)
				}
			}()
			_ = decode(kmsg.NewPtrMetadataResponse(), 12, body)
		}()
	}
}

func TestAStreamBeginsBehindItsAnswer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t}
	n.serve = func(c net.Conn, _, version int16, id int32, _ []byte) bool {
		h := protocol.Header{Key: int16(protocol.RaftStream), CorrelationID: id}
		_, err := c.Write(append(protocol.AppendOwnResponse(nil, &h, []byte("yes"), 0), "stream"...))
		return err == nil
	}
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			n.accept(c)
		}
	})
	p := NewPool(Config{})
	c, answer, err := p.Stream(t.Context(), l.Addr().String(), protocol.RaftStream, []byte{0xa0})
	if err != nil {
		t.Fatal(err)
	}
	rest := make([]byte, 6)
	if _, err := io.ReadFull(c, rest); err != nil || string(answer) != "yes" || string(rest) != "stream" {
		t.Errorf("%q, then %q, %v", answer, rest, err)
	}
	n.nowServes(echo)
	for range 100 {
		if _, err := p.Ask(t.Context(), l.Addr().String(), Control, metadataRequest()); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.Close()
	p.Close()
	_ = l.Close()
	accepting.Wait()
	n.wait.Wait()
}
