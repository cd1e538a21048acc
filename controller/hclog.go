package controller

import (
	"fmt"
	"io"
	"log"
	"time"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger lets raft write to zap. raft speaks a lot at its start: its warnings become
// notes and its notes debugging; errors stay errors, but calls that a peer does not get
// are told as its outage.
type logger struct {
	zap     *zap.SugaredLogger
	name    string
	args    []any
	outages *outages // of the node
}

func newLogger(z *zap.Logger, o *outages) logger {
	return logger{zap: z.Named("raft").Sugar(), name: "raft", outages: o}
}

func (l logger) Log(level hclog.Level, msg string, args ...any) {
	switch level {
	case hclog.Error:
		l.Error(msg, args...)
	case hclog.Warn:
		l.Warn(msg, args...)
	case hclog.Info:
		l.Info(msg, args...)
	}
}

// Trace and Debug are dropped: raft logs every vote and every round there.
func (l logger) Trace(string, ...any) {}
func (l logger) Debug(string, ...any) {}

func (l logger) Info(msg string, args ...any) { l.zap.Debugw(msg, pairs(args)...) }
func (l logger) Warn(msg string, args ...any) { l.zap.Infow(msg, pairs(args)...) }
func (l logger) Error(msg string, args ...any) {
	peer, w, cause, lost := lostCall(msg, args)
	if !lost {
		l.zap.Errorw(msg, pairs(args)...)
		return
	}
	o, say := l.outages.failed(peer, w, time.Now())
	switch {
	case !say:
	case o.calls == 1:
		l.zap.Errorw("a controller is lost", "event", "CW-0418", "peer", peer, "call", msg, "error", cause)
	default:
		l.zap.Errorw("a controller is still away", "event", "CW-0418", "peer", peer, "for", o.last.Sub(o.began), "failed", o.silent, "call", msg, "error", cause)
	}
}

// answered hears of each call that came through.
func (l logger) answered(peer string, w weight) {
	if o, ended := l.outages.answered(peer, w); ended {
		l.zap.Infow("a controller is back", "event", "CW-0419", "peer", peer, "for", o.last.Sub(o.began), "failed", o.calls)
	}
}

// pairs turns what hclog formats late into text; zap knows only errors and plain values.
func pairs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch a := a.(type) {
		case hclog.Format:
			out[i] = fmt.Sprintf(a[0].(string), a[1:]...)
		case fmt.Stringer:
			out[i] = a.String()
		default:
			out[i] = a
		}
	}
	return out
}

func (l logger) IsTrace() bool { return false }
func (l logger) IsDebug() bool { return false }
func (l logger) IsInfo() bool  { return l.zap.Desugar().Core().Enabled(zapcore.DebugLevel) }
func (l logger) IsWarn() bool  { return true }
func (l logger) IsError() bool { return true }

func (l logger) ImpliedArgs() []any { return l.args }
func (l logger) Name() string       { return l.name }

func (l logger) With(args ...any) hclog.Logger {
	l.zap, l.args = l.zap.With(pairs(args)...), append(l.args[:len(l.args):len(l.args)], args...)
	return l
}

func (l logger) Named(name string) hclog.Logger {
	l.zap, l.name = l.zap.Named(name), l.name+"."+name
	return l
}

func (l logger) ResetNamed(name string) hclog.Logger {
	l.name = name
	return l
}

func (l logger) SetLevel(hclog.Level)  {}
func (l logger) GetLevel() hclog.Level { return hclog.Info }

func (l logger) StandardLogger(o *hclog.StandardLoggerOptions) *log.Logger {
	return log.New(l.StandardWriter(o), "", 0)
}

func (l logger) StandardWriter(*hclog.StandardLoggerOptions) io.Writer {
	return zap.NewStdLog(l.zap.Desugar()).Writer()
}
