package main

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cordwood/protocol/compress"
	"cordwood/protocol/record"
)

// batchAt builds a batch of values as a leader stores it.
func batchAt(t *testing.T, base int64, codec record.Codec, values ...string) record.Batch {
	t.Helper()
	b := record.NewBuilder(record.BuilderOptions{Codec: codec, Codecs: compress.New(), BaseTimestamp: 1000})
	for i, v := range values {
		b.Append(1000+int64(i), []byte("k"), []byte(v), []record.Header{{Key: []byte("h"), Value: nil}})
	}
	batch, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	batch.Stamp(base, 3)
	return batch
}

func dumpFile(t *testing.T, name string, content []byte, args ...string) (code int, out, errs string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return command(t, "", append([]string{"log", "dump", path}, args...)...)
}

func TestDumpOfASegment(t *testing.T) {
	marker := record.BuildControl(record.Control{Type: record.Commit, CoordinatorEpoch: 9}, 7, 1, 5000)
	marker.Stamp(45, 3)
	var file []byte
	for _, b := range []record.Batch{batchAt(t, 42, record.None, "a", "b\n"), batchAt(t, 44, record.Zstd, "c"), marker} {
		file = append(file, b...)
	}
	code, out, errs := dumpFile(t, "00000000000000000042.log", file)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	for _, want := range []string{
		"batch 42..43 position 0 size", "count 2 epoch 3 codec none time 1970-01-01T00:00:01.001Z",
		`  43 1970-01-01T00:00:01.001Z key "k" value "b\n" header "h"=null`,
		"batch 44..44", "codec zstd", `  44 1970-01-01T00:00:01.000Z key "k" value "c"`,
		"producer 7/1 sequence -1 transactional control", "  45 1970-01-01T00:00:05.000Z commit marker, coordinator epoch 9",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if _, out, _ := dumpFile(t, "0.log", file, "--batches"); strings.Count(out, "\n") != 3 {
		t.Errorf("three batches are:\n%s", out)
	}
	_, out, _ = dumpFile(t, "0.log", file, "--format", "json")
	for line := range strings.Lines(out) {
		if err := json.Unmarshal([]byte(line), new(map[string]any)); err != nil {
			t.Errorf("%q: %v", line, err)
		}
	}
}

func TestDumpOfDamagedSegments(t *testing.T) {
	good, other := batchAt(t, 0, record.None, "a"), batchAt(t, 1, record.None, "b")
	flipped := append(record.Batch{}, good...)
	flipped[len(flipped)-1] ^= 1
	short := append(record.Batch{}, other...)
	binary.BigEndian.PutUint32(short[8:], 3)
	magic := append(record.Batch{}, other...)
	magic[16] = 1
	for name, c := range map[string]struct {
		file []byte
		want string
		seen string // what is shown all the same
	}{
		"nothing":          {nil, "", ""},
		"a flipped bit":    {append(flipped, other...), "1 damaged batches", `value "b"`},
		"cut in a batch":   {append(append([]byte{}, good...), other[:len(other)-1]...), "the file was cut", `value "a"`},
		"cut in a header":  {append(append([]byte{}, good...), other[:20]...), "no batch at byte", `value "a"`},
		"zeros at the end": {append(append([]byte{}, good...), make([]byte, 4096)...), "no batch at byte", `value "a"`},
		"too short a size": {append(append([]byte{}, good...), short...), "no batch at byte", `value "a"`},
		"an older format":  {append(append([]byte{}, good...), magic...), "magic 1", `value "a"`},
	} {
		code, out, errs := dumpFile(t, "0.log", c.file)
		if wrong := c.want != ""; wrong != (code == exitFailed) || !strings.Contains(errs, c.want) || !strings.Contains(out, c.seen) {
			t.Errorf("%s: exit code %d\n%s%s", name, code, out, errs)
		}
	}
}

func TestDumpOfIndexes(t *testing.T) {
	entry := func(n ...uint32) (b []byte) {
		for _, v := range n {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	for _, c := range []struct {
		name    string
		content []byte
		code    int
		want    string
	}{
		{"00000000000000000100.index", entry(5, 4096, 9, 8200), 0, "offset 105 position 4096\noffset 109 position 8200\n"},
		{"00000000000000000100.timeindex", entry(0, 1000, 7), 0, "timestamp 1970-01-01T00:00:01.000Z offset 107\n"},
		{"00000000000000000100.index", entry(5, 4096, 9), 1, "offset 105 position 4096\n"},
		{"copy.index", entry(5, 4096), 0, "offset 5 position 4096\n"},
		{"x.snapshot", nil, 2, ""},
	} {
		code, out, errs := dumpFile(t, c.name, c.content)
		if code != c.code || out != c.want {
			t.Errorf("%s: exit code %d\n%s%s", c.name, code, out, errs)
		}
	}
}

func FuzzDump(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(make([]byte, 100))
	b := record.NewBuilder(record.BuilderOptions{})
	b.Append(1, nil, []byte("v"), nil)
	batch, err := b.Build()
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte(batch))
	f.Fuzz(func(t *testing.T, content []byte) {
		code, _, errs := dumpFile(t, "0.log", content)
		if code != 0 && code != exitFailed || (code == 0) != (errs == "") {
			t.Errorf("exit code %d, %q", code, errs)
		}
	})
}
