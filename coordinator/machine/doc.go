// Package machine is the contract between a coordinator's rules and the shell that runs them.
//
//	request ──► Machine.Method(req, token, now) ──► Result
//	                                                 │ Entries ──► Replay ──► log ──► committed
//	                                                 │ Reply, Answers, Effects ◄─────────┘ leave now
//	deadline ─► Machine.Expire(now) ───────────────► Result
//
// Invariants every machine keeps, and the shell relies on:
//
//	M1  Hard state changes in Replay only. A method that decides something returns it as
//	    entries; the shell replays them before the next step, in order.
//	M2  Hard state is a function of the entries alone: the entries of a log, replayed in order
//	    (or what compaction left of them), give the state that the live machine had.
//	M3  A request is answered exactly once: by Reply, or by one Answer with its token, later.
//	M4  Soft state (parked requests, deadlines) may be lost at any time with no worse effect than
//	    a request that its sender has to repeat.
//	M5  After Expire(now) the next deadline is after now.
//	M6  Replay takes any bytes: what it does not understand changes nothing.
//
// Goroutines and locks: none. One goroutine at a time calls a machine.
//
// Not here: the log, commit, parking with contexts (package coordinator); the rules themselves
// (coordinator/group, coordinator/txn).
package machine
