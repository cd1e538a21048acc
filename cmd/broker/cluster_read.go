package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker"
)

func comparePartitions(a, b partitionID) int {
	return cmp.Or(strings.Compare(a.topic, b.topic), cmp.Compare(a.index, b.index))
}

// briefWait is how long a part of the cluster may take that the rest can be judged without.
const briefWait = 5 * time.Second

// clusterClient asks a cluster about itself, also what kadm has no words for.
type clusterClient struct {
	*kadm.Client
	kgo *kgo.Client
}

// view asks for everything the rules judge. What brokers or the controllers do not tell is missing in it, not an error:
// an operator asks most when something is broken.
func (c *clusterClient) view(ctx context.Context) (*clusterView, error) {
	meta, err := c.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	v := &clusterView{id: meta.Cluster}
	if v.brokers, err = c.brokers(ctx, meta.Brokers); err != nil {
		return nil, err
	}
	at := map[partitionID]*clusterPartition{}
	for _, t := range meta.Topics.Sorted() {
		for _, p := range t.Partitions.Sorted() {
			v.partitions = append(v.partitions, clusterPartition{
				partitionID: partitionID{t.Topic, p.Partition}, leader: p.Leader, replicas: p.Replicas, isr: p.ISR, offline: p.OfflineReplicas,
				minISR: 1, sizes: map[int32]int64{},
			})
		}
	}
	for i := range v.partitions {
		at[v.partitions[i].partitionID] = &v.partitions[i]
	}
	if err := c.reassignments(ctx, at); err != nil {
		return nil, err
	}
	if err := c.minISR(ctx, meta.Topics.Names(), v.partitions); err != nil {
		return nil, err
	}
	if err := c.eligible(ctx, at); err != nil {
		return nil, err
	}
	if err := c.directories(ctx, v, at); err != nil {
		return nil, err
	}
	c.decommissioned(ctx, v)
	c.halted(ctx, v, at)
	v.quorum = c.quorum(ctx)
	return v, ctx.Err()
}

// brokers are the registered ones; a cluster that does not tell of fenced ones has its live ones only.
func (c *clusterClient) brokers(ctx context.Context, live kadm.BrokerDetails) ([]clusterBroker, error) {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.IncludeFencedBrokers = true
	resp, err := req.RequestWith(ctx, c.kgo)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("which brokers there are: %w", err)
	}
	out := []clusterBroker{}
	for _, b := range resp.Brokers {
		n := clusterBroker{id: b.NodeID, addr: net.JoinHostPort(b.Host, strconv.Itoa(int(b.Port))), live: !b.IsFenced}
		if b.Rack != nil {
			n.rack = *b.Rack
		}
		n.live = n.live && slices.ContainsFunc(live, func(d kadm.BrokerDetail) bool { return d.NodeID == n.id })
		out = append(out, n)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].id < out[j].id }) // the generic sort would be 15 KB of code for this type
	return out, nil
}

// listReassignments asks for all that are in progress.
func (c *clusterClient) listReassignments(ctx context.Context) ([]kadm.ListPartitionReassignmentsResponse, error) {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis = int32(adminWait.Milliseconds())
	resp, err := req.RequestWith(ctx, c.kgo)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return nil, fmt.Errorf("which reassignments are in progress: %w", err)
	}
	var out []kadm.ListPartitionReassignmentsResponse
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			out = append(out, kadm.ListPartitionReassignmentsResponse{
				Topic: t.Topic, Partition: p.Partition, Replicas: p.Replicas, AddingReplicas: p.AddingReplicas, RemovingReplicas: p.RemovingReplicas,
			})
		}
	}
	return out, nil
}

func (c *clusterClient) reassignments(ctx context.Context, at map[partitionID]*clusterPartition) error {
	list, err := c.listReassignments(ctx)
	for _, r := range list {
		// It may have begun or ended since the partition was described: then the newer answer counts.
		if p := at[partitionID{r.Topic, r.Partition}]; p != nil {
			p.replicas, p.adding, p.removing = r.Replicas, r.AddingReplicas, r.RemovingReplicas
		}
	}
	return err
}

const minISRConfig = "min.insync.replicas"

// minISR fills in how many replicas must be in sync before acks=all is answered.
func (c *clusterClient) minISR(ctx context.Context, topics []string, partitions []clusterPartition) error {
	values, err := c.topicConfigs(ctx, topics, minISRConfig)
	if err != nil {
		return fmt.Errorf("%s of the topics: %w", minISRConfig, err)
	}
	for i := range partitions {
		p := &partitions[i]
		if n, err := strconv.Atoi(values[p.topic][minISRConfig]); err == nil {
			p.minISR = max(1, min(n, len(p.replicas)-len(p.adding)))
		}
	}
	return nil
}

