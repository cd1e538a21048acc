package abuse

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/protocol"
)

// brokers is section H: what only brokers say to each other, said by somebody else. Cases on the internal listener are
// played at the active controller.
func brokers(g *Ground) []Case {
	const foreign = "AAAAAAAAAAAAAAAAAAAAAA"
	cases := []Case{
		{Number: 116, Name: "what ApiVersions offers", Play: offersNothingInternal},
		{Number: 121, Name: "a raft stream that is no CBOR", Play: g.inside(closes(own(protocol.RaftStream, []byte{0xff})))},
		{Number: 121, Name: "a raft stream of nobody", Play: g.inside(closes(own(protocol.RaftStream, nil)))},
		{Number: 121, Name: "a raft stream of another cluster", Play: g.inside(ownRefused(protocol.RaftStream, kerr.InconsistentClusterID, map[int]any{1: foreign, 2: 9}))},
		{Number: 121, Name: "nonsense on a raft stream", Play: g.inside(g.nonsense)},
		{Number: 123, Name: "a registration of another cluster", Play: g.inside(register(foreign))},
		{Number: 123, Name: "a metadata feed of another cluster", Play: g.inside(ownRefused(protocol.FetchMetadata, kerr.InconsistentClusterID, map[int]any{1: foreign, 2: 9}))},
		{Number: 123, Name: "a lost peer of another cluster", Play: g.inside(ownRefused(protocol.PeerLost, kerr.InconsistentClusterID, map[int]any{1: foreign, 2: 9, 3: 1}))},
	}
	for name, q := range g.asFollower() {
		cases = append(cases, Case{Number: 115, Name: name, Play: refuses(kerr.TopicAuthorizationFailed, ask(q), fetchCode)})
	}
	for name, frame := range internalFrames() {
		cases = append(cases, Case{Number: 116, Name: name, Play: closes(frame)})
	}
	for _, epoch := range []int64{-1, 0, math.MaxInt64} {
		for _, q := range ofEpoch(epoch) {
			name := fmt.Sprintf("%s of epoch %d", kmsg.NameForKey(q.Key()), epoch)
			cases = append(cases, Case{Number: 119, Name: name, Play: g.inside(refusesInside(kerr.StaleBrokerEpoch, q))})
		}
	}
	for name, say := range strangersWords() {
		cases = append(cases, Case{Number: 121, Name: name, Play: g.inside(g.refusedByRaft(say))})
	}
	return cases
}

// inside plays on a connection to the internal listener instead of the client's.
func (g *Ground) inside(play func(*Conn) error) func(*Conn) error {
	return func(*Conn) error {
		c, err := Dial(g.Internal)
		if err != nil {
			return err
		}
		defer c.Close()
		return play(c)
	}
}

// asFollower are fetches that claim to be a broker's, in both forms there are.
func (g *Ground) asFollower() map[string]kmsg.Request {
	out := map[string]kmsg.Request{}
	for _, id := range []int32{0, 1, 2, 3, 7, math.MaxInt32} {
		old := fetch(12, 0, 0, 1<<20, part{topic: "victim", offset: 1, most: 1 << 20})
		old.ReplicaID = id
		out[fmt.Sprintf("replica id %d", id)] = old
		young := fetch(17, 0, 0, 1<<20, part{id: g.Victim, offset: 1, most: 1 << 20})
		young.ReplicaState.ID, young.ReplicaState.Epoch = id, 1
		out[fmt.Sprintf("replica state of %d", id)] = young
	}
	return out
}

// internalKeys are Kafka's requests among brokers and controllers, served here or not.
var internalKeys = []int16{4, 5, 6, 7, 52, 53, 54, 56, 58, 59, 62, 63, 67, 70, 73, 82}

func internalFrames() map[string][]byte {
	out := map[string][]byte{}
	for _, key := range internalKeys {
		q := kmsg.RequestForKey(key)
		if q == nil {
			continue
		}
		for _, version := range []int16{0, q.MaxVersion()} {
			q.SetVersion(version)
			out[fmt.Sprintf("%s %d", kmsg.NameForKey(key), version)] = request(q, 1)
		}
	}
	for _, key := range []protocol.Key{protocol.RaftStream, protocol.FetchMetadata, protocol.Hello, protocol.PeerLost} {
		out[fmt.Sprintf("our own key %d", key)] = own(key, []byte{0xa0})
	}
	return out
}

