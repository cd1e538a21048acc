package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// admin talks to a target with an ordinary client: topics are set-up, not load.
func admin(t seed, do func(ctx context.Context, a *kadm.Client) error) error {
	cl, err := kgo.NewClient(kgo.SeedBrokers(t.addr()))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	a := kadm.NewClient(cl)
	a.SetTimeoutMillis(60_000)
	return do(ctx, a)
}

// createTopic makes a topic and waits until all its partitions have a leader.
func createTopic(t target, topic string, partitions int, configs map[string]string) error {
	values := map[string]*string{"file.delete.delay.ms": kadm.StringPtr("500")}
	for k, v := range configs {
		values[k] = kadm.StringPtr(v)
	}
	return admin(t, func(ctx context.Context, a *kadm.Client) error {
		if _, err := a.CreateTopic(ctx, int32(partitions), 1, values, topic); err != nil {
			return fmt.Errorf("%s: create topic: %w", t.name(), err)
		}
		for {
			m, err := a.Metadata(ctx, topic)
			if err != nil {
				return err
			}
			led := 0
			for _, p := range m.Topics[topic].Partitions {
				if p.Err == nil && p.Leader >= 0 {
					led++
				}
			}
			if led == partitions && served(ctx, a, topic, partitions) {
				return nil
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s: %d of %d partitions have a leader", t.name(), led, partitions)
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
}

// served says whether the leaders know that they lead: Kafka's metadata are a little ahead of them.
func served(ctx context.Context, a *kadm.Client, topic string, partitions int) bool {
	ends, err := a.ListEndOffsets(ctx, topic)
	return err == nil && ends.Error() == nil && len(ends[topic]) == partitions
}

// deleteTopic removes a topic and leaves time for its files to go.
func deleteTopic(t seed, topic string) error {
	err := admin(t, func(ctx context.Context, a *kadm.Client) error {
		r, err := a.DeleteTopics(ctx, topic)
		return errors.Join(err, r.Error())
	})
	time.Sleep(time.Second)
	return err
}

// createTopicRaw makes a topic of one partition over a bare connection.
func createTopicRaw(c net.Conn, topic string) (int16, error) {
	q := kmsg.NewPtrCreateTopicsRequest()
	q.Version = 4 // the last one without compact fields
	q.TimeoutMillis = 10_000
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = topic, 1, 1
	q.Topics = append(q.Topics, t)
	if _, err := c.Write(sealed(q.AppendTo(header(19, 4)))); err != nil {
		return 0, err
	}
	var head [4]byte
	if _, err := io.ReadFull(c, head[:]); err != nil {
		return 0, err
	}
	body := make([]byte, min(be.Uint32(head[:]), 1<<20))
	if _, err := io.ReadFull(c, body); err != nil {
		return 0, err
	}
	r := kmsg.NewPtrCreateTopicsResponse()
	r.Version = 4
	if len(body) < 4 {
		return 0, io.ErrUnexpectedEOF
	}
	if err := r.ReadFrom(body[4:]); err != nil {
		return 0, err
	}
	if len(r.Topics) != 1 {
		return 0, fmt.Errorf("an answer for %d topics", len(r.Topics))
	}
	return r.Topics[0].ErrorCode, nil
}
