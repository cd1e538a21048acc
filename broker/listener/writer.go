package listener

import "time"

// writer sends answers that had to wait. It owns Out while the queue is not empty (L2).
type writer struct {
	c     *Conn
	timer *time.Timer
	now   time.Time // of the last time it waited for anything
}

// write is the writer goroutine.
func (c *Conn) write() {
	defer close(c.gone)
	defer func() {
		if p := recover(); p != nil {
			// The answer is still in the queue and is dropped with the others.
			c.reportPanic("answering", p, nil)
			c.close(reasonPanic, nil)
		}
	}()
	w := writer{c: c, timer: time.NewTimer(never), now: time.Now()}
	defer w.timer.Stop()
	for !c.closing.Load() {
		if err := w.step(); err != nil {
			c.failed(err)
			return
		}
	}
}

// step does one thing: write the first waiting answer into Out, send what is there, or sleep.
func (w *writer) step() error {
	c := w.c
	r := c.q.peek()
	if r == nil {
		if c.q.written > 0 {
			return w.commit()
		}
		w.sleep(time.Time{})
		return nil
	}
	blocking := r.Blocking()
	if blocking { // answers before it must not wait for it
		if err := w.commit(); err != nil {
			return err
		}
	}
	ready := r.Ready(w.now)
	if blocking {
		w.now = time.Now()
	}
	if ready {
		return w.put(r)
	}
	if err := w.commit(); err != nil {
		return err
	}
	if r.Park(c.wake) {
		w.sleep(r.Deadline())
	}
	w.now = time.Now()
	return nil
}

// put writes a ready answer into Out.
func (w *writer) put(r Reply) error {
	err := w.c.put(r)
	w.c.q.written++ // from here on the queue forgets it without Done (L6)
	r.Done()
	if err == nil && w.c.out.pending() >= flushAt {
		err = w.commit()
	}
	return err
}

// commit sends what is in Out and then takes its answers off the queue, in this order (L2).
func (w *writer) commit() error {
	if err := w.c.out.flush(); err != nil {
		return err
	}
	w.c.q.pop()
	return nil
}

// sleep waits for a token, or for the deadline of the head.
func (w *writer) sleep(deadline time.Time) {
	q := &w.c.q
	if !deadline.IsZero() && q.arm(deadline) {
		w.timer.Reset(time.Until(deadline))
	}
	select {
	case <-q.wake:
	case <-w.timer.C:
		q.disarm()
	}
	w.now = time.Now()
}
