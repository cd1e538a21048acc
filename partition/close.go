package partition

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"cordwood/segment"
)

// Close ends the set cleanly, after Run has returned and leaderships have moved: appends are refused, every log is
// synced and closed, and only then the clean-shutdown files are written (R2). Whatever goes wrong on a directory, or
// the end of ctx, leaves it without them: its next start recovers.
func (s *Set) Close(ctx context.Context, brokerEpoch int64) error {
	if s.running.Load() {
		return errors.New("partition: close while running")
	}
	for p := range s.Each() {
		p.retreat(kerr.NotLeaderForPartition)
	}
	var g errgroup.Group
	for _, d := range s.dirs {
		g.Go(func() error {
			if err := d.close(ctx, brokerEpoch); err != nil {
				return fmt.Errorf("close %s: %w", d.path, err)
			}
			return nil
		})
	}
	err := g.Wait()
	s.removeDue(time.Now())
	s.unlock()
	return err
}

// Abandon ends the set like a crash: nothing is synced or written, the next start recovers.
func (s *Set) Abandon() error {
	if s.running.Load() {
		return errors.New("partition: abandoned while running")
	}
	var errs []error
	for p := range s.Each() {
		p.retreat(kerr.NotLeaderForPartition)
	}
	for _, d := range s.dirs {
		for l := range s.logs(d) {
			errs = append(errs, l.Close(false))
		}
		if d.journal != nil {
			errs = append(errs, d.journal.Close())
		}
	}
	s.unlock()
	return errors.Join(errs...)
}

func (d *directory) close(ctx context.Context, brokerEpoch int64) error {
	if err := d.failed.Load(); err != nil {
		return *err
	}
	manifest, err := d.closeLogs(ctx)
	if err != nil {
		return err
	}
	if d.journal != nil {
		if err := errors.Join(d.journal.Reset(), d.journal.Close()); err != nil {
			return err
		}
	}
	if d.isFailed() {
		return *d.failed.Load()
	}
	return segment.WriteClean(d.set.cfg.FS, d.path, brokerEpoch, manifest)
}

// closeLogs closes every log, several at a time, and writes the checkpoints.
func (d *directory) closeLogs(ctx context.Context) (map[string]segment.CleanLog, error) {
	var logs []*segment.Log
	for l := range d.set.logs(d) {
		logs = append(logs, l)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxSyncs)
	for _, l := range logs {
		g.Go(func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return l.Close(true)
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	manifest := make(map[string]segment.CleanLog, len(logs))
	for _, l := range logs {
		manifest[l.Name()] = l.Manifest()
	}
	d.set.writeHighWatermarks(d)
	if err := d.checkpoint(d.set.logs(d)); err != nil {
		return nil, err
	}
	d.log.Info("closed", zap.Int("logs", len(logs)))
	return manifest, nil
}
