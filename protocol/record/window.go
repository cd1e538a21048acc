package record

import (
	"io"
	"runtime"
)

// windowSize holds many ordinary records; a record that is larger is walked through it piece by piece.
const windowSize = 64 << 10

// yieldAfter bytes that came out of a codec others may go on: few compressed bytes can take a processor for long, and
// without a word from whoever has it, the runtime looks at the network only every 10 ms.
const yieldAfter = 512 << 10

// window is the part of a decompressed payload that is in memory: buf[r:w].
type window struct {
	src  io.Reader
	buf  []byte
	r, w int
	used int64 // bytes taken so far
	last int64 // used, when others were let go first
	err  error // of src; io.EOF at its end
}

// fill reads more, moving what is left to the front. It answers false when nothing can be added: the source has
// ended or failed, or the buffer is full.
func (f *window) fill() bool {
	if f.used-f.last >= yieldAfter {
		f.last = f.used
		runtime.Gosched()
	}
	if f.r > 0 {
		f.w = copy(f.buf, f.buf[f.r:f.w])
		f.r = 0
	}
	for tries := 0; f.err == nil && f.w < len(f.buf); tries++ {
		n, err := f.src.Read(f.buf[f.w:])
		f.w += n
		f.err = err
		if n > 0 {
			return true
		}
		if tries == 100 {
			f.err = io.ErrNoProgress
		}
	}
	return false
}

func (f *window) bytes() []byte { return f.buf[f.r:f.w] }

func (f *window) take(n int) {
	f.r += n
	f.used += int64(n)
}

// have tries to get n bytes into the window. n is at most its size.
func (f *window) have(n int) bool {
	for f.w-f.r < n {
		if !f.fill() {
			return false
		}
	}
	return true
}

// grow makes the window large enough for n bytes, step by step, so that memory follows the bytes that arrive (B3).
func (f *window) grow(n int) bool {
	for f.w-f.r < n {
		if f.fill() {
			continue
		}
		if f.err != nil {
			return false
		}
		bigger := make([]byte, min(2*len(f.buf), n))
		f.w = copy(bigger, f.buf[:f.w])
		f.buf = bigger
	}
	return true
}

// number reads a varint of at most most bytes.
func (f *window) number(most int) (v int64, ok bool) {
	f.have(most) // or what is left
	v, i := varlong(f.bytes(), 0, most)
	if i == bad || (most == maxVarint && v != int64(int32(v))) {
		return 0, false
	}
	f.take(i)
	return v, true
}

// skip drops n bytes.
func (f *window) skip(n int64) bool {
	for n > int64(f.w-f.r) {
		n -= int64(f.w - f.r)
		f.take(f.w - f.r)
		if !f.fill() {
			return false
		}
	}
	f.take(int(n))
	return true
}

// drain reads to the end of the source and answers its error, nil for a proper end. What it finds is dropped.
func (f *window) drain() error {
	for f.err == nil {
		f.r = f.w
		f.fill()
	}
	if f.err == io.EOF {
		return nil
	}
	return f.err
}

// stream walks a payload through the window. It answers the source's error; what is wrong with the records is in
// w.wrong.
func (w *walk) stream(f *window) error {
	for w.next < w.count && w.wrong == nil && !w.stopped {
		f.take(w.run(f.bytes()))
		if w.next == w.count || w.wrong != nil || w.stopped || f.fill() {
			continue
		}
		if f.err == nil {
			w.large(f) // the record does not fit the window
		} else {
			w.tooFew(f.r < f.w)
		}
	}
	if w.stopped {
		return nil
	}
	if w.wrong == nil && (f.r < f.w || f.fill()) {
		w.tooMany()
	}
	// What is wrong with the stream goes before what is wrong with a record, wherever they are: so a bomb is
	// MESSAGE_TOO_LARGE and damage is CORRUPT_MESSAGE whatever the bytes in front look like (bad inputs 74, 78).
	return f.drain()
}

// large walks one record that is larger than the window, dropping its keys and values as they come.
func (w *walk) large(f *window) {
	length, ok := f.number(maxVarint)
	end := f.used + length
	number := func(most int) int64 {
		v, fine := f.number(most)
		ok = ok && fine
		return v
	}
	field := func(least int64) int64 {
		size := number(maxVarint)
		ok = ok && size >= least && size <= end-f.used && f.skip(max(size, 0))
		return size
	}
	ok = ok && f.skip(1)
	h := head{index: w.next}
	h.timestampDelta = number(maxVarlong)
	h.offsetDelta = number(maxVarint)
	h.keyless = field(-1) < 0
	field(-1)
	headers := number(maxVarint)
	for left := headers; ok && left > 0; left-- {
		field(0)
		field(-1)
	}
	if !ok || headers < 0 || f.used != end || !w.follows(h.offsetDelta) {
		w.refuse(w.next, "its fields or its offset delta are wrong")
		return
	}
	w.saw(h)
}
