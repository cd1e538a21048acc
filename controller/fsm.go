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

// A command of the second version carries the digest of an earlier image.
const (
	commandVersion        = 1
	commandVersionAudited = 2
)

// errStamp is the answer of an entry that was decided on another image (C1). It is no
// fault: the one who proposed it was no longer the only one to decide.
var errStamp = errors.New("controller: decided on another image")

// fsm applies committed entries. It holds the newest image and the feed.
type fsm struct {
	guard  *guard
	image  atomic.Pointer[metadata.Image]
	every  uint64                 // entries between two audits
	audits chan audited           // looked at beside raft
	claim  atomic.Pointer[digest] // the newest own digest, until a leader has told it

	mu    sync.Mutex
	ring  ring
	moved chan struct{} // closed when the image moves on
}

func newFSM(g *guard) *fsm {
	f := &fsm{guard: g, every: auditEvery, audits: make(chan audited, auditQueue), moved: make(chan struct{})}
	f.image.Store(metadata.Empty())
	return f
}

// command is the data of a raft entry: facts, the index of the image they were decided on,
// and now and then what an earlier image came to.
type command struct {
	stamp   uint64
	claim   *digest
	changes []metadata.Change
}

func (c command) encode() ([]byte, error) {
	facts, err := metadata.EncodeChanges(c.changes)
	if err != nil {
		return nil, err
	}
	head := binary.AppendUvarint([]byte{commandVersion}, c.stamp)
	if c.claim != nil {
		head[0] = commandVersionAudited
		head = binary.AppendUvarint(head, c.claim.index)
		head = append(head, c.claim.sum[:]...)
	}
	return append(head, facts...), nil
}

func decodeCommand(data []byte) (c command, err error) {
	if len(data) < 2 || data[0] != commandVersion && data[0] != commandVersionAudited {
		return c, errors.New("controller: an entry of another version")
	}
	audited, rest := data[0] == commandVersionAudited, data[1:]
	var n int
	if c.stamp, n = binary.Uvarint(rest); n <= 0 {
		return c, errors.New("controller: an entry without a stamp")
	}
	rest = rest[n:]
	if audited {
		c.claim = &digest{}
		if c.claim.index, n = binary.Uvarint(rest); n <= 0 || len(rest) < n+len(c.claim.sum) {
			return c, errors.New("controller: an entry without its digest")
		}
		copy(c.claim.sum[:], rest[n:])
		rest = rest[n+len(c.claim.sum):]
	}
	c.changes, err = metadata.DecodeChanges(rest)
	return c, err
}

// Apply makes a committed entry part of the image. An entry that cannot be applied stops
// the node: from there on it would not agree with the others.
func (f *fsm) Apply(l *raft.Log) any {
	c, err := decodeCommand(l.Data)
	if err != nil {
		err = fmt.Errorf("entry %d: %w", l.Index, err)
		f.guard.fail(err)
		return err
	}
	if c.claim != nil {
		f.look(audited{claim: c.claim})
	}
	image := f.image.Load()
	if c.stamp != image.Index() {
		return errStamp
	}
	next, err := image.With(l.Index, c.changes)
	if err != nil {
		f.guard.fail(err)
		return err
	}
	f.mu.Lock()
	f.ring.add(FeedEntry{Index: l.Index, Changes: c.changes}, image.Index(), len(l.Data))
	f.publish(next)
	f.mu.Unlock()
	if due(image.Index(), next.Index(), f.every) {
		f.look(audited{image: next})
	}
	return nil
}

func (f *fsm) look(a audited) {
	select {
	case f.audits <- a:
	default:
	}
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
