//go:build process

package process

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// A replica moves between the two directories of its broker and back, again and again, under an idempotent producer that waits
// for all; kill -9 falls into some of the moves. Each goes on after the restart, DescribeLogDirs tells of it, and no
// acknowledged record is lost, doubled or out of order.
func TestAReplicaMovesBetweenDirectoriesUnderLoadAndKills(t *testing.T) {
	t.Logf("seed %d", *seed)
	rng := rand.New(rand.NewPCG(*seed, 34))
	first, second := t.TempDir(), t.TempDir()
	n := New(t, first, "--override", "log.dirs="+first+","+second, "--override", "log.segment.bytes=4194304")
	n.Start()
	n.KeepAddress()
	const topic = "moved"
	l := NewLoad(topic)
	cl := n.Client(append(LoadOptions(), kgo.ProducerBatchCompression(kgo.NoCompression()))...)
	l.Size, l.Stop = 64<<10, 512 // 32 MiB
	l.Run(context.Background(), cl)
	if err := cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	l.Size, l.Pace, l.Stop = 512, 500*time.Microsecond, 0
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); l.Run(ctx, cl) }()

	m := &dirMove{t: t, n: n, topic: topic}
	m.throttle(16 << 20)
	in, _ := m.where()
	futures := 0
	for round := range 4 {
		to := second
		if in == second {
			to = first
		}
		m.to(to)
		if round%2 == 0 {
			time.Sleep(time.Duration(rng.IntN(2500)) * time.Millisecond) // the kill falls somewhere into the move
			n.Kill()
			n.Start()
		}
		began := time.Now()
		for now, future := m.where(); now != to; now, future = m.where() {
			if future == to {
				futures++
			}
			if time.Sleep(10 * time.Millisecond); time.Since(began) > time.Minute {
				t.Fatalf("it is in %q, and goes to %q\n%s", now, future, n.Log())
			}
		}
		t.Logf("round %d: in its new directory %s after the request or the restart", round, time.Since(began).Round(time.Millisecond))
		in = to
	}
	if futures == 0 {
		t.Error("DescribeLogDirs told of no move under way")
	}
	cancel()
	<-done
	if err := cl.Flush(Context(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	n.Kill()
	n.Start()
	r := l.Check(t, n)
	t.Log(r)
	if _, failed := l.Acked(); len(r.Errors()) > 0 || failed > 0 || r.Acked < 600 {
		t.Errorf("%s; %d failed", r, failed)
	}
}

// dirMove asks one node about one partition.
type dirMove struct {
	t     *testing.T
	n     *Node
	topic string
}

func (m *dirMove) to(dir string) {
	m.t.Helper()
	adm := m.n.Admin()
	defer adm.Close()
	var q kadm.AlterReplicaLogDirsReq
	q.Add(dir, kadm.TopicsList{{Topic: m.topic, Partitions: []int32{0}}}.IntoSet())
	all, err := adm.AlterAllReplicaLogDirs(Context(m.t, time.Minute), q)
	if err != nil {
		m.t.Fatal(err)
	}
	asked := 0
	all.Each(func(r kadm.AlterReplicaLogDirsResponse) {
		if asked++; r.Err != nil || r.Dir != dir {
			m.t.Fatalf("%+v", r)
		}
	})
	if asked != 1 {
		m.t.Fatalf("%d answers", asked)
	}
}

// where is the replica's directory, and the one that it goes to.
func (m *dirMove) where() (in, future string) {
	m.t.Helper()
	adm := m.n.Admin()
	defer adm.Close()
	all, err := adm.DescribeAllLogDirs(Context(m.t, time.Minute), nil)
	if err != nil {
		m.t.Fatal(err)
	}
	all.Each(func(d kadm.DescribedLogDir) {
		d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
			switch {
			case p.Topic != m.topic:
			case p.IsFuture:
				future = d.Dir
			case in != "":
				m.t.Fatalf("it is in %s and in %s", in, d.Dir)
			default:
				in = d.Dir
			}
		})
	})
	return in, future
}

// throttle bounds what is copied, in bytes a second.
func (m *dirMove) throttle(rate int64) {
	m.t.Helper()
	adm := m.n.Admin()
	defer adm.Close()
	text := fmt.Sprint(rate)
	set := []kadm.AlterConfig{{Op: kadm.SetConfig, Name: "replica.alter.log.dirs.io.max.bytes.per.second", Value: &text}}
	if r, err := adm.AlterBrokerConfigs(Context(m.t, time.Minute), set); err != nil || r[0].Err != nil {
		m.t.Fatal(err, r)
	}
}
