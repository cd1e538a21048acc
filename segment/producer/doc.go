// Package producer holds what one log knows about the producers that wrote it: the last batches of each, so that a
// retry is answered and not appended again, and the open transactions, which bound the last stable offset.
//
//	client's batch ──> Check ──┬─ duplicate: original offsets and timestamp ──> answer, once committed (Z21)
//	                           ├─ kerr code ──────────────────────────────────> refuse
//	                           └─ new ──> stamp ──> Append ──> write ──┬─ ok
//	                                                                   └─ failed ──> Rollback
//	marker ──> CheckMarker ──> stamp ──> write ──> CompleteTxn ──> .txnindex, if it was an abort
//	replay, follower ──> Apply, which is Append or CompleteTxn by the batch's kind and checks nothing
//
// One producer:
//
//	           ┌────────── the last 5 batches of its epoch ──────────┐
//	sequences  │ 10..14      15..15      16..29      30..31   32..40 │  next: 41 (after 2^31-1: 0)
//	offsets    │ 70..74      80..80      81..94     200..201 ...     │
//	           └──────────────────────────────────────────────────────┘
//	epoch, coordinator epoch, first offset of the open transaction
//
// What Check answers for a batch (epoch e, first sequence f) of a producer (epoch E, last sequence L):
//
//	unknown producer         append, whatever f is (trap 20); CheckV2 wants f = 0
//	e < E                    INVALID_PRODUCER_EPOCH (trap 21)
//	e > E                    append if f = 0, else OUT_OF_ORDER_SEQUENCE_NUMBER
//	e = E, one of the 5      duplicate, the same first and last sequence (trap 19)
//	e = E, f = L+1           append; without batches in this epoch L is -1
//	e = E, else              OUT_OF_ORDER_SEQUENCE_NUMBER
//
// The file (State.Encode, Decode), byte for byte Kafka's .snapshot, big endian:
//
//	int16 version = 1 │ uint32 CRC-32C of all that follows │ int32 count │ count entries of 46 bytes:
//	int64 producer id │ int16 epoch │ int32 last sequence │ int64 last offset │ int32 offset delta │ int64 timestamp
//	│ int32 coordinator epoch │ int64 first offset of the open transaction
//
// Kafka writes one entry per producer, so it forgets all but the last batch at a restart, and a retry of the second
// last is then out of order. Here a producer has one entry per remembered batch, oldest first: of several entries
// Kafka's reader keeps the last, which is the one it would have written itself. -1 stands for "none".
//
// Invariants
//
//	P1  The state is a function of the log alone: applying the batches from any snapshot on gives the same
//	    sequences and transactions as having lived through them (Z22). Only forgetting (P5) is local.
//	P2  A batch, or marker, at or below a producer's last one is ignored, so applying twice is applying once.
//	P3  FirstUnstable is the first offset of the earliest transaction that is open, or whose marker is not below
//	    the high watermark yet (trap 25). A producer with an open transaction is never forgotten.
//	P4  A batch without producer id costs a comparison; a log without producers an empty State.
//	P5  At most MaxProducers are remembered; the least recently used goes first (bad input 138). Forgetting is
//	    safe for the producer: it is unknown then, and any sequence is accepted.
//
// Goroutines and locks: none. The partition that owns the log owns its State, and calls it under its lock.
//
// Not here: which producer may use which id (authorization), and the transaction coordinator's own state
// (coordinator/txn).
package producer
