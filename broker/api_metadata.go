package broker

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// Metadata (key 3), versions 0-13.
//
//	0  empty array = all topics     4  auto-creation flag    8  authorized operations   12  topic ids in requests
//	1  null = all, empty = none     5  offline replicas     10  topic ids in answers    13  top-level error
//
// A request that creates a topic waits until the topic is committed, is in this broker's image and has a leader, at
// most autoCreateWait; otherwise default clients lose 5-10 s on their first record (trap 38). Only a name that was
// deleted a moment ago is created without being waited for. It also waits while a broker is in doubt (doubt.go).

const (
	autoCreateWait = time.Second
	// autoCreateMax bounds how many topics one request may create (bad input 47).
	autoCreateMax = 1000
	// operationsUnknown says that authorized operations were not asked for.
	operationsUnknown = -1 << 31
	// What anybody may do while there is no authorizer, as Kafka's bit fields of ACL operations.
	topicOperations   = 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<11
	clusterOperations = 1<<5 | 1<<7 | 1<<8 | 1<<9 | 1<<10 | 1<<11 | 1<<12
	groupOperations   = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11
)

func (b *Broker) metadata(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.MetadataRequest)
	b.doubts.wait(ctx)
	resp := q.ResponseKind().(*kmsg.MetadataResponse)
	all := q.Topics == nil || q.Version == 0 && len(q.Topics) == 0
	if !all {
		b.createMissing(ctx, r, q, resp)
	}
	img := b.view()
	resp.ClusterID = kmsg.StringPtr(img.ClusterID())
	resp.ControllerID = -1
	resp.AuthorizedOperations = operationsUnknown
	if q.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
	b.listBrokers(r, img, resp)
	if all {
		for t := range img.Topics() {
			resp.Topics = append(resp.Topics, b.describeTopic(r, img, t, q))
		}
		return resp, nil
	}
	resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(q.Topics))
	for i := range q.Topics {
		resp.Topics = append(resp.Topics, b.findTopic(r, img, &q.Topics[i], q))
	}
	return resp, nil
}

// listBrokers names the live brokers by their addresses on the request's listener. The controller is any live
// broker, since every broker forwards.
func (b *Broker) listBrokers(r *request, img view, resp *kmsg.MetadataResponse) {
	for broker := range img.Brokers() {
		host, port, ok := r.s.advertised(broker)
		if img.live(broker.ID) == nil || !ok {
			continue
		}
		m := kmsg.NewMetadataResponseBroker()
		m.NodeID, m.Host, m.Port = int32(broker.ID), host, port
		if broker.Rack != "" {
			m.Rack = kmsg.StringPtr(broker.Rack)
		}
		resp.Brokers = append(resp.Brokers, m)
	}
	if n := len(resp.Brokers); n > 0 {
		resp.ControllerID = resp.Brokers[rand.IntN(n)].NodeID
	}
}

// createMissing creates the topics that do not exist, if both the broker and the request allow it.
func (b *Broker) createMissing(ctx context.Context, r *request, q *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	if !b.cfg.AutoCreateTopics || q.Version >= 4 && !q.AllowAutoTopicCreation {
		return
	}
	img := b.image()
	var missing, again []string
	for i := range q.Topics {
		name := q.Topics[i].Topic
		if name == nil || metadata.InternalTopic(*name) && *name != offsetsTopic {
			continue // a client does not make internal topics of features that are not there (bad input 127)
		}
		switch {
		case img.Topic(*name) != nil || metadata.ValidTopicName(*name) != nil:
		case b.deleted.has(*name, time.Now()):
			again = append(again, *name)
		default:
			missing = append(missing, *name)
		}
	}
	if len(missing)+len(again) > autoCreateMax {
		return
	}
	spent := r.mutations(neverStrict)
	_ = spent.charge((len(missing) + len(again)) * int(b.cfg.NumPartitions)) // refuses nothing
	spent.tell(&resp.ThrottleMillis)
	if len(again) > 0 {
		b.background(func(ctx context.Context) { b.autoCreate(ctx, again) })
	}
	if len(missing) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, autoCreateWait)
	defer cancel()
	b.autoCreate(ctx, missing)
}

// findTopic describes one topic asked for by name or id.
func (b *Broker) findTopic(r *request, img view, in *kmsg.MetadataRequestTopic, q *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID = in.Topic, in.TopicID
	out.AuthorizedOperations = operationsUnknown
	if in.Topic == nil {
		switch t := img.TopicByID(in.TopicID); {
		case q.Version < 12:
			out.ErrorCode = kerr.InvalidRequest.Code // names only before version 12
		case t == nil:
			out.ErrorCode = kerr.UnknownTopicID.Code
		default:
			return b.describeTopic(r, img, t, q)
		}
		return out
	}
	if t := img.Topic(*in.Topic); t != nil {
		return b.describeTopic(r, img, t, q)
	}
	out.TopicID = [16]byte{}
	out.ErrorCode = kerr.UnknownTopicOrPartition.Code
	if metadata.ValidTopicName(*in.Topic) != nil {
		out.ErrorCode = kerr.InvalidTopicException.Code
	} else if b.cfg.AutoCreateTopics && (q.Version < 4 || q.AllowAutoTopicCreation) {
		out.ErrorCode = kerr.LeaderNotAvailable.Code // being created, not here yet
	}
	return out
}

// describeTopic is the full answer for one topic.
func (b *Broker) describeTopic(r *request, img view, t *metadata.Topic, q *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	out := kmsg.NewMetadataResponseTopic()
	out.Topic, out.TopicID, out.IsInternal = kmsg.StringPtr(t.Name), t.ID, t.Internal
	out.AuthorizedOperations = operationsUnknown
	if q.IncludeTopicAuthorizedOperations {
		out.AuthorizedOperations = topicOperations
	}
	out.Partitions = make([]kmsg.MetadataResponseTopicPartition, 0, len(t.Partitions))
	for i := range t.Partitions {
		p := t.Partitions[i]
		m := kmsg.NewMetadataResponseTopicPartition()
		m.Partition, m.Leader, m.LeaderEpoch = int32(i), int32(p.Leader), p.LeaderEpoch
		m.Replicas, m.ISR = int32s(p.Replicas), int32s(p.ISR)
		m.OfflineReplicas = offline(img, p)
		m.ErrorCode = r.s.leaderError(img, p.Leader, q.Version)
		if m.ErrorCode != 0 {
			m.Leader = -1
		}
		out.Partitions = append(out.Partitions, m)
	}
	return out
}

// leaderError says why clients of this listener cannot reach the leader: 0, LEADER_NOT_AVAILABLE, or
// LISTENER_NOT_FOUND from version 6 on.
func (s *session) leaderError(img view, leader metadata.NodeID, version int16) int16 {
	broker := img.live(leader)
	if broker == nil {
		return kerr.LeaderNotAvailable.Code
	}
	if _, _, ok := s.advertised(broker); !ok {
		if version < 6 {
			return kerr.LeaderNotAvailable.Code
		}
		return kerr.ListenerNotFound.Code
	}
	return 0
}

// offline lists the replicas on brokers that are gone, fenced or late.
func offline(img view, p *metadata.Partition) []int32 {
	out := []int32{}
	for _, id := range p.Replicas {
		if img.live(id) == nil {
			out = append(out, int32(id))
		}
	}
	return out
}

func int32s(ids []metadata.NodeID) []int32 {
	out := make([]int32, len(ids))
	for i, id := range ids {
		out[i] = int32(id)
	}
	return out
}
