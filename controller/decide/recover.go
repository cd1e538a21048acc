package decide

import (
	"cmp"
	"slices"
	"time"

	"cordwood/metadata"
)

// LogEnd is what a member of lastKnownElr says of its log while nobody is left to lead (R11). The log cannot grow
// before somebody leads, so the answer holds for the leader epoch it names, in this life of the broker.
type LogEnd struct {
	Topic       metadata.TopicID
	Index       int32
	LeaderEpoch int32 // that the replica knows of: nobody leads in it
	LastEpoch   int32 // of its last record; -1: none
	End         int64
	Durable     int64 // below it, all is on disk for certain
	Clean       bool  // the log was closed in good order
}

// ReportLogEndsRequest holds the ends of all logs a broker is asked for: of every partition without a leader whose ISR
// and ELR are empty and in whose lastKnownElr it is. A report replaces the one before; it is repeated while there is
// something to report, because a new controller has heard none.
type ReportLogEndsRequest struct {
	Broker metadata.NodeID
	Epoch  int64
	Ends   []LogEnd
}

// ReportedEnd is one answer of those that led to an election.
type ReportedEnd struct {
	Broker metadata.NodeID
	LogEnd
}

// Revival is an election among those that may have lost records: the log of Leader is the longest, and Ends say what
// there was to choose from.
type Revival struct {
	Topic  string
	Index  int32
	Leader metadata.NodeID
	Ends   []ReportedEnd
}

// ReportLogEndsReply tells what the report brought about: possible losses of data, for the log.
type ReportLogEndsReply struct{ Revived []Revival }

// partitionKey names a partition in soft state.
type partitionKey struct {
	topic metadata.TopicID
	index int32
}

// ReportLogEnds elects, in page-cache mode, the member of lastKnownElr with the largest (last epoch, log end), once all
// of them have answered. If one of them is gone for good it takes an operator (ElectLeaders, unclean).
func ReportLogEnds(img *metadata.Image, s *Sessions, req ReportLogEndsRequest, now time.Time) (Outcome[ReportLogEndsReply], error) {
	var out Outcome[ReportLogEndsReply]
	teller, err := registered(img, req.Broker, req.Epoch)
	if err != nil {
		return out, err
	}
	b := s.of(req.Broker)
	b.reporter, b.ends = req.Epoch, make(map[partitionKey]LogEnd, len(req.Ends))
	for _, e := range req.Ends {
		// What a broker finds in place of a directory that is gone is not the log (Z8).
		if p := img.TopicByID(e.Topic).Partition(e.Index); p != nil && teller.HasDir(p.Dir(req.Broker)) {
			b.ends[partitionKey{e.Topic, e.Index}] = e
		}
	}
	c := standing(img, nil, nobody, nobody)
	seen := map[partitionKey]bool{}
	for _, e := range req.Ends {
		key := partitionKey{e.Topic, e.Index}
		t := img.TopicByID(e.Topic)
		old := t.Partition(e.Index)
		if seen[key] || old == nil || old.Leader != metadata.NoNode || len(old.ISR)+len(old.ELR) > 0 {
			continue
		}
		seen[key] = true
		ends, complete := s.answers(img, old, key)
		if !complete {
			continue
		}
		p := *old
		leader := longest(&p, ends, c)
		if leader == metadata.NoNode {
			continue // it is not let in yet: its next report finds it
		}
		revive(&p, leader)
		out.Changes = append(out.Changes, settle(t, e.Index, p))
		out.Reply.Revived = append(out.Reply.Revived, Revival{Topic: t.Name, Index: e.Index, Leader: leader, Ends: ends})
	}
	return out, nil
}

// answers collects what the members of lastKnownElr said in their present lives and the present leader epoch; false until
// all have.
func (s *Sessions) answers(img *metadata.Image, p *metadata.Partition, key partitionKey) ([]ReportedEnd, bool) {
	var out []ReportedEnd
	for _, n := range p.LastKnownELR {
		b := img.Broker(n)
		if b == nil || s.of(n).reporter != b.Epoch {
			return nil, false
		}
		end, told := s.of(n).ends[key]
		if !told || end.LeaderEpoch != p.LeaderEpoch {
			return nil, false
		}
		out = append(out, ReportedEnd{Broker: n, LogEnd: end})
	}
	return out, len(out) > 0
}

// longest returns a broker that may lead and whose log nobody's exceeds, in order of assignment.
func longest(p *metadata.Partition, ends []ReportedEnd, c candidates) metadata.NodeID {
	order := func(a, b ReportedEnd) int {
		return cmp.Or(cmp.Compare(a.LastEpoch, b.LastEpoch), cmp.Compare(a.End, b.End))
	}
	most := slices.MaxFunc(ends, order)
	for _, n := range p.Replicas {
		at := slices.IndexFunc(ends, func(e ReportedEnd) bool { return e.Broker == n })
		if at >= 0 && order(ends[at], most) == 0 && c.may(p, n) {
			return n
		}
	}
	return metadata.NoNode
}
