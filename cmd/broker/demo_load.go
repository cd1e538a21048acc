package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	demoTopic      = "demo"
	demoPartitions = 6
	demoTick       = 10 * time.Millisecond // records of one are sent together
	demoEnd        = 15 * time.Second      // what is under way when the demo ends gets so long
)

// demoLoad writes numbered records and reads them, with two clients that know nothing of what happens to the nodes.
//
// Goroutines: one writes, one reads; stop waits for both.
type demoLoad struct {
	ledger   *ledger
	producer *kgo.Client
	reader   *kgo.Client
	writing  context.CancelFunc
	reading  context.CancelFunc
	writes   sync.WaitGroup
	reads    sync.WaitGroup
}

// startDemoLoad makes the topic and starts writing and reading.
func startDemoLoad(ctx context.Context, c *demoCluster, rate int) (*demoLoad, error) {
	common := []kgo.Opt{
		kgo.SeedBrokers(c.addrs()...), kgo.Dialer(c.network.dial(0)), kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.ProduceRequestTimeout(time.Second), kgo.RequestTimeoutOverhead(2 * time.Second),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
	}
	l := &demoLoad{ledger: newLedger()}
	var err error
	if l.producer, err = kgo.NewClient(append(common, kgo.DefaultProduceTopic(demoTopic), kgo.ProducerLinger(0), kgo.RecordPartitioner(kgo.RoundRobinPartitioner()))...); err != nil {
		return nil, err
	}
	made, err := kadm.NewClient(l.producer).CreateTopic(ctx, demoPartitions, demoNodes, nil, demoTopic)
	if err == nil {
		err = made.Err
	}
	if err == nil {
		l.reader, err = kgo.NewClient(append(common, kgo.ConsumeTopics(demoTopic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(100*time.Millisecond))...)
	}
	if err != nil {
		l.producer.Close()
		return nil, fmt.Errorf("topic %s: %w", demoTopic, err)
	}
	writing, stopWriting := context.WithCancel(context.Background())
	reading, stopReading := context.WithCancel(context.Background())
	l.writing, l.reading = stopWriting, stopReading
	l.writes.Go(func() { l.write(writing, rate) })
	l.reads.Go(func() { l.read(reading) })
	return l, nil
}

// write sends rate records a second, until ctx ends. While the client's buffer is full it sends none.
func (l *demoLoad) write(ctx context.Context, rate int) {
	tick := time.NewTicker(demoTick)
	defer tick.Stop()
	began, number := time.Now(), int64(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		due := int64(time.Since(began).Seconds() * float64(rate))
		if due-number > int64(rate) { // it was held up: the past is not caught up with
			began, due = began.Add(time.Duration(float64(due-number)/float64(rate)*float64(time.Second))), number
		}
		for ; number < due; number++ {
			sent := number
			l.producer.TryProduce(context.Background(), kgo.SliceRecord(binary.BigEndian.AppendUint64(make([]byte, 0, 100), uint64(sent))[:100]), func(r *kgo.Record, err error) {
				if err == nil {
					l.ledger.acknowledged(r.Partition, r.Offset, sent)
				}
			})
		}
	}
}

func (l *demoLoad) read(ctx context.Context) {
	for ctx.Err() == nil {
		l.reader.PollFetches(ctx).EachRecord(func(r *kgo.Record) {
			if len(r.Value) >= 8 {
				l.ledger.found(r.Partition, r.Offset, int64(binary.BigEndian.Uint64(r.Value)))
			}
		})
	}
}

// stop writes no more and reads until everything acknowledged was read, or that takes too long.
func (l *demoLoad) stop() {
	l.writing()
	l.writes.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), demoEnd)
	defer cancel()
	_ = l.producer.Flush(ctx) // what is not acknowledged by then was not promised
	for ctx.Err() == nil {
		if acked, read, lost := l.ledger.counts(); acked == read+lost {
			break
		}
		select {
		case <-ctx.Done():
		case <-time.After(demoTick):
		}
	}
	l.reading()
	l.reads.Wait()
	l.producer.Close()
	l.reader.Close()
}
