package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
)

// newLogger writes one line per event: JSON for machines, else "time level event key=value …".
func newLogger(w io.Writer, format, level string) (*zap.Logger, error) {
	at, err := zapcore.ParseLevel(level)
	if err != nil {
		return nil, usageErrorf("--log-level %q: use debug, info, warn or error", level)
	}
	var enc zapcore.Encoder
	switch format {
	case "json":
		cfg := zap.NewProductionEncoderConfig()
		cfg.EncodeTime, cfg.TimeKey, cfg.MessageKey = zapcore.ISO8601TimeEncoder, "time", "event"
		enc = zapcore.NewJSONEncoder(cfg)
	case "console":
		enc = lineEncoder{zapcore.NewMapObjectEncoder()}
	default:
		return nil, usageErrorf("--log-format %q: use console or json", format)
	}
	return zap.New(zapcore.NewCore(enc, zapcore.Lock(zapcore.AddSync(w)), at)), nil
}

// lineEncoder writes an event on one line, whatever its fields hold.
type lineEncoder struct{ *zapcore.MapObjectEncoder }

var lineBuffers = buffer.NewPool()

func (e lineEncoder) Clone() zapcore.Encoder {
	c := zapcore.NewMapObjectEncoder()
	maps.Copy(c.Fields, e.Fields)
	return lineEncoder{c}
}

func (e lineEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	b := lineBuffers.Get()
	b.AppendTime(entry.Time, "2006-01-02T15:04:05.000Z07:00")
	fmt.Fprintf(b, " %-5s ", entry.Level.CapitalString())
	if entry.LoggerName != "" {
		b.AppendString(entry.LoggerName + ": ")
	}
	b.AppendString(oneLine(entry.Message))
	writeFields(b, e.Fields)
	for _, f := range fields {
		m := zapcore.NewMapObjectEncoder()
		f.AddTo(m)
		writeFields(b, m.Fields)
	}
	b.AppendByte('\n')
	return b, nil
}

func writeFields(b *buffer.Buffer, fields map[string]any) {
	for _, k := range slices.Sorted(maps.Keys(fields)) {
		if strings.HasSuffix(k, "Verbose") { // the same error with its stack
			continue
		}
		b.AppendByte(' ')
		b.AppendString(k)
		b.AppendByte('=')
		text := fmt.Sprint(fields[k])
		if text == "" || strings.ContainsAny(text, " \"=") || !printable(text) {
			text = strconv.Quote(text)
		}
		b.AppendString(text)
	}
}

func oneLine(s string) string {
	if !printable(s) {
		return strconv.Quote(s)
	}
	return s
}

// printable: no line breaks, and nothing that a terminal would obey (bad input 24).
func printable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
}
