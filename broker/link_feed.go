package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/protocol"
)

// feedWait is how long one look at the metadata feed may take before it is asked again; feedPeerWait if the feed is
// another node's, which may stop being the active controller without telling. Half a session later that node is given up:
// whoever fences it for its silence must be heard before.
const (
	feedWait     = 10 * time.Second
	feedPeerWait = 500 * time.Millisecond
)

// followFeed applies every change of metadata to the rooms, in order, until ctx ends.
func (b *Broker) followFeed(ctx context.Context) error {
	said := ""
	for {
		img, late, err := b.nextImage(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			if text := err.Error(); text != said { // a line for each reason, not for each try
				said = text
				b.log.Info("metadata feed", zap.Error(err))
			}
			if !sleep(ctx, retryPause) {
				return nil
			}
			continue
		}
		said = ""
		if old := b.image(); img.Index() > old.Index() {
			if err := b.learnCluster(img.ClusterID()); err != nil {
				return err
			}
			b.apply(old, img)
		}
		b.hear(late) // behind the image: who is no longer late because it was fenced is fenced there
	}
}

// nextImage is the image the active controller has, once it is newer than this broker's, and who is late, once it is somebody
// else; the same if that takes long.
func (b *Broker) nextImage(ctx context.Context) (*metadata.Image, []metadata.NodeID, error) {
	late := b.late()
	if b.cfg.IsLone() || b.isActive() {
		wait := feedWait
		if !b.cfg.IsLone() {
			wait = feedPeerWait
		}
		// The controller of this process hands over its image itself: what led to it need not be applied again, and the
		// two share their memory.
		feed, err := b.controller.Changes(ctx, b.image().Index(), late, wait)
		if !b.cfg.IsLone() && !b.isActive() {
			return nil, nil, errNoController // who has lost its office meanwhile does not know who is late
		}
		return b.controller.Image(), feed.Late, err
	}
	img := b.image()
	err := b.eachController(ctx, 0, func(ctx context.Context, addr string) (bool, error) {
		next, nowLate, err := b.askFeed(ctx, addr, img, late)
		if err != nil {
			return false, err
		}
		img, late = next, nowLate
		return true, nil
	})
	return img, late, err
}

// askFeed asks one controller for what came after an image, and who else is late.
func (b *Broker) askFeed(ctx context.Context, addr string, img *metadata.Image, late []metadata.NodeID) (*metadata.Image, []metadata.NodeID, error) {
	ctx, cancel := context.WithTimeout(ctx, feedPeerWait+b.cfg.SessionTimeout/2)
	defer cancel()
	body, err := cbor.Marshal(feedRequest{
		ClusterID: b.clusterID(), NodeID: b.cfg.NodeID, BrokerEpoch: b.epoch.Load(), FromIndex: img.Index(),
		MaxWaitMillis: int32(feedPeerWait / time.Millisecond), Late: late,
	})
	if err != nil {
		return nil, nil, err
	}
	raw, err := b.peers.AskOwn(ctx, addr, peer.Feed, protocol.FetchMetadata, body)
	if err != nil {
		return nil, nil, err
	}
	var r feedResponse
	if err := feedDecoder.Unmarshal(raw, &r); err != nil {
		return nil, nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
	}
	if err := kerr.ErrorForCode(r.Code); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", addr, err)
	}
	if r.Image != nil {
		img, err = metadata.DecodeImage(r.Image)
		return img, r.Late, err
	}
	for _, e := range r.Entries {
		changes, err := metadata.DecodeChanges(e.Changes)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
		}
		if img, err = img.With(e.Index, changes); err != nil {
			return nil, nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
		}
	}
	return img, r.Late, nil
}