func offersNothingInternal(c *Conn) error {
	q := kmsg.NewPtrApiVersionsRequest()
	q.Version = 3
	resp, err := c.Ask(q)
	if err != nil {
		return err
	}
	for _, k := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		for _, key := range internalKeys {
			if k.ApiKey == key || k.ApiKey >= int16(protocol.RaftStream) {
				return fmt.Errorf("key %d is offered", k.ApiKey)
			}
		}
	}
	return nil
}

// ofEpoch are requests of broker 1 in a life that it does not have.
func ofEpoch(epoch int64) []kmsg.Request {
	heartbeat := kmsg.NewPtrBrokerHeartbeatRequest()
	heartbeat.Version, heartbeat.BrokerID, heartbeat.BrokerEpoch, heartbeat.WantFence, heartbeat.WantShutdown = 1, 1, epoch, true, true
	alter := kmsg.NewPtrAlterPartitionRequest()
	alter.Version, alter.BrokerID, alter.BrokerEpoch = 3, 1, epoch
	ids := kmsg.NewPtrAllocateProducerIDsRequest()
	ids.BrokerID, ids.BrokerEpoch = 1, epoch
	return []kmsg.Request{heartbeat, alter, ids}
}

func refusesInside(want *kerr.Error, q kmsg.Request) func(*Conn) error {
	return func(c *Conn) error {
		resp, err := c.Ask(q)
		if err != nil {
			return err
		}
		switch r := resp.(type) {
		case *kmsg.BrokerHeartbeatResponse:
			return is(r.ErrorCode, want)
		case *kmsg.AlterPartitionResponse:
			return is(r.ErrorCode, want)
		case *kmsg.AllocateProducerIDsResponse:
			return is(r.ErrorCode, want)
		case *kmsg.BrokerRegistrationResponse:
			return is(r.ErrorCode, want)
		}
		return errors.New("an answer of another kind")
	}
}

func register(cluster string) func(*Conn) error {
	q := kmsg.NewPtrBrokerRegistrationRequest()
	q.Version, q.BrokerID, q.ClusterID, q.IncarnationID = 4, 1, cluster, [16]byte{1}
	return refusesInside(kerr.InconsistentClusterID, q)
}

// own is the frame of one of our own keys.
func own(key protocol.Key, body []byte) []byte { return protocol.AppendOwnRequest(nil, key, 1, body) }

// askOwn sends one of our own keys and returns the error code in the answer.
func (c *Conn) askOwn(key protocol.Key, fields map[int]any) (int16, error) {
	body, err := cbor.Marshal(fields)
	if err != nil {
		return 0, err
	}
	if _, err := c.Write(own(key, body)); err != nil {
		return 0, err
	}
	b, err := c.frame()
	if err != nil {
		return 0, err
	}
	var answer struct {
		Code int16 `cbor:"1,keyasint"`
	}
	return answer.Code, cbor.Unmarshal(b[4:], &answer)
}

func ownRefused(key protocol.Key, want *kerr.Error, fields map[int]any) func(*Conn) error {
	return func(c *Conn) error {
		code, err := c.askOwn(key, fields)
		if err != nil {
			return err
		}
		return is(code, want)
	}
}

// Greet says hello as a controller would, and wants an answer.
func (c *Conn) Greet() error {
	body, err := cbor.Marshal(map[int]any{1: strangerID, 2: make([]byte, 16)})
	if err != nil {
		return err
	}
	if _, err := c.Write(own(protocol.Hello, body)); err != nil {
		return err
	}
	_, err = c.frame()
	return err
}

// stream turns a connection into raft's, of a node that is no voter.
func (g *Ground) stream(c *Conn) error {
	code, err := c.askOwn(protocol.RaftStream, map[int]any{1: g.ClusterID, 2: strangerID})
	if err != nil {
		return err
	}
	return is(code, nil)
}

const strangerID = 99

func (g *Ground) nonsense(c *Conn) error {
	if err := g.stream(c); err != nil {
		return err
	}
	if _, err := c.Write(bytes.Repeat([]byte{0, 0xdf, 0xff, 0xff, 0xff, 0xff, 0xdb}, 100)); err != nil {
		return err
	}
	if err := c.CloseWrite(); err != nil { // raft waits for the rest of what it takes for a message
		return err
	}
	return c.Closed()
}

