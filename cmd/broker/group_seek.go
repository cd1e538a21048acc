package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func groupSeek(t *terminal, f *clientFlags) *cobra.Command {
	var to string
	var topics []string
	dryRun := false
	cmd := &cobra.Command{
		Use: "seek GROUP --to start|end|@TIME|FILE [--topics T,...] [--dry-run]", Short: "Move the committed offsets of a group without members",
		Long: `Move the committed offsets of a group that has no members: to the start or the end of its partitions, to the
first record at or after a time (2026-01-31T15:04:05Z, milliseconds, or -90m for so long ago), or to the offsets of
a file with lines "TOPIC PARTITION OFFSET". Partitions are those the group has offsets for, or all of --topics.`,
		Args: arguments(1, 1, "the name of a group"),
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := parseTarget(to, time.Now())
			if err != nil {
				return err
			}
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				moves, err := planSeek(ctx, adm, args[0], target, topics)
				if err != nil {
					return err
				}
				if !dryRun {
					if err := commitMoves(ctx, adm, args[0], moves); err != nil {
						return err
					}
				}
				out := &table{head: []string{"TOPIC", "PARTITION", "FROM", "TO"}}
				for _, m := range moves {
					from := any(m.From)
					if m.From < 0 {
						from = "-"
					}
					out.add(m.Topic, m.Partition, from, m.To)
				}
				return f.print(t.out, map[string]any{"group": args[0], "dry_run": dryRun, "moves": orEmpty(moves)}, out)
			})
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "start, end, @TIME or a file, see above")
	cmd.Flags().StringSliceVar(&topics, "topics", nil, "all partitions of these topics, whether the group has offsets for them or not")
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only show what would be done")
	return cmd
}

// seekTarget is where to move to: a place that every partition has, or offsets of a file.
type seekTarget struct {
	place place
	file  map[string]map[int32]int64
}

func parseTarget(to string, now time.Time) (seekTarget, error) {
	switch {
	case to == "":
		return seekTarget{}, usageErrorf("--to: where? Use start, end, @TIME or a file")
	case to == "start", to == "end", to[0] == '@':
		p, err := parsePlace(to, now)
		return seekTarget{place: p}, err
	}
	file, err := readOffsets(to)
	return seekTarget{file: file}, err
}

// readOffsets reads a file of lines "TOPIC PARTITION OFFSET"; # begins a comment.
func readOffsets(path string) (map[string]map[int32]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usageErrorf("--to: %w; it is none of start, end, @TIME either", err)
	}
	defer f.Close()
	out := map[string]map[int32]int64{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 3 {
			return nil, fmt.Errorf("%s:%d: want TOPIC PARTITION OFFSET", path, n)
		}
		partition, err := strconv.ParseInt(fields[1], 10, 32)
		if err != nil || partition < 0 {
			return nil, fmt.Errorf("%s:%d: %q is no partition", path, n, fields[1])
		}
		offset, err := strconv.ParseInt(fields[2], 10, 64)
		if err != nil || offset < 0 {
			return nil, fmt.Errorf("%s:%d: %q is no offset", path, n, fields[2])
		}
		if out[fields[0]] == nil {
			out[fields[0]] = map[int32]int64{}
		}
		if _, twice := out[fields[0]][int32(partition)]; twice {
			return nil, fmt.Errorf("%s:%d: %s partition %d is given twice", path, n, fields[0], partition)
		}
		out[fields[0]][int32(partition)] = offset
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s: no offsets in it; want lines TOPIC PARTITION OFFSET", path)
	}
	return out, nil
}

// seekMove is one partition's offset, before and after. From is -1 where there was none.
type seekMove struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	From      int64  `json:"from"`
	To        int64  `json:"to"`
}

