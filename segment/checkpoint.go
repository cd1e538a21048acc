package segment

import (
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// Checkpoint files of a data directory, Kafka's text: version 0, the number of lines, then "topic partition offset".
const (
	recoveryFile      = "recovery-point-offset-checkpoint"
	startFile         = "log-start-offset-checkpoint"
	highWatermarkFile = "replication-offset-checkpoint"
)

// decodeCheckpoint reads "0\n", a count and that many lines of the given number of fields.
func decodeCheckpoint(b []byte, fields int, line func([]string) error) error {
	lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
	if len(lines) < 2 || strings.TrimSpace(lines[0]) != "0" {
		return errors.New("not a version 0 checkpoint")
	}
	count, err := parseInt(strings.TrimSpace(lines[1]), 32)
	if err != nil || count != int64(len(lines)-2) {
		return fmt.Errorf("checkpoint says %q lines and has %d", lines[1], len(lines)-2)
	}
	for i, text := range lines[2:] {
		f := strings.Fields(text)
		if len(f) != fields {
			return fmt.Errorf("checkpoint line %d: %q", i+3, text)
		}
		if err := line(f); err != nil {
			return fmt.Errorf("checkpoint line %d: %w", i+3, err)
		}
	}
	return nil
}

func parseInt(s string, bits int) (int64, error) { return strconv.ParseInt(s, 10, bits) }

// decodeOffsetCheckpoint maps directory names (TOPIC-N) to offsets.
func decodeOffsetCheckpoint(b []byte) (map[string]int64, error) {
	m := make(map[string]int64)
	err := decodeCheckpoint(b, 3, func(f []string) error {
		name := f[0] + "-" + f[1]
		offset, err := parseInt(f[2], 64)
		if _, _, ok := splitName(name); !ok || err != nil || offset < 0 {
			return fmt.Errorf("%s %s %s", f[0], f[1], f[2])
		}
		if _, twice := m[name]; twice {
			return fmt.Errorf("%s twice", name)
		}
		m[name] = offset
		return nil
	})
	if err != nil {
		return nil, err
	}
	return m, nil
}

func encodeOffsetCheckpoint(m map[string]int64) []byte {
	b := fmt.Appendf(nil, "0\n%d\n", len(m))
	for _, name := range slices.Sorted(maps.Keys(m)) {
		topic, partition, _ := splitName(name)
		b = fmt.Appendf(b, "%s %d %d\n", topic, partition, m[name])
	}
	return b
}

// Checkpoints is the offset checkpoints of one data directory. What it promises:
//
//	the recovery point on disk never lies above what the log's own files hold durably
//
// so that after a crash a damaged or missing byte below it is corruption (Z27), not a torn tail. A truncation and a new
// log under an old name therefore lower it on disk first.
type Checkpoints struct {
	fs  vfs.FS
	dir string
	log *zap.Logger

	turn chan struct{} // held while a file is replaced; a channel, because that waits for the disk

	mu             sync.Mutex
	recovery       map[string]int64 // as on disk
	start          map[string]int64 // as on disk
	highWatermarks map[string]int64 // as on disk
	gone           map[string]bool  // deleted logs, to be left out of the next files
}

// OpenCheckpoints reads the three files. A missing or unreadable one is empty: everything is then recovered from the
// start of the logs, and no high watermark is known (Z31).
func OpenCheckpoints(fsys vfs.FS, dir string, log *zap.Logger) (*Checkpoints, error) {
	if log == nil {
		log = zap.NewNop()
	}
	c := &Checkpoints{fs: fsys, dir: dir, log: log, turn: make(chan struct{}, 1), gone: make(map[string]bool)}
	for _, f := range []struct {
		name string
		into *map[string]int64
	}{{recoveryFile, &c.recovery}, {startFile, &c.start}, {highWatermarkFile, &c.highWatermarks}} {
		m, err := c.read(f.name)
		if err != nil {
			return nil, err
		}
		*f.into = m
	}
	return c, nil
}

func (c *Checkpoints) read(name string) (map[string]int64, error) {
	b, err := vfs.ReadFile(c.fs, filepath.Join(c.dir, name), maxCheckpointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return make(map[string]int64), nil
	}
	if err != nil && !errors.Is(err, vfs.ErrTooLarge) {
		return nil, err
	}
	var m map[string]int64
	if err == nil {
		m, err = decodeOffsetCheckpoint(b)
	}
	if err != nil {
		c.log.Warn("checkpoint ignored", zap.String("event", "CW-0303"), zap.String("file", name), zap.Error(err))
		m = make(map[string]int64)
	}
	return m, nil
}

// Write replaces recovery-point-offset-checkpoint and log-start-offset-checkpoint with what logs say. Lines of logs that
// are not given stay until Log.Delete. It waits for the disk.
func (c *Checkpoints) Write(logs iter.Seq[*Log]) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.mu.Lock()
	recovery, start := maps.Clone(c.recovery), maps.Clone(c.start)
	for name := range c.gone {
		delete(recovery, name)
		delete(start, name)
	}
	clear(c.gone)
	c.mu.Unlock()
	for l := range logs {
		if _, _, ok := splitName(l.name); !ok || l.deleted.Load() {
			continue
		}
		// A truncation of this log waits for its turn, and lowers the line again.
		recovery[l.name], start[l.name] = l.RecoveryPoint(), l.Start()
	}
	if err := c.replace(recoveryFile, &c.recovery, recovery); err != nil {
		return err
	}
	return c.replace(startFile, &c.start, start)
}

