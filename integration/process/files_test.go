//go:build process

package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Section K of the bad inputs: what somebody or something did to the files.

const segmentName = "00000000000000000000"

// used is a node that was stopped, or killed, with a hundred records in each of two topics.
func used(t *testing.T, kill bool) *Node {
	t.Helper()
	n := New(t, filepath.Join(t.TempDir(), "data"))
	n.Start()
	cl := n.Client(kgo.ProducerLinger(0))
	for i := range 200 {
		topic := [2]string{"hurt", "well"}[i%2]
		if err := cl.ProduceSync(Context(t, 20*time.Second), &kgo.Record{Topic: topic, Value: make([]byte, 200)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	cl.Close()
	if kill {
		n.Kill()
	} else if code := n.Stop(); code != 0 {
		t.Fatalf("exit code %d\n%s", code, n.Log())
	}
	return n
}

func mustDo(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Bad input 147: nothing that somebody else could have put there, or can change, is used as data. After a crash the
// start looks at all files. After a clean stop it believes the manifest, and a log's files are looked at when they are
// used: the log refuses then, its partition answers KAFKA_STORAGE_ERROR, and no link is followed.
func TestWhatOthersCanChangeIsNotStartedOn(t *testing.T) {
	type harm struct {
		do   func(t *testing.T, n *Node)
		code int  // of the start
		lazy bool // after a clean stop the log refuses, not the start
	}
	for what, c := range map[string]harm{
		"a link instead of a segment": {func(t *testing.T, n *Node) {
			name := filepath.Join(n.Dir, "hurt-0", segmentName+".log")
			elsewhere := filepath.Join(t.TempDir(), "elsewhere")
			mustDo(t, os.Rename(name, elsewhere), os.Symlink(elsewhere, name))
		}, 74, true},
		"a link instead of an index": {func(t *testing.T, n *Node) {
			name := filepath.Join(n.Dir, "hurt-0", segmentName+".index")
			_ = os.Remove(name) // there is none after a kill
			mustDo(t, os.Symlink("/etc/passwd", name))
		}, 74, true},
		"a segment of another user": {func(t *testing.T, n *Node) {
			mustDo(t, os.Chown(filepath.Join(n.Dir, "hurt-0", segmentName+".log"), 12345, 12345))
		}, 74, true},
		"a segment that everybody may write": {func(t *testing.T, n *Node) {
			mustDo(t, os.Chmod(filepath.Join(n.Dir, "hurt-0", segmentName+".log"), 0o666))
		}, 74, true},
		"a named pipe instead of a segment": {func(t *testing.T, n *Node) {
			name := filepath.Join(n.Dir, "hurt-0", segmentName+".log")
			mustDo(t, os.Remove(name), syscall.Mkfifo(name, 0o600))
		}, 74, true},
		"a link instead of a partition directory": {func(t *testing.T, n *Node) {
			name, elsewhere := filepath.Join(n.Dir, "hurt-0"), filepath.Join(t.TempDir(), "elsewhere")
			mustDo(t, os.Rename(name, elsewhere), os.Symlink(elsewhere, name))
		}, 74, false},
		"a data directory that everybody may write": {func(t *testing.T, n *Node) { mustDo(t, os.Chmod(n.Dir, 0o777)) }, 74, false},
		"a data directory of another user":          {func(t *testing.T, n *Node) { mustDo(t, os.Chown(n.Dir, 12345, 12345)) }, 74, false},
		"a link instead of the data directory": {func(t *testing.T, n *Node) {
			elsewhere := n.Dir + "-elsewhere"
			mustDo(t, os.Rename(n.Dir, elsewhere), os.Symlink(elsewhere, n.Dir))
		}, 74, false},
		"a link instead of the lock": {func(t *testing.T, n *Node) {
			name := filepath.Join(n.Dir, ".lock")
			mustDo(t, os.Remove(name), os.Symlink(filepath.Join(t.TempDir(), "elsewhere"), name))
		}, 74, false},
		"a link instead of meta.properties": {func(t *testing.T, n *Node) {
			name, elsewhere := filepath.Join(n.Dir, "meta.properties"), filepath.Join(t.TempDir(), "elsewhere")
			mustDo(t, os.Rename(name, elsewhere), os.Symlink(elsewhere, name))
		}, 78, false},
		"a link instead of the controller's directory": {func(t *testing.T, n *Node) {
			name, elsewhere := filepath.Join(n.Dir, "raft"), filepath.Join(t.TempDir(), "elsewhere")
			mustDo(t, os.Rename(name, elsewhere), os.Symlink(elsewhere, name))
		}, 74, false},
	} {
		for _, kill := range []bool{false, true} {
			t.Run(lastEnd(kill)+what, func(t *testing.T) {
				n := used(t, kill)
				c.do(t, n)
				err := n.TryStart(20 * time.Second)
				switch {
				case c.lazy && !kill:
					if err != nil {
						t.Fatalf("%v\n%s", err, n.Log())
					}
					refusesAppends(t, n)
				case err == nil:
					t.Errorf("it serves\n%s", n.Log())
				default:
					if code := n.Wait(10 * time.Second); code != c.code {
						t.Errorf("exit code %d\n%s", code, n.Log())
					}
				}
				noPanic(t, n)
			})
		}
	}
}

func lastEnd(kill bool) string { return map[bool]string{false: "stopped/", true: "killed/"}[kill] }

// refusesAppends checks that the hurt topic takes nothing, and the other one does.
func refusesAppends(t *testing.T, n *Node) {
	t.Helper()
	cl := n.Client(kgo.RecordRetries(2), kgo.ProducerLinger(0), kgo.DisableIdempotentWrite())
	defer cl.Close()
	for topic, want := range map[string]error{"hurt": kerr.KafkaStorageError, "well": nil} {
		err := cl.ProduceSync(Context(t, 20*time.Second), &kgo.Record{Topic: topic, Value: []byte("more")}).FirstErr()
		if !errors.Is(err, want) {
			t.Errorf("%s: %v\n%s", topic, err, n.Log())
		}
	}
}

func noPanic(t *testing.T, n *Node) {
	t.Helper()
	if log := string(n.WholeLog()); strings.Contains(log, "panic") || strings.Contains(log, "goroutine ") {
		t.Errorf("a panic\n%s", log)
	}
}

// Bad input 148: whatever a log's files hold, the process starts, the other topic is whole, and nothing that is
// answered about this one is made up.
func TestDamagedFilesOfALogConcernThatLogAlone(t *testing.T) {
	// After a clean stop all records of these can be read, and none appended, until a recovery put the file right.
	const txnOnes, longer = "a transaction index of ones", "a segment of 3 GiB"
	in := func(n *Node, name string) string { return filepath.Join(n.Dir, "hurt-0", name) }
	for what, c := range map[string]struct {
		harm func(t *testing.T, n *Node)
		kept bool // all hundred records are still there
	}{
		longer:                              {func(t *testing.T, n *Node) { mustDo(t, os.Truncate(in(n, segmentName+".log"), 3<<30)) }, true},
		"a segment of no bytes":             {func(t *testing.T, n *Node) { mustDo(t, os.Truncate(in(n, segmentName+".log"), 0)) }, false},
		"half a segment":                    {func(t *testing.T, n *Node) { mustDo(t, os.Truncate(in(n, segmentName+".log"), 10_000)) }, false},
		"no segment":                        {func(t *testing.T, n *Node) { mustDo(t, os.Remove(in(n, segmentName+".log"))) }, false},
		"a segment whose name is no number": {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, "0000000000000000000x.log"), nil, 0o600)) }, true},
		"a segment whose name is too large": {func(t *testing.T, n *Node) {
			mustDo(t, os.WriteFile(in(n, "99999999999999999999.log"), []byte("x"), 0o600))
		}, true},
		"a segment whose name is too short": {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, "0.log"), []byte("x"), 0o600)) }, true},
		"an index of 12 MiB of ones":        {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, segmentName+".index"), ones(12<<20), 0o600)) }, true},
		"an index longer than the log":      {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, segmentName+".index"), longIndex(), 0o600)) }, true},
		"a time index of ones": {func(t *testing.T, n *Node) {
			mustDo(t, os.WriteFile(in(n, segmentName+".timeindex"), ones(12*9), 0o600))
		}, true},
		txnOnes: {func(t *testing.T, n *Node) {
			mustDo(t, os.WriteFile(in(n, segmentName+".txnindex"), ones(34*9), 0o600))
		}, true},
		"no index files": {func(t *testing.T, n *Node) {
			_ = os.Remove(in(n, segmentName+".index")) // there are none after a kill
			_ = os.Remove(in(n, segmentName+".timeindex"))
		}, true},
		"a base offset that is not the name's": {func(t *testing.T, n *Node) {
			mustDo(t, os.Rename(in(n, segmentName+".log"), in(n, "00000000000000000777.log")))
			_ = os.Remove(in(n, segmentName+".index"))
			_ = os.Remove(in(n, segmentName+".timeindex"))
		}, false},
		"a second segment that begins inside": {func(t *testing.T, n *Node) {
			b, err := os.ReadFile(in(n, segmentName+".log"))
			mustDo(t, err, os.WriteFile(in(n, "00000000000000000050.log"), b, 0o600))
		}, false},
		"random bytes instead of a segment": {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, segmentName+".log"), ones(100_000), 0o600)) }, false},
		"a producer snapshot of ones": {func(t *testing.T, n *Node) {
			mustDo(t, os.WriteFile(in(n, "00000000000000000100.snapshot"), ones(1000), 0o600))
		}, true},
		"an epoch checkpoint of ones": {func(t *testing.T, n *Node) {
			mustDo(t, os.WriteFile(in(n, "leader-epoch-checkpoint"), ones(1000), 0o600))
		}, true},
		"partition.metadata of ones": {func(t *testing.T, n *Node) { mustDo(t, os.WriteFile(in(n, "partition.metadata"), ones(1000), 0o600)) }, false},
		"checkpoints of ones": {func(t *testing.T, n *Node) {
			for _, name := range []string{"recovery-point-offset-checkpoint", "log-start-offset-checkpoint", "replication-offset-checkpoint"} {
				mustDo(t, os.WriteFile(filepath.Join(n.Dir, name), ones(1000), 0o600))
			}
		}, true},
		"clean-shutdown files of ones": {func(t *testing.T, n *Node) {
			for _, name := range []string{".kafka_cleanshutdown", "cordwood-clean"} {
				mustDo(t, os.WriteFile(filepath.Join(n.Dir, name), ones(1000), 0o600))
			}
		}, true},
	} {
		for _, kill := range []bool{false, true} {
			t.Run(lastEnd(kill)+what, func(t *testing.T) {
				n := used(t, kill)
				c.harm(t, n)
				n.Start()
				n.end("well", 0)
				readAll(t, n, "well", 100)
				if got := count(n, "hurt"); got > 100 || c.kept && got != 100 {
					t.Errorf("%d records\n%s", got, n.Log())
				}
				cl := n.Client(kgo.RecordRetries(3), kgo.ProducerLinger(0))
				err := cl.ProduceSync(Context(t, 20*time.Second), &kgo.Record{Topic: "hurt", Value: []byte("more")}).FirstErr()
				if err != nil && (c.kept && what != txnOnes && what != longer || !errors.Is(err, kerr.KafkaStorageError)) {
					t.Errorf("one more: %v", err)
				}
				noPanic(t, n)
				n.Stop() // clean or not: a log that is offline cannot be closed cleanly
				n.Start()
				readAll(t, n, "well", 100)
			})
		}
	}
}

