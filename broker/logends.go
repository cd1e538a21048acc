package broker

import (
	"context"
	"sync"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"

	"cordwood/broker/peer"
	"cordwood/controller/decide"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// Where nobody is left who certainly has every acknowledged record, the controller asks all who may, by their standing in
// lastKnownElr, and elects the longest log (R11):
//
//	image: no leader, ISR and ELR empty, this broker in lastKnownElr ──▶ orphans ──▶ LogEnds ──▶ active controller
//	                                                                                    ▲ once a heartbeat: a new
//	                                                                                    └ controller has heard nothing

// endsRequest is the ends of all logs the controller waits for.
type endsRequest struct {
	ClusterID   string          `cbor:"1,keyasint"`
	NodeID      metadata.NodeID `cbor:"2,keyasint"`
	BrokerEpoch int64           `cbor:"3,keyasint"`
	Ends        []endOfLog      `cbor:"4,keyasint"`
}

type endOfLog struct {
	Topic       metadata.TopicID `cbor:"1,keyasint"`
	Index       int32            `cbor:"2,keyasint"`
	LeaderEpoch int32            `cbor:"3,keyasint"`
	LastEpoch   int32            `cbor:"4,keyasint"`
	End         int64            `cbor:"5,keyasint"`
	Durable     int64            `cbor:"6,keyasint"`
	Clean       bool             `cbor:"7,keyasint,omitempty"`
}

// mostEnds bounds one report: those behind it are told when these have their leaders.
const mostEnds = 1 << 15

var endsDecoder = func() cbor.DecMode {
	m, err := cbor.DecOptions{MaxNestedLevels: 4, MaxArrayElements: mostEnds, MaxMapPairs: 16, TagsMd: cbor.TagsForbidden}.DecMode()
	if err != nil {
		panic(err) // the options are constants
	}
	return m
}()

// orphans are the partitions that wait for the end of this broker's log.
type orphans struct {
	mu   sync.Mutex
	of   map[partition.PartitionID]bool
	news chan struct{} // one more came
}

func newOrphans() *orphans {
	return &orphans{of: map[partition.PartitionID]bool{}, news: make(chan struct{}, 1)}
}

// see takes what an image changed.
func (o *orphans) see(diff *metadata.Diff, self metadata.NodeID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range diff.Partitions {
		d := &diff.Partitions[i]
		id := partition.PartitionID{Topic: d.Topic.ID, Index: d.Index}
		if d.New == nil || !d.New.Orphaned(self) {
			delete(o.of, id)
			continue
		}
		o.of[id] = true
		select {
		case o.news <- struct{}{}:
		default:
		}
	}
}

func (o *orphans) list() (ids []partition.PartitionID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id := range o.of {
		if len(ids) < mostEnds {
			ids = append(ids, id)
		}
	}
	return ids
}

// reportEnds tells the active controller of the ends of logs for as long as it waits for any, until ctx ends.
func (b *Broker) reportEnds(ctx context.Context) error {
	said := ""
	for {
		ids := b.orphans.list()
		if len(ids) == 0 {
			select {
			case <-b.orphans.news:
			case <-ctx.Done():
				return nil
			}
			continue
		}
		if err := b.tellEnds(ctx, ids); err == nil {
			said = ""
		} else if text := err.Error(); ctx.Err() == nil && text != said { // a line for each reason, not for each try
			said = text
			b.log.Warn("ends of logs without a leader were not told", zap.Int("partitions", len(ids)), zap.Error(err))
		}
		if !sleep(ctx, b.cfg.HeartbeatInterval) {
			return nil
		}
	}
}

// tellEnds makes one report: the ends of the logs that can be read, now.
func (b *Broker) tellEnds(ctx context.Context, ids []partition.PartitionID) error {
	q := endsRequest{ClusterID: b.clusterID(), NodeID: b.cfg.NodeID, BrokerEpoch: b.epoch.Load()}
	for _, id := range ids {
		p := b.partitions.ByID(id.Topic, id.Index)
		if p == nil {
			continue
		}
		if e, told := p.LogEnd(); told {
			q.Ends = append(q.Ends, endOfLog{id.Topic, id.Index, e.LeaderEpoch, e.LastEpoch, e.End, e.Durable, e.Clean})
		}
	}
	if b.isActive() {
		if code := b.logEndsTold(ctx, &q).Code; code != kerr.NotController.Code {
			return kerr.ErrorForCode(code)
		}
	}
	body, err := cbor.Marshal(q)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.SessionTimeout)
	defer cancel()
	return b.eachController(ctx, 0, func(ctx context.Context, addr string) (bool, error) {
		raw, err := b.peers.AskOwn(ctx, addr, peer.Control, protocol.LogEnds, body)
		if err != nil {
			return false, err
		}
		var r feedResponse
		if err := ownDecoder.Unmarshal(raw, &r); err != nil {
			return false, err
		}
		return r.Code != kerr.NotController.Code, kerr.ErrorForCode(r.Code)
	})
}

// logEndsTold takes a report at the active controller.
func (b *Broker) logEndsTold(ctx context.Context, q *endsRequest) feedResponse {
	switch {
	case !b.isActive():
		return feedResponse{Code: kerr.NotController.Code}
	case q.ClusterID != b.controller.Image().ClusterID(): // bad input 123
		return feedResponse{Code: kerr.InconsistentClusterID.Code}
	}
	req := decide.ReportLogEndsRequest{Broker: q.NodeID, Epoch: q.BrokerEpoch}
	for _, e := range q.Ends {
		req.Ends = append(req.Ends, decide.LogEnd{Topic: e.Topic, Index: e.Index, LeaderEpoch: e.LeaderEpoch, LastEpoch: e.LastEpoch,
			End: e.End, Durable: e.Durable, Clean: e.Clean})
	}
	if err := b.controller.ReportLogEnds(ctx, req); err != nil {
		return feedResponse{Code: codeOf(err)}
	}
	return feedResponse{}
}
