package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func topicDelete(t *terminal, f *clientFlags) *cobra.Command {
	ask := confirmation{t: t, f: f}
	cmd := &cobra.Command{
		Use: "delete TOPIC... [--dry-run] [--yes]", Short: "Delete topics with all their records",
		Args: arguments(1, -1, "the name of a topic"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.admin(cmd, func(ctx context.Context, adm *kadm.Client) error {
				list, err := describeTopics(ctx, adm, args)
				if err != nil {
					return err
				}
				out := &table{}
				for _, d := range list {
					records := int64(0)
					for _, p := range d.PartitionsList {
						records += p.End - p.Start
					}
					out.add("delete", d.Name, fmt.Sprintf("partitions %d", d.Partitions), fmt.Sprintf("records %d", records))
				}
				if goOn, err := ask.goOn(out); err != nil || !goOn {
					return err
				}
				gone, err := adm.DeleteTopics(ctx, args...)
				if err != nil {
					return err
				}
				names, done, failed := []string{}, &table{}, problems{}
				for _, name := range sortedKeys(gone) {
					d := gone[name]
					if d.Err != nil {
						failed.add(refused("topic "+d.Topic, d.Err, d.ErrMessage))
						continue
					}
					names = append(names, d.Topic)
					done.add("deleted", d.Topic)
				}
				return failed.after(f.print(t.out, map[string]any{"deleted": names}, done))
			})
		},
	}
	ask.register(cmd)
	return cmd
}

// confirmation shows what a command would destroy, and asks for a yes where somebody sits at a terminal.
type confirmation struct {
	t           *terminal
	f           *clientFlags
	dryRun, yes bool
}

func (c *confirmation) register(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&c.dryRun, "dry-run", false, "only show what would be done")
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "do not ask")
}

func (c *confirmation) goOn(what *table) (bool, error) {
	if c.dryRun {
		return false, what.write(c.t.out)
	}
	if c.yes || !isTerminal(c.t.in) {
		return true, nil
	}
	c.f.line.end() // the question stands alone on its line
	if err := what.write(c.t.err); err != nil {
		return false, err
	}
	fmt.Fprint(c.t.err, "Go on? [y/N] ")
	answer, err := bufio.NewReader(c.t.in).ReadString('\n')
	if err != nil {
		return false, fmt.Errorf("no answer: %w; nothing was done", err)
	}
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return false, errors.New("nothing was done")
	}
	return true, nil
}

// problems are the parts of a request that failed while others did not.
type problems struct{ errs []error }

func (p *problems) add(err error) { p.errs = append(p.errs, err) }

func (p *problems) after(err error) error { return errors.Join(append([]error{err}, p.errs...)...) }
