// Package protocol is the face to the wire: which messages are served in which
// versions, what a frame's header says, which bodies may be decoded at all, and
// the codecs of the two hot messages, Produce and Fetch.
//
// A frame, and who reads which part of it:
//
//	length int32 | key int16 | version int16 | correlation int32 | client id | tags | body
//	  listener   | \------------------- ParseHeader -------------------------/ | Decode, or
//	             |                                                             | ProduceRequest.Decode, FetchRequest.Decode
//
// Every function takes the frame without its length prefix and returns frames
// with it. What kmsg decodes goes through Decode, in this order:
//
//	version gate (api.go) -> Guard (schemas.go, guard.go) -> kmsg.ReadFrom
//
// kmsg is a client's codec: it takes any version, trusts array lengths, accepts
// nulls anywhere, follows tag counts of four billion and ignores trailing bytes.
// Guard walks the body first and lets through only what it has seen to its end.
//
// For a relay between clients and brokers there is a second table (relay.go: what it passes), and Rename (rename.go,
// renamed.go), which finds by the answers' schemas where brokers are named:
//
//	broker's answer -> Feed -> fields, one after another -> the same bytes, hosts and ports as Naming says
//	                     '---- records, and what follows Metadata's brokers: passed unseen ----'
//
// Invariants, each with a test:
//
//	P1 A row in the api table is a promise: its handler is whole. ApiVersions and
//	   the version gate read the same table, never kmsg's MaxVersion.
//	P2 Nothing is allocated because of a length on the wire before the sum of all
//	   such lengths was charged against 4 x body + 1 MiB.
//	P3 Guard accepts a body only if its schema ends exactly at the body's end;
//	   kmsg.ReadFrom never fails on such a body.
//	P4 The hot codecs write the bytes kmsg would write and read the values kmsg
//	   would read.
//	P5 Reading a header, reading a Produce or Fetch request into a used struct and
//	   writing its response allocate nothing.
//	P6 Byte slices of headers and of the hot codecs alias the frame and end with
//	   it. A message of Decode is its own.
//	P7 A refusal is a *CloseError: no answer, the connection closes (trap 2). It
//	   holds none of the client's bytes.
//	P8 Rename changes the hosts and ports of brokers, and drops those of controllers; every other byte of an answer is
//	   taken over as it is. Every answer a relay passes that names a broker is renamed.
//
// Goroutines and locks: none; the package is pure. Values belong to one
// goroutine at a time, the tables are never written after start.
//
// Not here: record batches (protocol/record), compression (protocol/compress),
// sockets and frame lengths (broker/listener), what an answer says (broker).
package protocol
