package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

// producing is a produce command under way.
type producing struct {
	clientFlags
	t     *terminal
	topic string
	codec string
	acks  string
	count int64
	size  int

	acked atomic.Int64 // for the progress line

	mu     sync.Mutex
	digest digest // of acknowledged records
	failed int64
	err    error         // the first failure
	broken chan struct{} // closed with it
}

func produceCommand(t *terminal) *cobra.Command {
	p := &producing{t: t, broken: make(chan struct{})}
	cmd := &cobra.Command{
		Use:   "produce TOPIC [-z CODEC] [--acks all|1|0] [--count N --size BYTES]",
		Short: "Write records: the lines of standard input, or generated ones",
		Long: `Write records: each line of standard input becomes one, or, with --count, records are generated.
What it prints at the end, count, bytes and a checksum that does not depend on the order, can be compared with
what consume --checksum prints.`,
		Example: `  echo hello | cordwood produce greetings
  cordwood produce load --count 1000000 --size 1024 -z zstd`,
		Args: arguments(1, 1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			p.topic = args[0]
			opts, err := p.options()
			if err != nil {
				return err
			}
			return interruptible(cmd, func(ctx context.Context) error {
				cl, err := p.client(ctx, opts...)
				if err != nil {
					return err
				}
				defer cl.Close()
				return p.run(ctx, cl)
			})
		},
	}
	p.register(cmd)
	cmd.Flags().StringVarP(&p.codec, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	cmd.Flags().StringVar(&p.acks, "acks", "all", "when a record counts as written: all (in-sync replicas have it), 1 (the leader has it), 0 (it was sent)")
	cmd.Flags().Int64Var(&p.count, "count", 0, "generate so many records instead of reading lines")
	cmd.Flags().IntVar(&p.size, "size", 100, "bytes of each generated record")
	return cmd
}

var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

func (p *producing) options() ([]kgo.Opt, error) {
	codec, ok := codecs[p.codec]
	if !ok {
		return nil, usageErrorf("-z %q: use none, gzip, snappy, lz4 or zstd", p.codec)
	}
	if p.count < 0 || p.size < 0 {
		return nil, usageErrorf("--count and --size must not be negative")
	}
	opts := []kgo.Opt{
		kgo.DefaultProduceTopic(p.topic), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(),
		kgo.UnknownTopicRetries(10), kgo.RecordDeliveryTimeout(time.Minute),
	}
	switch p.acks {
	case "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usageErrorf("--acks %q: use all, 1 or 0", p.acks)
	}
	if p.count > 0 {
		opts = append(opts, kgo.ProducerLinger(5*time.Millisecond)) // full batches; lines are sent as they come
	} else {
		opts = append(opts, kgo.ProducerLinger(0))
	}
	return opts, nil
}

func (p *producing) run(ctx context.Context, cl *kgo.Client) error {
	began := time.Now()
	line := showProgress(p.t.err, func() string { return fmt.Sprintf("%d records written", p.acked.Load()) })
	var err error
	if p.count > 0 {
		p.generate(ctx, cl)
	} else {
		err = p.lines(ctx, cl)
	}
	flush := cl.Flush(ctx)
	line.end()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failed == 0 {
		err = errors.Join(err, flush)
	} else {
		err = errors.Join(err, fmt.Errorf("%d records were not written: %w", p.failed, refused("topic "+p.topic, p.err, "")))
	}
	s := p.digest.summary(time.Since(began))
	if p.format == "json" {
		return errors.Join(printJSON(p.t.out, s), err)
	}
	_, werr := fmt.Fprintln(p.t.out, s)
	return errors.Join(werr, err)
}

// stopped says whether there is no point in sending more.
func (p *producing) stopped(ctx context.Context) bool {
	select {
	case <-p.broken:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

func (p *producing) send(ctx context.Context, cl *kgo.Client, value []byte) {
	cl.Produce(ctx, &kgo.Record{Value: value}, func(r *kgo.Record, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		if err != nil {
			p.failed++
			if p.err == nil {
				p.err = err
				close(p.broken)
			}
			return
		}
		p.digest.add(r.Key, r.Value)
		p.acked.Add(1)
	})
}

// lines sends each line of the input; it may be slow, so each goes out as it comes.
func (p *producing) lines(ctx context.Context, cl *kgo.Client) error {
	in := bufio.NewReaderSize(p.t.in, 64<<10)
	type read struct {
		line []byte
		err  error
	}
	next := make(chan read)
	go func() { // a read of a terminal cannot be interrupted; it ends with the process
		for {
			line, err := in.ReadBytes('\n')
			select {
			case next <- read{line, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	for {
		var r read
		select {
		case r = <-next:
		case <-p.broken:
			return nil
		case <-ctx.Done():
			return nil // what was sent is flushed and counted
		}
		if line := bytes.TrimSuffix(bytes.TrimSuffix(r.line, []byte("\n")), []byte("\r")); len(r.line) > 0 {
			p.send(ctx, cl, line)
		}
		if r.err == io.EOF {
			return nil
		}
		if r.err != nil {
			return fmt.Errorf("standard input: %w", r.err)
		}
	}
}

// generate sends records of the asked size: a number, so that no two are equal, then text that compresses by half.
func (p *producing) generate(ctx context.Context, cl *kgo.Client) {
	filler := make([]byte, 64<<10)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range filler {
		filler[i] = "0123456789abcdef"[rng.IntN(16)]
	}
	for i := int64(0); i < p.count && !p.stopped(ctx); i++ {
		value := make([]byte, 0, p.size+20)
		value = append(strconv.AppendInt(value, i, 10), ' ')
		for len(value) < p.size {
			from := rng.IntN(len(filler) / 2)
			value = append(value, filler[from:min(len(filler), from+p.size-len(value))]...)
		}
		p.send(ctx, cl, value[:p.size])
	}
}
