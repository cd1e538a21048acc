package gateway

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	// maxProbes run at a time, so that many silent brokers do not take a round's time each.
	maxProbes = 16
	// maxListing bounds the answer to a look; the names of a thousand brokers are a tenth of it.
	maxListing = 1 << 20
	// readFiles is the time between two looks at the certificate files.
	readFiles = 15 * time.Second
)

// prober looks at every broker that is known: one Metadata request for no topic, which also lists the others. It is one
// goroutine, and while a round runs one per look, which it waits for.
type prober struct {
	g   *Gateway
	ask chan chan struct{} // somebody wants a round now, and waits until it is done
}

func newProber(g *Gateway) *prober { return &prober{g: g, ask: make(chan chan struct{})} }

// now has a round done. It returns when that is done, or ctx ends.
func (p *prober) now(ctx context.Context) {
	done := make(chan struct{})
	select {
	case p.ask <- done:
	case <-ctx.Done():
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// run looks until ctx ends. first is called after the first round.
func (p *prober) run(ctx context.Context, first func()) {
	read := time.Now()
	for {
		p.round(ctx)
		if first != nil {
			first()
			first = nil
		}
		if time.Since(read) >= readFiles {
			read = time.Now()
			p.g.readCertificates()
		}
		timer := time.NewTimer(p.g.config().HealthInterval)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case done := <-p.ask:
			p.round(ctx)
			close(done)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// round looks at all brokers once.
func (p *prober) round(ctx context.Context) {
	addrs := p.g.nodes.seedList()
	for _, n := range p.g.nodes.list() {
		if !slices.Contains(addrs, n.addr) {
			addrs = append(addrs, n.addr)
		}
	}
	var all sync.WaitGroup
	free := make(chan struct{}, maxProbes)
	for _, addr := range addrs {
		free <- struct{}{}
		all.Go(func() {
			defer func() { <-free }()
			p.look(ctx, addr)
		})
	}
	all.Wait()
}

// look asks one broker and notes what it says.
func (p *prober) look(ctx context.Context, addr string) {
	g := p.g
	ctx, cancel := context.WithTimeout(ctx, g.config().ConnectTimeout)
	defer cancel()
	listed, err := g.listBrokers(ctx, addr)
	if err != nil && errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	for _, b := range listed {
		g.meet(b.id, b.host, b.port)
	}
	for _, n := range g.nodes.looked(addr, err == nil) {
		if err == nil {
			g.log.Info("broker answers", zap.Int32("node", n.id), zap.String("addr", n.addr))
		} else {
			g.log.Warn("broker does not answer", zap.Int32("node", n.id), zap.String("addr", n.addr), zap.Error(err))
		}
	}
}

// listed is one broker of a Metadata answer.
type listed struct {
	id   int32
	host []byte
	port int32
}

// metadataRequest asks for no topics: version 1, client id "cordwood-gateway", an empty array.
var metadataRequest = func() []byte {
	b := []byte{0, 0, 0, 0, 0, 3, 0, 1, 0, 0, 0, 1, 0, 16}
	b = append(b, "cordwood-gateway"...)
	b = append(b, 0, 0, 0, 0)
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}()

// listBrokers asks the broker at addr which brokers there are.
func (g *Gateway) listBrokers(ctx context.Context, addr string) ([]listed, error) {
	nc, err := g.dial(ctx, addr)
	if err != nil {
		return nil, err
	}
	defer nc.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := nc.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if _, err := nc.Write(metadataRequest); err != nil {
		return nil, err
	}
	var prefix [8]byte
	if _, err := io.ReadFull(nc, prefix[:]); err != nil {
		return nil, fmt.Errorf("no answer: %w", err)
	}
	size := int(int32(binary.BigEndian.Uint32(prefix[:]))) - 4
	if size < 0 || size > maxListing || binary.BigEndian.Uint32(prefix[4:]) != 1 {
		return nil, errors.New("the answer is not Kafka's")
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(nc, body); err != nil {
		return nil, fmt.Errorf("half an answer: %w", err)
	}
	return readBrokers(body)
}

// readBrokers reads the brokers at the beginning of a Metadata answer, version 1.
func readBrokers(b []byte) ([]listed, error) {
	bad := errors.New("the answer is not one to Metadata")
	take := func(n int) []byte {
		if n < 0 || n > len(b) {
			b = nil
			return nil
		}
		out := b[:n:n]
		b = b[n:]
		return out
	}
	number := func(n int) int32 {
		switch v := take(n); len(v) {
		case 2:
			return int32(int16(binary.BigEndian.Uint16(v)))
		case 4:
			return int32(binary.BigEndian.Uint32(v))
		}
		return -2
	}
	var out []listed
	for n := number(4); n > 0; n-- {
		one := listed{id: number(4)}
		one.host, one.port = take(int(number(2))), number(4)
		if rack := number(2); rack < -1 || rack > 0 && take(int(rack)) == nil || len(one.host) == 0 || one.id < 0 || one.port < 0 {
			return nil, bad
		}
		if out = append(out, one); len(out) > maxNodes {
			return nil, bad
		}
	}
	return out, nil
}

// dial connects to a broker.
func (g *Gateway) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return d.DialContext(ctx, "tcp", addr)
}
