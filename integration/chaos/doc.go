// Package chaos runs three processes under a random schedule of faults, with clients that write down what they see, and
// judges the history.
//
//	seed ─▶ schedule: kill -9, SIGSTOP, cut links, all nodes at once, at random times, some of them overlapping
//	            │
//	            ▼
//	        three nodes, RF 3, min.insync.replicas 2, durable          (hosts of integration/netns, where they can be had)
//	            ▲
//	            └── producers (idempotent, acks=all) ─┐
//	                readers, one starts anew at times ├─▶ history ─▶ integration/check
//	                members of a group, that commit   │
//	                one that asks for ends and offsets┘
//
// The schedule is a function of the seed and the number of rounds, and is printed with them: the same seed gives the same
// faults at the same times to the same nodes. What a node is doing at that time is not repeated, so that a seed that
// failed may have to be run several times.
//
// Every deck of 33 rounds holds 20 kills, 5 pauses, 5 cuts (3 of them in one direction) and 3 kills of the whole cluster. At
// the end everything heals; then all replicas must be in sync within a minute, every record that was sent acknowledged,
// and all of them are read.
//
// A run that fails leaves a directory, and names it: the history, what franz-go said to each producer's log, the nodes' logs and
// data. Of each duplicate it prints the batches of all copies, as node 1 has them, with producer id, epoch, sequence and
// leader epoch.
//
//	go test -tags process ./integration/chaos                 (a short schedule)
//	make chaos SEED=7 ROUNDS=330                              (200 kills, 50 pauses, 50 cuts, 30 of the whole cluster; root)
//
// Not here: lost power (integration/powercut), figures (integration/failover).
package chaos
