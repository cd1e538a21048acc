package record

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// oneTopic is the smallest broker that a franz-go producer talks to: it has topic "t" with one partition and keeps
// the bytes of every Produce.
type oneTopic struct {
	mu    sync.Mutex
	sent  [][]byte
	conns sync.WaitGroup
}

func (o *oneTopic) serve(c net.Conn) {
	defer o.conns.Done()
	defer c.Close()
	for {
		var size [4]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		frame := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		key, version := int16(binary.BigEndian.Uint16(frame)), int16(binary.BigEndian.Uint16(frame[2:]))
		req := kmsg.RequestForKey(key)
		req.SetVersion(version)
		body := frame[10+max(0, int(int16(binary.BigEndian.Uint16(frame[8:])))):]
		if req.IsFlexible() {
			body = body[1:] // no tags
		}
		if err := req.ReadFrom(body); err != nil {
			return
		}
		resp := o.answer(req)
		out := append([]byte{0, 0, 0, 0}, frame[4:8]...)
		if resp.IsFlexible() && key != 18 {
			out = append(out, 0)
		}
		out = resp.AppendTo(out)
		binary.BigEndian.PutUint32(out, uint32(len(out)-4))
		if _, err := c.Write(out); err != nil {
			return
		}
	}
}

func (o *oneTopic) answer(req kmsg.Request) kmsg.Response {
	resp := req.ResponseKind()
	switch r := resp.(type) {
	case *kmsg.ApiVersionsResponse:
		for key, most := range map[int16]int16{0: 9, 3: 9, 18: 3, 22: 3} {
			r.ApiKeys = append(r.ApiKeys, kmsg.ApiVersionsResponseApiKey{ApiKey: key, MaxVersion: most})
		}
	case *kmsg.MetadataResponse:
		r.Brokers = []kmsg.MetadataResponseBroker{{NodeID: 1, Host: "broker", Port: 9092}}
		topic := "t"
		r.Topics = []kmsg.MetadataResponseTopic{{Topic: &topic, Partitions: []kmsg.MetadataResponseTopicPartition{
			{Leader: 1, LeaderEpoch: 1, Replicas: []int32{1}, ISR: []int32{1}}}}}
	case *kmsg.InitProducerIDResponse:
		r.ProducerID = 4000
	case *kmsg.ProduceResponse:
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, p := range req.(*kmsg.ProduceRequest).Topics[0].Partitions {
			o.sent = append(o.sent, bytes.Clone(p.Records))
		}
		r.Topics = []kmsg.ProduceResponseTopic{{Topic: "t", Partitions: []kmsg.ProduceResponseTopicPartition{{BaseOffset: int64(len(o.sent))}}}}
	}
	return resp
}

// TestEverythingThatFranzGoProducesIsAccepted drives the real client with every codec, with and without idempotence.
func TestEverythingThatFranzGoProducesIsAccepted(t *testing.T) {
	for want, codec := range []kgo.CompressionCodec{kgo.NoCompression(), kgo.GzipCompression(), kgo.SnappyCompression(), kgo.Lz4Compression(), kgo.ZstdCompression()} {
		for _, idempotent := range []bool{true, false} {
			o := &oneTopic{}
			options := []kgo.Opt{kgo.SeedBrokers("broker:9092"), kgo.ProducerBatchCompression(codec), kgo.ProducerLinger(5 * time.Millisecond),
				kgo.Dialer(func(context.Context, string, string) (net.Conn, error) {
					client, server := net.Pipe()
					o.conns.Add(1)
					go o.serve(server)
					return client, nil
				})}
			if !idempotent {
				options = append(options, kgo.DisableIdempotentWrite())
			}
			client, err := kgo.NewClient(options...)
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
			var records []*kgo.Record
			for i := range 300 {
				r := &kgo.Record{Topic: "t", Key: fmt.Appendf(nil, "key %d", i%7), Value: bytes.Repeat([]byte("value "), 1+i*3)}
				switch i % 4 {
				case 1:
					r.Key = nil
				case 2:
					r.Headers = []kgo.RecordHeader{{Key: "trace", Value: []byte("id")}, {Key: "empty"}}
				case 3:
					r.Value = nil
				}
				records = append(records, r)
			}
			records = append(records, &kgo.Record{Topic: "t", Value: bytes.Repeat([]byte("large value "), 50_000)})
			err = client.ProduceSync(ctx, records...).FirstErr()
			cancel()
			client.Close()
			o.conns.Wait()
			if err != nil {
				t.Fatal(err)
			}
			accepted := 0
			for _, sent := range o.sent {
				r := rules()
				r.Now = time.Now().UnixMilli()
				b := mustAccept(t, sent, r)
				if !bytes.Equal(b, sent) {
					t.Fatal("not stored as sent")
				}
				if b.HasProducer() != idempotent || b.Codec() != Codec(want) {
					t.Fatal("producer id", b.ProducerID(), b.Codec())
				}
				accepted += int(b.Count())
			}
			if accepted != len(records) {
				t.Fatalf("%d of %d records", accepted, len(records))
			}
		}
	}
}
