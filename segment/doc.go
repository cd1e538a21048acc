// Package segment is one partition's log on disk, in Kafka's exact format: append, read, sync, recover, truncate, retain.
//
//	DATA/                                  one data directory
//	  meta.properties                      whose it is
//	  recovery-point-, log-start-, replication-offset-checkpoint   Checkpoints
//	  .kafka_cleanshutdown, cordwood-clean  what a clean stop left (R2)
//	  cordwood-journal                     rounds of many dirty logs (Journal)
//	  cordwood-scrub                       how far the scrub has come (ScrubPoint)
//	  t-0/                                 one Log
//	    partition.metadata, leader-epoch-checkpoint
//	    00000000000000000000.log .index .timeindex .seal [.txnindex] [.fault]   sealed Segment
//	    00000000000000000912.log .snapshot                                  active Segment: its indexes are in memory
//	  t-1.ID-future/, t-2.ID-moved/        a copy on its way into this directory; what went to another one
//
//	0        Start                      RecoveryPoint    Durable     End
//	| gone    |  sealed  |  sealed  |  active  .  .  .  .  .  .  .  . |
//	          |<-------- fsynced here -------->|<-journal->|<- cache ->|
//
// docs/format draws the bytes of each file; docs/adr/0001-group-commit.md says when the journal pays.
//
// # What recovery believes
//
// After a clean stop the manifest says everything and no log file is opened. After any other stop a log is judged against its
// recovery point, the end of what its files are known to hold durably: the checkpoint's, the journal's, or that of its last seal.
//
//	segment wholly below it          not read, if its index leads to a last batch that ends where the next one begins
//	batch below it                   header walked; whatever is wrong is corruption: kept, skipped, reported (Fault)
//	batch above it                   CRC checked; the first bad one is a torn tail: cut off, with every segment behind
//
// Invariants
//
//	S1  The recovery point on disk never lies above what the log's own files hold durably: Truncate, Reset and a new log under
//	    an old name lower it first (Checkpoints). So what is missing below it was lost, not torn (Z27).
//	S2  Nothing is durable before its file's name is (Z34), and a sync that failed is never tried again (Z26).
//	S3  Index files of a segment are believed only when the recovery point lies behind the segment's end: a Sync came after
//	    its roll. All of them can be made again from the .log, and are when they look wrong.
//	S4  The .log files on disk form one run up to the log's end: retention removes from the start, one name after another;
//	    truncation removes from the end, names before bytes. A hole is loss.
//	S5  A Segment never changes the meaning of a position: truncation makes a new Segment. So a reader needs no lock, only a
//	    View, and a Slice stays readable until Release.
//	S6  The producer state is derived from the log: newest snapshot at or below the first scanned segment, and the batches
//	    behind it (Z22). A snapshot above the log's end is removed before anything is appended.
//	S7  A journal entry counts only up to where its log was truncated after it was gathered (incarnation), and the journal
//	    starts over only when the logs in it are synced.
//	S8  The high watermark's checkpoint cuts nothing, ever (Z31).
//	S9  Append is all or nothing, over rolls too; a full disk leaves the log in order, any other failed write takes it
//	    offline (R16).
//	S10 A seal lies only beside a segment whose bytes and names are durable; it is removed, durably, before a truncation
//	    touches the segment. So what is wrong in a sealed segment is damage, and never cut off. A seal that is missing or
//	    speaks of something else says nothing, and costs nothing (R16).
//	S11 Damage that the scrub finds only adds to a Segment's faults. It is written down under syncing, and only if the
//	    segment is still in the View: a truncation makes void what was read.
//	S12 Mend writes only into damaged ranges, which nobody is sent, and at the end of a file that has one. Its bytes are on disk before
//	    the range counts as smaller, so that a crash leaves each batch good or known to be damaged.
//	S13 A directory is renamed under its readers (Rename) only when everything in it is synced: who is about to open a file finds
//	    it under one name or the other.
//
// # Who may call what
//
//	writer's      Append, BeginEpoch, Truncate, Reset, Trim, Retain, ApplyConfig, Close, Delete, Stray, Supersede, Rename,
//	              TakeState, WriteState, Producers, LastStable: one at a time, the caller sees to it
//	scrub's       Seal, Scrub: beside all others, one goroutine
//	mender's      Mend: the same
//	flusher's     Sync, SyncSealed, Unsynced, MarkDurable, Writeback, Purge: beside the writer, from any goroutine
//	everybody's   View, Slice, OffsetForTime, MaxTimestamp, AbortedIn, EndOffsetFor, Follows and the plain getters
//
// BeginEpoch, Truncate, Reset, Close, Delete, Stray, Supersede, Rename and the flusher's wait for the disk: never under a mutex. They take turns
// with each other on a channel.
//
// Goroutines: none. Locks: Log.mu, Files.mu, Checkpoints.mu and Journal.mu protect memory and are never held over a system
// call; readers take none of them but Files.mu when a file has to be opened.
//
// Not here: offsets of batches and validation (partition, protocol/record), who is in sync (isr), when to sync (partition's
// flusher), compaction (not built yet: a .swap file of another system's compaction refuses the log).
package segment
