package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestAnEventIsOneLineWhateverItHolds(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(&b, "console", "info")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("not shown")
	log.Named("room").With(zap.String("always", "x")).Warn("two\nlines", zap.Int("n", 3), zap.String("text", "a \"b\"\nc=d"),
		zap.Error(errors.New("no good")), zap.Duration("took", time.Second), zap.String("empty", ""))
	want := `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\S+ WARN  room: "two\\nlines" always=x n=3 text="a \\"b\\"\\nc=d" error="no good" took=1s empty=""\n$`
	if !regexp.MustCompile(want).MatchString(b.String()) {
		t.Errorf("%q", b.String())
	}
}

func TestJSONLogsAreOneObjectALine(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(&b, "json", "debug")
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("one\ntwo", zap.Int("n", 3))
	var v map[string]any
	if err := json.Unmarshal(b.Bytes(), &v); err != nil || strings.Count(b.String(), "\n") != 1 {
		t.Fatalf("%q: %v", b.String(), err)
	}
	if v["event"] != "one\ntwo" || v["level"] != "debug" || v["n"] != 3.0 || v["time"] == nil {
		t.Errorf("%v", v)
	}
}
