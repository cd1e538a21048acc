// Package controller keeps the cluster's metadata: one raft node, the decider that turns
// requests into facts while the node leads, and the feed that hands the facts on.
//
//	Do, Heartbeat ──▶ queue ──▶ decider ──▶ raft ──▶ log on disk ──▶ fsm ──▶ Image ──▶ Changes (feed)
//	                            │  decide on a scratch image            │
//	                            └── one entry a round, in flight alone ─┘
//
// The decider is one goroutine, alive while the node is raft's leader. It waits for the
// whole log to be applied, then goes round: take what is queued and due, decide one after
// another on a scratch image, propose all facts as one entry, wait, answer everybody.
// Nothing is ever in flight twice, so there is nothing to undo; throughput comes from the
// batch. Every answer waits for the commit of all it could have seen.
//
// Files, all below Config.Dir:
//
//	.lock                            held while the node is open
//	vote                             raft's term and vote, and the founding, replaced atomically
//	metadata-0/…                     raft's log, a segment.Log: offset = raft index
//	INDEX-TERM.snapshot              the image at that index
//	reserve                          space that is given up when the disk is full (R16)
//
// One raft entry is one record batch, so that a log cut at any entry loses no other:
//
//	batch  base offset = index, partition leader epoch -1, uncompressed, one record
//	record timestamp   = when the leader appended it
//	       key         = version (1), raft type, uvarint term, uvarint back
//	       value       = the entry's data; a header "ext" holds raft's extensions, if any
//
// back is how many entries of the same write lie before this one. A write is fsynced before
// the next one begins, so everything below the first entry of the newest write that can be
// read was durable: damage there is corruption, damage above it a torn tail (R16).
//
//	data of a command = version (1), uvarint stamp, facts as metadata.EncodeChanges gives them
//	                  | version (2), uvarint stamp, uvarint index, 8 bytes digest, facts
//	digest            = the first bytes of SHA-256 of the image at that index, as a snapshot holds it
//	snapshot          = magic, length and bytes of raft's meta, the image, size, CRC-32C
//	vote              = magic, CRC-32C, key and value pairs
//
// How a node comes into the quorum (C5). Each greets all others (Config.Greet) until it may:
//
//	empty ──all founders answered, none has started──▶ prepared ──all founders have prepared──▶ started: raft runs
//	  │                                                   └────────another has started──────────▲
//	  └──another has started and has recorded this node with this disk──────────────────────────┘
//
//	hello = CBOR map {1: node id, 2: directory id, 3: stage (0 empty, 1 prepared, 2 started), 4: cluster id,
//	        5: proposal for one, 6: [founders], 7: [recorded voters, {1: node id, 2: directory id}]}
//
// The founders are the voters of the configuration, or the lowest ids of as many nodes as are
// expected. The cluster's id is the operator's, else the proposal of the lowest founder. What
// a node has become it keeps beside its vote (key "Founding"): {1: proposal, 2: cluster id,
// 3: [founders], 4: [voters], 5: admitted}.
//
// Invariants:
//
//	C1  an entry is applied only to the image its decider saw (the stamp); otherwise every
//	    node refuses it alike.
//	C2  a reply leaves only when all it could have seen is committed.
//	C3  nothing is acknowledged to raft before it is fsynced; after a failed or stuck write
//	    the node stops and never tries again (R16, R17, Z26).
//	C4  the node goes on from nothing but an empty directory or its own state: a log that is
//	    gone, torn in the middle, or of another cluster stops it (Z29).
//	C5  no founder takes part in raft before all have prepared, durably. So a node that is
//	    empty while another has started lost its disk or is new: it stays out until the quorum
//	    has recorded its id with the disk it has (Z29).
//	C6  whoever is told that this node leads was told so by a majority after it asked: a
//	    heartbeat of a broker is answered, and a request that changes nothing, only then (Z30).
//	    raft's VerifyLeader alone would be content with an answer from before the question.
//	C7  a broker that an entry under way fences gets no answer beside the queue (R18).
//	    No answer prolongs the lease of a broker that does not know of all that was taken from it.
//	C8  no broker is fenced before its session ends but on the evidence of two refused dials
//	    20 ms apart without a heartbeat between them (R19); a new controller dials all at once.
//	C9  a leader that hears no majority for 150 ms gives up; the others elect another within a
//	    second (R18 leaves them 1.9 s).
//	C10 every 1024 entries the leader's next entry tells what its image came to; a voter whose
//	    own came to something else stops (R17).
//	C11 leaderships go back to preferred brokers at intervals, in the decider's rounds, at most
//	    1,000 in one entry.
//	C12 raft hears nobody but the voters of its configuration and those that this node or the nodes it
//	    knows have recorded, and no term that is far beyond its own (bad input 121). Who claims a voter's id is
//	    believed: see authentication.
//	C13 sessions begin anew with every office, unless this node alone was in office since: in the raft
//	    term before this one. Otherwise a leader that loses a vote now and then would never fence anybody.
//	C14 who is late (decide.Sessions) is told with the feed and is no part of the image: it fences nobody, elects nobody and
//	    shortens no session. Only who is in office tells it.
//
// While there is one voter it leads at once (transport.leadAlone).
//
// Goroutines: raft's own; Run's, which is the decider's; one that passes on what other
// voters ask; one that proves leadership to whoever waits for it (tell); one that receives suspects, and one per suspect
// that is being dialed; one that takes digests of images (audit); one that asks who strangers are (meet); one that
// tells whom raft takes for the leader (watchLeader); one per question raft has not answered yet. Run waits for all of them, but not for those that hang in the
// kernel with a disk. Locks: fsm.mu (feed and image), sessions.mu, store.mu (window),
// stable.mu, stream.mu, transport.mu, asking.mu, outages.mu; nothing waits under any of them, and none
// is taken under another.
//
// A peer that cannot be reached is told as one outage (outages), however many of raft's
// calls fail; all else that raft says is written as it comes.
//
// Not here: rules (controller/decide), wire formats and authentication (broker).
package controller
