package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestPlacesAreRead(t *testing.T) {
	now := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	for text, want := range map[string]place{
		"start": {kind: atStart}, "end": {kind: atEnd}, "0": {kind: atOffset}, "17": {kind: atOffset, n: 17}, "-5": {kind: beforeEnd, n: 5},
		"-0": {kind: beforeEnd}, "@1000": {kind: atTime, n: 1000}, "@1970-01-02": {kind: atTime, n: 86400000},
		"@1970-01-01T00:00:01Z": {kind: atTime, n: 1000}, "@1970-01-01T01:00:01+01:00": {kind: atTime, n: 1000},
		"@1970-01-01T00:00:01.5Z": {kind: atTime, n: 1500}, "@1970-01-01 00:00:01": {kind: atTime, n: 1000},
		"@-90m": {kind: atTime, n: now.Add(-90 * time.Minute).UnixMilli()}, "@90m": {kind: atTime, n: now.Add(-90 * time.Minute).UnixMilli()},
		":end": {kind: atStart, until: true}, "start:end": {kind: atStart, until: true}, "-3:end": {kind: beforeEnd, n: 3, until: true},
		"@1970-01-01T00:00:01Z:end": {kind: atTime, n: 1000, until: true},
	} {
		if got, err := parseRange(text, now); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "x", "1.5", "@", "@x", "@-5", "@2026-13-01", "99999999999999999999", "start:", "end:start", "--5"} {
		if got, err := parseRange(text, now); err == nil {
			t.Errorf("%q: accepted as %+v", text, got)
		}
	}
}

func TestOffsetFilesAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "offsets")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("# topic partition offset\norders 0 17\n\n  orders\t1 0 # none read\nother 0 3\n")
	got, err := readOffsets(path)
	if err != nil || len(got) != 2 || got["orders"][0] != 17 || got["orders"][1] != 0 || got["other"][0] != 3 {
		t.Errorf("%v, %v", got, err)
	}
	for text, want := range map[string]string{
		"a 0":            ":1: want TOPIC PARTITION OFFSET",
		"a 0 1\na 0 1 2": ":2: want TOPIC PARTITION OFFSET",
		"a x 1":          `:1: "x" is no partition`,
		"a -1 1":         `:1: "-1" is no partition`,
		"a 0 -1":         `:1: "-1" is no offset`,
		"a 0 1\na 0 2":   ":2: a partition 0 is given twice",
		"# nothing":      "no offsets in it",
		"":               "no offsets in it",
	} {
		write(text)
		if _, err := readOffsets(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
