package broker

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/peer"
	"cordwood/metadata"
	"cordwood/protocol"
)

// internal sends one of our own messages to the internal listener and reads the answer.
func (n *node) internal(t *testing.T, key protocol.Key, q, answer any) {
	t.Helper()
	c, err := net.Dial("tcp", n.b.Addrs().Internal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	body, err := cbor.Marshal(q)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(protocol.AppendOwnRequest(nil, key, 7, body)); err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	var head [8]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(head[:])-4)
	if _, err := io.ReadFull(c, frame); err != nil {
		t.Fatal(err)
	}
	if err := cbor.Unmarshal(frame, answer); err != nil {
		t.Fatal(err)
	}
}

func TestMetadataFeedLeadsToTheBrokersOwnImage(t *testing.T) {
	n := startNode(t, t.TempDir())
	if _, err := kadm.NewClient(n.client()).CreateTopic(testContext(t), 3, 1, nil, "fed"); err != nil {
		t.Fatal(err)
	}
	img := metadata.Empty()
	for img.Index() < n.b.image().Index() {
		var got feedResponse
		n.internal(t, protocol.FetchMetadata, feedRequest{ClusterID: n.b.clusterID(), FromIndex: img.Index(), MaxWaitMillis: 1000}, &got)
		if got.Code != 0 {
			t.Fatal(kerr.ErrorForCode(got.Code))
		}
		if got.Image != nil {
			whole, err := metadata.DecodeImage(got.Image)
			if err != nil {
				t.Fatal(err)
			}
			img = whole
		}
		for _, e := range got.Entries {
			changes, err := metadata.DecodeChanges(e.Changes)
			if err != nil {
				t.Fatal(err)
			}
			if img, err = img.With(e.Index, changes); err != nil {
				t.Fatal(err)
			}
		}
	}
	if img.Topic("fed") == nil || len(img.Topic("fed").Partitions) != 3 || img.ClusterID() != n.b.clusterID() {
		t.Errorf("the feed leads to an image without the topic: %+v", img.Topic("fed"))
	}
	var foreign feedResponse
	n.internal(t, protocol.FetchMetadata, feedRequest{ClusterID: "other"}, &foreign)
	if foreign.Code != kerr.InconsistentClusterID.Code {
		t.Errorf("a node of another cluster is told %v", kerr.ErrorForCode(foreign.Code))
	}
}

func TestInternalKeysAreNotServedToClients(t *testing.T) {
	n := startNode(t, t.TempDir())
	for _, key := range []protocol.Key{protocol.RaftStream, protocol.FetchMetadata, protocol.SegmentStream, protocol.Hello, protocol.PeerLost, protocol.LogEnds, protocol.StoodDown} {
		r := n.raw(t)
		if _, err := r.c.Write(protocol.AppendOwnRequest(nil, key, 1, []byte{0xa0})); err != nil {
			t.Fatal(err)
		}
		if !r.closed() {
			t.Errorf("116: the client listener answers key %d", key)
		}
	}
	for key := range int16(100) {
		a := protocol.Lookup(key)
		if a == nil || a.Listeners != protocol.Internal {
			continue
		}
		q := kmsg.RequestForKey(key)
		q.SetVersion(a.Max)
		r := n.raw(t)
		r.send(q)
		if !r.closed() {
			t.Errorf("116: the client listener answers %s", a.Name)
		}
	}
	c, err := net.Dial("tcp", n.b.Addrs().Internal)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	in := &raw{t: t, c: c}
	in.send(kmsg.NewPtrMetadataRequest())
	if !in.closed() {
		t.Error("the internal listener answers a client's key")
	}
}

// ask sends requests to the internal listener as another node would.
func (n *node) ask(t *testing.T, q kmsg.Request) kmsg.Response {
	t.Helper()
	p := peer.NewPool(peer.Config{})
	defer p.Close()
	answer, err := p.Ask(testContext(t), n.b.Addrs().Internal, peer.Control, q)
	if err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestRequestsOfAnotherLifeAreRefused(t *testing.T) {
	n := startNode(t, t.TempDir())
	for _, epoch := range []int64{-1, 0, n.b.epoch.Load() - 1, n.b.epoch.Load() + 1, 1 << 62} { // bad input 119
		heartbeat := kmsg.NewPtrBrokerHeartbeatRequest()
		heartbeat.Version, heartbeat.BrokerID, heartbeat.BrokerEpoch = 2, int32(n.b.cfg.NodeID), epoch
		alter := kmsg.NewPtrAlterPartitionRequest()
		alter.Version, alter.BrokerID, alter.BrokerEpoch = 3, int32(n.b.cfg.NodeID), epoch
		ids := kmsg.NewPtrAllocateProducerIDsRequest()
		ids.BrokerID, ids.BrokerEpoch = int32(n.b.cfg.NodeID), epoch
		for _, q := range []kmsg.Request{heartbeat, alter, ids} {
			if code := answerCode(n.ask(t, q)); code != kerr.StaleBrokerEpoch.Code {
				t.Errorf("epoch %d: %s is answered %v", epoch, kmsg.NameForKey(q.Key()), kerr.ErrorForCode(code))
			}
		}
	}
	foreign := kmsg.NewPtrBrokerRegistrationRequest() // bad input 123
	foreign.Version, foreign.BrokerID, foreign.ClusterID = 4, 7, "AAAAAAAAAAAAAAAAAAAAAA"
	if code := answerCode(n.ask(t, foreign)); code != kerr.InconsistentClusterID.Code {
		t.Errorf("a broker of another cluster is answered %v", kerr.ErrorForCode(code))
	}
}

func TestAnEnvelopeHoldsOnlyWhatBrokersForward(t *testing.T) {
	n := startNode(t, t.TempDir())
	seal := func(q kmsg.Request) *kmsg.EnvelopeRequest {
		e := kmsg.NewPtrEnvelopeRequest()
		e.RequestData = kmsg.NewRequestFormatter(kmsg.FormatterClientID("far")).AppendRequest(nil, q, 9)[4:]
		e.RequestPrincipal = (&kmsg.DefaultPrincipalData{Type: "User", Name: "alice"}).AppendTo(nil)
		e.ClientHostAddress = []byte("192.0.2.7")
		return e
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	create.Version, create.TimeoutMillis = 7, 5000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = "enveloped", 2, 1
	create.Topics = append(create.Topics, topic)
	got := n.ask(t, seal(create)).(*kmsg.EnvelopeResponse)
	resp := kmsg.NewPtrCreateTopicsResponse()
	resp.Version = 7
	if err := readEnveloped(resp, got.ResponseData); err != nil || got.ErrorCode != 0 || resp.Topics[0].ErrorCode != 0 {
		t.Fatalf("%v, %+v, %+v", err, got, resp)
	}
	if n.b.image().Topic("enveloped") == nil {
		t.Error("the topic was not created")
	}
	for name, e := range map[string]*kmsg.EnvelopeRequest{
		"a request that is not forwarded": seal(kmsg.NewPtrMetadataRequest()),
		"an envelope":                     seal(seal(create)),
		"a heartbeat":                     seal(kmsg.NewPtrBrokerHeartbeatRequest()),
		"nothing":                         {},
	} {
		c, err := net.Dial("tcp", n.b.Addrs().Internal)
		if err != nil {
			t.Fatal(err)
		}
		in := &raw{t: t, c: c}
		in.send(e)
		if !in.closed() {
			t.Errorf("%s in an envelope is answered", name)
		}
		c.Close()
	}
}
