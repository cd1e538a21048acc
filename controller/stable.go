package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"

	"cordwood/segment/vfs"
)

const (
	voteFile  = "vote"
	voteMagic = "CWV1"
	voteLimit = 64 << 10

	keyTerm     = "CurrentTerm" // raft's names
	keyVoteTerm = "LastVoteTerm"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stable is raft's small state: term and vote. Every Set replaces the file atomically,
// with one exception: raft always sets LastVoteTerm and then LastVoteCand before a vote
// leaves the node, so the first of them can wait for the second and share its fsyncs. A
// crash in between finds the earlier vote, and no other was given.
type stable struct {
	fs    vfs.FS
	name  string
	guard *guard

	mu     sync.Mutex
	values map[string][]byte
}

func openStable(fsys vfs.FS, dir string, g *guard) (*stable, error) {
	s := &stable{fs: fsys, name: filepath.Join(dir, voteFile), guard: g, values: map[string][]byte{}}
	raw, err := vfs.ReadFile(fsys, s.name, voteLimit)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if s.values, err = decodeVote(raw); err != nil {
		return nil, fmt.Errorf("controller: %s: %w", s.name, err)
	}
	return s, nil
}

func (s *stable) Get(key []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.values[string(key)]), nil
}

func (s *stable) GetUint64(key []byte) (uint64, error) {
	v, err := s.Get(key)
	if err != nil || len(v) == 0 {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("controller: %s has %d bytes", key, len(v))
	}
	return binary.BigEndian.Uint64(v), nil
}

func (s *stable) SetUint64(key []byte, v uint64) error {
	return s.Set(key, binary.BigEndian.AppendUint64(nil, v))
}

func (s *stable) Set(key, value []byte) error {
	s.mu.Lock()
	if slices.Equal(s.values[string(key)], value) && s.values[string(key)] != nil {
		s.mu.Unlock()
		return nil
	}
	s.values[string(key)] = slices.Clone(value)
	raw := encodeVote(s.values)
	s.mu.Unlock()
	if string(key) == keyVoteTerm {
		return nil
	}
	// raft has one goroutine for all of this, so writers take turns without a lock.
	if err := s.guard.write(func() error { return vfs.WriteFileAtomic(s.fs, s.name, raw) }); err != nil {
		s.guard.halt(err) // raft panics when it cannot save its term
	}
	return nil
}

func encodeVote(values map[string][]byte) []byte {
	var body []byte
	for _, key := range slices.Sorted(maps.Keys(values)) {
		body = appendField(body, []byte(key))
		body = appendField(body, values[key])
	}
	out := binary.BigEndian.AppendUint32([]byte(voteMagic), crc32.Checksum(body, castagnoli))
	return append(out, body...)
}

func appendField(dst, field []byte) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(field))), field...)
}

func cutField(b []byte) (field, rest []byte, err error) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return nil, nil, errors.New("cut short")
	}
	b = b[used:]
	return b[:n:n], b[n:], nil
}

func decodeVote(raw []byte) (map[string][]byte, error) {
	if len(raw) < len(voteMagic)+4 || string(raw[:len(voteMagic)]) != voteMagic {
		return nil, errors.New("not a vote file")
	}
	body := raw[len(voteMagic)+4:]
	if crc32.Checksum(body, castagnoli) != binary.BigEndian.Uint32(raw[len(voteMagic):]) {
		return nil, errors.New("checksum does not match")
	}
	out := map[string][]byte{}
	for len(body) > 0 {
		var key, value []byte
		var err error
		if key, body, err = cutField(body); err != nil {
			return nil, err
		}
		if value, body, err = cutField(body); err != nil {
			return nil, err
		}
		out[string(key)] = value
	}
	return out, nil
}
