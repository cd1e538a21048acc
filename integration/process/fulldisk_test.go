//go:build process

package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// smallDisk mounts a file system of so many MiB. It needs the right to mount.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", mib)); err != nil {
		t.Fatalf("a small disk is needed, and mounting one: %v; run as root", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill writes records until the broker refuses one, and returns how many it took and why it stopped.
func fill(t *testing.T, cl *kgo.Client, topic string) (taken int, why error) {
	t.Helper()
	value := make([]byte, 64<<10)
	for range 100_000 {
		r := &kgo.Record{Topic: topic, Partition: 0, Value: value}
		if err := cl.ProduceSync(Context(t, 20*time.Second), r).FirstErr(); err != nil {
			return taken, err
		}
		taken++
	}
	t.Fatal("the disk has no end")
	return 0, nil
}

func impatient(n *Node) *kgo.Client {
	return n.Client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RecordRetries(2), kgo.DisableIdempotentWrite(),
		kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerLinger(0))
}

// Bad input 146, rule R16: a full disk refuses appends with KAFKA_STORAGE_ERROR, serves reads, and appends again by
// itself when there is room; it also survives being killed and started meanwhile.
func TestAFullDiskRefusesAppendsServesReadsAndRecovers(t *testing.T) {
	dir := smallDisk(t, 192)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 64<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	n := New(t, filepath.Join(dir, "data"), "--override", "log.segment.bytes=8388608")
	n.Start()
	cl := impatient(n)
	taken, why := fill(t, cl, "full")
	if taken == 0 || !errors.Is(why, kerr.KafkaStorageError) {
		t.Fatalf("%d records taken, then %v\n%s", taken, why, n.Log())
	}
	readAll(t, n, "full", taken)
	if err := cl.ProduceSync(Context(t, 20*time.Second), &kgo.Record{Topic: "full", Value: make([]byte, 64<<10)}).FirstErr(); !errors.Is(err, kerr.KafkaStorageError) {
		t.Errorf("while the disk is full: %v", err)
	}
	if _, err := n.Admin().ListTopics(Context(t, 20*time.Second)); err != nil {
		t.Errorf("metadata while the disk is full: %v", err)
	}

	n.Kill() // and start with a full disk
	if err := n.TryStart(20 * time.Second); err != nil {
		t.Fatalf("start on a full disk: %v\n%s", err, n.Log())
	}
	readAll(t, n, "full", taken)

	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	cl = impatient(n)
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for {
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: "full", Value: make([]byte, 64<<10)}).FirstErr()
		if err == nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("with room again: %v\n%s", err, n.Log())
		}
		time.Sleep(20 * time.Millisecond)
	}
	readAll(t, n, "full", taken+1)
	more, why := fill(t, cl, "full") // and full again, in the same life
	if more == 0 || !errors.Is(why, kerr.KafkaStorageError) {
		t.Errorf("%d records taken, then %v", more, why)
	}
	readAll(t, n, "full", taken+1+more)
	if code := n.Stop(); code != 0 {
		t.Errorf("exit code %d with a full disk\n%s", code, n.Log())
	}
}

// readAll reads every record of a partition.
func readAll(t *testing.T, n *Node, topic string, want int) {
	t.Helper()
	reader := n.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer reader.Close()
	got := 0
	for end := n.end(topic, 0); ; {
		fetches := reader.PollFetches(Context(t, 20*time.Second))
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v\n%s", got, want, err, n.Log())
		}
		last := int64(-1)
		fetches.EachRecord(func(r *kgo.Record) { got, last = got+1, r.Offset })
		if last == end-1 {
			break
		}
	}
	if got < want {
		t.Errorf("%d records are there, %d were acknowledged", got, want)
	}
}
