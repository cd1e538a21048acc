package listener

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// reporter writes at most one line per second and reason, so that a flood cannot fill the disk. Lines never hold bytes
// that a client sent.
type reporter struct {
	log *zap.Logger

	mu    sync.Mutex
	last  [reasons]time.Time
	muted [reasons]int64
}

func newReporter(log *zap.Logger) *reporter { return &reporter{log: log} }

func (p *reporter) line(why reason, fields ...zap.Field) {
	level, text := zapcore.WarnLevel, "connection closed"
	switch {
	case why == reasonAccept:
		text = "cannot accept a connection"
	case why == reasonPanic:
		level = zapcore.ErrorLevel
	case why >= reasonMaxConnections:
		text = "connection refused"
	case why.expected():
		level = zapcore.DebugLevel
	}
	entry := p.log.Check(level, text)
	if entry == nil {
		return
	}
	now := time.Now()
	p.mu.Lock()
	quiet := now.Sub(p.last[why]) < time.Second
	muted := p.muted[why]
	if quiet {
		p.muted[why]++
	} else {
		p.last[why], p.muted[why] = now, 0
	}
	p.mu.Unlock()
	if quiet {
		return
	}
	fields = append(fields, zap.Stringer("reason", why))
	if muted > 0 {
		fields = append(fields, zap.Int64("not_logged", muted))
	}
	entry.Write(fields...)
}
