package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consuming is a consume command under way.
type consuming struct {
	clientFlags
	t        *terminal
	topics   []string
	layout   string
	from     string
	group    string
	most     int64
	checksum bool

	place  place
	record *kgo.RecordFormatter
	ends   map[string]map[int32]int64 // with FROM:end, what is left to read; exclusive
	digest digest
	seen   atomic.Int64 // for the progress line
}

func consumeCommand(t *terminal) *cobra.Command {
	c := &consuming{t: t}
	cmd := &cobra.Command{
		Use:   "consume TOPIC... [-o FROM] [-g GROUP] [-n N] [-f FORMAT] [--checksum]",
		Short: "Read records and print them",
		Long: `Read records and print them, from the start or from where -o says, until -n records or Ctrl-C.

-o start | end | OFFSET | -N (N before the end) | @TIME (2026-01-31T15:04:05Z, milliseconds, or -90m for so long ago)
   With :end behind it, as in -o start:end, reading stops where the topic ended when the command began.
-g GROUP reads as a member of a group: it goes on where the group was, and commits what was printed.
-f FORMAT is text with %t topic, %p partition, %o offset, %k key, %v value, %h{%k=%v } headers, %d timestamp; \n, \t.
--checksum prints no records, but at the end what produce prints: count, bytes and checksum.`,
		Example: `  cordwood consume greetings -n 1
  cordwood consume orders -o @-1h -f '%p/%o %k: %v\n'
  cordwood consume load -o start:end --checksum`,
		Args: arguments(1, -1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			c.topics = args
			if c.most < 0 {
				return usageErrorf("-n must not be negative")
			}
			if c.place, err = parseRange(c.from, time.Now()); err != nil {
				return err
			}
			if c.place.until && c.group != "" {
				return usageErrorf("-g with %s: a group's members do not know each other's ends; leave :end away, or -g", c.from)
			}
			if c.record, err = kgo.NewRecordFormatter(c.layout); err != nil {
				return usageErrorf("-f %q: %w", c.layout, err)
			}
			return interruptible(cmd, c.run)
		},
	}
	c.register(cmd)
	cmd.Flags().StringVarP(&c.layout, "print", "f", `%v\n`, "how a record is printed, see above")
	cmd.Flags().StringVarP(&c.from, "offset", "o", "start", "where to begin, see above; of a group, where it has no offset yet")
	cmd.Flags().StringVarP(&c.group, "group", "g", "", "consume as a member of this `group`")
	cmd.Flags().Int64VarP(&c.most, "num", "n", 0, "stop after so many records; 0: never")
	cmd.Flags().BoolVar(&c.checksum, "checksum", false, "print a checksum instead of the records")
	return cmd
}

func (c *consuming) options() []kgo.Opt {
	opts := []kgo.Opt{
		kgo.ConsumeTopics(c.topics...), kgo.ConsumeResetOffset(c.place.offset()), kgo.FetchMaxWait(500 * time.Millisecond),
	}
	if c.place.until {
		opts = append(opts, kgo.KeepControlRecords()) // one may be the last
	}
	if c.group != "" {
		opts = append(opts, kgo.ConsumerGroup(c.group), kgo.AutoCommitMarks())
	}
	return opts
}

func (c *consuming) run(ctx context.Context) error {
	cl, err := c.client(ctx, c.options()...)
	if err != nil {
		return err
	}
	defer cl.CloseAllowingRebalance()
	if err := c.lookUp(ctx, kadm.NewClient(cl)); err != nil {
		return err
	}
	began := time.Now()
	line := showProgress(c.progressTo(), func() string { return fmt.Sprintf("%d records read", c.seen.Load()) })
	err = c.read(ctx, cl)
	line.end()
	if c.group != "" {
		// Also after an interrupt: what was printed is not to come again.
		commit, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		err = errors.Join(err, cl.CommitMarkedOffsets(commit))
	}
	if !c.checksum {
		return err
	}
	s := c.digest.summary(time.Since(began))
	if c.format == "json" {
		return errors.Join(printJSON(c.t.out, s), err)
	}
	_, werr := fmt.Fprintln(c.t.out, s)
	return errors.Join(werr, err)
}

