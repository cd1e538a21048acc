// Package partition hosts replicas: it is the shell around segment.Log and isr.Tracker that appends, reads, syncs,
// replicates and changes roles.
//
//	Produce ─▶ Append ─▶ mu{ role, min ISR, producers, stamp, Log.Append, Tracker } ─▶ wake ─▶ flusher.request
//	                                                                                             │ one goroutine
//	Fetch ──▶ Read: standing, high watermark, Log.View (no lock)                                 ▼ per log at a time
//	              ▲ woken                                                    fdatasync, or one journal for many logs
//	           Waiter ◀── wake ◀── mu{ Tracker.Appended(durable end) } ◀─────────────────────────┘
//
//	metadata.Image ─▶ Set.Apply ─▶ Partition.become: leader │ follower;  topic gone: directory renamed, removed later
//
//	follower's broker                                        leader's broker
//	fetcher: positions ─▶ Link.Fetch ═══════════════════════▶ FollowerRead: mu{ Tracker.Fetched, log end } ─▶ Slice
//	   ▲                     answers ◀════════════════════════    nothing new: AwaitTail ◀── wake ◀── Append, wake
//	   │ sync together ◀── appendFetched │ truncate │ startOver        │ Effects.Propose
//	   └─ the next fetch is the acknowledgement                        ▼ alterer ─▶ Link.AlterPartition ─▶ adopt │ roll back
//	   ▼ far behind                                                 leader's, or any replica's, broker
//	streamer: log end ─▶ Link.ReadRange ════════════════════▶ ReadRange: mu{ Tracker.Judge │ committed? } ─▶ Slice
//	mender: damaged range ─▶ Link.ReadRange ════════════════════▶    ▲ sealed segments │ below the high watermark
//
//	Move ─▶ mover of the new directory: copy beside the replica ─▶ swap: mu{ gate: the rest, names } ─▶ Moved ─▶ metadata
//
// A Partition is one hosted replica, a Set all of them on this broker. What readers need is published: the
// standing (role, leader epoch, log) behind one pointer that is replaced when any of it changes, and the high
// watermark and last stable offset as atomics that only grow within a standing. A reader loads the standing, then
// the offsets, and starts again if the standing was replaced meanwhile.
//
// # Invariants
//
//	P1  Batches get offsets and leader epoch, and go into producer state and log, under mu, as one step.
//	P2  The epoch cache holds (leader epoch, log end) on disk before the first append of that epoch (R7, Z4).
//	P3  last stable <= high watermark <= log end, for every reader at every moment (I10).
//	P4  Acked says yes only while the leader epoch of the append still stands and the high watermark is above the
//	    last offset, for a duplicate as for an original (Z21).
//	P5  A waiter is woken by the first change after its registration that can end its wait: it registers first and
//	    then looks again, those who publish do so first and then look for waiters.
//	P6  In durable mode every append asks for a sync, whatever its acks (R5).
//	P7  A directory whose write or fsync failed or hung is offline until the process ends: nothing on it is tried
//	    again, appends and acks answer KAFKA_STORAGE_ERROR (R16, Z26). A full disk only refuses appends.
//	    A disk that is idle is probed, so that it is known to work or to hang (Z38).
//	P8  A directory is renamed for deletion only if committed metadata deleted its topic, and as stray only if
//	    committed metadata gave its replica to others or its name to another topic; what metadata does not know
//	    stays as it is (R13, Z28). Replicas are matched by topic id, never by name alone (Z20).
//	P9  The clean-shutdown files are removed, durably, before any log is opened, and written last of all (R2, Z25).
//	P10 A journal starts over only when every log that may have entries in it has taken them over: a directory with
//	    a log that cannot be opened, and entries that nobody took, stays offline.
//	P11 The scrub reads every sealed segment once in ScrubInterval, never faster than that needs or a disk under load can
//	    bear, but for one that could not be read: that comes next. What it finds concerns that range of that log only (R16).
//	P12 A follower appends only what answers a fetch from its present log end in its present leader epoch, whole batches
//	    with good CRCs, contiguous, of epochs that do not fall and are not above the fetch's (R4, Z17, Z18).
//	P13 A log is truncated only because a leader's answer diverges, never for a role or a high watermark (Z1, Z31); on disk
//	    before the next fetch; never below the high watermark unless an unclean election gave that up: the replica stops.
//	P14 A follower's fetch is judged, recorded and answered from one snapshot under mu; the image that says who is registered
//	    is published before the roles it gives (Z9).
//	P15 A fetch says Durable only when everything below its offset is on disk; in durable mode it waits for that (Z37).
//	P16 A proposal for the ISR is sent as it was made, until it is answered; only a certain refusal rolls it back (Z12).
//	P17 A stream of sealed segments appends under P12 and moves no position that the leader counts: only a fetch does. Replica and
//	    epoch being the same, it is either fetched for or streamed.
//	P18 A damaged range is mended only with committed batches, whole and checked to the last byte, of a replica in the same leader
//	    epoch; until then it answers CORRUPT_MESSAGE (R16).
//	P19 A replica that moves to another directory is in exactly one of them after a crash at any moment: the copy counts only
//	    once all of it is on disk and nothing is appended any more, which the old directory's new name says, durably, before the
//	    copy gets the replica's name. A copy is never ahead of what the replica keeps: it takes only what is durable there, and
//	    is cut to the common history (R9).
//	P20 What a replica left in its old directory stays until metadata names the new one: if the new disk is lost before, nothing
//	    is made in the replica's place, and the controller is told where it was (R16).
//	P21 A follower is read from only while its leader, in the present leader epoch, has found the log's end in its own and answers:
//	    never above the high watermark it knows, never what an election gave up (R14, I5).
//
// # The session of a fetcher
//
// One fetcher has one session with its leader, over all its partitions, and decides itself what is new in it: a position is
// sent when it differs from what the session has, so a round costs what changed. The Link keeps only the session's id and
// epoch. Any error makes the next request a full one. A partition that cannot follow leaves the session for a pause that
// grows; a new partition ends a fetch that is parked at the leader, after a few milliseconds that gather more of them. One
// that leaves ends a fetch that is a second overdue: its disk at the leader may be why nothing is answered.
//
// # Goroutines
//
// Run starts per directory up to 16 flusher workers (as many as logs wait at once), one scrub, one probe, one mover, one fetcher per leader and,
// while replicas are far behind it, one streamer per leader, and for all directories one upkeep, one watchdog, one mender, one sender of
// ISR changes and one that lets the trackers see time pass, and returns when all are gone. The watchdog does no I/O, so that a hung disk cannot hang it.
// What a move does on its new disk runs in goroutines of its own, and is waited for until that directory is offline.
//
// # Locks
//
//	Set.mu         what was found at start, what is given up, what waits for its removal
//	Partition.mu   role, tracker, appends; a plain mutex, held over one write and never over a sync
//	flusher.mu     the queue of logs to sync
//	waiterList.mu  the waiters of one partition
//	fetchers.mu    which fetcher has which partition; before fetcher.mu
//	fetcher.mu     what its loop was not told yet
//	streams.mu     which streamers there are, and their queues
//	alterer.mu     the proposals that wait; taken under Partition.mu
//	throttle.mu    a rate
//	mover.mu       the queue of moves
//	move.turn      a token, not a mutex: who has it works on the copy; before Partition.mu
//
// All but Partition.mu and fetchers.mu are leaves. The table of hosted replicas is changed by whoever has the token of Set.turn and
// read without a lock. What waits for the disk but must have the log to itself (a
// new epoch, creation, truncation, deletion) goes through Partition.exclusive: it marks the log as taken, lets go of mu, and
// appends wait for the mark outside the lock. A replica's directory changes under mu only, while the old one's flusher has let go of it.
//
// # Not here
//
// Validation of batches (record.Validator, by the caller), the wire of Link and the sessions of leaders (broker), who leads
// and who is in sync (controller/decide), compaction, which topics exist (metadata), what clients are told (broker).
package partition