// WriteHighWatermarks replaces replication-offset-checkpoint. It is a hint only (Z31).
func (c *Checkpoints) WriteHighWatermarks(marks iter.Seq2[string, int64]) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	m := make(map[string]int64)
	for name, hw := range marks {
		if _, _, ok := splitName(name); ok {
			m[name] = hw
		}
	}
	// Without fsync: it is written every few seconds, and a torn one counts as none.
	name := filepath.Join(c.dir, highWatermarkFile)
	f, err := c.fs.Open(name+tmpSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodeOffsetCheckpoint(m), 0)
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return c.fs.Rename(name+tmpSuffix, name)
}

// replace writes one file when it changed. Under turn.
func (c *Checkpoints) replace(name string, disk *map[string]int64, m map[string]int64) error {
	c.mu.Lock()
	same := maps.Equal(*disk, m)
	c.mu.Unlock()
	if same {
		return nil
	}
	if err := vfs.WriteFileAtomic(c.fs, filepath.Join(c.dir, name), encodeOffsetCheckpoint(m)); err != nil {
		return err
	}
	c.mu.Lock()
	*disk = m
	c.mu.Unlock()
	return nil
}

// lower makes sure that the recovery point and the log start on disk are at most these. It waits for the disk, seldom:
// what is truncated is younger than the last checkpoint as a rule.
func (c *Checkpoints) lower(name string, recovery, start int64) error {
	c.turn <- struct{}{}
	defer func() { <-c.turn }()
	c.mu.Lock()
	delete(c.gone, name)
	r, s := maps.Clone(c.recovery), maps.Clone(c.start)
	c.mu.Unlock()
	if r[name] > recovery {
		r[name] = recovery
		if err := c.replace(recoveryFile, &c.recovery, r); err != nil {
			return err
		}
	}
	if s[name] > start {
		s[name] = start
		return c.replace(startFile, &c.start, s)
	}
	return nil
}

func (c *Checkpoints) forget(name string) {
	c.mu.Lock()
	c.gone[name] = true
	c.mu.Unlock()
}

func (c *Checkpoints) get(name string) (recovery, start, highWatermark int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	highWatermark = -1
	if hw, ok := c.highWatermarks[name]; ok {
		highWatermark = hw
	}
	return c.recovery[name], c.start[name], highWatermark
}
