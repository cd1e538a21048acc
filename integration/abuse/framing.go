package abuse

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// framing is section A: what is wrong before a request can be told from another.
func framing(g *Ground) []Case {
	zeroes, ones := make([]byte, 64<<10), bytes.Repeat([]byte{0xff}, 64<<10)
	cases := []Case{
		{Number: 1, Name: "length 0", Play: closes(be32(0))},
		{Number: 2, Name: "length -1", Play: closes(be32(-1))},
		{Number: 3, Name: "length 0x80000000", Play: closes(be32(-1 << 31))},
		{Number: 4, Name: "length 2^31-1", Play: closes(be32(1<<31 - 1))},
		{Number: 5, Name: "length of the largest frame and one", Play: closes(be32(g.MaxFrame + 1))},
		{Number: 5, Name: "the largest frame", Cost: Heavy, Play: g.largest()},
		{Number: 6, Name: "a large length, then silence", Cost: Slow, Play: closes(be32(g.MaxFrame), header(0, 9, 1))},
		{Number: 8, Name: "a frame in single bytes", Play: singleBytes},
		{Number: 9, Name: "1,000 frames at once", Cost: Heavy, Play: manyFrames},
		{Number: 10, Name: "HTTP", Play: closes([]byte("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"))},
		{Number: 11, Name: "TLS", Play: closes([]byte{0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3})},
		{Number: 13, Name: "SSH", Play: closes([]byte("SSH-2.0-OpenSSH_9.9\r\n"))},
		{Number: 13, Name: "SMB", Play: closes([]byte("\x00\x00\x00\x02\xffSMBr\x00\x00\x00\x00"))},
		{Number: 13, Name: "Redis", Play: closes([]byte("PING\r\n"))},
		{Number: 13, Name: "zeroes", Play: closes(zeroes)},
		{Number: 13, Name: "ones", Play: closes(ones)},
		{Number: 13, Name: "1 GiB of random bytes", Play: randomBytes},
		{Number: 14, Name: "half closed with answers pending", Play: halfClosed},
		{Number: 15, Name: "a client that never reads", Cost: Slow, Play: neverReads},
		{Number: 16, Name: "reset in the middle of a frame", Play: g.resetInside},
	}
	for n := 1; n < 8; n++ {
		cases = append(cases, Case{Number: 7, Name: fmt.Sprintf("a frame of %d bytes", n), Play: closes(be32(n), make([]byte, n))})
	}
	return cases
}

// largest sends a frame of exactly the largest size: taken as it comes, and refused for the size of its batch only.
func (g *Ground) largest() func(*Conn) error {
	around := len(request(produce("victim", make([]byte, g.MaxFrame/2)), 1)) - g.MaxFrame/2 - 4
	q := produce("victim", padded(g.MaxFrame-around))
	b := request(q, 1)
	return func(c *Conn) error {
		if len(b)-4 != g.MaxFrame {
			return fmt.Errorf("the frame has %d bytes, not %d", len(b)-4, g.MaxFrame)
		}
		if _, err := c.Write(b); err != nil {
			return err
		}
		resp, err := c.Receive(q, 1)
		if err != nil {
			return err
		}
		if err := is(produced(resp), kerr.MessageTooLarge); err != nil {
			return err
		}
		return c.Alive()
	}
}

func singleBytes(c *Conn) error {
	q := metadata(false, "victim")
	for _, b := range request(q, 1) {
		if _, err := c.Write([]byte{b}); err != nil {
			return err
		}
	}
	_, err := c.Receive(q, 1)
	return err
}

func manyFrames(c *Conn) error {
	q := kmsg.NewPtrApiVersionsRequest()
	var all []byte
	for i := range int32(1000) {
		all = append(all, request(q, i)...)
	}
	wrote := make(chan error, 1)
	go func() {
		_, err := c.Write(all)
		wrote <- err
	}()
	for i := range int32(1000) {
		if _, err := c.Receive(q, i); err != nil {
			return fmt.Errorf("answer %d: %w", i, errors.Join(err, c.Close(), <-wrote))
		}
	}
	return <-wrote
}

func randomBytes(c *Conn) error {
	rng := rand.NewPCG(7, 7)
	chunk := make([]byte, 64<<10)
	for i := 0; i < len(chunk); i += 8 {
		copy(chunk[i:], be64(int64(rng.Uint64())))
	}
	chunk[0] |= 0x80 // a length that cannot be
	for range 1 << 30 / len(chunk) {
		if _, err := c.Write(chunk); err != nil {
			return nil // closed
		}
	}
	return errors.New("took all of it")
}

// halfClosed asks, among others, for what takes a while, and closes its half. The answers come, or the connection ends.
func halfClosed(c *Conn) error {
	for _, q := range []kmsg.Request{
		kmsg.NewPtrApiVersionsRequest(),
		fetch(12, 50, 1<<20, 1<<20, part{topic: "victim", offset: 1, most: 1 << 20}),
		metadata(false, "victim"),
	} {
		if err := c.Send(q); err != nil {
			return err
		}
	}
	if err := c.CloseWrite(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, c); errors.Is(err, os.ErrDeadlineExceeded) {
		return errors.New("left open")
	}
	return nil
}

// neverReads asks for more than the socket holds. The broker must end it, and must not have kept all the answers.
func neverReads(c *Conn) error {
	if err := c.SetReadBuffer(4096); err != nil {
		return err
	}
	q := fetch(12, 0, 0, 1<<20, part{topic: "wide", most: 1 << 20})
	b := bytes.Repeat(request(q, 1), 32)
	for began := time.Now(); time.Since(began) < patience; {
		if err := c.SetWriteDeadline(time.Now().Add(time.Second)); err != nil {
			return err
		}
		if n, err := c.Write(b); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // closed
		} else if n < len(b) && n > 0 {
			b = append(b[n:len(b):len(b)], b[:n]...) // go on in the middle of a frame
		}
	}
	return errors.New("left open")
}

// resetInside sends half of a Produce that would be accepted, and resets the connection. Digest shows that nothing was
// appended.
func (g *Ground) resetInside(c *Conn) error {
	b := request(produce("victim", good(100)), 1)
	if _, err := c.Write(b[:len(b)-10]); err != nil {
		return err
	}
	if err := c.SetLinger(0); err != nil {
		return err
	}
	return c.Close()
}
