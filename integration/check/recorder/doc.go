// Package recorder writes down what real clients do, as a history that package check judges.
//
//	client 1 ──Invoke──▶ ┌──────────┐
//	client 2 ──Invoke──▶ │ Recorder │ ──History──▶ check.Check, or JSON lines
//	client 1 ◀──OK────── └──────────┘
//
// Invariants
//
//	R1  An invocation is recorded before its request can leave and an outcome after its answer came: the order of the
//	    records is one in which everything may really have happened.
//	R2  An operation has one outcome; who gives none leaves it unknown.
//
// Goroutines: none. Locks: Recorder.mu (the operations so far), held for an append only; clients share a Recorder.
//
// Not here: any judgement.
package recorder
