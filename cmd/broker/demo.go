package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/zap"
)

const demoKeys = "k kill, r restart or connect, c cut off, each with the number of a node, as in k2; q quit"

func demoCommand(t *terminal) *cobra.Command {
	rate := 1000
	cmd := &cobra.Command{
		Use:   "demo [--rate N]",
		Short: "Run three nodes in this process, and kill or cut them off under load",
		Long: `Run three nodes in this process, in a temporary directory and on free ports, while a producer writes numbered records
(acks=all, 3 replicas) and a consumer reads them. What is counted: records that were acknowledged, those of them that were
read, and those that are lost. Nodes are killed as by kill -9, started again, cut off and connected by keys, also by
lines on standard input: ` + demoKeys + `.

The exit code is 1 if a record was lost.`,
		Example: `  cordwood demo
  (sleep 5; echo k1; sleep 5; echo r1; sleep 10; echo q) | cordwood demo`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error {
			if rate < 1 || rate > 1_000_000 {
				return usageErrorf("--rate %d: write between 1 and 1000000 records a second", rate)
			}
			return runDemo(t, rate)
		},
	}
	cmd.Flags().IntVar(&rate, "rate", rate, "`records` a second to write")
	return cmd
}

func runDemo(t *terminal, rate int) (err error) {
	dir, err := os.MkdirTemp("", "cordwood-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, release := untilSignal(zap.NewNop(), nil, func() []zap.Field { return nil }, func() {})
	defer release()
	c, err := newDemoCluster(dir)
	if err != nil {
		return err
	}
	defer c.close()
	fmt.Fprintf(t.out, "three nodes on %s; data and log in %s\nkeys: %s\n", strings.Join(c.addrs(), ", "), dir, demoKeys)
	if err := c.startAll(ctx); err != nil {
		return err
	}
	l, err := startDemoLoad(ctx, c, rate)
	if err != nil {
		return err
	}
	s := newDemoScreen(t)
	defer s.close()
	s.play(ctx, c, l)
	l.stop()
	s.say(demoLine(c, l))
	if acked, read, lost := l.ledger.counts(); lost > 0 {
		return fmt.Errorf("%d acknowledged records are lost", lost)
	} else if acked > read {
		s.say(fmt.Sprintf("%d acknowledged records are still to be read: too few nodes run", acked-read))
	}
	return nil
}

// demoLine is the state in one line.
func demoLine(c *demoCluster, l *demoLoad) string {
	acked, read, lost := l.ledger.counts()
	line := fmt.Sprintf("acked %d  read %d  lost %d ", acked, read, lost)
	for _, n := range c.nodes {
		line += fmt.Sprintf("  node %d %s", n.id, n.state())
	}
	return line
}

// demoScreen shows lines: on a terminal the last one is kept up to date, elsewhere there is one a second.
type demoScreen struct {
	out     io.Writer
	live    bool
	keys    chan byte
	restore func()
}

func newDemoScreen(t *terminal) *demoScreen {
	s := &demoScreen{out: t.out, live: isTerminal(t.out), keys: make(chan byte), restore: rawKeys(t.in)}
	go func() { // it reads until the process ends: nothing else can end a read of standard input
		for b := make([]byte, 1); ; {
			n, err := t.in.Read(b)
			if n == 1 {
				s.keys <- b[0]
			}
			if err != nil {
				return
			}
		}
	}()
	return s
}

func (s *demoScreen) close() { s.restore() }

// say writes a line above the one that is kept up to date.
func (s *demoScreen) say(line string) {
	if s.live {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
	fmt.Fprintln(s.out, line)
}

// play obeys keys until q or the end of ctx.
func (s *demoScreen) play(ctx context.Context, c *demoCluster, l *demoLoad) {
	every := time.Second
	if s.live {
		every = 200 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	act := byte(0)
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if s.live {
				fmt.Fprint(s.out, "\r\x1b[K"+demoLine(c, l))
			} else {
				s.say(demoLine(c, l))
			}
		case key := <-s.keys:
			if key == 'q' {
				return
			}
			if said := c.press(&act, key); said != "" {
				s.say(said)
			}
		}
	}
}

// press takes a key: a letter says what to do, the digit after it with which node.
func (c *demoCluster) press(act *byte, key byte) string {
	switch {
	case key == 'k', key == 'r', key == 'c':
		*act = key
		return ""
	case key == ' ', key == '\n', key == '\r':
		return ""
	case key < '1' || int(key-'0') > len(c.nodes) || *act == 0:
		*act = 0
		return "keys: " + demoKeys
	}
	do := map[byte]func(*demoNode) string{'k': c.kill, 'r': c.restart, 'c': c.cutOff}[*act]
	*act = 0
	return do(c.nodes[key-'1'])
}
