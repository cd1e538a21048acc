package check

import (
	"bytes"
	"reflect"
	"strings"
	"testing"
	"time"
)

// breaches has for every rule a history that breaks it, and one next to it that does not.
var breaches = []struct {
	rule, name string
	bad, good  string
}{
	{"inconsistent-offsets", "two readers see different records at one offset",
		"1 send a=1@0\n2 send? a=2\n3 poll a=1@0\n4 poll a=2@0",
		"1 send a=1@0\n2 send? a=2\n3 poll a=1@0\n4 poll a=1@0 a=2@1"},
	{"inconsistent-offsets", "a record is read where another was acknowledged",
		"1 send a=1@0\n1 send? a=2\n3 poll a=2@0 a=1@1",
		"1 send a=1@0\n1 send? a=2\n3 poll a=1@0 a=2@1"},
	{"duplicate", "a retry was appended twice",
		"1 send a=1@0\n1 send a=2@2\n2 poll a=1@0 a=1@1 a=2@2",
		"1 send a=1@0\n1 send a=2@2\n2 poll a=1@0 a=2@2"},
	{"lost-write", "an acknowledged record is jumped over",
		"1 send a=1@0\n1 send a=2@1\n1 send a=3@2\n2 poll a=1@0\n3 poll a=3@2",
		"1 send a=1@0\n1 send? a=2\n1 send a=3@2\n2 poll a=1@0\n3 poll a=3@2"},
	{"lost-write", "of a transaction of unknown outcome one half is read",
		"1 txn? a=1@0 b=1@0\n1 send b=2@1\n2 poll a=1@0 b=2@1",
		"1 txn? a=1@0 b=1@0\n1 send b=2@1\n2 poll b=2@1"},
	{"unseen", "the tail was never read",
		"1 send a=1@0\n1 send a=2@1\n2 poll a=1@0",
		"1 send a=1@0\n1 send? a=2\n2 poll a=1@0"},
	{"unseen", "nothing is read of what was sent without an offset",
		"1 send a=1",
		"1 send a=1\n2 poll a=1@0"},
	{"aborted-read", "a poll returns a record whose transaction failed",
		"1 txn! a=1\n2 poll a=1@0",
		"1 txn? a=1\n2 poll a=1@0"},
	{"precommitted-read", "a transaction reads what it has sent",
		"1 txn a=1@0 <a=1@0",
		"1 txn a=1@0\n1 txn <a=1@0"},
	{"int-poll-skip", "a poll leaves a record out",
		"1 send a=1@0\n1 send a=2@1\n1 send a=3@2\n2 poll a=1@0 a=3@2\n3 poll a=2@1",
		"1 send a=1@0\n1 send a=2@1\n1 send a=3@2\n2 poll ~a a=1@0 a=3@2\n3 poll a=2@1"},
	{"int-nonmonotonic-poll", "a poll returns records in the wrong order",
		"1 send a=1@0\n1 send a=2@7\n2 poll a=2@7 a=1@0",
		"1 send a=1@0\n1 send a=2@7\n2 poll a=1@0 a=2@7"},
	{"poll-skip", "the next poll goes on too far",
		"1 send a=1@0\n1 send a=2@1\n1 send a=3@2\n2 assign a\n2 poll a=1@0\n2 poll a=3@2\n3 poll a=2@1",
		"1 send a=1@0\n1 send a=2@1\n1 send a=3@2\n2 assign a\n2 poll a=1@0\n2 assign a\n2 poll a=3@2\n3 poll a=2@1"},
	{"nonmonotonic-poll", "the next poll goes back",
		"1 send a=1@0\n1 send a=2@1\n2 assign a\n2 poll a=1@0 a=2@1\n2 poll a=1@0",
		"1 send a=1@0\n1 send a=2@1\n2 subscribe a\n2 poll a=1@0 a=2@1\n2 poll a=1@0"},
	{"int-nonmonotonic-send", "a transaction's records are in the wrong order",
		"1 txn a=1@1 a=2@0\n2 poll a=2@0 a=1@1",
		"1 txn a=1@0 a=2@3\n2 poll a=1@0 a=2@3"},
	{"nonmonotonic-send", "a pipelined send overtakes the one before it",
		"1 > send a=1\n1 > send a=2\n1 < send a=1@1\n1 < send a=2@0\n2 poll a=2@0 a=1@1",
		"1 > send a=1\n1 > send a=2\n1 < send a=1@0\n1 < send a=2@1\n2 poll a=1@0 a=2@1"},
	{"nonmonotonic-send", "a send of unknown outcome arrives after the next one",
		"1 send? a=1\n1 send? a=2\n2 poll a=2@0 a=1@1",
		"1 send? a=1\n1 crash\n1 send? a=2\n2 poll a=2@0 a=1@1"},
	{"G1c-wr", "two transactions read each other",
		"1 > txn a=1 <b=1\n2 > txn b=1 <a=1\n1 < txn a=1@0 <b=1@0\n2 < txn b=1@0 <a=1@0",
		"1 > txn a=1 <b=1\n2 > txn b=1\n1 < txn a=1@0 <b=1@0\n2 < txn b=1@0\n3 poll a=1@0"},
	{"G1c-wr-process", "a transaction reads what its reader's process sends later",
		"1 > txn a=1 <b=1\n2 txn <a=1@0\n2 txn b=1@0\n1 < txn a=1@0 <b=1@0",
		"1 > txn a=1 <b=1\n2 txn b=1@0\n2 txn <a=1@0\n1 < txn a=1@0 <b=1@0"},
	{"G1c-wr-realtime", "a transaction reads what was sent after its own writes were read",
		"1 > txn a=1 <b=1\n2 txn <a=1@0\n3 txn b=1@0\n1 < txn a=1@0 <b=1@0",
		"1 > txn a=1 <b=1\n3 txn b=1@0\n2 txn <a=1@0\n1 < txn a=1@0 <b=1@0"},
	{"realtime-order", "what was sent after an acknowledgement is before it",
		"1 send a=1@1\n2 send a=2@0\n3 poll a=2@0 a=1@1",
		"1 > send a=1\n2 send a=2@0\n1 < send a=1@1\n3 poll a=2@0 a=1@1"},
	{"stale-end", "the end does not cover what was acknowledged",
		"1 send a=1@0\n2 end a@0\n3 poll a=1@0",
		"1 > send a=1\n2 end a@0\n1 < send a=1@0\n2 end a@1\n3 poll a=1@0"},
	{"end-went-back", "the high watermark goes back between clients",
		"1 end a@5\n2 end a@4",
		"1 > end\n2 end a@4\n1 < end a@5\n2 end a@5"},
	{"end-went-back", "the end is below a record that was read",
		"1 send? a=1\n2 poll a=1@0\n3 end a@0",
		"1 send? a=1\n3 end a@0\n2 poll a=1@0\n3 end a@1"},
	{"group-offset", "a committed offset goes back",
		"1 commit g a@5\n1 commit g a@9\n2 committed g a@5",
		"1 commit g a@5\n1 commit? g a@9\n2 committed g a@5\n2 committed g a@9"},
	{"group-offset", "a committed offset is lost",
		"1 commit g a@5\n2 committed g a@-1",
		"1 > commit g a@5\n2 committed g a@-1\n1 < commit g a@5\n2 committed g a@5"},
	{"group-offset", "a committed offset was never committed",
		"1 commit g a@5\n2 committed g a@6",
		"1 commit g a@5\n2 committed h a@-1"},
	{"group-offset", "between two commits at once it goes back and forth",
		"1 > commit g a@5\n2 > commit g a@6\n1 < commit g a@5\n2 < commit g a@6\n3 committed g a@5\n3 committed g a@6",
		"1 > commit g a@5\n2 > commit g a@6\n3 committed g a@5\n3 committed g a@6\n1 < commit g a@5\n2 < commit g a@6"},
	{"group-offset", "a failed commit is told",
		"1 commit g a@5\n1 commit! g a@6\n2 committed g a@6",
		"1 commit g a@5\n1 commit! g a@6\n2 committed g a@5"},
	{"unwritten-read", "a record comes from nowhere",
		"1 poll a=1@0",
		"2 send? a=1\n1 poll a=1@0"},
	{"unwritten-read G1c-wr-realtime", "a record is read before it is sent",
		"1 poll a=1@0\n2 send a=1@0",
		"1 > poll\n2 send a=1@0\n1 < poll a=1@0"},
	{"repeated-send", "two records cannot be told apart",
		"1 send? a=1\n2 send? a=1",
		"1 send? a=1\n2 send? b=1"},
}

