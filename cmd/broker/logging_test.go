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

// Bad input 24: a name from the network must not move a terminal's cursor.
func TestWhatATerminalWouldObeyIsEscaped(t *testing.T) {
	for _, format := range []string{"console", "json"} {
		var b bytes.Buffer
		log, err := newLogger(&b, format, "info")
		if err != nil {
			t.Fatal(err)
		}
		const bad = "\x1b[31m\x00\x07\u009b1m\xff\r"
		log.Info(bad, zap.String("group", bad), zap.Error(errors.New(bad)))
		for _, r := range strings.TrimSuffix(b.String(), "\n") {
			if r < ' ' || format == "console" && r >= 0x7f && r < 0xa0 { // JSON leaves U+0080 to U+009F as they are, for its readers
				t.Errorf("%s: %q holds %q", format, b.String(), r)
			}
		}
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
