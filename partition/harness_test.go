package partition

import (
	"context"
	"encoding/binary"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"

	"cordwood/metadata"
	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

const self metadata.NodeID = 1

// world is one broker's set over a file system, and the image it was told last.
type world struct {
	t    testing.TB
	fs   vfs.FS
	cfg  Config
	set  *Set
	img  *metadata.Image
	stop context.CancelFunc
	done chan error
}

// newWorld opens a set in /data of fsys without running it.
func newWorld(t testing.TB, fsys vfs.FS, change ...func(*Config)) *world {
	w := &world{t: t, fs: fsys, img: metadata.Empty()}
	w.cfg = Config{Self: self, Dirs: []string{"/data"}, FS: fsys, Log: zaptest.NewLogger(t)}
	for _, f := range change {
		f(&w.cfg)
	}
	t.Cleanup(w.halt) // of a test that failed in the middle: a bubble waits for its goroutines
	w.open()
	return w
}

func (w *world) open() {
	w.t.Helper()
	set, err := Open(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.set = set
}

func (w *world) run() *world {
	ctx, cancel := context.WithCancel(context.Background())
	w.stop, w.done = cancel, make(chan error, 1)
	set := w.set
	go func() { w.done <- set.Run(ctx) }()
	return w
}

func (w *world) halt() {
	if w.stop != nil {
		w.stop()
		if err := <-w.done; err != nil {
			w.t.Error(err)
		}
		w.stop = nil
	}
}

// close stops cleanly; crash does not.
func (w *world) close(epoch int64) {
	w.t.Helper()
	w.halt()
	if err := w.set.Close(context.Background(), epoch); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) crash() {
	w.halt()
	_ = w.set.Abandon() // a failed directory's logs fail to close
}

// reopen starts again on fsys with the image it had.
func (w *world) reopen(fsys vfs.FS) {
	w.t.Helper()
	w.fs, w.cfg.FS = fsys, fsys
	w.open()
	w.set.Apply(w.img)
}

// settle runs the set until everything that its partitions hold is committed.
func (w *world) settle() {
	w.t.Helper()
	if w.stop == nil {
		w.run()
	}
	for p := range w.set.Each() {
		_, epoch := p.Role()
		waiter, woken := newWaiter()
		for p.Await(waiter, p.End(), epoch) {
			<-woken
		}
	}
}

func (w *world) change(changes ...metadata.Change) {
	w.t.Helper()
	img, err := w.img.With(w.img.Index()+1, changes)
	if err != nil {
		w.t.Fatal(err)
	}
	w.img = img
	w.set.Apply(img)
}

func topicID(n byte) metadata.TopicID { return metadata.TopicID{n, n, 1, 15: 7} }

// alone is a partition that only this broker has.
func alone() metadata.Partition {
	return metadata.Partition{Replicas: []metadata.NodeID{self}, ISR: []metadata.NodeID{self}, Leader: self,
		LeaderEpoch: 0, MinISR: 1, Durable: true}
}

// topic creates a topic of n equal partitions.
func (w *world) topic(id metadata.TopicID, name string, n int, p metadata.Partition) {
	w.t.Helper()
	changes := []metadata.Change{metadata.TopicCreated{ID: id, Name: name}}
	for i := range n {
		changes = append(changes, metadata.PartitionCreated{Topic: id, Index: int32(i), Partition: p})
	}
	w.change(changes...)
}

// alter changes one partition's record and bumps its epoch.
func (w *world) alter(id metadata.TopicID, index int32, f func(*metadata.Partition)) {
	w.t.Helper()
	p := w.img.TopicByID(id).Partition(index).Clone()
	p.PartitionEpoch++
	f(&p)
	w.change(metadata.PartitionChanged{Topic: id, Index: index, Partition: p})
}

func (w *world) config(topic, key, value string) {
	w.t.Helper()
	w.change(metadata.ConfigChanged{Type: metadata.ResourceTopic, Name: topic, Key: key, Value: value})
}

// one makes topic "t" with one partition that this broker leads.
func (w *world) one() *Partition {
	w.t.Helper()
	w.topic(topicID(1), "t", 1, alone())
	return w.get("t", 0)
}

func (w *world) pageCache() *Partition {
	w.t.Helper()
	p := alone()
	p.Durable = false
	w.topic(topicID(1), "t", 1, p)
	return w.get("t", 0)
}

func (w *world) get(topic string, index int32) *Partition {
	w.t.Helper()
	p := w.set.Lookup([]byte(topic), index)
	if p == nil {
		w.t.Fatalf("%s-%d is not hosted", topic, index)
	}
	return p
}

// batch builds a batch of records, each with the given value.
func batch(records int, value string) record.Batch { return produced(nil, records, value) }

func produced(p *record.Producer, records int, value string) record.Batch {
	b := record.NewBuilder(record.BuilderOptions{Producer: p})
	for range records {
		b.Append(time.Now().UnixMilli(), nil, []byte(value), nil)
	}
	out, err := b.Build()
	if err != nil {
		panic(err)
	}
	return out
}

// sized is a batch of about n bytes with one record.
func sized(n int) record.Batch { return batch(1, string(make([]byte, max(0, n-record.Overhead-12)))) }

// produce appends one batch.
func produce(p *Partition, acks int16, b record.Batch) *Append {
	a := &Append{Batch: b, Acks: acks}
	p.Append([]*Append{a})
	return a
}

// wait blocks until the append has its outcome.
func wait(p *Partition, a *Append) error {
	if a.Err != nil {
		return a.Err
	}
	w, woken := newWaiter()
	for {
		if done, err := p.Acked(a.Last, a.Epoch); done {
			return err
		}
		if p.AwaitAck(w, a.Last, a.Epoch) {
			<-woken
		}
	}
}

func (w *world) acked(p *Partition, b record.Batch) *Append {
	w.t.Helper()
	a := produce(p, -1, b)
	if err := wait(p, a); err != nil {
		w.t.Fatalf("append: %v", err)
	}
	return a
}

// read returns the values of all records that a consumer gets from offset on.
func (w *world) read(p *Partition, offset int64) []string {
	w.t.Helper()
	var values []string
	for {
		var out ReadResult
		p.Read(ReadRequest{Offset: offset, LeaderEpoch: -1, LastFetchedEpoch: -1, MaxBytes: 1 << 20, Whole: true}, &out)
		if out.Err != nil {
			w.t.Fatalf("read at %d: %v", offset, out.Err)
		}
		if out.Slice.Len() == 0 {
			return values
		}
		buf := make([]byte, out.Slice.Len())
		_, err := out.Slice.ReadAt(buf, 0)
		out.Slice.Release()
		if err != nil {
			w.t.Fatal(err)
		}
		offset, values = collect(w.t, buf, offset, values)
	}
}

func collect(t testing.TB, buf []byte, offset int64, values []string) (int64, []string) {
	t.Helper()
	for len(buf) > 0 {
		b, rest, err := record.Next(buf)
		if err != nil {
			t.Fatal(err)
		}
		if err := b.CheckCRC(); err != nil {
			t.Fatal(err)
		}
		it := b.Records(nil, 1<<20)
		for it.Next() {
			r := it.Record()
			if r.Offset >= offset {
				values = append(values, string(r.Value))
			}
		}
		it.Close()
		offset, buf = b.NextOffset(), rest
	}
	return offset, values
}

func (w *world) exists(names ...string) bool {
	_, err := w.fs.Stat(filepath.Join(names...))
	return err == nil
}

func (w *world) list(dir string) (names []string) {
	w.t.Helper()
	entries, err := w.fs.ReadDir(dir)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func number(i int) string { return string(binary.BigEndian.AppendUint64(nil, uint64(i))) }

func name(format string, args ...any) string { return fmt.Sprintf(format, args...) }
