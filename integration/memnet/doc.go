// Package memnet is a network in memory for whole clusters in testing/synctest bubbles.
//
//	 Host 10.0.0.1                 Network                    Host 10.0.0.2
//	broker.Config                                            broker.Config, kgo.Dialer
//	 Listen ◀── backlog ◀── SYN ── link 2 -> 1 ───────────── Dial
//	 conn   ◀── packets ◀───────── latency, jitter, ◀─────── conn
//	 conn   ──▶ ─────────────────▶ bandwidth, cuts ─────▶ packets ──▶ conn
//
// Addresses are IP addresses with ports, as broker and clients expect them; a loopback address is the host itself.
// Faults are what TCP makes of them:
//
//	Cut, CutOneWay    packets wait, as retransmissions do, until Heal; connections stay; a dial waits too
//	Host.Kill         the process ends, its kernel lives: listeners and connections close, dials are refused
//	Host.PowerOff     silence: peers keep half-open connections, dials wait; after PowerOn a peer that writes is reset
//	Reset             connections between two hosts end with ECONNRESET on both sides
//
// Invariants
//
//	M1  Bytes of a direction arrive in order and once, or not at all.
//	M2  What has arrived stays readable through cuts; what has not waits for Heal.
//	M3  Waiting ends with data, a deadline, a context or Close; nothing waits under the lock.
//	M4  Chance (jitter) comes from the seed, the addresses and the order of the packets of one direction alone.
//	M5  Once Kill or PowerOff has returned, nothing that a process of that host still does reaches anybody: its goroutines
//	    may go on, as those of a simulated process do until they notice, but what they dial never answers.
//
// Goroutines: none; packets carry the time of their arrival and whoever reads waits for it. Locks: Network.mu, held for
// memory only.
//
// Not here: loss (TCP hides it), reordering (connections are apart already), names, TLS. Acknowledgements are free: a cut
// of the way back does not stall the way there, and a sender has room again once the receiver has read.
package memnet