// progressTo is standard error, unless the records themselves go to the same terminal.
func (c *consuming) progressTo() any {
	if !c.checksum && isTerminal(c.t.out) {
		return nil
	}
	return c.t.err
}

// lookUp refuses topics that do not exist, and notes their ends where they matter.
func (c *consuming) lookUp(ctx context.Context, adm *kadm.Client) error {
	topics, err := adm.ListTopicsWithInternal(ctx, c.topics...)
	if err != nil {
		return err
	}
	for _, name := range c.topics {
		if d := topics[name]; d.Err != nil {
			return refused("topic "+name, d.Err, "")
		}
	}
	if !c.place.until {
		return nil
	}
	begins, err := c.begins(ctx, adm)
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx, c.topics...)
	if err != nil {
		return err
	}
	c.ends = map[string]map[int32]int64{}
	ends.Each(func(end kadm.ListedOffset) {
		begin, _ := begins.Lookup(end.Topic, end.Partition)
		if failure := errors.Join(begin.Err, end.Err); failure != nil {
			err = refused(fmt.Sprintf("topic %s partition %d", end.Topic, end.Partition), failure, "")
		}
		switch from := max(begin.Offset, 0); c.place.kind {
		case atEnd:
			return
		case atOffset:
			begin.Offset = max(from, c.place.n)
		}
		if begin.Offset < end.Offset {
			if c.ends[end.Topic] == nil {
				c.ends[end.Topic] = map[int32]int64{}
			}
			c.ends[end.Topic][end.Partition] = end.Offset
		}
	})
	return err
}

// begins is where reading begins at the earliest, so that partitions with nothing to read are known.
func (c *consuming) begins(ctx context.Context, adm *kadm.Client) (kadm.ListedOffsets, error) {
	if c.place.kind == atTime {
		return adm.ListOffsetsAfterMilli(ctx, c.place.n, c.topics...)
	}
	return adm.ListStartOffsets(ctx, c.topics...)
}

func (c *consuming) read(ctx context.Context, cl *kgo.Client) error {
	out := bufio.NewWriterSize(c.t.out, 64<<10)
	var text []byte
	for !c.finished() {
		most := 10_000
		if c.most > 0 {
			most = int(min(int64(most), c.most-c.seen.Load()))
		}
		fetches := cl.PollRecords(ctx, most)
		if ctx.Err() != nil {
			return out.Flush()
		}
		for _, e := range fetches.Errors() {
			return errors.Join(out.Flush(), refused(fmt.Sprintf("topic %s partition %d", e.Topic, e.Partition), e.Err, ""))
		}
		var failed error
		fetches.EachRecord(func(r *kgo.Record) {
			if failed != nil || !c.wanted(r) {
				return
			}
			c.seen.Add(1)
			c.digest.add(r.Key, r.Value)
			if !c.checksum {
				text = c.record.AppendRecord(text[:0], r)
				_, failed = out.Write(text)
			}
			if c.group != "" {
				cl.MarkCommitRecords(r)
			}
		})
		if err := errors.Join(failed, out.Flush()); err != nil {
			return err
		}
	}
	return nil
}

// wanted says whether a record lies before the end that was noted, and takes partitions read to the end off the list.
func (c *consuming) wanted(r *kgo.Record) bool {
	if !c.place.until {
		return true
	}
	end, ok := c.ends[r.Topic][r.Partition]
	if ok && r.Offset >= end-1 {
		delete(c.ends[r.Topic], r.Partition)
		if len(c.ends[r.Topic]) == 0 {
			delete(c.ends, r.Topic)
		}
	}
	return ok && r.Offset < end && !r.Attrs.IsControl()
}

func (c *consuming) finished() bool {
	return c.most > 0 && c.seen.Load() >= c.most || c.place.until && len(c.ends) == 0
}
