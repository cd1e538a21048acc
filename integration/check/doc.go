// Package check says whether what clients saw of a log can be what a correct log showed them.
//
//	clients ──▶ recorder ──▶ History ──▶ Check ──▶ Report: findings by rule, the first of each in words
//	                            │  ▲
//	                            ▼  │
//	                         JSON lines: {"op":7,"type":"invoke","process":1,"do":"send","steps":[{"key":"t-0","value":3,…}]}
//	                                     {"op":7,"type":"ok","steps":[{"key":"t-0","value":3,"offset":12}]}
//
// A history holds the operations of processes. Each has an invocation and an outcome: ok, fail (it certainly did not
// happen) or info (nobody knows, and it may still happen). Positions in the history are the real-time order: an
// operation is before another if it completed before the other was invoked; an info operation is before nothing.
// Sends of one process may overlap, as a pipelining producer's do. A key is a topic-partition; a value is sent to a key
// at most once.
//
// The log of a key holds what polls saw, whatever became of the poll, and the offsets of sends that must have committed:
// ok, or info with one of their values read. Its version order is the log without the holes, counted from 0: the index.
//
// Definitions, named as in reports; (legal) is reported and no error:
//
//	C1   inconsistent-offsets     an offset holds two values
//	C2   duplicate                a value is at two offsets
//	C3   lost-write               must have committed, was read by nobody, though something at or after it was read
//	C4   unseen                   acknowledged, and never read; an error, so a history ends by reading everything
//	C5   aborted-read (G1a)       an ok poll saw a value whose sender failed
//	C6   precommitted-read        a transaction polled a value of its own
//	C7   int-poll-skip            within an operation, the next value read is more than one index further
//	C8   int-nonmonotonic-poll    … is not further
//	C9   poll-skip                between an operation and the process' one before: as C7 (legal under subscribe)
//	C10  nonmonotonic-poll        … as C8 (legal under subscribe)
//	C11  int-nonmonotonic-send    within an operation, what was sent later is not further
//	C12  int-send-skip            … is more than one index further (legal: others send too)
//	C13  nonmonotonic-send        a process' send is before the one that it sent before
//	C14  G0, G1c, G1c-wr          a cycle of operations over ww (next in the version order), over ww and wr (sender to
//	                              reader), over wr alone; each also with -process and -realtime order. G0 and G1c are
//	                              legal, for transactions are not isolated from each other's writes; G1c-wr never is
//	C15  Report.Repeats           values that a subscribed process read again (a count)
//	C16  Report.Lag               how long, at least, a poll's end was out of date when the poll began (a figure)
//	A1   realtime-order           of two acknowledged sends the one that was before the other has the higher offset
//	A2   stale-end                an end (ListOffsets latest) is not beyond an offset acknowledged before it was asked for
//	A3   end-went-back            … not beyond a record read, or below an end told, before it was asked for
//	A7   group-offset             a committed offset that is told was never committed, or was certainly overwritten:
//	                              by a commit, or by another offset told in between
//	X1   unwritten-read           a value was read that nobody had sent by then
//	X2   repeated-send            the history is unfit: a value was sent twice to a key
//
// With acks=0 or 1 allow lost-write, unseen and stale-end; without idempotence also duplicate and the orders of sends.
//
// Invariants
//
//	K1  A history of a correct log has no error, however its operations overlap.
//	K2  Check looks at each step a bounded number of times: a million operations take seconds.
//
// Goroutines and locks: none; the package is pure. The recorder, which real clients share, is in recorder.
//
// Not here: transactions as a whole (torn ones, fencing), replicas compared at rest, retention and compaction.
package check
