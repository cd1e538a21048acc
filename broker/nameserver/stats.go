package nameserver

import "sync/atomic"

// verdict is what became of a query.
type verdict uint8

const (
	found    verdict = iota
	noData           // the name exists, without records of that type
	noName           // it does not
	ignorant         // SERVFAIL: this node does not know enough to say
	failed           // SERVFAIL: the answer cannot be written down

	// refused, or let go without a word
	malformed
	response
	opcode
	questions
	badVersion
	class
	anyType
	transfer
	metaType
	outside

	verdicts
)

// answers and refusals name the verdicts for an operator.
var (
	answers  = map[verdict]string{found: "found", noData: "no_data", noName: "no_name", ignorant: "not_known", failed: "failed"}
	refusals = map[verdict]string{
		malformed: "malformed", response: "response", opcode: "opcode", questions: "questions", badVersion: "edns_version",
		class: "class", anyType: "any", transfer: "transfer", metaType: "type", outside: "outside",
	}
)

// counts is what happened, as plain counters; the socket loops add to them.
type counts struct {
	verdicts                       [verdicts]atomic.Uint64
	udp, tcp                       atomic.Uint64
	truncated, huge                atomic.Uint64
	connections                    atomic.Int64
	refusedConnections, badLookups atomic.Uint64
}

func (c *counts) add(o outcome) {
	c.verdicts[o.verdict].Add(1)
	if o.truncated {
		c.truncated.Add(1)
	}
	if o.huge {
		c.huge.Add(1)
	}
}

// Stats are a server's counters.
type Stats struct {
	UDP, TCP           uint64            // messages that came
	Answers            map[string]uint64 // by what they said
	Refused            map[string]uint64 // by reason; some without a reply
	Truncated          uint64            // answers that told the asker to come again over TCP
	Connections        int64             // over TCP, open
	RefusedConnections uint64            // over TCP, above the limit
	FailedLookups      uint64            // of names that brokers advertise
}

// Stats may be called at any time.
func (s *Server) Stats() Stats {
	c := &s.counts
	out := Stats{
		UDP: c.udp.Load(), TCP: c.tcp.Load(), Answers: map[string]uint64{}, Refused: map[string]uint64{"edns_size": c.huge.Load()},
		Truncated: c.truncated.Load(), Connections: c.connections.Load(), RefusedConnections: c.refusedConnections.Load(),
		FailedLookups: c.badLookups.Load(),
	}
	for v, name := range answers {
		out.Answers[name] = c.verdicts[v].Load()
	}
	for v, name := range refusals {
		out.Refused[name] = c.verdicts[v].Load()
	}
	return out
}
