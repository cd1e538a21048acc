package abuse

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"cordwood/protocol/record"
)

// Ground is a running broker and the topics that the cases aim at.
type Ground struct {
	Addr     string
	Internal string // where the active controller listens, for section H
	MaxFrame int    // socket.request.max.bytes of the broker
	MaxFetch int    // fetch.max.bytes

	// What Prepare finds out; section H needs nothing else of it.
	ClusterID string
	Victim    [16]byte // id of the topic
}

// topics of the ground, with what is special about them.
var topics = []struct {
	name       string
	partitions int32
	configs    map[string]string
}{
	{"victim", 1, nil},
	{"compacted", 1, map[string]string{"cleanup.policy": "compact"}},
	{"small", 1, map[string]string{"max.message.bytes": "1000"}},
	{"window", 1, map[string]string{"message.timestamp.before.max.ms": "60000", "message.timestamp.after.max.ms": "60000"}},
	{"plain", 1, map[string]string{"compression.type": "uncompressed"}}, // every other codec is recompressed
	{"wide", 64, nil},
	{"sink", 1, map[string]string{"retention.bytes": "1048576", "segment.bytes": "1048576"}},
}

// wideBatch is what each partition of the topic "wide" holds.
const wideBatch = 32 << 10

// Prepare makes the topics of a ground and fills them.
func (g *Ground) Prepare(ctx context.Context) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(g.Addr), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		return err
	}
	defer cl.Close()
	admin := kadm.NewClient(cl)
	for _, t := range topics {
		configs := map[string]*string{}
		for k, v := range t.configs {
			configs[k] = kadm.StringPtr(v)
		}
		made, err := admin.CreateTopic(ctx, t.partitions, 1, configs, t.name)
		if err == nil {
			err = made.Err
		}
		if err != nil && err != error(kerr.TopicAlreadyExists) {
			return fmt.Errorf("topic %s: %w", t.name, err)
		}
		value := make([]byte, 100)
		if t.name == "wide" {
			value = make([]byte, wideBatch)
		}
		for p := range t.partitions {
			r := &kgo.Record{Topic: t.name, Partition: p, Key: []byte("key"), Value: value, Timestamp: time.Now()}
			if err := cl.ProduceSync(ctx, r).FirstErr(); err != nil {
				return fmt.Errorf("record for %s: %w", t.name, err)
			}
		}
	}
	known, err := admin.Metadata(ctx, "victim")
	if err != nil {
		return err
	}
	g.ClusterID, g.Victim = known.Cluster, known.Topics["victim"].ID
	return g.coordinate(ctx)
}

// coordinate waits until groups are served: the first question creates the topic of the offsets.
func (g *Ground) coordinate(ctx context.Context) error {
	c, err := Dial(g.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Ask(find("abuse")); err != nil {
		return err
	}
	for _, group := range []string{"abuse", "victims", Graffiti, path} {
		for {
			resp, err := c.Ask(commit(group, "victim", 1, ""))
			if err != nil {
				return err
			}
			if commitCode(resp) == 0 {
				break
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("group %q: %w", group, is(commitCode(resp), nil))
			case <-time.After(5 * time.Millisecond):
			}
		}
	}
	return nil
}

// Digest is a hash of everything that the topics hold, but for "sink": it must be the same after any abuse.
func (g *Ground) Digest() (string, error) {
	sum := sha256.New()
	for _, t := range topics {
		if t.name == "sink" {
			continue
		}
		for p := range t.partitions {
			if err := g.read(sum, t.name, p); err != nil {
				return "", fmt.Errorf("%s/%d: %w", t.name, p, err)
			}
		}
	}
	return fmt.Sprintf("%x", sum.Sum(nil)), nil
}

// read copies the batches of a partition to w, from its start to its high watermark.
func (g *Ground) read(w io.Writer, topic string, partition int32) error {
	c, err := Dial(g.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	for offset := int64(0); ; {
		q := fetch(12, 0, 0, 1<<20, part{topic: topic, index: partition, offset: offset, most: 1 << 20})
		resp, err := c.Ask(q)
		if err != nil {
			return err
		}
		p := fetched(resp)[0]
		if err := is(p.ErrorCode, nil); err != nil {
			return err
		}
		fmt.Fprintf(w, "%s/%d: %d..%d\n", topic, partition, p.LogStartOffset, p.HighWatermark)
		if offset >= p.HighWatermark {
			return nil
		}
		for rest := p.RecordBatches; len(rest) > 0; {
			var b record.Batch
			if b, rest, err = record.Next(rest); errors.Is(err, io.ErrUnexpectedEOF) {
				break // a fetch may end in the middle of a batch
			} else if err != nil {
				return err
			}
			if _, err := w.Write(b); err != nil {
				return err
			}
			offset = b.NextOffset()
		}
	}
}
