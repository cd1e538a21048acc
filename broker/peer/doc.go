// Package peer holds the outgoing connections to the other nodes of the cluster.
//
//	Ask, AskOwn ─▶ Pool ─▶ Client (node, purpose) ─▶ connection ─▶ writer ─▶ socket ─▶ the other node's
//	     ▲                    dial, ApiVersions,          │                              internal listener
//	     └── answer ◀─────────  back-off            pending, in order ◀── reader ◀── socket
//
//	bytes of a request:  | length int32 | key int16 | version int16 | correlation int32 | client id | … | body |
//	bytes of an answer:  | length int32 | correlation int32 | … | body |        8 <= length <= MaxAnswer
//
// A Client is one connection that comes back: it is dialed when somebody asks, again after it broke, and not sooner than
// its back-off allows: until then requests fail at once. Requests on it are pipelined and answered in order, as Kafka's protocol has it; therefore what may
// be parked at the other end never shares a connection with anything else. Purposes keep them apart: control never parks,
// the metadata feed and every fetcher have connections of their own, forwarded requests take turns on a few.
//
// Invariants
//
//	N1  An answer goes to the request with its correlation id, which is the oldest unanswered one; anything else ends the
//	    connection.
//	N2  No more is read for an answer than MaxAnswer, and nothing that a peer sends can panic here.
//	N3  Every request ends: with its answer, its context, or its connection. A connection on which the context of a request
//	    ends before its answer came is closed, for everything behind that request waits with it.
//	N4  A request is encoded in the goroutine that asks; once Ask has returned nobody reads it any more.
//	N5  What a broken connection did not answer may or may not have been done. Ask does not repeat it.
//
// Goroutines: one per Client, which dials and writes, and a reader while it is connected. Pool.Run waits for all of them.
// Locks: Pool.mu (the clients), Client.mu (its connection), connection.mu (pending requests). None is held while another
// is taken, nor while anything is waited for.
//
// Not here: which node to ask, whether to ask again, what messages mean (package broker).
package peer