func ones(n int) []byte { return []byte(strings.Repeat("\xff", n)) }

// longIndex has entries, rising as they should, for positions that the log does not have.
func longIndex() []byte {
	var b []byte
	for i := range 1000 {
		b = append(b, 0, 0, byte(i>>8), byte(i), 0, byte(i>>8)+1, byte(i), 0)
	}
	return b
}

// count reads what can be read of a partition, until an error or the end.
func count(n *Node, topic string) int {
	reader := n.Client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {0: kgo.NewOffset().AtStart()}}))
	defer reader.Close()
	got := 0
	for {
		fetches := reader.PollFetches(Context(n.t, 2*time.Second))
		if fetches.Err() != nil {
			return got
		}
		got += fetches.NumRecords()
		if got >= 100 {
			return got
		}
	}
}

// Bad input 149. The node's id is TestForeignDirectoryStopsTheStartWith78.
func TestADirectoryOfAnotherClusterStopsTheStartWith78(t *testing.T) {
	for what, change := range map[string]func(text string) string{
		"another cluster": func(text string) string { return edited(text, "cluster.id=", "AAAAAAAAAAAAAAAAAAAAAA") },
		"another node":    func(text string) string { return edited(text, "node.id=", "7") },
		"no cluster":      func(text string) string { return strings.ReplaceAll(text, "cluster.id=", "other=") },
		"another version": func(text string) string { return edited(text, "version=", "9") },
		"a bad id":        func(text string) string { return edited(text, "directory.id=", "../..") },
		"nothing":         func(string) string { return "" },
		"no text":         func(string) string { return string(ones(1000)) },
	} {
		t.Run(what, func(t *testing.T) {
			n := used(t, false)
			name := filepath.Join(n.Dir, "meta.properties")
			b, err := os.ReadFile(name)
			mustDo(t, err, os.WriteFile(name, []byte(change(string(b))), 0o600))
			if err := n.TryStart(20 * time.Second); err == nil {
				t.Fatalf("it serves\n%s", n.Log())
			}
			if code := n.Wait(10 * time.Second); code != 78 {
				t.Errorf("exit code %d\n%s", code, n.Log())
			}
			noPanic(t, n)
		})
	}
}

// edited gives a key of a property text another value.
func edited(text, key, value string) string {
	before, rest, _ := strings.Cut(text, key)
	_, after, _ := strings.Cut(rest, "\n")
	return before + key + value + "\n" + after
}

func TestDirectoriesOfTwoClustersStopTheStartWith78(t *testing.T) { // bad input 149
	a, b := used(t, false), used(t, false)
	both := New(t, a.Dir, "--override", "log.dirs="+a.Dir+","+b.Dir)
	if err := both.TryStart(20 * time.Second); err == nil {
		t.Fatal("it serves")
	}
	if code := both.Wait(10 * time.Second); code != 78 || !strings.Contains(both.Log(), "belongs to cluster") {
		t.Errorf("exit code %d\n%s", code, both.Log())
	}
}
