package segment

import (
	"fmt"
	"path/filepath"
	"testing"

	"cordwood/segment/vfs"
)

// A clean start of many logs reads the manifest and opens nothing else.
func TestCleanStartOpensNoLogFiles(t *testing.T) {
	m := newMem(t)
	clean := make(map[string]CleanLog)
	digests := make(map[string]string)
	files := NewFiles(m, 100)
	each := func(fsys vfs.FS, do func(name string, o Options)) {
		for i := range 500 {
			o := options(fsys)
			o.Dir, o.Files = filepath.Join(dataDir, fmt.Sprintf("t-%d", i)), files
			do(filepath.Base(o.Dir), o)
		}
	}
	each(m, func(name string, o Options) {
		l := open(t, o)
		idempotent(t, l, 1, 0)
		fill(t, l, 12, 0)
		must(t, l.BeginEpoch(2))
		digests[name] = digest(t, l)
		must(t, l.Close(true))
		clean[name] = l.Manifest()
	})
	must(t, WriteClean(m, dataDir, 5, clean))

	counting := vfs.NewFault(m, func(vfs.Op) vfs.Verdict { return vfs.Verdict{} })
	taken, err := TakeClean(counting, dataDir, nil)
	must(t, err)
	before := counting.Count()
	files = NewFiles(counting, 100)
	var logs []*Log
	each(counting, func(name string, o Options) {
		o.TopicID = [16]byte{}
		o.Clean = taken.Logs[name]
		l := open(t, o)
		if l.TopicID() != topicID || !l.Recovery().Clean {
			t.Fatalf("%s: %v %+v", name, l.TopicID(), l.Recovery())
		}
		logs = append(logs, l)
	})
	if n := counting.Count() - before; n != 0 {
		t.Fatalf("%d file operations for a clean start", n)
	}
	for _, l := range logs {
		if got := digest(t, l); got != digests[l.Name()] {
			t.Fatalf("%s\n%s\n%s", l.Name(), got, digests[l.Name()])
		}
	}
	// What was not touched is closed without a single write, and its entry still holds.
	before = counting.Count()
	must(t, logs[0].Close(true))
	if n := counting.Count() - before; n != 0 || logs[0].Manifest().End != logs[0].End() {
		t.Fatalf("%d operations to close an idle log", n)
	}
}

func TestCleanFilesThatCannotBeBelieved(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(m *vfs.Mem)
		epoch int64 // -1: counts as unclean
		logs  bool
	}{
		{"whole", func(*vfs.Mem) {}, 7, true},
		{"no manifest", func(m *vfs.Mem) { must(t, m.Remove(dataDir+"/"+manifestFile)) }, 7, false},
		{"bit flipped in the manifest", func(m *vfs.Mem) { must(t, m.Corrupt(dataDir+"/"+manifestFile, 40, 1)) }, 7, false},
		{"manifest cut short", func(m *vfs.Mem) { write(t, m, dataDir+"/"+manifestFile, []byte(manifestMagic)) }, 7, false},
		{"manifest of another stop", func(m *vfs.Mem) { write(t, m, dataDir+"/"+manifestFile, encodeManifest(6, nil)) }, 7, false},
		{"no file of Kafka's", func(m *vfs.Mem) { must(t, m.Remove(dataDir+"/"+kafkaCleanFile)) }, -1, false},
		{"garbage in Kafka's", func(m *vfs.Mem) { write(t, m, dataDir+"/"+kafkaCleanFile, []byte("{")) }, -1, false},
		{"newer version of Kafka's", func(m *vfs.Mem) {
			write(t, m, dataDir+"/"+kafkaCleanFile, []byte(`{"version":1,"brokerEpoch":7}`))
		}, -1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := newMem(t)
			l := open(t, options(m))
			fill(t, l, 3, 0)
			must(t, l.Close(true))
			must(t, WriteClean(m, dataDir, 7, map[string]CleanLog{"t-0": l.Manifest()}))
			c.spoil(m)
			got, err := TakeClean(m, dataDir, nil)
			must(t, err)
			if (got == nil) != (c.epoch < 0) || got != nil && (got.BrokerEpoch != c.epoch || (got.Logs != nil) != c.logs) {
				t.Fatalf("%+v", got)
			}
			if again, err := TakeClean(m, dataDir, nil); err != nil || again != nil {
				t.Fatalf("taken twice: %+v %v", again, err)
			}
		})
	}
}

// Retention leaves files that wait for their removal; a manifest does not know them.
func TestCleanCloseRemovesDroppedSegments(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	want := fill(t, l, 40, 0)
	must(t, l.Trim(60))
	l = reopenClean(t, l)
	must(t, l.Reset(500))
	_ = want
	if again := open(t, options(m.KillClone())); again.Start() != 500 || len(again.Recovery().Faults) != 0 {
		t.Fatalf("start %d, %+v", again.Start(), again.Recovery())
	}
}

func TestAppendGoesOnAfterACleanStop(t *testing.T) {
	m := newMem(t)
	l := open(t, options(m))
	want := fill(t, l, 13, 0)
	for range 5 {
		l = reopenClean(t, l)
		want = append(want, fill(t, l, 4, 0)...)
		sameBatches(t, contents(t, l, 700), want)
		checkIndexes(t, l)
	}
	_, err := l.Sync()
	must(t, err)
	again := open(t, options(m.CrashClone(nil)))
	sameBatches(t, contents(t, again, 700), want)
	checkIndexes(t, again)
}
