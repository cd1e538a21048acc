package broker

import (
	"context"
	"errors"
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// ReadRange asks another replica for batches (key 20002), on a connection of the lane's streams.
func (l *replicaLink) ReadRange(ctx context.Context, from metadata.NodeID, r *partition.RangeRequest) (*partition.Range, error) {
	epoch := l.b.epoch.Load()
	if epoch == 0 {
		return nil, errNotRegistered
	}
	addr := brokerAddr(l.b.image().Broker(from))
	if addr == "" {
		return nil, fmt.Errorf("no address of broker %d", from)
	}
	body, err := cbor.Marshal(streamRequest{ClusterID: l.b.clusterID(), NodeID: l.b.cfg.NodeID, BrokerEpoch: epoch, Topic: r.Topic,
		Index: r.Index, LeaderEpoch: r.LeaderEpoch, Offset: r.Offset, Until: r.Until, LastEpoch: r.LastEpoch, MaxBytes: int32(r.MaxBytes)})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchSlack)
	defer cancel()
	var out *partition.Range
	raw, err := l.b.peers.AskOwn(ctx, addr, peer.Streaming(r.Lane), protocol.SegmentStream, body)
	if err == nil {
		out, err = decodeStream(raw)
	}
	if errors.Is(err, peer.ErrNotServed) {
		err = fmt.Errorf("%w: %w", partition.ErrNotServed, err)
	}
	if err != nil {
		return nil, fmt.Errorf("range from broker %d: %w", from, err)
	}
	return out, nil
}
