package listener

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"
)

const (
	// napAfter quiet seconds the read buffer is given back.
	napAfter = 10 * time.Second
	// minRate is the slowest a large frame may come: so many bytes buy one second beyond FrameTimeout.
	minRate = 16 << 10
	// yieldAt bytes, or yieldAfter frames, of one burst may keep a processor for a millisecond and more.
	yieldAt, yieldAfter = 256 << 10, 64
)

// read serves frames until the connection has to end and says why.
func (c *Conn) read() (reason, error) {
	for {
		frames, used, need, bad := cut(c.frames[:0], c.in.bytes(), c.l.cfg.MaxFrame, c.l.cfg.Lookup)
		c.frames = frames
		if len(frames) > 0 {
			if why, err := c.burst(used); err != nil {
				return why, err
			}
			clear(c.frames)
			c.in.r += used
			c.frameStart = time.Time{}
		}
		switch {
		case bad != nil:
			return badReason(bad), bad
		case c.takeOver != nil:
			return c.handOver()
		case c.closing.Load():
			return reasonWrite, nil // the writer closed, and its reason counts
		case c.stopping.Load():
			return reasonShutdown, nil
		case len(frames) > 0:
			continue // there may be more than one burst takes
		}
		if why, err := c.fill(need); err != nil {
			return why, err
		}
	}
}

func badReason(err error) reason {
	var e *lengthError
	if errors.As(err, &e) {
		return reasonLength
	}
	return reasonRefused
}

// burst hands the cut frames, used bytes, to the session and sends the answers that are ready. A large one lets those go
// first that are ready (L9): the thread that saw its bytes is the one that watched the network, and the runtime puts another
// in its place only when somebody yields, or after 10 ms; until then nobody would see what other connections send.
func (c *Conn) burst(used int) (reason, error) {
	c.answered, c.used = 0, used
	if used >= yieldAt || len(c.frames) >= yieldAfter {
		runtime.Gosched()
	}
	err := c.session.Burst(c.frames)
	c.l.counts.requests.Add(int64(len(c.frames)))
	c.l.counts.bursts.Add(1)
	if c.q.length.Load() == 0 && !c.closing.Load() {
		if err := c.out.flush(); err != nil {
			return c.outReason(err), err
		}
	}
	return reasonRefused, err
}

// outReason sorts the failures of Write.
func (c *Conn) outReason(err error) reason {
	switch {
	case c.out.err == nil:
		return reasonRefused // the answer's own
	case errors.Is(err, os.ErrDeadlineExceeded):
		return reasonWriteTimeout
	case errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET): // it left while a Fetch was waiting, say
		return reasonGone
	}
	return reasonWrite
}

// Reply hands over the next answer. While nothing is queued and the answer is ready, it is written right here (one
// system call for a whole burst); else it is queued, and Reply waits for room if need be (L5). From Burst only.
func (c *Conn) Reply(r Reply) {
	size := int64(0)
	if c.answered < len(c.frames) {
		size = int64(len(c.frames[c.answered]))
	}
	c.answered++
	parked := false
	if c.q.length.Load() == 0 && !c.closing.Load() {
		if !r.Blocking() {
			if c.answer(r) {
				return
			}
			parked = true
		}
		// The writer owns Out from the push on (L2).
		if err := c.out.flush(); err != nil {
			c.close(c.outReason(err), err)
		}
	}
	c.enqueue(r, size, parked)
}

// answer writes r if it is ready, else it has parked it.
func (c *Conn) answer(r Reply) bool {
	c.current = r
	for !r.Ready(c.now) {
		c.q.beginPark()
		if r.Park(c.wake) {
			c.current = nil
			return false
		}
		c.now = time.Now() // it has changed meanwhile, perhaps because its time is over
	}
	err := c.put(r)
	c.current = nil
	r.Done()
	if err == nil && c.out.pending() >= flushAt {
		err = c.out.flush()
	}
	if err != nil {
		c.failed(err)
	}
	return true
}

// put appends r's bytes to Out; after an error nothing of r is left there.
func (c *Conn) put(r Reply) error {
	before := c.out.pending()
	err := r.Write(&c.out)
	if err != nil && c.out.err == nil && c.out.pending() > before {
		buf := c.out.Buf()
		*buf = (*buf)[:before]
	}
	return err
}

// failed closes the connection after an error of put; what was collected before it still leaves.
func (c *Conn) failed(err error) {
	why := c.outReason(err)
	if why == reasonRefused {
		_ = c.out.flush() // the connection ends anyway
	}
	c.close(why, err)
}

