// Package group holds the rules of consumer groups: who is a member, which generation it is, who may commit which offset.
//
// A group of the classic protocol goes through these states; a group that is not in the table is Dead:
//
//	            first join                join phase over, members left
//	  Empty ───────────────► PreparingRebalance ───────────────► CompletingRebalance
//	    ▲  ▲                   │    ▲        ▲                        │         │
//	    │  └───────────────────┘    │        └────────────────────────┘         │ leader's SyncGroup
//	    │    join phase over,       │          join, leave, lost member,        ▼
//	    │    nobody left            │          no SyncGroup in time           Stable
//	    │                           └─────────────────────────────────────────┘
//	offsets only                         join with a change, leave, lost member
//
// Hard state, in the internal topic with Kafka's own schemas (so that lag exporters read it):
//
//	OffsetCommitKey v1   {group, topic, partition} -> OffsetCommitValue v3, v4 with a topic id, v1 with an expiry
//	GroupMetadataKey v2  {group}                   -> GroupMetadataValue v3: generation, protocol, leader, members
//
// A metadata entry is written when the leader's assignment arrives, when a group becomes empty and when a static member
// comes back under a new id. Offsets are written when they are committed.
//
// Soft state, lost with the shard: everything else. What losing it costs: a rebalance under way starts again
// (its members get UNKNOWN_MEMBER_ID or ILLEGAL_GENERATION and join once more), a member id that was handed out but not used yet
// is unknown, and every session starts anew, so that a member which died meanwhile is noticed one session later.
//
// Invariants, checked by Machine.Check after every step of every test:
//
//	G1   A member is kept under its own id; instance ids and static members map onto each other.
//	G2   CompletingRebalance and Stable have members; Empty has none.
//	G3   Joins are parked in PreparingRebalance only, syncs in CompletingRebalance only, and the counter of parked joins is right.
//	G4   Members that owe a SyncGroup exist in CompletingRebalance and Stable only; the sync timer runs while there are any.
//	G5   CompletingRebalance and Stable have a protocol that every member supports, and a leader that is a member.
//	G6   A Stable group is what its metadata entry says: generation, protocol, leader, members, subscriptions, assignments.
//	G7   A member has a session timer, unless a parked request of it holds its place; the join timer runs in
//	     PreparingRebalance only and always.
//	G8   The votes per protocol, the bytes held and the counters of the machine are what counting gives.
//	G9   The heap of timers is a heap and holds exactly the timers that run.
//	G10  No token is parked twice.
//	G11  The generation is never below the saved one.
//	G12  A group in the table has a reason: an entry, a member, a pending member or a rebalance.
//	G13  A pending member is no member, and has a timer.
//
// Goroutines and locks: none. One goroutine at a time calls a Machine.
//
// Not here: authorisation, whether a topic exists, topic ids to names (broker); the log and the waiting (coordinator);
// logging (Event is an effect).
package group
