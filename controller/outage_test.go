package controller

import (
	"errors"
	"fmt"
	"io"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"
	"github.com/twmb/franz-go/pkg/kerr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// of counts the lines about a peer, by message.
func of(logs *observer.ObservedLogs, peer string) map[string]int {
	n := map[string]int{}
	for _, e := range logs.All() {
		if e.ContextMap()["peer"] == peer {
			n[e.Message]++
		}
	}
	return n
}

func TestAPeerThatIsAwayIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zapcore.InfoLevel)
		q := newQuorum(t, 3)
		for _, m := range q.members {
			m.cfg.Log = zap.New(core).With(zap.Int32("node", int32(m.id)))
		}
		q.start()
		defer q.stop()
		q.some(3)
		gone := q.others(q.active())[0]
		peer := fmt.Sprint(gone.id)
		logs.TakeAll()
		gone.stop()
		time.Sleep(3*time.Minute + 30*time.Second)
		if n := of(logs, peer); n["a controller is lost"] != 1 || n["a controller is still away"] != 3 || len(n) != 2 {
			t.Fatal(n)
		}
		for _, e := range logs.FilterMessage("a controller is still away").All() {
			if f := e.ContextMap(); f["failed"].(int64) < 5 || f["error"] != "connection refused" || e.Level != zapcore.ErrorLevel {
				t.Error(f)
			}
		}
		logs.TakeAll()
		gone.start()
		q.agree(q.some(1)[0])
		time.Sleep(15 * time.Second) // raft's longest pause
		if n := of(logs, peer); n["a controller is back"] != 1 || len(n) != 1 {
			t.Fatal(n)
		}
	})
}

// silentAfter logs a failed call and reports whether there was no line.
func silentAfter(l logger, logs *observer.ObservedLogs, msg string, args ...any) bool {
	logs.TakeAll()
	l.Error(msg, args...)
	return logs.Len() == 0
}

func TestNothingButAnOutageIsHeldBack(t *testing.T) {
	core, logs := observer.New(zapcore.InfoLevel)
	l := newLogger(zap.New(core), &outages{peers: map[string]*outage{}})
	peer, refused := raft.Server{ID: "2", Address: "2"}, unreachable{syscall.ECONNREFUSED}
	l.Error("failed to appendEntries to", "peer", peer, "error", refused)
	for _, c := range []struct {
		what   string
		silent bool
		msg    string
		args   []any
	}{
		{"the same peer, by its address", true, "failed to heartbeat to", []any{"peer", raft.ServerAddress("2"), "backoff time", time.Second, "error", io.EOF}},
		{"a vote", true, "failed to make requestVote RPC", []any{"target", peer, "error", refused, "term", 3}},
		{"a snapshot", true, "failed to install snapshot", []any{"peer", raft.ServerID("2"), "id", "x", "error", refused}},
		{"another peer", false, "failed to heartbeat to", []any{"peer", raft.ServerAddress("3"), "error", refused}},
		{"an answer of the peer", false, "failed to appendEntries to", []any{"peer", peer, "error", errors.New("log not found")}},
		{"no answer said why", false, "failed to appendEntries to", []any{"peer", peer}},
		{"a failure of our own", false, "failed to get log", []any{"index", 5, "error", io.EOF}},
		{"something else about the peer", false, "peer has newer term, stopping replication", []any{"peer", peer}},
	} {
		for range 2 {
			if got := silentAfter(l, logs, c.msg, c.args...); got != c.silent {
				t.Errorf("%s: silent %t", c.what, got)
			}
			if c.what == "another peer" {
				break
			}
		}
	}
}

func TestAPeerThatAnswersHeartbeatsOnlyIsNotBack(t *testing.T) {
	o := outages{peers: map[string]*outage{}}
	now := time.Now()
	o.failed("2", heavy, now)
	if _, ended := o.answered("2", light); ended {
		t.Error("a heartbeat ended the outage of entries")
	}
	if _, say := o.failed("2", light, now.Add(time.Second)); say {
		t.Error("said twice within a minute")
	}
	if out, ended := o.answered("2", heavy); !ended || out.calls != 2 || out.last.Sub(out.began) != time.Second {
		t.Error(out, ended)
	}
	if _, ended := o.answered("2", heavy); ended {
		t.Error("ended twice")
	}
	if _, say := o.failed("2", light, now.Add(2*time.Second)); !say {
		t.Error("the next outage is not told")
	}
}

func TestAPeerThatRefusesIsNotAway(t *testing.T) {
	for _, c := range []struct {
		err  error
		away bool
	}{
		{unreachable{errors.New("no address")}, true},
		{fmt.Errorf("read: %w", syscall.ECONNRESET), true},
		{fmt.Errorf("raft stream: %w", kerr.InconsistentClusterID), false},
		{nil, false},
	} {
		if broken(c.err) != c.away {
			t.Errorf("%v: away %t", c.err, !c.away)
		}
	}
}
