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
	r := n.raw(t)
	if _, err := r.c.Write(protocol.AppendOwnRequest(nil, protocol.FetchMetadata, 1, nil)); err != nil {
		t.Fatal(err)
	}
	if !r.closed() {
		t.Error("116: the client listener answers an internal key")
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