// planSeek says where each partition of a group would go. A file's offsets must lie inside the partitions.
func planSeek(ctx context.Context, adm *kadm.Client, group string, target seekTarget, topics []string) ([]seekMove, error) {
	described, err := adm.DescribeGroups(ctx, group)
	if err != nil {
		return nil, err
	}
	g := described[group]
	if isNew := errors.Is(g.Err, kerr.GroupIDNotFound) && (len(topics) > 0 || target.file != nil); g.Err != nil && !isNew {
		return nil, refused("group "+group, g.Err, g.ErrMessage)
	}
	if len(g.Members) > 0 {
		return nil, fmt.Errorf("group %s has %d members, which would commit over it; stop them first", group, len(g.Members))
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, refused("group "+group, err, "")
	}
	wanted := wantedTopics(committed, target, topics)
	if len(wanted) == 0 {
		return nil, fmt.Errorf("group %s has no committed offsets; name its topics with --topics", group)
	}
	starts, err := adm.ListStartOffsets(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, wanted...)
	if err != nil {
		return nil, err
	}
	goals := starts
	switch target.place.kind {
	case atEnd:
		goals = ends
	case atTime:
		if goals, err = adm.ListOffsetsAfterMilli(ctx, target.place.n, wanted...); err != nil {
			return nil, err
		}
	}
	plan := seekPlan{target: target, committed: committed, starts: starts, goals: goals, all: len(topics) > 0}
	for _, end := range sortedOffsets(ends) {
		if err := plan.add(end); err != nil {
			return nil, err
		}
	}
	for topic, rest := range target.file {
		for p := range rest {
			return nil, fmt.Errorf("topic %s has no partition %d", topic, p)
		}
	}
	return plan.moves, nil
}

// seekPlan collects the moves of one group.
type seekPlan struct {
	target        seekTarget
	committed     kadm.OffsetResponses
	starts, goals kadm.ListedOffsets
	all           bool // also partitions without a committed offset
	moves         []seekMove
}

// add plans the move of one partition, which ends at end.
func (p *seekPlan) add(end kadm.ListedOffset) error {
	where := fmt.Sprintf("topic %s partition %d", end.Topic, end.Partition)
	if end.Err != nil {
		return refused(where, end.Err, "")
	}
	m := seekMove{Topic: end.Topic, Partition: end.Partition, From: -1}
	before, had := p.committed.Lookup(end.Topic, end.Partition)
	if had {
		m.From = before.At
	}
	start, _ := p.starts.Lookup(end.Topic, end.Partition)
	goal, _ := p.goals.Lookup(end.Topic, end.Partition)
	to, inFile := p.target.file[end.Topic][end.Partition]
	switch {
	case inFile && (to < start.Offset || to > end.Offset):
		return fmt.Errorf("%s has offsets %d to %d, not %d", where, start.Offset, end.Offset, to)
	case inFile:
		m.To = to
		delete(p.target.file[end.Topic], end.Partition)
	case p.target.file != nil, !had && !p.all:
		return nil
	case goal.Offset < 0:
		m.To = end.Offset // no record at or after the time
	default:
		m.To = goal.Offset
	}
	p.moves = append(p.moves, m)
	return nil
}

func wantedTopics(committed kadm.OffsetResponses, target seekTarget, topics []string) []string {
	switch {
	case target.file != nil:
		return sortedKeys(target.file)
	case len(topics) > 0:
		return topics
	}
	return sortedKeys(committed)
}

func sortedOffsets(l kadm.ListedOffsets) (out []kadm.ListedOffset) {
	l.Each(func(o kadm.ListedOffset) { out = append(out, o) })
	slices.SortFunc(out, func(a, b kadm.ListedOffset) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return out
}

func commitMoves(ctx context.Context, adm *kadm.Client, group string, moves []seekMove) error {
	var offsets kadm.Offsets
	for _, m := range moves {
		offsets.AddOffset(m.Topic, m.Partition, m.To, -1)
	}
	done, err := adm.CommitOffsets(ctx, group, offsets)
	if err != nil {
		return refused("group "+group, err, "")
	}
	failed := problems{}
	for _, o := range done.Sorted() {
		if o.Err != nil {
			failed.add(refused(fmt.Sprintf("group %s, topic %s partition %d", group, o.Topic, o.Partition), o.Err, ""))
		}
	}
	return failed.after(nil)
}
