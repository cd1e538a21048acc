package check

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Rule is what a finding breaks; doc.go defines each.
type Rule string

const (
	InconsistentOffsets Rule = "inconsistent-offsets"
	Duplicate           Rule = "duplicate"
	LostWrite           Rule = "lost-write"
	Unseen              Rule = "unseen"
	AbortedRead         Rule = "aborted-read"
	PrecommittedRead    Rule = "precommitted-read"
	IntPollSkip         Rule = "int-poll-skip"
	IntNonmonotonicPoll Rule = "int-nonmonotonic-poll"
	PollSkip            Rule = "poll-skip"
	NonmonotonicPoll    Rule = "nonmonotonic-poll"
	IntNonmonotonicSend Rule = "int-nonmonotonic-send"
	IntSendSkip         Rule = "int-send-skip"
	NonmonotonicSend    Rule = "nonmonotonic-send"
	G0                  Rule = "G0"
	G1c                 Rule = "G1c"
	G1cWR               Rule = "G1c-wr"
	RealtimeOrder       Rule = "realtime-order"
	StaleEnd            Rule = "stale-end"
	EndWentBack         Rule = "end-went-back"
	GroupOffset         Rule = "group-offset"
	UnwrittenRead       Rule = "unwritten-read"
	RepeatedSend        Rule = "repeated-send"
)

// Process and Realtime make a cycle's rule that of a cycle which needs this order too.
const (
	Process  Rule = "-process"
	Realtime Rule = "-realtime"
)

// legal is what a correct log may show. (That poll-skip and nonmonotonic-poll are legal under subscribe depends on the
// process, so they are not found there.)
var legal = []Rule{
	IntSendSkip, G0, G0 + Process, G0 + Realtime, G1c, G1c + Process, G1c + Realtime,
}

// Finding is how often a rule is broken, and how the first time.
type Finding struct {
	Rule  Rule
	Count int
	First string
}

// Report is the verdict over a history.
type Report struct {
	Findings []Finding // in no promised order
	Acked    int       // records whose sends are ok
	Read     int       // different records read
	Repeats  int       // records that a subscribed process read again (C15)
	Lag      time.Duration
	LagKey   Key // where the lag was (C16)

	allowed []Rule
}

// Count is how often a rule was broken.
func (r *Report) Count(rule Rule) int {
	for _, f := range r.Findings {
		if f.Rule == rule {
			return f.Count
		}
	}
	return 0
}

// Errors are the findings that are neither legal nor allowed by the caller.
func (r *Report) Errors() []Finding {
	return slices.DeleteFunc(slices.Clone(r.Findings), func(f Finding) bool {
		return slices.Contains(legal, f.Rule) || slices.Contains(r.allowed, f.Rule)
	})
}

// String is the report in one line, and one more for each error.
func (r *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d acknowledged, %d read, at most %s late", r.Acked, r.Read, r.Lag)
	if r.Repeats > 0 {
		fmt.Fprintf(&b, ", %d again", r.Repeats)
	}
	for _, f := range r.Errors() {
		fmt.Fprintf(&b, "\n%s, %d times: %s", f.Rule, f.Count, f.First)
	}
	return b.String()
}

// found counts a finding; the words are made for the first one only.
func (r *Report) found(rule Rule, format string, args ...any) {
	for i := range r.Findings {
		if r.Findings[i].Rule == rule {
			r.Findings[i].Count++
			return
		}
	}
	r.Findings = append(r.Findings, Finding{rule, 1, fmt.Sprintf(format, args...)})
}
