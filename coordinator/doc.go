// Package coordinator runs coordinator machines, one for every led partition of an internal topic.
//
//	Do(op) ──► queue ──► shard's goroutine: op ─► Result, Replay its entries, next op …, Expire what is due
//	  ▲                        │ entries of the whole burst, one batch (several when they are too large)
//	  │                        ▼
//	  │                   Log.Append ──► Log.Await: committed
//	  └──────── replies, answers, effects ◄──┘
//
//	Elected ─► loading (COORDINATOR_LOAD_IN_PROGRESS) ─► serving ─► Resigned: NOT_COORDINATOR for everybody, at once
//	               ▲                                       │
//	               └───────────────────────────────────────┘ append or commit failed: parked requests fail, load again
//
// Invariants:
//
//	C1  No reply leaves before every entry that it could depend on is committed: a burst is answered after its commit.
//	C2  A machine is touched by its shard's goroutine only, and thrown away when what it replayed may not be in the log.
//	C3  A shard begins to load when its predecessor's goroutine has ended, and the log is loaded up to the end that it has
//	    then; the end is committed before loading is finished (R7, Z24).
//	C4  After Do returned its op neither runs nor will run.
//	C5  Expire runs after the requests that came before it: a shard that waited for a slow commit does not end the sessions
//	    whose heartbeats it kept waiting.
//	C6  Loading takes any bytes that the log takes: a record that cannot be understood is skipped and counted, and so is a
//	    batch whose checksum is wrong. Records of a transaction count once its commit marker is there.
//
// Goroutines: one per led shard; Run returns when they are gone. Locks: Runtime.mu (the table of shards), call.mu (whether
// an op may still run; held while it does, which is computation only).
//
// Not here: the rules (coordinator/group), which partition is led (broker), authorisation (broker).
package coordinator
