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
	keyVoteCand = "LastVoteCand"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// stable is raft's small state: term and vote. Every Set replaces the file atomically,
// with one exception: raft always sets LastVoteTerm and then LastVoteCand before a vote
// leaves the node, so the first of them waits for the second and is saved with it. A crash
// in between finds the earlier vote, and no other was given.
//
// A heartbeat of a new leader sets the term beside raft's main loop, so writers take turns,
// by a channel.
type stable struct {
	fs     vfs.FS
	name   string
	guard  *guard
	writes chan struct{}

	mu       sync.Mutex
	values   map[string][]byte
	unsaved  bool   // a value is set that the file does not hold
	voteTerm []byte // set, and waiting for its candidate
}

func openStable(fsys vfs.FS, dir string, g *guard) (*stable, error) {
	s := &stable{fs: fsys, name: filepath.Join(dir, voteFile), guard: g, writes: make(chan struct{}, 1), values: map[string][]byte{}}
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

// Set keeps one value. It ends the goroutine it is called on, raft's, when the file cannot
// be written: raft would panic.
func (s *stable) Set(key, value []byte) error {
	values := map[string][]byte{string(key): value}
	s.mu.Lock()
	switch string(key) {
	case keyVoteTerm:
		s.voteTerm = slices.Clone(value)
		s.mu.Unlock()
		return nil
	case keyVoteCand:
		if s.voteTerm != nil {
			values[keyVoteTerm] = s.voteTerm
		}
		s.voteTerm = nil
	}
	s.mu.Unlock()
	if err := s.save(values); err != nil {
		s.guard.halt(err)
	}
	return nil
}

// save sets values together: after a crash all or none of them are there.
func (s *stable) save(values map[string][]byte) error {
	s.mu.Lock()
	for key, value := range values {
		if old, set := s.values[key]; !set || !slices.Equal(old, value) {
			s.values[key], s.unsaved = slices.Clone(value), true
		}
	}
	s.mu.Unlock()
	s.writes <- struct{}{}
	defer func() { <-s.writes }()
	s.mu.Lock()
	raw, unsaved := encodeVote(s.values), s.unsaved
	s.unsaved = false
	s.mu.Unlock()
	if !unsaved {
		return nil
	}
	return s.guard.write(func() error { return vfs.WriteFileAtomic(s.fs, s.name, raw) })
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
