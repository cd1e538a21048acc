package controller

import (
	"fmt"
	"io"
	"log"

	"github.com/hashicorp/go-hclog"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// logger lets raft write to zap. raft speaks a lot at its start: its warnings become
// notes and its notes debugging; errors stay errors.
type logger struct {
	zap  *zap.SugaredLogger
	name string
	args []any
}

func newLogger(z *zap.Logger) hclog.Logger { return logger{zap: z.Named("raft").Sugar(), name: "raft"} }

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

func (l logger) Info(msg string, args ...any)  { l.zap.Debugw(msg, pairs(args)...) }
func (l logger) Warn(msg string, args ...any)  { l.zap.Infow(msg, pairs(args)...) }
func (l logger) Error(msg string, args ...any) { l.zap.Errorw(msg, pairs(args)...) }

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
