//go:build process

package failover

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/check"
	"cordwood/integration/process"
)

// franz is a member with franz-go's defaults, but that it looks for a leader as soon as it misses one. What it gets is in the
// history: a record that is lost later was got by nobody.
func (f *field) franz(g *group) member {
	f.t.Helper()
	cl, err := kgo.NewClient(quick, kgo.SeedBrokers(f.c.Addrs()...), kgo.ConsumerGroup(g.name), kgo.ConsumeTopics(topic),
		kgo.AutoCommitInterval(commitInterval), kgo.SessionTimeout(memberSession), kgo.HeartbeatInterval(heartbeat))
	if err != nil {
		f.t.Fatal(err)
	}
	me := f.process()
	f.record.Invoke(check.Op{Process: me, Do: check.Subscribe}).OK()
	ctx, cancel := context.WithCancel(context.Background())
	var polling sync.WaitGroup
	polling.Go(func() {
		for ctx.Err() == nil {
			op := f.record.Invoke(check.Op{Process: me, Do: check.Poll})
			fetches := cl.PollFetches(ctx)
			op.OK(process.Polled(fetches)...)
			fetches.EachRecord(func(r *kgo.Record) { g.came(r.Partition, r.Offset) })
			if err := fetches.Err(); err != nil && ctx.Err() == nil {
				f.t.Errorf("%s: %v", g.name, err) // franz-go tries again by itself whatever may pass
			}
		}
	})
	stop := sync.OnceFunc(func() {
		cancel()
		polling.Wait()
		cl.Close()
	})
	f.t.Cleanup(stop)
	return member{stop: stop, joined: func() string { return fmt.Sprint(cl.GroupMetadata()) }}
}

// needLibrdkafka skips a test where its members would not run.
func needLibrdkafka(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("python3", "-c", `import ctypes; ctypes.CDLL("librdkafka.so.1")`).CombinedOutput(); err != nil {
		t.Skipf("no Python with librdkafka's library (Debian: python3, librdkafka1): %v\n%s", err, out)
	}
}

// librdkafka is a member with librdkafka's defaults, but that it finds a node that is back before the next round.
func (f *field) librdkafka(g *group) member {
	f.t.Helper()
	cmd := exec.Command("python3", "member.py", strings.Join(f.c.Addrs(), ","), g.name, topic, "auto.offset.reset=earliest", "log_level=2", "reconnect.backoff.max.ms=1000",
		fmt.Sprint("auto.commit.interval.ms=", commitInterval.Milliseconds()),
		fmt.Sprint("session.timeout.ms=", memberSession.Milliseconds()), fmt.Sprint("heartbeat.interval.ms=", heartbeat.Milliseconds()))
	out, err := cmd.StdoutPipe()
	if err != nil {
		f.t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		f.t.Fatal(err)
	}
	var moves moves
	var reading sync.WaitGroup
	reading.Go(func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var partition int32
			var offset int64
			if n, _ := fmt.Sscanf(lines.Text(), "record %d %d", &partition, &offset); n == 2 {
				g.came(partition, offset)
			} else {
				moves.note(lines.Text())
			}
		}
	})
	stop := sync.OnceFunc(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		late := time.AfterFunc(10*time.Second, func() { _ = cmd.Process.Kill() })
		defer late.Stop()
		reading.Wait()
		if err := cmd.Wait(); err != nil {
			f.t.Errorf("a member of %s: %v", g.name, err)
		}
	})
	f.t.Cleanup(stop)
	return member{stop: stop, joined: moves.String}
}

// moves is what a librdkafka said of its membership.
type moves struct {
	mu   sync.Mutex
	told []string
}

func (m *moves) note(line string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.told = append(m.told, line)
}

func (m *moves) String() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return strings.Join(m.told, "\n")
}
