package controller

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"cordwood/metadata"

	"github.com/hashicorp/raft"
)

const commandVersion = 1

// errStamp is the answer of an entry that was decided on another image (C1). It is no
// fault: the one who proposed it was no longer the only one to decide.
var errStamp = errors.New("controller: decided on another image")

// fsm applies committed entries. It holds the newest image and the feed.
type fsm struct {
	guard *guard
	image atomic.Pointer[metadata.Image]

	mu    sync.Mutex
	ring  ring
	moved chan struct{} // closed when the image moves on
}

func newFSM(g *guard) *fsm {
	f := &fsm{guard: g, moved: make(chan struct{})}
	f.image.Store(metadata.Empty())
	return f
}

// encodeCommand makes the data of a raft entry: the facts and the index of the image they
// were decided on.
func encodeCommand(stamp uint64, changes []metadata.Change) ([]byte, error) {
	facts, err := metadata.EncodeChanges(changes)
	if err != nil {
		return nil, err
	}
	head := binary.AppendUvarint([]byte{commandVersion}, stamp)
	return append(head, facts...), nil
}

func decodeCommand(data []byte) (stamp uint64, changes []metadata.Change, err error) {
	if len(data) < 2 || data[0] != commandVersion {
		return 0, nil, errors.New("controller: an entry of another version")
	}
	stamp, n := binary.Uvarint(data[1:])
	if n <= 0 {
		return 0, nil, errors.New("controller: an entry without a stamp")
	}
	changes, err = metadata.DecodeChanges(data[1+n:])
	return stamp, changes, err
}

// Apply makes a committed entry part of the image. An entry that cannot be applied stops
// the node: from there on it would not agree with the others.
func (f *fsm) Apply(l *raft.Log) any {
	stamp, changes, err := decodeCommand(l.Data)
	if err != nil {
		err = fmt.Errorf("entry %d: %w", l.Index, err)
		f.guard.fail(err)
		return err
	}
	image := f.image.Load()
	if stamp != image.Index() {
		return errStamp
	}
	next, err := image.With(l.Index, changes)
	if err != nil {
		f.guard.fail(err)
		return err
	}
	f.mu.Lock()
	f.ring.add(FeedEntry{Index: l.Index, Changes: changes}, image.Index(), len(l.Data))
	f.publish(next)
	f.mu.Unlock()
	return nil
}

// publish shows a new image and wakes who waits for it. Under mu.
func (f *fsm) publish(next *metadata.Image) {
	f.image.Store(next)
	close(f.moved)
	f.moved = make(chan struct{})
}

// Snapshot keeps a pointer: the image never changes.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return snapshot{f.image.Load()}, nil }

// Restore replaces everything by a snapshot.
func (f *fsm) Restore(r io.ReadCloser) error {
	raw, err := io.ReadAll(io.LimitReader(r, snapshotLimit))
	if err != nil {
		return err
	}
	image, err := metadata.DecodeImage(raw)
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ring = ring{}
	f.publish(image)
	return nil
}

type snapshot struct{ image *metadata.Image }

func (s snapshot) Persist(sink raft.SnapshotSink) error {
	raw, err := metadata.EncodeImage(s.image)
	if err != nil {
		return err
	}
	_, err = sink.Write(raw)
	return err
}

func (snapshot) Release() {}
