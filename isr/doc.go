// Package isr is a leader's view of its followers: who is in sync, and how far the high watermark may go.
//
// A Tracker lives for as long as this broker leads one partition. It is told what happened (the log grew, a
// follower fetched, time passed, the controller committed or refused a change) and answers with Effects: the
// high watermark that now holds and, at most, one proposal for the controller.
//
//	          Fetched: a follower holds what a member must hold
//	┌───────────┐ ─────────────────────────────────────────▶ ┌───────────┐
//	│ Committed │                                            │ Expanding │ EffectiveISR = ISR + joining
//	│           │ ◀───────────────────────────────────────── └───────────┘
//	│           │   Committed (newer partition epoch), or
//	│           │   Rejected (certainly not applied)
//	│           │ ◀───────────────────────────────────────── ┌───────────┐
//	└───────────┘ ─────────────────────────────────────────▶ │ Shrinking │ EffectiveISR = ISR, the leaving too
//	          Tick: a member was not caught up for MaxLag    └───────────┘
//
// A lost answer is neither of the two ways back: the change may have been applied, so the tracker stays where
// it is until newer metadata arrives (Z12). At most one proposal is outstanding.
//
// # Position
//
// What a replica counts for is its position: the end of its log in page-cache mode; in durable mode the end of
// what is known to be on its disk, for the leader itself as well. A follower's position is on disk only if the
// fetch said so (Z37). The high watermark is the smallest position among the leader and the effective ISR, if
// the committed ISR has min ISR members, and otherwise stays (Z6, trap 14). It never goes back.
//
// # Invariants (CheckInvariants; V9 and V10 CheckStep)
//
//	V1  The leader is in the ISR and in every proposed ISR.
//	V2  Committed: the effective ISR is the ISR and nothing is proposed.
//	V3  Expanding: the proposal holds the ISR and at least one more; the effective ISR is the proposal (Z11).
//	V4  Shrinking: the proposal is a proper part of the ISR; the effective ISR is the ISR.
//	V5  A proposal carries the leader epoch and the partition epoch that the tracker holds.
//	V6  There is exactly one follower state per assigned replica other than the leader.
//	V7  Follower: durable <= end <= the leader's end; nothing known in this epoch -> both are unknown (-1).
//	V8  high watermark <= end, durable end <= end, epoch start <= end (I10, I12's share).
//	V9  A step proposes to add only a follower at or above the epoch start and the high watermark (Z14).
//	V10 A step that moves the high watermark leaves it at or below the position of every effective member,
//	    with at least min ISR committed members (R5), and no step moves it back (I11).
//
// Min ISR and durability come from metadata.Partition only, never from a topic's config: the controller orders
// a change of either with ISR changes by the partition epoch (Z35).
//
// # Goroutines and locks
//
// None. The owner (partition.Partition) calls it under its lock. The path of a partition with a single replica
// does no loop and no allocation.
//
// # Not here
//
// Sending proposals and repeating them, reading the log, elections, observers.
package isr
