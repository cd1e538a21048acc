package controller

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"cordwood/segment/vfs"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

const (
	snapshotMagic  = "CWS1"
	snapshotSuffix = ".snapshot"
	snapshotTmp    = ".tmp"
	snapshotLimit  = 1 << 31
	snapshotsKept  = 2
)

// snapshots is raft's snapshot store: one file each,
//
//	magic, uint32 length of meta, meta (raft's, as JSON), image …, uint64 size of the image, CRC-32C
//
// written beside its name and renamed when it is whole and durable (Z34).
type snapshots struct {
	fs    vfs.FS
	dir   string
	guard *guard
	log   *zap.Logger
}

func snapshotName(index, term uint64) string { return fmt.Sprintf("%020d-%d", index, term) }

func (s *snapshots) path(id string) string { return filepath.Join(s.dir, id+snapshotSuffix) }

// names lists the snapshots, the newest first.
func (s *snapshots) names() ([]string, error) {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, e := range entries {
		if id, ok := strings.CutSuffix(e.Name(), snapshotSuffix); ok {
			out = append(out, id)
		}
	}
	slices.Reverse(out) // ReadDir sorts, and the index has twenty digits
	return out, nil
}

// List returns what can be restored; a damaged file is left out, loudly.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	ids, err := s.names()
	if err != nil {
		return nil, err
	}
	var out []*raft.SnapshotMeta
	for _, id := range ids {
		meta, _, err := s.read(id)
		if err != nil {
			s.log.Error("metadata snapshot is damaged", zap.String("event", "CW-0405"), zap.String("snapshot", id), zap.Error(err))
			continue
		}
		out = append(out, meta)
	}
	return out, nil
}

func (s *snapshots) Open(id string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	meta, image, err := s.read(id)
	if err != nil {
		return nil, nil, err
	}
	return meta, io.NopCloser(bytes.NewReader(image)), nil
}

func (s *snapshots) read(id string) (*raft.SnapshotMeta, []byte, error) {
	raw, err := vfs.ReadFile(s.fs, s.path(id), snapshotLimit)
	if err != nil {
		return nil, nil, err
	}
	meta, image, err := decodeSnapshot(raw)
	if err != nil {
		return nil, nil, fmt.Errorf("controller: snapshot %s: %w", id, err)
	}
	if meta.ID != id {
		return nil, nil, fmt.Errorf("controller: snapshot %s calls itself %q", id, meta.ID)
	}
	return meta, image, nil
}

func decodeSnapshot(raw []byte) (*raft.SnapshotMeta, []byte, error) {
	const head, foot = len(snapshotMagic) + 4, 8 + 4
	if len(raw) < head+foot || string(raw[:len(snapshotMagic)]) != snapshotMagic {
		return nil, nil, errors.New("not a snapshot")
	}
	end := len(raw) - foot
	if crc32.Checksum(raw[:end+8], castagnoli) != binary.BigEndian.Uint32(raw[end+8:]) {
		return nil, nil, errors.New("checksum does not match")
	}
	length := uint64(binary.BigEndian.Uint32(raw[len(snapshotMagic):]))
	if length > uint64(end-head) {
		return nil, nil, errors.New("cut short")
	}
	var meta raft.SnapshotMeta
	if err := json.Unmarshal(raw[head:head+int(length)], &meta); err != nil {
		return nil, nil, err
	}
	image := raw[head+int(length) : end]
	if binary.BigEndian.Uint64(raw[end:]) != uint64(len(image)) {
		return nil, nil, errors.New("of another size")
	}
	meta.Size = int64(len(image))
	return &meta, image, nil
}

// Create begins a snapshot; nobody sees it before Close.
func (s *snapshots) Create(version raft.SnapshotVersion, index, term uint64, configuration raft.Configuration, configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	if version != raft.SnapshotVersionMax {
		return nil, fmt.Errorf("controller: snapshot version %d", version)
	}
	meta := raft.SnapshotMeta{Version: version, ID: snapshotName(index, term), Index: index, Term: term,
		Configuration: configuration, ConfigurationIndex: configurationIndex}
	raw, err := json.Marshal(&meta)
	if err != nil {
		return nil, err
	}
	f, err := s.fs.Open(s.path(meta.ID)+snapshotTmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	k := &sink{store: s, id: meta.ID, file: f, sum: crc32.New(castagnoli)}
	head := binary.BigEndian.AppendUint32([]byte(snapshotMagic), uint32(len(raw)))
	if _, err := k.append(append(head, raw...)); err != nil {
		return nil, errors.Join(err, k.Cancel())
	}
	return k, nil
}

// sink is one snapshot being written.
type sink struct {
	store *snapshots
	id    string
	file  vfs.File
	sum   hash.Hash32
	at    int64
	size  uint64 // of the image
	done  bool
}

func (k *sink) ID() string { return k.id }

func (k *sink) append(p []byte) (int, error) {
	n, err := k.file.WriteAt(p, k.at)
	k.at += int64(n)
	k.sum.Write(p[:n])
	return n, err
}

func (k *sink) Write(p []byte) (int, error) {
	n, err := k.append(p)
	k.size += uint64(n)
	return n, err
}

func (k *sink) Cancel() error {
	if k.done {
		return nil
	}
	k.done = true
	return errors.Join(k.file.Close(), k.store.fs.Remove(k.store.path(k.id)+snapshotTmp))
}

// Close makes the snapshot whole, durable and visible, in this order, and drops old ones.
func (k *sink) Close() error {
	if k.done {
		return nil
	}
	if _, err := k.append(binary.BigEndian.AppendUint64(nil, k.size)); err != nil {
		return errors.Join(err, k.Cancel())
	}
	if _, err := k.append(k.sum.Sum(nil)); err != nil {
		return errors.Join(err, k.Cancel())
	}
	k.done = true
	s := k.store
	// A failed fsync stops the node: the next one would say that all is well (Z26).
	err := s.guard.write(func() error {
		if err := errors.Join(k.file.Sync(), k.file.Close()); err != nil {
			return err
		}
		if err := s.fs.Rename(s.path(k.id)+snapshotTmp, s.path(k.id)); err != nil {
			return err
		}
		return s.fs.SyncDir(s.dir)
	})
	if err != nil {
		return err
	}
	return s.reap()
}

// reap keeps the newest snapshots.
func (s *snapshots) reap() error {
	ids, err := s.names()
	if err != nil || len(ids) <= snapshotsKept {
		return err
	}
	for _, id := range ids[snapshotsKept:] {
		if err := s.fs.Remove(s.path(id)); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes what a crash left half written.
func (s *snapshots) sweep() error {
	entries, err := s.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), snapshotSuffix+snapshotTmp) {
			if err := s.fs.Remove(filepath.Join(s.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}
