package controller

import (
	"bytes"
	"context"
	"math"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"cordwood/metadata"

	"github.com/hashicorp/raft"
	"go.uber.org/zap"
)

// stranger speaks raft to the members of a quorum and is none of them.
type stranger struct {
	net.Listener // nobody dials it
	q            *quorum
}

func (s stranger) Dial(to raft.ServerAddress, _ time.Duration) (net.Conn, error) {
	here, there := net.Pipe()
	return here, s.q.members[nodeOf(raft.ServerID(to))].live.HandOver(context.Background(), there)
}

// silent is a listener that nobody comes to.
type silent struct{ closed chan struct{} }

func (s silent) Accept() (net.Conn, error) { <-s.closed; return nil, net.ErrClosed }
func (s silent) Close() error              { close(s.closed); return nil }
func (s silent) Addr() net.Addr            { return address(9) }

// Bad input 121: whoever is no voter cannot move the quorum, whatever term it claims; who claims to be a voter cannot use
// up the terms.
func TestNoStrangerMovesTheQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 3).start()
		defer q.stop()
		q.agree(q.some(3)[2])
		leader, term := q.active(), q.active().node.raft.Load().CurrentTerm()
		speaker := raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{Stream: stranger{silent{make(chan struct{})}, q}, Timeout: time.Second, Logger: newLogger(zap.NewNop(), &leader.node.outages)})
		defer speaker.Close()
		last := leader.node.raft.Load().LastIndex()
		for _, who := range []string{"9", "", "-1", "1"} { // the last one is a voter
			terms := []uint64{math.MaxUint64, term + maxTermStep + 1}
			if who != "1" {
				terms = append(terms, term, term+1)
			}
			for _, of := range terms {
				header := raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(who), Addr: []byte(who)}
				for _, m := range q.members {
					id, at := serverOf(m.id), raft.ServerAddress(serverOf(m.id))
					for name, err := range map[string]error{
						"heartbeat": speaker.AppendEntries(id, at, &raft.AppendEntriesRequest{RPCHeader: header, Term: of}, new(raft.AppendEntriesResponse)),
						"entries": speaker.AppendEntries(id, at, &raft.AppendEntriesRequest{RPCHeader: header, Term: of, PrevLogEntry: last + 7, PrevLogTerm: term,
							Entries: []*raft.Log{{Index: last + 8, Term: of, Type: raft.LogCommand}}}, new(raft.AppendEntriesResponse)),
						"vote":     speaker.RequestVote(id, at, &raft.RequestVoteRequest{RPCHeader: header, Term: of, LastLogIndex: last + 9, LastLogTerm: of, LeadershipTransfer: true}, new(raft.RequestVoteResponse)),
						"pre-vote": speaker.RequestPreVote(id, at, &raft.RequestPreVoteRequest{RPCHeader: header, Term: of, LastLogIndex: last + 9, LastLogTerm: of}, new(raft.RequestPreVoteResponse)),
						"snapshot": speaker.InstallSnapshot(id, at, &raft.InstallSnapshotRequest{RPCHeader: header, Term: of, LastLogIndex: last + 9, Size: 100}, new(raft.InstallSnapshotResponse), bytes.NewReader(make([]byte, 7))),
					} {
						if err == nil {
							t.Errorf("%q in term %d: %s is taken by node %d", who, of, name, m.id)
						}
					}
					if who != "1" && speaker.TimeoutNow(id, at, &raft.TimeoutNowRequest{RPCHeader: header}, new(raft.TimeoutNowResponse)) == nil {
						t.Errorf("%q makes node %d run", who, m.id)
					}
				}
			}
		}
		time.Sleep(2 * time.Second)
		for _, m := range q.members {
			if got := m.node.raft.Load().CurrentTerm(); got != term {
				t.Errorf("node %d is in term %d, it was %d", m.id, got, term)
			}
		}
		if q.active() != leader {
			t.Error("another one leads")
		}
		q.agree(q.some(1)[0])
	})
}

// A voter that was away while all others were replaced hears of the new ones from the old.
func TestAVoterFindsItsQuorumWhenAllOthersAreOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQuorum(t, 5)
		defer q.stop()
		for _, m := range q.members[:3] {
			m.cfg.Voters = []metadata.NodeID{0, 1, 2}
			m.start()
		}
		q.some(3)
		q.members[2].stop()
		for _, m := range q.members[3:] {
			m.joins().start()
			if err := q.add(m); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range q.members[:2] {
			if err := q.remove(m.id, m.cfg.DirID); err != nil {
				t.Fatal(err)
			}
		}
		for _, m := range q.members[:2] { // no raft of theirs holds on to a node that they led
			m.stop()
			m.start()
		}
		want := q.some(1)[0]
		back := q.members[2]
		back.start()
		for began := time.Now(); back.node.Image().NextProducerID() < want; time.Sleep(10 * time.Millisecond) {
			if time.Since(began) > 10*time.Second {
				t.Fatalf("it has %d of %d", back.node.Image().NextProducerID(), want)
			}
		}
	})
}
