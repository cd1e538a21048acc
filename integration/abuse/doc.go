// Package abuse is the bad inputs a broker must survive, as data: what is sent, and what has to come back.
//
//	Case      one bad input; its number is that of docs/badinputs.md
//	Ground    a running broker, and topics to abuse
//	Conn      a client without manners: it sends any bytes and reads whole frames
//
//	Cases(ground) -> play each one on a connection of its own -> nil, or how the outcome differs
//
// The sections are those of the list: A framing, B headers, C arrays, strings and varints, D record batches,
// E compression, H between brokers, I names, J floods; O is what honest clients do, to compare with. They are played once each against a broker in this process (this package's
// tests), and a thousand times against the real binary (integration/process), where it is measured what they leave.
//
// Invariants
//
//	A1  A case depends on nothing but its Ground: any number of them may be played at once, in any order.
//	A2  A case that must be refused aims at a topic whose contents Digest covers; only what must be accepted goes to
//	    the topic "sink".
//
// Goroutines: PlayAll has its workers and waits for them. Locks: failures.mu.
//
// Not here: bad inputs that are no bytes on a connection (K, files), and floods that take a process of their own.
package abuse
