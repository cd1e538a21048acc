// Package listener accepts connections, cuts their bytes into frames, hands them to a session in bursts and sends the
// answers back in the order of the requests.
//
//	        socket                                                   socket
//	          | bytes                                                  ^ one write per burst, or sendfile
//	          v                                                        |
//	   reader: read buffer -> cut -> Session.Burst -> Conn.Reply ---> Out
//	          16 KiB..1 MiB   all       (broker)        |              ^
//	                       complete                     | not ready,   | head is ready
//	                        frames                      v or blocking  |
//	                                                  queue  ------> writer
//	                                              (in order, <= 100)
//
//	bytes of a frame:   | length int32 | key int16 | version int16 | correlation int32 | ... |
//	                      = the rest, 8 <= length <= MaxFrame; looked at before anything else
//
// A connection begins with a reader alone. Answers that are ready leave from the reader: it appends them to Out and
// writes once at the end of the burst or at 32 KiB. An answer that has to wait goes into the queue; from then on, until
// the queue is empty again, the writer sends. The writer goroutine starts with the first such answer and sleeps while
// the head of the queue waits; it is woken once when the head may be ready, and then takes all heads that are.
//
// Invariants
//
//	L1  Answers leave in the order of the calls of Conn.Reply.
//	L2  Out and the write half of the socket have one owner: the reader while the queue is empty, else the writer.
//	    An answer counts as queued until its bytes are written; the reader has no unwritten bytes when it queues one.
//	L3  No wake-up is lost: a token left for the writer after its head may have changed is seen before the writer
//	    sleeps, and an answer is never in the queue with nobody to wake the writer for it.
//	L4  A frame is handed over only when complete and within the limit. Memory held for a frame is at most twice the
//	    bytes that arrived, and one buffer.
//	L5  At most 100 answers and 64 MiB of their requests are queued (one larger request may be queued alone): then the
//	    reader stops reading.
//	L6  Done is called exactly once for every answer, also when the connection ends before.
//	L7  Session.Close is called once, after both goroutines are gone; Run returns after the last one.
//	L8  A panic ends its connection, not the process.
//	L9  Before a burst that may take long those go first that are ready.
//	L10 A frame's bytes are the session's until Burst returns, and nobody's afterwards: those of a large frame are
//	    unmapped then.
//
// How a connection ends: the client closed its half, the session returned an error, a frame was bad, or the listener
// drains: what is queued gets DrainTimeout to be answered. A read or write error, a timeout or a panic: at once. Then the
// context ends, the socket is closed, what is left in the queue is dropped (Done), the session is closed.
//
// With TLS (tls.go) the reader does the handshake before the session is opened, in 10 s; bytes then go through net.Conn, not
// by raw calls of the socket.
//
// Cost of an idle connection: below ten kilobytes, stacks included. The read buffer is given back after ten
// quiet seconds and the write buffer after each write.
//
// Goroutines: one accept loop per listener, a reader and perhaps a writer per connection; Run waits for all of them.
// Locks: Listener.mu (the connections and their addresses), queue.mu (the ring), reporter.mu (log lines). None is held
// while another is taken, nor while anything is waited for.
//
// Not here: what a frame means (package protocol, and the sessions in package broker and gateway), SASL.
package listener
