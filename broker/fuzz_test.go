package broker

import (
	"testing"

	"github.com/fxamacker/cbor/v2"

	"cordwood/metadata"
)

// What another node says on the internal listener.
func FuzzFeedRequest(f *testing.F) {
	good, err := cbor.Marshal(feedRequest{ClusterID: "c", NodeID: 1, BrokerEpoch: 2, FromIndex: 3, MaxWaitMillis: 4})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0xbf, 0xff})
	f.Add([]byte{0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		var q feedRequest
		if ownDecoder.Unmarshal(body, &q) == nil && len(q.ClusterID) > len(body) {
			t.Error("more than there was")
		}
	})
}

// What the active controller answers: an image or entries, each refused or whole.
func FuzzFeedResponse(f *testing.F) {
	image, err := metadata.EncodeImage(metadata.Empty())
	if err != nil {
		f.Fatal(err)
	}
	for _, r := range []feedResponse{{Index: 1, Image: image}, {Index: 2, Entries: []feedEntry{{Index: 2, Changes: []byte{0x80}}}}, {Code: 41}} {
		b, err := cbor.Marshal(r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var r feedResponse
		if cbor.Unmarshal(body, &r) != nil {
			return
		}
		if r.Image != nil {
			_, _ = metadata.DecodeImage(r.Image)
		}
		for _, e := range r.Entries {
			_, _ = metadata.DecodeChanges(e.Changes)
		}
	})
}

// The whole configuration: any key with any value is refused with its name, or serves.
func FuzzConfiguration(f *testing.F) {
	for _, k := range Keys() {
		f.Add(k.Name, k.Default)
		f.Add(k.Name, "-1")
	}
	f.Fuzz(func(t *testing.T, key, value string) {
		c, err := FromProperties(map[string]Setting{key: {Value: value, File: "f", Line: 3}})
		if err != nil {
			return
		}
		if err := c.Validate(); err == nil && LookupKey(key) == nil {
			t.Errorf("%q is no key and is accepted", key)
		}
	})
}

// What another replica asks for, and what the leader answers: refused or whole, never more than came.
func FuzzSegmentStream(f *testing.F) {
	q, err := cbor.Marshal(streamRequest{ClusterID: "c", NodeID: 1, BrokerEpoch: 2, Topic: metadata.TopicID{3}, Index: 4, LeaderEpoch: 5, Offset: 6, Until: -1, LastEpoch: 7, MaxBytes: 8})
	if err != nil {
		f.Fatal(err)
	}
	r, err := cbor.Marshal(streamResponse{HighWatermark: 9, Sum: 1, Bytes: 3})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(q)
	f.Add(append(r, "abc"...))
	f.Add([]byte{0xbf, 0xff})
	f.Add([]byte{0xa1, 0x06, 0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, body []byte) {
		var q streamRequest
		if ownDecoder.Unmarshal(body, &q) == nil && len(q.ClusterID) > len(body) {
			t.Error("more than there was")
		}
		if a, err := decodeStream(body); err == nil && (len(a.Records) >= len(body) || a.Delay < 0) {
			t.Errorf("%d bytes of records in %d, delay %s", len(a.Records), len(body), a.Delay)
		}
	})
}
