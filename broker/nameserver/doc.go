// Package nameserver is a small authoritative DNS server: names of one zone lead to brokers, to the leaders of partitions and to the
// active controller.
//
//	UDP ──▶ one goroutine ─────────┐                          ┌──▶ reply
//	                               ├─▶ screen ─▶ answer ──────┤
//	TCP ──▶ one per connection ────┘    │          │          └──▶ refused, dropped: counted
//	        (at most 64)             header     zone.Find
//	                                            │  one atomic load
//	metadata image, controller ──Show──▶ Zone ──┘
//	                                      ▲
//	addresses of advertised names ── lookups, every 5 s
//
// What is asked for and not given:
//
//	no reply      shorter than a header, longer than 1,232 bytes; an answer (QR set)
//	header only   not exactly one question, other sections filled, bytes that are no message: FORMERR; another opcode: NOTIMP
//	REFUSED       ANY, AXFR, IXFR and other types that are no data; a class but IN; a name outside the zone
//	SERVFAIL      this node has no image, or none that is up to date: the asker tries another name server
//
// Invariants
//
//	D1  The server never asks anybody because it was asked (it never recurses, RA is never set).
//	D2  A reply that tells nothing is not longer than its query with an OPT record, and what is refused by its header gets a header. A datagram
//	    has at most 1,232 bytes, 512 without EDNS; what does not fit is cut with TC set, helpful records first.
//	D3  Who asks for datagrams of more than 4,096 bytes gets at most 512, and is counted. (A resolver does that to servers on its
//	    own host: it is answered.)
//	D4  A query is answered from one zone from beginning to end, read without a lock; Show is seen by the next query.
//	D5  Everything may be remembered for one second, that a name does not exist included.
//	D6  A reply leaves from the address its query came to.
//
// A UDP flood takes one core at most: there is one reader, and what it does not get to the kernel drops.
//
// Goroutines: Run starts one for UDP, one that accepts TCP connections, one for lookups, and one per TCP connection, and returns when
// they are gone. Locks: Server.mu (the next zone is being made; nothing waits under it).
//
// Not here: which names there are and whom they stand for (zone).
package nameserver
