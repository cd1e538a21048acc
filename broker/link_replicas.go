package broker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/partition"
	"cordwood/protocol"
)

// replicaLink is the way of this broker's replicas to their leaders and to the controller (partition.Link).
//
//	Fetch           Kafka's Fetch in version 18: incremental session, replica id and broker epoch, "durable" as our own
//	                tag; a connection for each lane (log directory) and leader
//	AlterPartition  version 3, to the active controller
type replicaLink struct {
	b *Broker

	mu       sync.Mutex
	sessions map[laneKey]fetchLane
}

// laneKey names one fetcher: a session belongs to one life of a leader.
type laneKey struct {
	leader metadata.NodeID
	lane   int
}

// fetchLane is the session of one fetcher with its leader.
type fetchLane struct {
	brokerEpoch int64 // of the leader that knows the session
	id, epoch   int32
	answer      []byte // memory for the next one
}

const (
	replicaFetchVersion = 18
	// fetchSlack is how much longer than its wait a fetch may take.
	fetchSlack = 10 * time.Second
	// keepAnswer bounds the memory that a lane keeps: more comes only to followers that are behind.
	keepAnswer = 4 << 20
)

var errNotRegistered = errors.New("this broker is not registered yet")

// Fetch asks a leader for records.
func (l *replicaLink) Fetch(ctx context.Context, leader metadata.NodeID, r *partition.FetchRequest) (*partition.FetchResponse, error) {
	epoch := l.b.epoch.Load()
	if epoch == 0 {
		return nil, errNotRegistered
	}
	node := l.b.image().Broker(leader)
	addr := brokerAddr(node)
	if addr == "" {
		return nil, fmt.Errorf("no address of broker %d", leader)
	}
	key := laneKey{leader, r.Lane}
	session := l.begin(key, node.Epoch, r.Full)
	q := l.request(r, epoch, session)
	ctx, cancel := context.WithTimeout(ctx, r.MaxWait+fetchSlack)
	defer cancel()
	answer, err := l.b.peers.AskInto(ctx, addr, peer.Fetching(r.Lane), q, &session.answer)
	if err == nil {
		got := answer.(*kmsg.FetchResponse)
		if err = kerr.ErrorForCode(got.ErrorCode); err == nil && got.Version != replicaFetchVersion {
			err = fmt.Errorf("broker %d speaks Fetch %d", leader, got.Version) // without it a position is not known to be durable
		}
		if err == nil {
			session.id = got.SessionID
			l.end(key, session)
			return fetched(got)
		}
	}
	l.end(key, fetchLane{})
	return nil, fmt.Errorf("fetch from broker %d: %w", leader, err)
}

// begin is the session a fetch goes on with; a full one makes a new one and ends the old.
func (l *replicaLink) begin(key laneKey, leaderEpoch int64, full bool) fetchLane {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.sessions[key]
	if s.brokerEpoch != leaderEpoch {
		s = fetchLane{brokerEpoch: leaderEpoch}
	}
	if full {
		s.epoch = fetchEpochInitial
	}
	return s
}

// end remembers it for the next fetch.
func (l *replicaLink) end(key laneKey, s fetchLane) {
	if s.epoch++; s.epoch < 0 {
		s.epoch = 1
	}
	if cap(s.answer) > keepAnswer {
		s.answer = nil
	}
	l.mu.Lock()
	l.sessions[key] = s
	l.mu.Unlock()
}

func (l *replicaLink) request(r *partition.FetchRequest, epoch int64, session fetchLane) *kmsg.FetchRequest {
	q := kmsg.NewPtrFetchRequest()
	q.Version = replicaFetchVersion
	q.ReplicaState.ID, q.ReplicaState.Epoch = int32(l.b.cfg.NodeID), epoch
	q.MaxWaitMillis, q.MinBytes, q.MaxBytes = int32(r.MaxWait/time.Millisecond), int32(r.MinBytes), int32(r.MaxBytes)
	q.SessionID, q.SessionEpoch = session.id, session.epoch
	for i := range r.Positions {
		p := &r.Positions[i]
		if n := len(q.Topics); n == 0 || q.Topics[n-1].TopicID != p.Topic {
			t := kmsg.NewFetchRequestTopic()
			t.TopicID = p.Topic
			q.Topics = append(q.Topics, t)
		}
		t := &q.Topics[len(q.Topics)-1]
		out := kmsg.NewFetchRequestTopicPartition()
		out.Partition, out.CurrentLeaderEpoch, out.FetchOffset, out.LastFetchedEpoch = p.Index, p.LeaderEpoch, p.Offset, p.LastEpoch
		out.LogStartOffset, out.PartitionMaxBytes, out.HighWatermark = p.LogStart, int32(p.MaxBytes), p.HighWatermark
		if p.Durable {
			out.UnknownTags.Set(protocol.TagDurable, []byte{1})
		}
		t.Partitions = append(t.Partitions, out)
	}
	for _, p := range r.Forgotten {
		if n := len(q.ForgottenTopics); n == 0 || q.ForgottenTopics[n-1].TopicID != p.Topic {
			t := kmsg.NewFetchRequestForgottenTopic()
			t.TopicID = p.Topic
			q.ForgottenTopics = append(q.ForgottenTopics, t)
		}
		t := &q.ForgottenTopics[len(q.ForgottenTopics)-1]
		t.Partitions = append(t.Partitions, p.Index)
	}
	return q
}

