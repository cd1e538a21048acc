package broker

import (
	"errors"
	"runtime"
	"time"

	"go.uber.org/zap"
)

// State sums up what this broker is doing, for an operator who asks by a signal. It may be called at any time.
func (b *Broker) State() []zap.Field {
	ready := b.notReady()
	if ready == "" {
		ready = "yes"
	}
	connections := int64(0)
	for _, l := range b.listeners {
		connections += int64(l.l.Stats().Open)
	}
	img, s := b.image(), b.partitions.Stats()
	fields := []zap.Field{
		zap.String("ready", ready), zap.Duration("uptime", b.uptime().Round(time.Millisecond)),
		zap.Int64("connections", connections), zap.Int("topics", img.TopicCount()), zap.Int("partitions", s.Partitions),
		zap.Int("leaders", s.Leaders), zap.Int("offline", s.Offline), zap.Int("under_min_isr", s.UnderMinISR),
		zap.Int("open_files", s.OpenFiles), zap.Uint64("metadata_index", img.Index()), zap.Bool("controller", b.isActive()),
		zap.Int("goroutines", runtime.NumGoroutine()),
	}
	var offline []error
	for _, d := range b.partitions.Directories() {
		if d.Err != nil {
			offline = append(offline, d.Err)
		}
	}
	return append(fields, zap.NamedError("log_dirs_offline", errors.Join(offline...)))
}
