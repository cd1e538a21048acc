package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// defaultBrokers is where a broker on this machine listens when it was told nothing.
const defaultBrokers = "127.0.0.1:9092"

// adminWait is how long a command waits for the answer to a request before it gives up.
const adminWait = 30 * time.Second

// clientFlags are the flags of every command that talks to a broker.
type clientFlags struct {
	brokers []string
	format  string
	cmd     *cobra.Command // where standard error is
	line    *progress      // of an admin request
	starts  time.Duration  // how long no broker may be reached without an error
}

func (f *clientFlags) register(cmd *cobra.Command) {
	f.cmd = cmd
	cmd.PersistentFlags().StringSliceVarP(&f.brokers, "brokers", "b", []string{defaultBrokers}, "`host:port` of a broker, or several with commas")
	cmd.PersistentFlags().StringVar(&f.format, "format", "table", "output: table or json")
}

// client connects, so that a broker that cannot be reached is explained before anything is asked of it.
func (f *clientFlags) client(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	if f.format != "table" && f.format != "json" {
		return nil, usageErrorf("--format %q: use table or json", f.format)
	}
	if err := f.checkBrokers(); err != nil {
		return nil, err
	}
	cl, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.brokers...), kgo.ClientID("cordwood-cli"),
		kgo.MetadataMinAge(10 * time.Millisecond), // a topic made a moment ago is found at once
		kgo.RetryBackoffFn(func(tries int) time.Duration { return min(time.Duration(tries)*20*time.Millisecond, time.Second) }),
	}, opts...)...)
	if err != nil {
		return nil, usageErrorf("%w", err)
	}
	if err := f.reach(ctx, cl); err != nil {
		cl.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, diagnose(f.brokers, err)
	}
	return cl, nil
}

// reach waits until a broker answers.
func (f *clientFlags) reach(ctx context.Context, cl *kgo.Client) error {
	line := f.waiting()
	defer line.end()
	for end := time.Now().Add(f.starts); ; {
		ping, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := cl.Ping(ping)
		cancel()
		if err == nil || ctx.Err() != nil || !time.Now().Before(end) {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(pollEvery):
		}
	}
}

// checkBrokers completes the addresses by Kafka's port.
func (f *clientFlags) checkBrokers() error {
	for i, b := range f.brokers {
		full := strings.TrimSpace(b)
		if full != "" && !strings.Contains(strings.TrimPrefix(full, "["), ":") {
			full += ":9092"
		}
		_, port, err := net.SplitHostPort(full)
		if n, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil || n == 0 {
			return usageErrorf("--brokers %q: write host:port, as in %s", b, defaultBrokers)
		}
		f.brokers[i] = full
	}
	if len(f.brokers) == 0 {
		return usageErrorf("--brokers: name at least one host:port, as in %s", defaultBrokers)
	}
	return nil
}

// waiting says on a terminal for whom the command waits.
func (f *clientFlags) waiting() *progress {
	return showProgress(f.cmd.ErrOrStderr(), func() string { return "waiting for " + strings.Join(f.brokers, ",") })
}

// admin runs f with an admin client; all of it must be done within adminWait.
func (f *clientFlags) admin(cmd *cobra.Command, do func(ctx context.Context, adm *kadm.Client) error) error {
	return interruptible(cmd, func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, adminWait)
		defer cancel()
		cl, err := f.client(ctx)
		if err != nil {
			return err
		}
		defer cl.Close()
		adm := kadm.NewClient(cl)
		adm.SetTimeoutMillis(int32(adminWait.Milliseconds()))
		f.line = f.waiting()
		err = do(ctx, adm)
		f.line.end()
		if errors.Is(err, context.DeadlineExceeded) {
			return fmt.Errorf("no answer from %s within %s; is the broker overloaded or just starting? Try again", strings.Join(f.brokers, ","), adminWait)
		}
		return err
	})
}

// interruptible gives a command a context that ends with SIGINT or SIGTERM; a second signal ends the process.
func interruptible(cmd *cobra.Command, do func(ctx context.Context) error) error {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	defer stop()
	go func() {
		<-ctx.Done()
		stop()
	}()
	return do(ctx)
}

// refused turns a broker's answer into what the user is told: the subject, the reason and, where there is one, the
// next step.
func refused(subject string, err error, message string) error {
	if err == nil {
		return nil
	}
	reason := err.Error()
	if k := new(kerr.Error); errors.As(err, &k) {
		reason = fmt.Sprintf("%s (%s)", strings.TrimSuffix(k.Description, "."), k.Message)
		if errors.Is(err, kerr.UnknownTopicOrPartition) { // Kafka's words say nothing to a user
			reason = "there is none of this name (" + k.Message + ")"
		}
	}
	if message != "" {
		reason = message
	}
	if step := nextStep(err); step != "" {
		reason = strings.TrimSuffix(reason, ".") + "; " + step
	}
	return fmt.Errorf("%s: %s", subject, reason)
}

func nextStep(err error) string {
	switch {
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return "see `cordwood topic list`, or make it with `cordwood topic create`"
	case errors.Is(err, kerr.TopicAlreadyExists):
		return "see `cordwood topic describe`"
	case errors.Is(err, kerr.InvalidConfig):
		return "see `cordwood config explain`"
	case errors.Is(err, kerr.InvalidReplicationFactor):
		return "ask for no more replicas than there are brokers"
	case errors.Is(err, kerr.NonEmptyGroup):
		return "stop its members first; `cordwood group describe` lists them"
	case errors.Is(err, kerr.GroupIDNotFound):
		return "see `cordwood group list`"
	case errors.Is(err, kerr.PreferredLeaderNotAvailable), errors.Is(err, kerr.EligibleLeadersNotAvailable):
		return "`cordwood cluster health` says what it lacks"
	case errors.Is(err, kerr.MessageTooLarge):
		return "raise max.message.bytes of the topic, or send less"
	}
	return ""
}
