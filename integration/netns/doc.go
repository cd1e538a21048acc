// Package netns gives tests a network of their own that can be cut: hosts in network namespaces of the kernel, on one switch.
//
//	namespace of host 0 ── veth ─┐
//	namespace of host 1 ── veth ─┼─ bridge ── the namespace of the test: Outside, where its clients are
//	namespace of host 2 ── veth ─┘
//
// Cut makes one host's packets to another vanish, in one direction and without a word to either, as a broken switch does:
// the sender's entry for its neighbour gets a hardware address that nobody has. Connections stay; what was sent meanwhile
// arrives after Heal, when TCP sends it again.
//
// It needs root, the program ip, and a kernel that lets it have namespaces, veth and a bridge; otherwise New says what is
// missing. Everything is gone with the test. Build tag: process.
//
// Not here: delay, loss, reordering (there is no netem on many hosts; integration/memnet has them in virtual time).
package netns
