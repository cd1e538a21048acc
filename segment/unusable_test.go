package segment

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"cordwood/protocol/record"
	"cordwood/segment/vfs"
)

// What a clean stop vouched for is gone when the log is first written to (bad inputs 147, 148): this log takes no
// appends, its disk is not blamed, and recovery makes it usable again.
func TestDamageAfterACleanStopTakesTheLogAloneOffline(t *testing.T) {
	const linked = "a link instead of the index"
	for what, harm := range map[string]func(dir string) error{
		"no segment":    func(dir string) error { return os.Remove(filepath.Join(dir, "00000000000000000000.log")) },
		"empty segment": func(dir string) error { return os.Truncate(filepath.Join(dir, "00000000000000000000.log"), 0) },
		"other bytes": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "00000000000000000000.log"), make([]byte, 100_000), 0o600)
		},
		linked: func(dir string) error {
			name := filepath.Join(dir, "00000000000000000000.index")
			return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name))
		},
		"a transaction index that is none": func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "00000000000000000000.txnindex"), []byte("none"), 0o600)
		},
	} {
		t.Run(what, func(t *testing.T) {
			o := options(vfs.OS())
			o.Dir = filepath.Join(t.TempDir(), "t-0")
			l := open(t, o)
			fill(t, l, 5, 0)
			must(t, l.Close(true))
			clean := l.Manifest()
			must(t, harm(o.Dir))

			o.Clean = &clean
			l = open(t, o)
			for range 2 {
				err := l.Append([]record.Batch{batchAt(t, l.End(), 0, 1, 10)}, 0)
				if !errors.Is(err, ErrCorrupt) || errors.Is(err, ErrFailed) {
					t.Fatalf("append: %v", err)
				}
			}
			if err := l.Close(true); err == nil {
				t.Error("closed as if it were whole")
			}

			o.Clean, o.RecoveryPoint = nil, clean.End
			if what == linked {
				if _, err := Open(o); !errors.Is(err, vfs.ErrUnsafe) {
					t.Fatalf("recovery over a link: %v", err)
				}
				return
			}
			l = open(t, o)
			if l.End() < clean.End {
				t.Errorf("offsets from %d on are given away again, the log ended at %d", l.End(), clean.End)
			}
			must(t, l.Append([]record.Batch{batchAt(t, l.End(), 0, 1, 10)}, 0))
		})
	}
}
