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
		img, err := b.nextImage(ctx)
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
	}
}

// nextImage is the image the active controller has, once it is newer than this broker's; the same one if that takes long.
func (b *Broker) nextImage(ctx context.Context) (*metadata.Image, error) {
	if b.cfg.IsLone() || b.isActive() {
		wait := feedWait
		if !b.cfg.IsLone() {
			wait = feedPeerWait
		}
		// The controller of this process hands over its image itself: what led to it need not be applied again, and the
		// two share their memory.
		_, err := b.controller.Changes(ctx, b.image().Index(), wait)
		return b.controller.Image(), err
	}
	img := b.image()
	err := b.eachController(ctx, func(addr string) (bool, error) {
		next, err := b.askFeed(ctx, addr, img)
		if err != nil {
			return false, err
		}
		img = next
		return true, nil
	})
	return img, err
}

// askFeed asks one controller for what came after an image.
func (b *Broker) askFeed(ctx context.Context, addr string, img *metadata.Image) (*metadata.Image, error) {
	ctx, cancel := context.WithTimeout(ctx, feedPeerWait+b.cfg.SessionTimeout/2)
	defer cancel()
	body, err := cbor.Marshal(feedRequest{
		ClusterID: b.clusterID(), NodeID: b.cfg.NodeID, BrokerEpoch: b.epoch.Load(), FromIndex: img.Index(),
		MaxWaitMillis: int32(feedPeerWait / time.Millisecond),
	})
	if err != nil {
		return nil, err
	}
	raw, err := b.peers.AskOwn(ctx, addr, peer.Feed, protocol.FetchMetadata, body)
	if err != nil {
		return nil, err
	}
	var r feedResponse
	if err := feedDecoder.Unmarshal(raw, &r); err != nil {
		return nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
	}
	if err := kerr.ErrorForCode(r.Code); err != nil {
		return nil, fmt.Errorf("%s: %w", addr, err)
	}
	if r.Image != nil {
		return metadata.DecodeImage(r.Image)
	}
	for _, e := range r.Entries {
		changes, err := metadata.DecodeChanges(e.Changes)
		if err != nil {
			return nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
		}
		if img, err = img.With(e.Index, changes); err != nil {
			return nil, fmt.Errorf("%s: metadata feed: %w", addr, err)
		}
	}
	return img, nil
}