// enqueue pushes r, waiting for room.
func (c *Conn) enqueue(r Reply, size int64, parked bool) {
	if !c.writing {
		c.writing = true
		go c.write()
	}
	for {
		switch c.q.push(r, size, parked) {
		case pushOK:
			return
		case pushClosed:
			c.drop(r)
			return
		case pushFull:
			<-c.q.room
		}
	}
}

// handOver gives the connection to the session's function after all answers.
func (c *Conn) handOver() (reason, error) {
	if c.in.r != c.in.w {
		return reasonRefused, fmt.Errorf("%d bytes after the request that takes the connection over", c.in.w-c.in.r)
	}
	if !c.settle(c.l.cfg.WriteTimeout) {
		return reasonWriteTimeout, nil
	}
	c.in.release()
	c.taken.Store(true)
	if c.stopping.Load() {
		return reasonShutdown, nil
	}
	if err := c.nc.SetDeadline(time.Time{}); err != nil {
		return reasonRead, err
	}
	c.takeOver(c.nc)
	return reasonTakenOver, nil
}

// fill reads once. need is the size of the frame whose first bytes are there.
func (c *Conn) fill(need int) (reason, error) {
	in := &c.in
	start := time.Now()
	if in.w > in.r && c.frameStart.IsZero() {
		c.frameStart = start
	}
	for {
		limit := c.readLimit(start)
		n, err := c.readOnce(need, limit)
		c.now = time.Now()
		if n > 0 {
			c.l.counts.bytesIn.Add(int64(n))
			return reasonRead, nil
		}
		switch {
		case err == nil:
			return reasonRead, io.ErrNoProgress
		case errors.Is(err, errNoMemory):
			return reasonMemory, err
		case errors.Is(err, io.EOF):
			return reasonEOF, io.EOF
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return reasonRead, err
		case c.stopping.Load():
			return reasonShutdown, errStopping
		case c.now.Before(limit): // armed for something that is over
			continue
		case in.w > in.r:
			return reasonFrameTimeout, fmt.Errorf("%d of %d bytes of a frame: %w", in.w-in.r, need, err)
		case in.buf != nil:
			in.release()
		case c.q.length.Load() > 0:
			start = c.now // not idle: an answer is due
		default:
			return reasonIdle, err
		}
	}
}

var (
	errNoMemory = errors.New("no memory for a frame of this size")
	errStopping = errors.New("the listener stops")
)

// readLimit is when the reader has to look up if no byte comes.
func (c *Conn) readLimit(start time.Time) time.Time {
	in := &c.in
	switch {
	case in.w > in.r: // a frame has begun: silence ends it (bad input 6), and so do bytes that trickle (131)
		earned := time.Duration(in.w-in.r) * time.Second / minRate
		all, silent := c.frameStart.Add(c.l.cfg.FrameTimeout+earned), start.Add(c.l.cfg.FrameTimeout)
		if all.Before(silent) {
			return all
		}
		return silent
	case in.buf != nil:
		return start.Add(min(napAfter, c.l.cfg.IdleTimeout))
	}
	return start.Add(c.l.cfg.IdleTimeout)
}

// readOnce reads into the buffer, or, napping, into a few bytes that cost nothing. A deadline that was armed before and
// is not later than limit is kept: fill sorts out a timeout that comes too early, and arming costs as much as a short
// read.
func (c *Conn) readOnce(need int, limit time.Time) (int, error) {
	in := &c.in
	if need > maxBuffer {
		runtime.Gosched() // L9
	}
	if in.w > in.r || in.buf != nil {
		if wait := in.fit(need); wait > 0 {
			if err := in.mem.take(c.ctx, in.more(wait), limit); err != nil {
				return 0, fmt.Errorf("%w: %d bytes", errNoMemory, wait)
			}
			in.move(wait, need)
		}
	}
	if c.armed.IsZero() || c.armed.After(limit) || !c.armed.After(c.now) {
		if err := c.nc.SetReadDeadline(limit); err != nil {
			return 0, err
		}
		c.armed = limit
		if c.stopping.Load() { // stop may have set its deadline before ours
			return 0, os.ErrDeadlineExceeded
		}
	}
	if in.buf == nil {
		n, err := c.socket.Read(c.nap[:])
		if n > 0 {
			in.swap(getBuffer(0, 0))
			in.read(copy(in.buf.b, c.nap[:n]))
		}
		return n, err
	}
	n, err := c.socket.Read(in.buf.b[in.w:])
	if n > 0 {
		in.read(n)
	}
	return n, err
}
