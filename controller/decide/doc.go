// Package decide holds the controller's rules: each takes an image, a request and the
// time, and returns the facts to commit and the reply to give once they are.
//
//	(Image, request, now) ──▶ Outcome{Changes, Reply} or an error        nothing else happens
//
// A decision never sees a clock, a lock, a file or a random source: ids are handed in with
// the request. The caller commits Changes as they are, and gives Reply (or the error) to
// the asker only after everything the decision could have seen is committed.
//
// Rules kept here (numbers of the replication rules):
//
//	R1   registration: an unclean restart is out of every ISR and ELR in the entry that grants
//	     the new epoch; the same directories prove that the old process is gone.
//	R6   AlterPartition: a leader's change of the ISR is checked in the order of the rule; members are
//	     registered, unfenced, not leaving, of the epoch named, and have the replica's directory.
//	R10  election: live members of the ISR in order of assignment, then, the ISR being empty,
//	     live members of the ELR; never the last known leader.
//	R11  recovery: in durable mode the first returning member of lastKnownElr; in page-cache
//	     mode the longest log, once all members have reported theirs in their present lives.
//	R12  unclean election: only where the topic allows it or an operator asks, and where nobody
//	     complete is left.
//	R13  reassignment: the target and those who leave are the replicas until all who come are in
//	     sync; a cancel restores; both are changes of the partition record alone. It ends within the
//	     AlterPartition that brings the last one in.
//	R16  a directory that went offline takes its replicas out of every ISR and ELR in one entry;
//	     a broker without any is fenced.
//	R17  a voter is bound to its disk until it is removed (Z29).
//	R19  definite death fences before the session ends, never more than half of the brokers
//	     within one session.
//	     A broker that is being decommissioned (metadata.DecommissionKey) is given no replica, and no
//	     leadership that another one has.
//	Z35  min.insync.replicas is part of the partition record; changing it is a change of
//	     every such partition, with a new partition epoch.
//
// Hard state is the image. Soft state is Sessions, in memory of the active controller: a
// new one grants every broker a full session and hears reports of log ends again, which is
// all that losing it costs. Who is late (late.go) is soft, too, and decides nothing.
//
// Goroutines and locks: none, the package is pure. Not here: agreement, queues, timers
// (controller); wire formats and authorization (broker).
package decide