// topicConfigs is the values of some configs, of those topics that have them.
func (c *clusterClient) topicConfigs(ctx context.Context, topics []string, keys ...string) (map[string]map[string]string, error) {
	out := map[string]map[string]string{}
	if len(topics) == 0 {
		return out, nil
	}
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, t := range topics {
		r := kmsg.NewDescribeConfigsRequestResource()
		r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeTopic, t, keys
		req.Resources = append(req.Resources, r)
	}
	resp, err := req.RequestWith(ctx, c.kgo)
	if err != nil {
		return nil, err
	}
	for _, r := range resp.Resources { // a topic with an error was deleted meanwhile
		out[r.ResourceName] = map[string]string{}
		for _, e := range r.Configs {
			if e.Value != nil {
				out[r.ResourceName][e.Name] = *e.Value
			}
		}
	}
	return out, nil
}

// eligible asks who could lead the partitions that nobody leads. Brokers before Kafka 3.8 cannot tell.
func (c *clusterClient) eligible(ctx context.Context, at map[partitionID]*clusterPartition) error {
	topics := map[string]bool{}
	for _, p := range at {
		if p.leader < 0 {
			topics[p.topic] = true
		}
	}
	if len(topics) == 0 {
		return nil
	}
	if served, err := c.serves(ctx, kmsg.DescribeTopicPartitions); err != nil || !served {
		return err
	}
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	for _, name := range slices.Sorted(maps.Keys(topics)) {
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = name
		req.Topics = append(req.Topics, t)
	}
	for {
		resp, err := req.RequestWith(ctx, c.kgo)
		if err != nil {
			return fmt.Errorf("who may lead partitions without a leader: %w", err)
		}
		for _, t := range resp.Topics {
			for _, d := range t.Partitions {
				if t.Topic == nil {
					continue
				}
				if p := at[partitionID{*t.Topic, d.Partition}]; p != nil {
					p.eligible = append(slices.Clone(d.EligibleLeaderReplicas), d.LastKnownELR...)
				}
			}
		}
		if resp.NextCursor == nil {
			return nil
		}
		next := kmsg.NewDescribeTopicPartitionsRequestCursor()
		next.Topic, next.Partition = resp.NextCursor.Topic, resp.NextCursor.Partition
		req.Cursor = &next
	}
}

// directories fills in the data directories of live brokers and the sizes of the replicas in them.
func (c *clusterClient) directories(ctx context.Context, v *clusterView, at map[partitionID]*clusterPartition) error {
	brief, cancel := context.WithTimeout(ctx, briefWait)
	defer cancel()
	all, err := c.DescribeAllLogDirs(brief, nil)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	for i := range v.brokers {
		b := &v.brokers[i]
		told, ok := all[b.id]
		if !ok && b.live {
			if b.dirsErr = err; err == nil {
				b.dirsErr = kerr.BrokerNotAvailable
			}
		}
		for _, d := range told.Sorted() {
			b.dirs = append(b.dirs, logDir{path: d.Dir, err: d.Err, free: d.UsableBytes, total: d.TotalBytes})
			d.Topics.Each(func(p kadm.DescribedLogDirPartition) {
				if it := at[partitionID{p.Topic, p.Partition}]; it != nil && !p.IsFuture {
					it.sizes[b.id] = p.Size
				}
			})
		}
	}
	return nil
}

// decommissioned fills in which brokers are being emptied for good. Each live broker tells of itself; one that does not
// tell is taken to stay.
func (c *clusterClient) decommissioned(ctx context.Context, v *clusterView) {
	brief, cancel := context.WithTimeout(ctx, briefWait)
	defer cancel()
	req := kmsg.NewPtrDescribeConfigsRequest()
	for _, b := range v.brokers {
		if b.live {
			r := kmsg.NewDescribeConfigsRequestResource()
			r.ResourceType, r.ResourceName, r.ConfigNames = kmsg.ConfigResourceTypeBroker, strconv.Itoa(int(b.id)), []string{broker.DecommissionKey}
			req.Resources = append(req.Resources, r)
		}
	}
	for _, shard := range c.kgo.RequestSharded(brief, req) {
		resp, ok := shard.Resp.(*kmsg.DescribeConfigsResponse)
		if shard.Err != nil || !ok {
			continue
		}
		for _, r := range resp.Resources {
			for _, e := range r.Configs {
				if id, err := strconv.ParseInt(r.ResourceName, 10, 32); err == nil && e.Value != nil && *e.Value == "true" {
					v.broker(int32(id)).leaves = true
				}
			}
		}
	}
}

