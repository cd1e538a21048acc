// Package metadata is the cluster as a value: an immutable image, the facts that
// change it, and the difference between two images.
//
//	facts (Change) ──With──▶ Image N ──With──▶ Image N+1 ──Compare──▶ Diff (what a broker has to do)
//	      │                     │
//	      ▼ EncodeChanges       ▼ EncodeImage           CBOR, integer keys, core deterministic
//	  raft log entry        raft snapshot
//
// An Image is never modified. With copies only what the facts touch: tables are two
// levels deep (256 shards of small maps), a topic holds pointers to its partitions, so
// one changed partition copies one shard, one topic header and one slice of pointers.
// Readers therefore need no lock; everything reached from an Image is read-only.
//
// Bytes of a list of changes (a raft log entry's payload) and of an image:
//
//	changes = [ version, [ [ kind, body ], [ kind, body ] … ] ]     kind: an integer of change.go
//	image   = { 1: version, 2: index, 3: cluster id, 4: brokers, 5: topics, 6: configs,
//	            7: features, 8: features epoch, 9: next producer id, 10: voters, 11: quotas }
//
// Bodies are maps with integer keys. Unknown keys, unknown kinds, duplicate keys and
// indefinite lengths are refused: a node that met a field it does not know would go on
// with a state that differs from its peers'.
//
// Invariants, checked by Partition.Check after every change of a partition (the numbers
// are those of the replication rules):
//
//	I7  elr and isr are disjoint subsets of replicas; |isr| >= effective min ISR implies an
//	    empty elr; the leader is in isr. (With also refuses fenced members of isr: Image.Check.)
//	I8  the partition epoch grows by one with each change; the leader epoch never falls and
//	    grows with every change of the leader.
//	I9  isr and elr empty implies that a recovery quorum is known (lastKnownElr not empty).
//
// Goroutines and locks: none, the package is pure.
//
// Not here: who may change what (controller/decide), how facts are agreed on (controller).
package metadata