// strangersWords are what a node that is no voter might say to depose the leader.
func strangersWords() map[string]func(*raft.NetworkTransport) error {
	const high = math.MaxUint64
	header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(fmt.Sprint(strangerID)), Addr: []byte(fmt.Sprint(strangerID))}
	return map[string]func(*raft.NetworkTransport) error{
		"a heartbeat of a stranger": func(t *raft.NetworkTransport) error {
			return t.AppendEntries("1", "1", &raft.AppendEntriesRequest{RPCHeader: header, Term: high}, new(raft.AppendEntriesResponse))
		},
		"entries of a stranger, behind a gap": func(t *raft.NetworkTransport) error {
			return t.AppendEntries("1", "1", &raft.AppendEntriesRequest{RPCHeader: header, Term: high, PrevLogEntry: 1 << 40, PrevLogTerm: high,
				Entries: []*raft.Log{{Index: 1<<40 + 1, Term: high}}}, new(raft.AppendEntriesResponse))
		},
		"a stranger wants votes": func(t *raft.NetworkTransport) error {
			return t.RequestVote("1", "1", &raft.RequestVoteRequest{RPCHeader: header, Term: high, LastLogIndex: 1 << 40, LastLogTerm: high, LeadershipTransfer: true}, new(raft.RequestVoteResponse))
		},
		"somebody without a name wants votes": func(t *raft.NetworkTransport) error {
			return t.RequestVote("1", "1", &raft.RequestVoteRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}, Term: high, LeadershipTransfer: true}, new(raft.RequestVoteResponse))
		},
		"a stranger asks for an election": func(t *raft.NetworkTransport) error {
			return t.TimeoutNow("1", "1", &raft.TimeoutNowRequest{RPCHeader: header}, new(raft.TimeoutNowResponse))
		},
		"a stranger's snapshot, shorter than it says": func(t *raft.NetworkTransport) error {
			return t.InstallSnapshot("1", "1", &raft.InstallSnapshotRequest{RPCHeader: header, Term: high, LastLogIndex: 1 << 40, Size: 100}, new(raft.InstallSnapshotResponse), bytes.NewReader(make([]byte, 7)))
		},
		"a voter's name and term 2^64-1": func(t *raft.NetworkTransport) error {
			return t.AppendEntries("1", "1", &raft.AppendEntriesRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte("1"), Addr: []byte("1")}, Term: high}, new(raft.AppendEntriesResponse))
		},
	}
}

// refusedByRaft says something on a raft stream; it must not be taken.
func (g *Ground) refusedByRaft(say func(*raft.NetworkTransport) error) func(*Conn) error {
	return func(c *Conn) error {
		if err := g.stream(c); err != nil {
			return err
		}
		t := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
			Stream: &oneStream{c: c, closed: make(chan struct{})}, Timeout: patience, Logger: hclog.NewNullLogger()})
		defer t.Close()
		if err := say(t); err == nil {
			return errors.New("raft takes it")
		}
		return nil
	}
}

// oneStream hands out a single connection, and accepts none.
type oneStream struct {
	c      *Conn
	closed chan struct{}
}

func (s *oneStream) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s *oneStream) Close() error              { close(s.closed); return nil }
func (s *oneStream) Addr() net.Addr            { return s.c.LocalAddr() }
func (s *oneStream) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return s.c.TCPConn, nil
}

// impossible is bad input 140: topics that cannot be.
func impossible() []Case {
	var cases []Case
	add := func(name string, want *kerr.Error, partitions int32, factor int16, assignment ...[]int32) {
		q := create("impossible")
		t := &q.Topics[0]
		t.NumPartitions, t.ReplicationFactor = partitions, factor
		for i, replicas := range assignment {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(i), replicas
			t.ReplicaAssignment = append(t.ReplicaAssignment, a)
		}
		cases = append(cases, Case{Number: 140, Name: name, Play: refuses(want, ask(q), createCode)})
	}
	add("10^6 partitions", kerr.PolicyViolation, 1_000_000, 1)
	add("2^31-1 partitions", kerr.PolicyViolation, math.MaxInt32, 1)
	add("0 partitions", kerr.InvalidPartitions, 0, 1)
	add("-2 partitions", kerr.InvalidPartitions, -2, 1)
	add("32,767 replicas", kerr.InvalidReplicationFactor, 1, math.MaxInt16)
	add("0 replicas", kerr.InvalidReplicationFactor, 1, 0)
	add("-2 replicas", kerr.InvalidReplicationFactor, 1, -2)
	add("a broker that is not there", kerr.InvalidReplicaAssignment, -1, -1, []int32{77})
	add("a broker twice", kerr.InvalidReplicaAssignment, -1, -1, []int32{1, 1})
	add("a negative broker", kerr.InvalidReplicaAssignment, -1, -1, []int32{-1})
	add("a partition without replicas", kerr.InvalidReplicaAssignment, -1, -1, []int32{1}, nil)
	add("an assignment and a count", kerr.InvalidRequest, 5, 1, []int32{1})
	return cases
}