func TestEveryRuleFindsItsBreachAndPassesItsNeighbour(t *testing.T) {
	for _, c := range breaches {
		t.Run(c.rule+" "+c.name, func(t *testing.T) {
			bad := Check(script(t, c.bad))
			for _, rule := range strings.Fields(c.rule) {
				if bad.Count(Rule(rule)) == 0 {
					t.Errorf("no %s in\n%s\n%s", rule, c.bad, bad)
				}
			}
			if good := Check(script(t, c.good)); len(good.Errors()) > 0 {
				t.Errorf("found %s in\n%s", good, c.good)
			}
		})
	}
}

func TestWhatALogMayShowIsReportedAndNoError(t *testing.T) {
	for _, c := range []struct {
		rule    Rule
		history string
	}{
		{IntSendSkip, "1 > txn a=1 a=3\n2 send a=2@1\n1 < txn a=1@0 a=3@2\n3 poll a=1@0 a=2@1 a=3@2"},
		{G0, "1 > txn a=1 b=1\n2 > txn a=2 b=2\n1 < txn a=1@0 b=1@1\n2 < txn a=2@1 b=2@0\n3 poll a=1@0 a=2@1 b=2@0 b=1@1"},
		{G1c, "1 > txn a=1 b=1\n2 > txn a=2 <b=1\n1 < txn a=1@1 b=1@0\n2 < txn a=2@0 <b=1@0\n3 poll a=2@0 a=1@1"},
	} {
		r := Check(script(t, c.history))
		if r.Count(c.rule) != 1 || len(r.Errors()) > 0 {
			t.Errorf("%s: %d times; %s", c.rule, r.Count(c.rule), r)
		}
	}
}

