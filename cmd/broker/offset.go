package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// place is a position in a partition as a user writes it: start, end, an offset, -N from the end, or @time.
type place struct {
	kind  placeKind
	n     int64 // offset, distance from the end, or milliseconds
	until bool  // FROM:end, stop where the partition ended when the command began
}

type placeKind int

const (
	atStart placeKind = iota
	atEnd
	atOffset
	beforeEnd
	atTime
)

// parsePlace reads start|end|N|-N|@time. A time is RFC 3339, a date, milliseconds since 1970, or a duration back from now.
func parsePlace(text string, now time.Time) (place, error) {
	bad := usageErrorf("%q: use start, end, an offset, -N (N before the end) or @TIME "+
		"(2026-01-31, 2026-01-31T15:04:05Z, milliseconds since 1970, or -90m)", text)
	switch text {
	case "start":
		return place{kind: atStart}, nil
	case "end":
		return place{kind: atEnd}, nil
	}
	if t, ok := strings.CutPrefix(text, "@"); ok {
		ms, ok := parseTime(t, now)
		if !ok {
			return place{}, bad
		}
		return place{kind: atTime, n: ms}, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err != nil:
		return place{}, bad
	case n < 0 || text[0] == '-':
		return place{kind: beforeEnd, n: -n}, nil
	}
	return place{kind: atOffset, n: n}, nil
}

// parseRange reads FROM or FROM:end; an empty FROM is the start.
func parseRange(text string, now time.Time) (place, error) {
	from, until := strings.CutSuffix(text, ":end")
	if until && from == "" {
		from = "start"
	}
	p, err := parsePlace(from, now)
	p.until = until
	return p, err
}

func parseTime(text string, now time.Time) (ms int64, ok bool) {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, n >= 0
	}
	if d, err := time.ParseDuration(text); err == nil {
		return now.Add(-d.Abs()).UnixMilli(), true
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, text, now.Location()); err == nil {
			return t.UnixMilli(), true
		}
	}
	return 0, false
}

// offset is the place for the consumer.
func (p place) offset() kgo.Offset {
	o := kgo.NewOffset()
	switch p.kind {
	case atStart:
		return o.AtStart()
	case atEnd:
		return o.AtEnd()
	case beforeEnd:
		return o.AtEnd().Relative(-p.n)
	case atTime:
		return o.AfterMilli(p.n)
	}
	return o.At(p.n)
}
