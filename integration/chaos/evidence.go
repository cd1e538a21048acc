//go:build process

package chaos

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/integration/check"
	"cordwood/integration/process"
	"cordwood/protocol/record"
)

// evidence is what a failed storm leaves behind: what every producer was told, the history, and the data and logs of the nodes.
type evidence struct{ dir string }

func newEvidence(dir string) (*evidence, error) {
	err := errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o700))
	return &evidence{dir: dir}, err
}

// logger writes down why a client did what it did: which answer made it begin a producer epoch, where it moved to. The
// file is closed with the process.
func (e *evidence) logger(client string) kgo.Opt {
	f, err := os.Create(filepath.Join(e.dir, client+".log"))
	if err != nil {
		panic(err) // the directory was just made
	}
	return kgo.WithLogger(kgo.BasicLogger(f, kgo.LogLevelInfo, nil))
}

// keep gathers what there is of the nodes, which are killed, and says where.
func (e *evidence) keep(t testing.TB, nodes []*process.Node, h check.History) {
	t.Helper()
	var b strings.Builder
	err := errors.Join(h.Write(&b), os.WriteFile(filepath.Join(e.dir, "history.jsonl"), []byte(b.String()), 0o600))
	for i, n := range nodes {
		n.Kill()
		name := filepath.Join(e.dir, fmt.Sprintf("node-%d", i+1))
		err = errors.Join(err, os.WriteFile(name+".log", n.WholeLog(), 0o600), os.Rename(n.Dir, name))
	}
	t.Log("the history, the clients' logs and the nodes' logs and data are in ", e.dir)
	for _, d := range duplicates(h) {
		t.Log(e.origin(d))
	}
	if err != nil {
		t.Error(err)
	}
}

// double is a value that is in a partition more than once.
type double struct {
	key     check.Key
	value   int64
	offsets []int64 // rising
}

func duplicates(h check.History) []double {
	type place struct {
		key   check.Key
		value int64
	}
	seen := map[place][]int64{}
	for _, op := range h {
		for _, step := range op.Steps {
			if !step.Read || op.Outcome != check.OK {
				continue
			}
			p := place{step.Key, step.Value}
			if !slices.Contains(seen[p], step.Offset) {
				seen[p] = append(seen[p], step.Offset)
			}
		}
	}
	var out []double
	for p, offsets := range seen {
		if len(offsets) > 1 {
			slices.Sort(offsets)
			out = append(out, double{p.key, p.value, offsets})
		}
	}
	slices.SortFunc(out, func(a, b double) int {
		return strings.Compare(fmt.Sprintf("%s %20d", a.key, a.offsets[0]), fmt.Sprintf("%s %20d", b.key, b.offsets[0]))
	})
	return out
}

// origin tells of every copy which batch it came with: one producer id and epoch in both mean that the broker forgot
// its producer, different ones that it told the producer to begin anew.
func (e *evidence) origin(d double) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s is there %d times", d.value, d.key, len(d.offsets))
	for _, offset := range d.offsets {
		batch, err := batchAt(filepath.Join(e.dir, "node-1", string(d.key)), offset)
		if err != nil {
			fmt.Fprintf(&b, "\n  offset %d: %v", offset, err)
			continue
		}
		fmt.Fprintf(&b, "\n  offset %d: batch %d to %d, producer %d, epoch %d, sequence %d to %d, leader epoch %d", offset, batch.BaseOffset(),
			batch.LastOffset(), batch.ProducerID(), batch.ProducerEpoch(), batch.BaseSequence(), batch.LastSequence(), batch.LeaderEpoch())
	}
	return b.String()
}

// batchAt is the batch of a partition's directory that holds an offset.
func batchAt(dir string, offset int64) (record.Batch, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		rest, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for len(rest) > 0 {
			var b record.Batch
			if b, rest, err = record.Next(rest); err != nil {
				break // reserved space behind the last batch, or a torn one
			}
			if b.BaseOffset() <= offset && offset <= b.LastOffset() {
				return b, nil
			}
		}
	}
	return nil, errors.New("no batch holds it")
}
