package segment

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"math"
	"path/filepath"
	"slices"

	"go.uber.org/zap"

	"cordwood/segment/vfs"
)

// The clean-shutdown files of a data directory (R2).
const (
	kafkaCleanFile = ".kafka_cleanshutdown"
	manifestFile   = "cordwood-clean"

	manifestMagic   = "CWCLEAN\x00"
	manifestVersion = 1
	maxManifest     = 4 << 30
)

// Clean is what a clean stop left behind.
type Clean struct {
	BrokerEpoch int64
	Logs        map[string]*CleanLog // by directory name; nil: there was no manifest that can be believed
}

// CleanLog is one log's entry in the manifest: all that opening it needs, so that a clean start reads one file.
type CleanLog struct {
	TopicID    [16]byte
	Start, End int64

	epochs   epochCache
	segments []cleanSegment
	state    []byte // producer snapshot at End
}

type cleanSegment struct {
	base, end, size, maxTimestamp int64
	created                       int64
	faults                        []fault
}

// TakeClean reads the files of the last stop and removes them, durably, before it returns: whatever happens next, they
// cannot vouch for a log that was written to since (Z25). nil means that the last stop was not clean.
func TakeClean(fsys vfs.FS, dir string, log *zap.Logger) (*Clean, error) {
	if log == nil {
		log = zap.NewNop()
	}
	c, err := readClean(fsys, dir, log)
	if err != nil {
		return nil, err
	}
	if keepCleanFiles {
		return c, nil
	}
	for _, name := range [...]string{kafkaCleanFile, manifestFile} {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return c, fsys.SyncDir(dir)
}

func readClean(fsys vfs.FS, dir string, log *zap.Logger) (*Clean, error) {
	b, err := vfs.ReadFile(fsys, filepath.Join(dir, kafkaCleanFile), maxMetaFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := &Clean{}
	if c.BrokerEpoch, err = decodeKafkaClean(b); err != nil {
		log.Warn("clean-shutdown file ignored", zap.String("event", "CW-0317"), zap.Error(err))
		return nil, nil
	}
	b, err = vfs.ReadFile(fsys, filepath.Join(dir, manifestFile), maxManifest)
	if err == nil {
		var m *Clean
		if m, err = decodeManifest(b); err == nil && m.BrokerEpoch == c.BrokerEpoch {
			return m, nil
		}
	}
	log.Warn("no manifest of the clean stop", zap.String("event", "CW-0318"), zap.Error(err))
	return c, nil
}

type kafkaClean struct {
	Version     int   `json:"version"`
	BrokerEpoch int64 `json:"brokerEpoch"`
}

func decodeKafkaClean(b []byte) (int64, error) {
	k := kafkaClean{Version: -1, BrokerEpoch: -1}
	if err := json.Unmarshal(b, &k); err != nil {
		return 0, err
	}
	if k.Version != 0 {
		return 0, fmt.Errorf("version %d", k.Version)
	}
	return k.BrokerEpoch, nil
}

// WriteClean writes the files: the last act of a clean stop, when every log is closed clean and the checkpoints are
// written. logs maps directory names to Log.Manifest.
func WriteClean(fsys vfs.FS, dir string, brokerEpoch int64, logs map[string]CleanLog) error {
	if err := vfs.WriteFileAtomic(fsys, filepath.Join(dir, manifestFile), encodeManifest(brokerEpoch, logs)); err != nil {
		return err
	}
	k, err := json.Marshal(kafkaClean{BrokerEpoch: brokerEpoch})
	if err != nil {
		return err
	}
	return vfs.WriteFileAtomic(fsys, filepath.Join(dir, kafkaCleanFile), k)
}

func encodeManifest(brokerEpoch int64, logs map[string]CleanLog) []byte {
	b := append([]byte(nil), manifestMagic...)
	b = be.AppendUint32(b, manifestVersion)
	b = be.AppendUint64(b, uint64(brokerEpoch))
	b = be.AppendUint32(b, uint32(len(logs)))
	for name, c := range logs {
		at := len(b)
		b = be.AppendUint32(b, 0)
		b = appendString(b, name)
		b = c.append(b)
		be.PutUint32(b[at:], uint32(len(b)-at-4))
	}
	return be.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func appendString[S ~string | ~[]byte](b []byte, s S) []byte {
	return append(be.AppendUint32(b, uint32(len(s))), s...)
}

func appendInts(b []byte, n ...int64) []byte {
	for _, v := range n {
		b = be.AppendUint64(b, uint64(v))
	}
	return b
}

func (c *CleanLog) append(b []byte) []byte {
	b = append(b, c.TopicID[:]...)
	b = appendInts(b, c.Start, c.End)
	b = be.AppendUint32(b, uint32(len(c.epochs)))
	for _, e := range c.epochs {
		b = be.AppendUint32(b, uint32(e.Epoch))
		b = appendInts(b, e.Start)
	}
	b = be.AppendUint32(b, uint32(len(c.segments)))
	for _, s := range c.segments {
		b = appendInts(b, s.base, s.end, s.size, s.maxTimestamp, s.created)
		b = be.AppendUint32(b, uint32(len(s.faults)))
		for _, x := range s.faults {
			b = appendInts(b, x.from, x.to, x.fromPos, x.toPos)
		}
	}
	return appendString(b, c.state)
}

// decoder reads big-endian fields; after the first that is not there everything is zero and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.bad, d.b = true, nil
		return nil
	}
	f := d.b[:n]
	d.b = d.b[n:]
	return f
}

func (d *decoder) uint32() uint32 {
	if f := d.take(4); f != nil {
		return be.Uint32(f)
	}
	return 0
}

func (d *decoder) int64() int64 {
	if f := d.take(8); f != nil {
		return int64(be.Uint64(f))
	}
	return 0
}

func (d *decoder) bytes() []byte { return d.take(int(min(d.uint32(), math.MaxInt32))) }

// count is a length of a list whose items have at least size bytes each, so that memory never grows beyond the file.
func (d *decoder) count(size int) int {
	n := int(min(d.uint32(), math.MaxInt32))
	if n > len(d.b)/size {
		d.bad = true
		return 0
	}
	return n
}

var errManifest = errors.New("manifest is damaged")

func decodeManifest(b []byte) (*Clean, error) {
	const fixed = len(manifestMagic) + 4 + 8 + 4
	if len(b) < fixed+4 || !bytes.HasPrefix(b, []byte(manifestMagic)) {
		return nil, errManifest
	}
	body := b[:len(b)-4]
	if crc32.Checksum(body, castagnoli) != be.Uint32(b[len(b)-4:]) {
		return nil, fmt.Errorf("%w: checksum", errManifest)
	}
	d := &decoder{b: body[len(manifestMagic):]}
	if v := d.uint32(); v != manifestVersion {
		return nil, fmt.Errorf("%w: version %d", errManifest, v)
	}
	c := &Clean{BrokerEpoch: d.int64()}
	n := d.count(8)
	c.Logs = make(map[string]*CleanLog, n)
	for range n {
		e := &decoder{b: d.bytes()}
		name := string(e.bytes())
		entry := decodeCleanLog(e)
		if d.bad || e.bad || len(e.b) > 0 || name == "" || c.Logs[name] != nil || !entry.valid() {
			return nil, fmt.Errorf("%w: entry %q", errManifest, name)
		}
		c.Logs[name] = entry
	}
	if d.bad || len(d.b) > 0 {
		return nil, errManifest
	}
	return c, nil
}

func decodeCleanLog(d *decoder) *CleanLog {
	c := &CleanLog{}
	copy(c.TopicID[:], d.take(16))
	c.Start, c.End = d.int64(), d.int64()
	if n := d.count(12); n > 0 {
		c.epochs = make(epochCache, n)
	}
	for i := range c.epochs {
		c.epochs[i] = EpochEntry{int32(d.uint32()), d.int64()}
	}
	c.segments = make([]cleanSegment, d.count(44))
	for i := range c.segments {
		s := &c.segments[i]
		s.base, s.end, s.size, s.maxTimestamp, s.created = d.int64(), d.int64(), d.int64(), d.int64(), d.int64()
		if n := d.count(32); n > 0 {
			s.faults = make([]fault, n)
		}
		for k := range s.faults {
			s.faults[k] = fault{d.int64(), d.int64(), d.int64(), d.int64()}
		}
	}
	c.state = slices.Clone(d.bytes())
	return c
}

// valid is what openClean relies on.
func (c *CleanLog) valid() bool {
	if c.Start < 0 || c.End < c.Start || len(c.segments) == 0 || c.segments[0].base > c.Start {
		return false
	}
	for i, s := range c.segments {
		if s.base < 0 || s.end < s.base || s.size < 0 || i > 0 && s.base < c.segments[i-1].end {
			return false
		}
	}
	return c.segments[len(c.segments)-1].end == c.End
}

// openClean takes everything from the manifest; no file is opened.
func (l *Log) openClean(c *CleanLog) error {
	if l.topicID != [16]byte{} && l.topicID != c.TopicID {
		return fmt.Errorf("%w: %s holds topic %s, wanted %s", ErrTopicID, l.name, encodeID(c.TopicID), encodeID(l.topicID))
	}
	l.topicID = c.TopicID
	l.recovery.Clean = true
	l.clean = c
	v := &View{log: l, segments: make([]*Segment, len(c.segments))}
	for i, e := range c.segments {
		s := l.newSegment(e.base)
		s.tail.set(e.size, e.end)
		s.maxTimestamp.Store(e.maxTimestamp)
		s.created, s.synced = e.created, e.size
		s.setFaults(e.faults)
		s.jitterCut = jitter(l.name, e.base, l.Config())
		v.segments[i] = s
	}
	epochs := c.epochs
	l.epochs.Store(&epochs)
	l.epochsSaved = &epochs
	l.lazyState = c.state
	if l.checkpoints != nil {
		_, _, l.highHint = l.checkpoints.get(l.name)
	}
	l.publish(v, c.Start, c.End)
	l.synced.Store(c.End)
	l.durable.Store(c.End)
	return nil
}

// manifest describes the log as its files are. Under syncing.
func (l *Log) manifest() (*CleanLog, error) {
	c := &CleanLog{TopicID: l.topicID, Start: l.Start(), End: l.End(), epochs: *l.epochs.Load()}
	for _, s := range l.view.Load().segments {
		size, end := s.tail.get()
		ts, err := s.largestTimestamp()
		if err != nil {
			return nil, err
		}
		c.segments = append(c.segments, cleanSegment{s.base, end, size, ts, s.created, s.faults()})
	}
	if p := l.Producers(); p.Len() > 0 {
		c.state = p.Encode(c.End)
	}
	return c, nil
}

// Manifest is the log's entry for WriteClean, after Close(true) returned nil.
func (l *Log) Manifest() CleanLog {
	if l.clean == nil {
		return CleanLog{}
	}
	return *l.clean
}