// halted asks live brokers whose replicas are not in sync whether these have stopped. Who does not tell has not.
func (c *clusterClient) halted(ctx context.Context, v *clusterView, at map[partitionID]*clusterPartition) {
	brief, cancel := context.WithTimeout(ctx, briefWait)
	defer cancel()
	asks := map[int32]*kmsg.DescribeLogDirsRequest{}
	for i := range v.partitions {
		p := &v.partitions[i]
		for _, id := range less(p.replicas, p.isr) {
			if !v.live(id) {
				continue
			}
			if asks[id] == nil {
				asks[id] = kmsg.NewPtrDescribeLogDirsRequest()
			}
			t := kmsg.NewDescribeLogDirsRequestTopic()
			t.Topic, t.Partitions = p.topic, []int32{p.index}
			asks[id].Topics = append(asks[id].Topics, t)
		}
	}
	for id, req := range asks {
		answer, err := c.kgo.Broker(int(id)).Request(brief, req)
		if err != nil {
			continue
		}
		for _, dir := range answer.(*kmsg.DescribeLogDirsResponse).Dirs {
			for _, t := range dir.Topics {
				for _, d := range t.Partitions {
					d.UnknownTags.Each(func(tag uint32, why []byte) {
						if p := at[partitionID{t.Topic, d.Partition}]; p != nil && tag == broker.TagHalted {
							p.halt(id, string(why))
						}
					})
				}
			}
		}
	}
}

// quorum is the controllers, or why they did not answer.
func (c *clusterClient) quorum(ctx context.Context) quorumView {
	ctx, cancel := context.WithTimeout(ctx, briefWait)
	defer cancel()
	req := kmsg.NewPtrDescribeQuorumRequest()
	t, p := kmsg.NewDescribeQuorumRequestTopic(), kmsg.NewDescribeQuorumRequestTopicPartition()
	t.Topic = "__cluster_metadata"
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, c.kgo)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err == nil && (len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1) {
		err = kerr.UnknownServerError
	}
	if err == nil {
		err = kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode)
	}
	if err != nil {
		return quorumView{leader: -1, err: err}
	}
	return newQuorumView(resp)
}

func newQuorumView(resp *kmsg.DescribeQuorumResponse) quorumView {
	p := resp.Topics[0].Partitions[0]
	q := quorumView{leader: p.LeaderID, epoch: p.LeaderEpoch}
	addrs := map[int32]string{}
	for _, n := range resp.Nodes {
		for _, l := range n.Listeners {
			addrs[n.NodeID] = net.JoinHostPort(l.Host, strconv.Itoa(int(l.Port)))
		}
	}
	end, now := int64(-1), int64(-1) // of the leader, which hears of itself at once
	for _, m := range p.CurrentVoters {
		if m.ReplicaID == p.LeaderID {
			end, now = m.LogEndOffset, m.LastFetchTimestamp
		}
	}
	member := func(in kmsg.DescribeQuorumResponseTopicPartitionReplicaState) quorumMember {
		m := quorumMember{id: in.ReplicaID, dir: in.ReplicaDirectoryID, addr: addrs[in.ReplicaID], end: in.LogEndOffset, lag: max(0, end-in.LogEndOffset)}
		if m.known = in.LastFetchTimestamp >= 0 || in.ReplicaID == p.LeaderID; m.known && in.LastFetchTimestamp >= 0 {
			m.silent = max(0, time.Duration(now-in.LastFetchTimestamp)*time.Millisecond)
		}
		return m
	}
	for _, m := range p.CurrentVoters {
		q.voters = append(q.voters, member(m))
	}
	for _, m := range p.Observers {
		q.observers = append(q.observers, member(m))
	}
	for _, list := range [][]quorumMember{q.voters, q.observers} {
		sort.Slice(list, func(i, j int) bool { return list[i].id < list[j].id })
	}
	return q
}

// serves reports whether every broker that answers serves an API.
func (c *clusterClient) serves(ctx context.Context, key kmsg.Key) (bool, error) {
	all, err := c.ApiVersions(ctx)
	if err != nil {
		return false, err
	}
	for _, b := range all {
		if _, ok := b.KeyMaxVersion(key.Int16()); b.Err == nil && !ok {
			return false, nil
		}
	}
	return true, nil
}

// wants ends a command that needs an API some broker does not serve, before anything is done.
func (c *clusterClient) wants(ctx context.Context, key kmsg.Key, until string) error {
	if ok, err := c.serves(ctx, key); err != nil || ok {
		return err
	}
	return fmt.Errorf("not every broker serves %s (key %d); upgrade them, %s", key.Name(), key.Int16(), until)
}
