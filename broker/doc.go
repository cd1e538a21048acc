// Package broker wires the rooms of one Cordwood process together and serves the Kafka protocol on them.
//
//	         clients                                   other brokers, this one too
//	            |                                                  |
//	     listener (client)                                 listener (internal)
//	            |  frames in order                                 |
//	            v                                                  v
//	session: header -> version gate -> one handler per API (api_*.go)
//	   |             |                 |                    |
//	partition.Set  metadata image   coordinator.Runtime  controller.Node
//	   ^    |        |                 ^                    |  the active one is here, or
//	   |    |        `-- Diff --> rooms that must know      | feed
//	   |    |                          |                    |
//	   `----|--------------------------'<-------------------'
//	        |  link_*.go                                    |
//	        `-----> peer.Pool: leaders, the active controller, other controllers
//
// Requests are answered in the order of their frames. Three classes differ in where they run:
//
//   - Produce acts while its frame is read: the batches of one burst that go to one partition become one
//     append under one lock. Only its answer may wait (high watermark, timeout), so a pipelining producer
//     is never stalled by replication.
//   - Every other request starts when it reaches the head of its connection's queue, as if it were alone on
//     the connection (trap 5): on the reader while the queue is empty, else on the writer.
//   - What may block (the controller, a coordinator) runs on the connection's writer, so that the reader
//     notices a connection that ends.
//
// Invariants
//
//	B1  An answer leaves in the order of the requests of its connection.
//	B2  A request is decoded only after its version was found in protocol's table and its allocation was bounded.
//	B3  A handler sees one metadata image from beginning to end.
//	B4  An answer to a change of metadata leaves only after this broker's image has reached the change.
//	B5  What a leader or coordinator says is compared with its lease when the request comes, and again when a parked
//	    answer leaves, or the refusal of a producer's sequence or epoch (R18, Z36).
//	B6  What is asked of the controller is a message, whether it is in this process or in another one; NOT_CONTROLLER
//	    never reaches a client.
//	B7  The process writes the clean-shutdown files only after every listener, coordinator and log has stopped (R2).
//	B8  What is led here serves no client before a former leader that lives has stopped, or its lease is over (R18).
//	B9  A broker that may have been asked to leave shows nothing as a leader: neither records, nor ends, nor groups.
//	B10 No client is sent to a broker that is late, as far as the active controller has said so within a session. Nothing else
//	    depends on who is late.
//	B11 Nobody waits for a controller when this node knows of another one, but requests of clients a sixth of a session.
//	B12 Only a leader names a preferred read replica, never itself: a live follower in sync that has the offset (trap 33).
//
// Goroutines: Run starts the connections to other nodes, the listeners, the partition set, the coordinator runtime, the
// controller node, the metadata follower, the heartbeat, the report of log ends, the HTTP server, and the name server with
// what hands it each image, as the node's roles and keys want them, and returns when all of them are gone, but for those that
// hang in the kernel with a disk.
// Locks: fetchSessions.mu (the table of sessions), fetchSession.mu (one session's partitions), controllers.mu (where they
// are, and what they are asked), replicaLink.mu (sessions with leaders), handover.mu (gates), orphans.mu (whose log ends are waited for),
// doubts.mu (who may be dead).
//
// Not here: rules. They live in the rooms below; a handler translates, asks and answers.
package broker
