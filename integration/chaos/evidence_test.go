//go:build process

package chaos

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordwood/integration/check"
	"cordwood/protocol/record"
)

func TestOfADuplicateTheBatchesOfBothCopiesAreTold(t *testing.T) {
	e, err := newEvidence(filepath.Join(t.TempDir(), "found"))
	if err != nil {
		t.Fatal(err)
	}
	var log []byte
	for i, epoch := range []int16{3, 3, 4} {
		b := record.NewBuilder(record.BuilderOptions{Producer: &record.Producer{ID: 9, Epoch: epoch, Sequence: int32(10 - 5*i)}})
		b.Append(1, nil, []byte("x"), nil)
		batch, err := b.Build()
		if err != nil {
			t.Fatal(err)
		}
		batch.Stamp(int64(i), int32(i))
		log = append(log, batch...)
	}
	dir := filepath.Join(e.dir, "node-1", "t-0")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "00000000000000000000.log"), append(log, make([]byte, 100)...), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(value, offset int64) check.Op {
		return check.Op{Do: check.Poll, Outcome: check.OK, Steps: []check.Step{{Key: "t-0", Read: true, Value: value, Offset: offset}}}
	}
	found := duplicates(check.History{read(7, 2), read(8, 1), read(7, 0), read(7, 0), read(8, 1)})
	if len(found) != 1 {
		t.Fatal(found)
	}
	told := e.origin(found[0])
	for _, want := range []string{
		"7 of t-0 is there 2 times", "offset 0: batch 0 to 0, producer 9, epoch 3, sequence 10 to 10, leader epoch 0",
		"offset 2: batch 2 to 2, producer 9, epoch 4, sequence 0 to 0, leader epoch 2",
	} {
		if !strings.Contains(told, want) {
			t.Errorf("%q is not in\n%s", want, told)
		}
	}
	if other := e.origin(double{"t-0", 1, []int64{5}}); !strings.Contains(other, "offset 5: no batch holds it") {
		t.Error(other)
	}
}
