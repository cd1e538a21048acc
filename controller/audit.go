package controller

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"cordwood/metadata"

	"go.uber.org/zap"
)

// ErrDiverged stops a node whose metadata is not the leader's, though both applied the same
// entries: a fault of memory, of a disk, or of ours (R17).
var ErrDiverged = errors.New("controller: the metadata differs from the leader's")

const (
	auditEvery = 1024 // entries
	auditQueue = 16
	auditKept  = 4
)

// digest is what an image came to.
type digest struct {
	index uint64
	sum   [8]byte
}

// audited is one thing to look at: an image that is due, or what the leader says of one.
type audited struct {
	image *metadata.Image
	claim *digest
}

// due reports whether the image at next is the first behind a multiple of every: all
// voters take the digest of the same ones.
func due(before, next, every uint64) bool { return before/every != next/every }

// audit takes the digests of images that are due and compares them with the leader's,
// beside raft, until ctx ends. What comes too fast is left out.
func (n *Node) audit(ctx context.Context) {
	var own []digest
	for {
		select {
		case a := <-n.fsm.audits:
			if a.image != nil {
				d, err := digestOf(a.image)
				if err != nil {
					n.log.Error("no digest of the metadata", zap.String("event", "CW-0417"), zap.Error(err))
					continue
				}
				n.fsm.claim.Store(&d)
				if own = append(own, d); len(own) > auditKept {
					own = own[1:]
				}
				continue
			}
			for _, d := range own {
				if d.index == a.claim.index && d.sum != a.claim.sum {
					n.guard.fail(fmt.Errorf("%w: at entry %d", ErrDiverged, d.index))
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

func digestOf(img *metadata.Image) (digest, error) {
	raw, err := metadata.EncodeImage(img)
	if err != nil {
		return digest{}, err
	}
	sum := sha256.Sum256(raw)
	return digest{img.Index(), [8]byte(sum[:8])}, nil
}
