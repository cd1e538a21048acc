// Package gateway is a router before the brokers of one cluster: clients reach every broker through one process, and learn no
// other address.
//
//	clients                       gateway                                   brokers
//	               .--- front: the first address ----.      any that answers
//	bootstrap ---->| broker/listener: frames, order  |----------------------> 1 2 3
//	               '---------------------------------'
//	b2.kafka.x --->   the same (TLS: the name tells)  ----------------------> 2
//	or port 19002     or a front of its own
//
//	reader:  frames -> header checked -> session.up, unchanged       (one connection to one broker per client connection)
//	writer:  next answer on session.up -> protocol.Rename -> client, in the order of the requests
//	prober:  Metadata to every broker, every 2 s: who there is, who answers; certificates
//
// Invariants
//
//	G1  A client learns no address but the gateway's: every answer that names a broker goes through protocol.Rename, and what
//	    the gateway's table does not have is neither passed nor offered by ApiVersions.
//	G2  A client's connection to a broker's address is served by that broker alone, over one connection to it. Requests keep their
//	    bytes, order and correlation ids; an answer with another correlation id ends both connections.
//	G3  When either side ends, so does the other; what the broker has answered before still leaves. The gateway never sends a
//	    request twice, and answers none itself, but an ApiVersions newer than it knows.
//	G4  Bytes held for a client are bounded: its requests as in broker/listener, of an answer 128 KiB; records and the topics
//	    of Metadata pass in pieces. Other answers that are renamed have at most 8 MiB.
//	G5  Nobody fetches through a gateway as a broker's replica does.
//	G6  Brokers are known from answers only, and from gateway.upstream; none is forgotten while the gateway runs. Nothing is kept on disk.
//	G7  A reload that fails changes nothing. One that does not leaves open connections alone.
//
// Goroutines: those of broker/listener per front and connection, the prober and, while it looks, one per look, the HTTP server.
// Gateway.Run waits for all of them. Locks: reload (held while files are read; nobody on a request's way takes it) before
// mu (fronts) before nodes.mu. Nothing waits under the last two.
//
// An idle connection costs two sockets, a parked reader and a parked writer; buffers come with bytes and go with them.
//
// Not here: frames, limits and TLS of connections (broker/listener); where an answer names a broker (protocol); signals, the
// file and its format (cmd/broker). Connections to brokers are plaintext, for brokers have no TLS yet.
package gateway
