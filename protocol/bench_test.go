package protocol

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var produceShapes = []struct {
	name                     string
	topics, partitions, size int
}{{"1x16KiB", 1, 1, 16 << 10}, {"8x16KiB", 1, 8, 16 << 10}, {"100x1KiB", 10, 10, 1 << 10}}

func BenchmarkProduceRequest(b *testing.B) {
	for _, s := range produceShapes {
		body := produceBody(12, s.topics, s.partitions, s.size)
		b.Run(s.name, func(b *testing.B) {
			b.ReportAllocs()
			var r ProduceRequest
			var p ProducePartition
			for b.Loop() {
				if r.Decode(12, body) != nil {
					b.Fatal("refused")
				}
				for r.Next(&p) {
				}
			}
		})
		b.Run(s.name+"/kmsg", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := kmsg.ProduceRequest{Version: 12}
				if r.ReadFrom(body) != nil {
					b.Fatal("refused")
				}
			}
		})
	}
}

func BenchmarkProduceResponse(b *testing.B) {
	results := make([]ProduceResult, 8)
	for i := range results {
		results[i].Clear()
		results[i].Topic, results[i].NewTopic, results[i].Index = []byte("topic"), i == 0, int32(i)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendProduceResponse(dst[:0], 12, 1, 0, results, nil)
	}
}

func BenchmarkFetchRequest(b *testing.B) {
	body := fetchBody(17, 8)
	var r FetchRequest
	b.ReportAllocs()
	for b.Loop() {
		if r.Decode(17, body) != nil {
			b.Fatal("refused")
		}
	}
}

func BenchmarkFetchResponse(b *testing.B) {
	parts := make([]FetchedPartition, 8)
	for i := range parts {
		parts[i].Clear()
		parts[i].TopicID, parts[i].Index, parts[i].RecordsLen = [16]byte{1}, int32(i), 128<<10
	}
	var e FetchEncoder
	b.ReportAllocs()
	for b.Loop() {
		e.Encode(17, 1, 0, 0, 0, parts, nil)
	}
}

func BenchmarkParseHeader(b *testing.B) {
	frame := []byte(head(0, 12) + be16(8) + "rdkafka1" + "\x00body")
	var h Header
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseHeader(frame, &h); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkGuardMetadata(b *testing.B) {
	r := kmsg.NewPtrMetadataRequest()
	r.Version = 12
	for range 100 {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr("some-topic-name")
		r.Topics = append(r.Topics, t)
	}
	body := r.AppendTo(nil)
	b.ReportAllocs()
	for b.Loop() {
		if Guard(3, 12, body) != nil {
			b.Fatal("refused")
		}
	}
}
