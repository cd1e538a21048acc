// Package bubble runs whole clusters with real clients in virtual time, and lets them crash.
//
//	  testing/synctest bubble, one for each seed
//	kgo producers, readers, a group, probes ──▶ memnet ──▶ broker.Broker ──▶ vfs.Mem       one to six nodes
//	         │                                    ▲         ▲  │    │          │  OnSync
//	         ▼                                    │         │  │    └─ raft, feed, fetchers ──▶ memnet
//	      recorder ──▶ check.Check       cuts, slow links   │  ▼    (other nodes)
//	                                              │     starts again with what is left:
//	                                           the seed     CrashClone, KillClone
//
// A seed cuts the power of one node, of as many as min.insync.replicas says, and of all of them, in any order: at a sync of
// one of the victims, just before it takes effect or just after, when a trap counts down to zero. Of what was not synced a
// random part is kept, or nothing. Some stay away for longer than a session, or until later. Before and between come kill -9
// of any number of nodes, clean restarts and moved leaders, and beside it the network has troubles of its own: cuts, both
// ways or one, nodes that are cut off from everybody, at once or from the clients last, slow links, resets. The last act mends everything.
//
// The crashed process goes on for a while in its bubble, as goroutines do that nobody can stop: its host is dead (memnet, M5)
// and its disk is no longer the one that the next process has.
//
// Invariants
//
//	U1  Whatever the seed does, the history of all clients has no error: nothing acknowledged is lost, doubled or out of
//	    order, no end and no committed offset goes back.
//	U2  After the last fault everything is served again within bounded virtual time, and all replicas are in sync.
//	U3  A broker that is told to end ends without an error and leaves no goroutine (the bubble sees to it).
//	U4  When nothing is left to replicate all replicas of a partition are the same, byte for byte (I4).
//	U5  A disk that says to have synced records and has not is found out (within 50 seeds; the first does).
//
// The seed fixes faults and loads; what goroutines do between them is the scheduler's, so a seed that fails may want a few
// runs to fail again; a failing one says how:
//
//	go test -tags synctests ./integration/bubble -run ThreeNodes -seed SEED -count 20      with -logs: what everybody says
//	make virtual SEEDS=2000 FROM=1
//
// With the tag synctests the mutexes of franz-go are channels. Virtual time stands still while somebody waits for a mutex,
// and the client holds some over a request; without the tag clusters are run without a member of a group.
//
// Not here: pauses of a whole process (integration/process) and power cuts of real ones (integration/powercut); leaders
// that are moved on request while their links are cut: what such a leader serves until its lease is over R18 leaves open
// (faults.calm).
package bubble
