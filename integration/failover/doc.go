// Package failover measures how long clients of a cluster of three processes wait when a node is killed, paused, cut off or
// restarted, and judges what they saw meanwhile.
//
//	paced producer ──┐                                       ┌─▶ longest silence between acknowledgements ─▶ figures, limits
//	fresh producers ─┼─▶ three nodes ◀── kill -9, SIGSTOP,   │
//	group members ───┘       │           cut links, SIGTERM ─┤
//	                         └─── everything read at the end ┴─▶ history ─▶ integration/check: nothing lost, doubled, stale
//
// Every test is a number of rounds: one fault under load, then all nodes in sync again and a session long nothing, for
// within one session no more than half of the brokers are taken for dead by a refused dial (R19). A round is one sample; of
// fewer than a hundred the p99 is the worst.
//
// Histories are always judged. Limits are demanded with -limits only: on a machine that does other work they say nothing.
//
//	go test -tags process ./integration/failover                                     (a few rounds of each)
//	make failover KILLS=50 FAULTS=20                                                 (a quiet machine; root for the cut links)
//
// The members of librdkafka's group are processes of member.py; without Python or librdkafka's library that test is skipped.
//
// Not here: mixtures of faults (integration/chaos), whole clusters in virtual time.
package failover