func TestAllowedRulesAreNoErrors(t *testing.T) {
	h := script(t, "1 send a=1@0\n1 send a=2@1\n2 poll a=1@0")
	if r := Check(h, Unseen); r.Count(Unseen) != 1 || len(r.Errors()) != 0 {
		t.Error(r)
	}
}

func TestFigures(t *testing.T) {
	h := script(t, "1 send a=1@0\n1 send a=2@1\n2 subscribe a\n2 poll a=1@0 a=2@1\n2 poll a=1@0\n3 poll a=1@0")
	r := Check(h)
	// When the last poll began, at 11 s, the second record had been known since 4 s; the poll at 9 s was as late.
	if r.Acked != 2 || r.Read != 2 || r.Repeats != 1 || r.Lag != 7*time.Second || r.LagKey != "a" {
		t.Errorf("%+v", r)
	}
}

func TestAHistoryIsReadAsWritten(t *testing.T) {
	for _, c := range breaches {
		for _, text := range []string{c.bad, c.good} {
			h := script(t, text)
			var file bytes.Buffer
			if err := h.Write(&file); err != nil {
				t.Fatal(err)
			}
			lines := file.String()
			back, err := Read(&file)
			if err != nil {
				t.Fatalf("%v in\n%s", err, lines)
			}
			if was, is := rules(Check(h)), rules(Check(back)); was != is {
				t.Errorf("%q, read back %q:\n%s", was, is, lines)
			}
			for i := range h { // places are lines of the file, from 0
				h[i].Invoked--
				if h[i].Completed != Never {
					h[i].Completed--
				}
			}
			if !reflect.DeepEqual(h, back) {
				t.Errorf("\n%+v\n%+v\n%s", h, back, lines)
			}
		}
	}
}

func TestAFileThatIsNoHistoryIsRefused(t *testing.T) {
	const began = `{"op":1,"type":"invoke"}` + "\n"
	for file, want := range map[string]string{
		"{":                               "line 1",
		began + began:                     "line 2: operation 1 is invoked twice",
		`{"op":2,"type":"ok"}`:            "line 1: operation 2 is not under way",
		began + `{"op":1,"type":"maybe"}`: `line 2: "maybe" is no outcome`,
		began + strings.Repeat(`{"op":1,"type":"ok"}`+"\n", 2): "line 3: operation 1 is not under way",
	} {
		if _, err := Read(strings.NewReader(file)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", file, err)
		}
	}
}