// fetched reads the answer.
func fetched(r *kmsg.FetchResponse) (*partition.FetchResponse, error) {
	out := new(partition.FetchResponse)
	for i := range r.Topics {
		for j := range r.Topics[i].Partitions {
			in := &r.Topics[i].Partitions[j]
			p := partition.Fetched{
				PartitionID: partition.PartitionID{Topic: r.Topics[i].TopicID, Index: in.Partition}, Err: kerr.ErrorForCode(in.ErrorCode),
				HighWatermark: in.HighWatermark, LogStart: in.LogStartOffset, DivergingEpoch: in.DivergingEpoch.Epoch,
				DivergingEnd: in.DivergingEpoch.EndOffset, Records: in.RecordBatches,
			}
			out.Partitions = append(out.Partitions, p)
		}
	}
	return out, nil
}

// AlterPartition asks the controller for changes of ISRs. The members come with their broker epochs, as they were when the change
// was proposed (Z9); only this broker's own is entered here.
func (l *replicaLink) AlterPartition(ctx context.Context, changes []partition.Alteration) ([]partition.Altered, error) {
	epoch := l.b.epoch.Load()
	if epoch == 0 {
		return nil, errNotRegistered
	}
	q := kmsg.NewPtrAlterPartitionRequest()
	q.Version, q.BrokerID, q.BrokerEpoch = 3, int32(l.b.cfg.NodeID), epoch
	for i := range changes {
		c := &changes[i]
		if n := len(q.Topics); n == 0 || q.Topics[n-1].TopicID != c.Topic {
			t := kmsg.NewAlterPartitionRequestTopic()
			t.TopicID = c.Topic
			q.Topics = append(q.Topics, t)
		}
		t := &q.Topics[len(q.Topics)-1]
		p := kmsg.NewAlterPartitionRequestTopicPartition()
		p.Partition, p.LeaderEpoch, p.PartitionEpoch = c.Index, c.LeaderEpoch, c.PartitionEpoch
		for _, m := range c.ISR {
			e := kmsg.NewAlterPartitionRequestTopicPartitionNewEpochISR()
			e.BrokerID, e.BrokerEpoch = int32(m.ID), m.BrokerEpoch
			if m.ID == l.b.cfg.NodeID {
				e.BrokerEpoch = epoch
			}
			p.NewEpochISR = append(p.NewEpochISR, e)
		}
		t.Partitions = append(t.Partitions, p)
	}
	ctx, cancel := context.WithTimeout(ctx, l.b.cfg.SessionTimeout)
	defer cancel()
	answer, err := l.b.toController(ctx, q)
	if err == nil {
		err = refusedBy(answer)
	}
	if err != nil {
		return nil, err
	}
	return alteredOf(answer.(*kmsg.AlterPartitionResponse), changes)
}

// alteredOf puts the answers in the order of the changes.
func alteredOf(r *kmsg.AlterPartitionResponse, changes []partition.Alteration) ([]partition.Altered, error) {
	answers := map[partition.PartitionID]partition.Altered{}
	for _, t := range r.Topics {
		for _, p := range t.Partitions {
			answers[partition.PartitionID{Topic: t.TopidID, Index: p.Partition}] = partition.Altered{
				Err: kerr.ErrorForCode(p.ErrorCode), LeaderEpoch: p.LeaderEpoch, PartitionEpoch: p.PartitionEpoch, ISR: nodeIDs(p.ISR),
			}
		}
	}
	out := make([]partition.Altered, len(changes))
	for i := range changes {
		a, ok := answers[changes[i].PartitionID]
		if !ok {
			return nil, fmt.Errorf("the controller did not answer for partition %d of %s", changes[i].Index, changes[i].Topic)
		}
		out[i] = a
	}
	return out, nil
}
