// Package bubble runs a whole broker with real clients in virtual time, and lets it crash.
//
//	  testing/synctest bubble, one for each seed
//	kgo producers, readers, a group, probes ──▶ memnet ──▶ broker.Broker ──▶ vfs.Mem
//	         │                                    ▲            ▲               │ CrashClone, KillClone
//	         ▼                                    │ kill,      └── starts again with what is left
//	      recorder ──▶ check.Check                │ power, cuts
//	                                           the seed
//
// Invariants
//
//	U1  Whatever the seed does, the history of all clients has no error: nothing acknowledged is lost, doubled or out of
//	    order, no end and no committed offset goes back.
//	U2  After the last fault everything is served again within bounded virtual time.
//	U3  A broker that is told to end leaves no goroutine (the bubble sees to it).
//
// The seed fixes faults and loads; what goroutines do between them is the scheduler's, so a seed that fails may want a few
// runs to fail again: go test ./integration/bubble -run Crashes -from SEED -seeds 1 -count 20
//
// Not here: several brokers; losses of power of a real process (integration/powercut).
package bubble
