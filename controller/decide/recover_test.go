package decide

import (
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func (w *world) report(b metadata.NodeID, topic string, epoch int32, end int64) []Revival {
	w.t.Helper()
	out, err := ReportLogEnds(w.img, w.s, ReportLogEndsRequest{b, w.img.Broker(b).Epoch,
		[]LogEnd{{Topic: w.img.Topic(topic).ID, LeaderEpoch: w.img.Topic(topic).Partitions[0].LeaderEpoch, LastEpoch: epoch, End: end}}}, w.now)
	return do(w, out, err).Revived
}

// lostAll makes a topic in page-cache mode, of which 1 and 2 have died without a clean stop and are back.
func lostAll(t *testing.T) *world {
	w := newWorld(t, 1, 2, 3)
	w.create(NewTopic{Name: "t", Partitions: -1, ReplicationFactor: -1, Assignments: []Assignment{{Replicas: []metadata.NodeID{1, 2, 3}}},
		Configs: []ConfigEntry{{"flush.before.ack", ptr("false")}}})
	w.alter("t", 0, 1, 2)
	w.register(w.process(2, -1))
	w.register(w.process(1, -1))
	w.is("t", 0, "isr [] elr [] known [2 1] leader -1")
	w.heartbeat(1, false)
	w.heartbeat(2, false)
	return w
}

func TestTheLongestLogLeadsOnceAllHaveAnswered(t *testing.T) {
	for _, c := range []struct {
		epoch1, epoch2 int32
		end1, end2     int64
		leader         metadata.NodeID
	}{
		{3, 3, 10, 9, 1},
		{3, 3, 9, 10, 2},
		{3, 4, 100, 1, 2}, // the epoch decides first
		{3, 3, 5, 5, 1},   // order of assignment
		{-1, -1, 0, 0, 1},
	} {
		w := lostAll(t)
		before := w.img.Topic("t").Partitions[0]
		if w.report(2, "t", c.epoch2, c.end2) != nil {
			t.Fatal("elected before all had answered")
		}
		got := w.report(1, "t", c.epoch1, c.end1)
		p := w.img.Topic("t").Partitions[0]
		if len(got) != 1 || got[0].Leader != c.leader || len(got[0].Ends) != 2 || p.Leader != c.leader {
			t.Fatalf("%+v: %+v", c, got)
		}
		if !p.Recovering || p.LeaderEpoch != before.LeaderEpoch+1 || p.UncleanEpoch != p.LeaderEpoch || len(p.ISR) != 1 {
			t.Fatalf("%+v", p)
		}
	}
}

func TestAnAnswerOfAnEarlierLifeIsNoAnswer(t *testing.T) {
	w := lostAll(t)
	w.report(2, "t", 3, 10)
	w.register(w.process(2, -1))
	if w.report(1, "t", 3, 5) != nil {
		t.Fatal("elected with an answer of a log that may be shorter now")
	}
	if w.report(2, "t", 3, 4) != nil { // it is not let in yet, and 1 is the longest
		w.is("t", 0, "isr [1] elr [] known [2] leader 1")
	}
	_, err := ReportLogEnds(w.img, w.s, ReportLogEndsRequest{Broker: 2, Epoch: w.img.Broker(2).Epoch - 1}, w.now)
	wantCode(t, err, kerr.StaleBrokerEpoch)
}

// A leader came and went since 1 told: its log may have grown, or lost records of another history.
func TestAnAnswerOfAnEarlierLeaderEpochIsNoAnswer(t *testing.T) {
	w := lostAll(t)
	w.report(1, "t", 3, 5)
	if got := w.report(2, "t", 3, 9); len(got) != 1 || got[0].Leader != 2 {
		t.Fatal(got)
	}
	w.register(w.process(2, -1))
	w.heartbeat(2, false)
	w.is("t", 0, "isr [] elr [] known [1 2] leader -1")
	if w.report(2, "t", 3, 7) != nil {
		t.Fatal("elected by what 1 had before it followed 2")
	}
	if got := w.report(1, "t", 3, 8); len(got) != 1 || got[0].Leader != 1 {
		t.Fatal(got)
	}
}

func TestWhatLiesInPlaceOfALostDirectoryIsNoAnswer(t *testing.T) {
	w := lostAll(t)
	w.report(2, "t", 3, 9)
	out, err := Heartbeat(w.img, w.s, HeartbeatRequest{ID: 1, Epoch: w.img.Broker(1).Epoch, OfflineDirs: []metadata.DirID{dir(1, 0)}, Rules: w.rules}, w.now)
	do(w, out, err)
	if w.report(1, "t", -1, 0) != nil {
		t.Fatal("elected without the log of 1")
	}
}

func TestTheLongestLogIsWaitedForUntilItIsLetIn(t *testing.T) {
	w := lostAll(t)
	w.register(w.process(2, -1))
	w.report(1, "t", 3, 5)
	if w.report(2, "t", 3, 9) != nil {
		t.Fatal("elected")
	}
	w.heartbeat(2, false)
	if got := w.report(2, "t", 3, 9); len(got) != 1 || got[0].Leader != 2 {
		t.Fatal(got)
	}
	w.is("t", 0, "isr [2] elr [] known [1] leader 2")
}

func TestANewReportReplacesTheOneBefore(t *testing.T) {
	w := lostAll(t)
	w.report(2, "t", 3, 10)
	out, err := ReportLogEnds(w.img, w.s, ReportLogEndsRequest{Broker: 2, Epoch: w.img.Broker(2).Epoch}, w.now)
	do(w, out, err)
	if w.report(1, "t", 3, 11) != nil {
		t.Fatal("elected on an answer that was taken back")
	}
}

func TestReportsOfWhatHasALeaderChangeNothing(t *testing.T) {
	w := newWorld(t, 1, 2)
	w.placed("t", 1, 2)
	before := w.img
	w.report(1, "t", 0, 0)
	out, err := ReportLogEnds(w.img, w.s, ReportLogEndsRequest{1, w.img.Broker(1).Epoch,
		[]LogEnd{{Topic: metadata.TopicID{9}}, {Topic: w.img.Topic("t").ID, Index: -1}, {Topic: w.img.Topic("t").ID, Index: 9}}}, w.now)
	do(w, out, err)
	if w.img != before {
		t.Fatal("a fact was committed")
	}
}

// Each had every acknowledged record on disk: the first one back will do (R11).
func TestInDurableModeTheFirstOneBackIsElected(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.alter("t", 0, 1, 2)
	w.register(w.process(2, -1))
	w.register(w.process(1, -1))
	w.is("t", 0, "isr [] elr [] known [2 1] leader -1")
	w.heartbeat(2, false)
	w.is("t", 0, "isr [2] elr [] known [1] leader 2")
	if w.img.Topic("t").Partitions[0].Recovering {
		t.Fatal("nothing was lost")
	}
}

func TestInDurableModeAnEmptyDiskIsNotElected(t *testing.T) {
	w := newWorld(t, 1, 2, 3)
	w.placed("t", 1, 2, 3)
	w.alter("t", 0, 1, 2)
	w.silence(1, 2)
	req := w.process(2, -1)
	req.Dirs = []metadata.DirID{dir(2, 9)}
	w.register(req)
	w.heartbeat(2, false)
	w.is("t", 0, "isr [] elr [1] known [] leader -1")
	w.heartbeat(1, false)
	w.is("t", 0, "isr [1] elr [] known [] leader 1")
}
