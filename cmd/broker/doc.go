// Command broker is the cordwood binary: the broker, and the tools to talk to one.
//
//	cordwood dev | serve          -> process.go: settings -> broker.Config -> broker.Open -> Run until a signal
//	         gateway              -> gateway.go: settings -> gateway.Config -> gateway.Open -> Run; SIGHUP reads the file again
//	         demo                 -> demo_*.go: three brokers on a network with switches, a load and a ledger of it
//	         topic | group        -> client.go:  kadm requests to --brokers
//	         cluster              -> cluster_read.go: a view of the cluster -> rules -> what to show, or to ask for
//	         produce | consume    -> client.go:  a kgo client of --brokers
//	         log dump             -> a file on disk, no broker needed
//	         config | version     -> what this binary knows
//
// Each command is one file; run.go finds it, runs it and turns its error into an exit code.
//
// Exit codes: 0 done, 1 failed, 2 wrong usage; of a server also 74 disk, 75 directory locked by another process, 78
// configuration, busy port or another node's directory.
//
// Invariants
//
//	C1  What a command answers goes to standard output, everything else to standard error.
//	C2  An error says what, where and what to do next; it is never a stack of functions.
//	C3  Nothing is set up before it is known which command runs: a start costs what its command needs.
//	C4  What a cluster command judges is a clusterView; its rules (health, safe to stop, plans, why a move is stuck) are
//	    functions of it and ask nothing themselves.
//
// Goroutines: a server has one that waits for signals; progress has one that redraws its line; a demo has one for each
// node, and two for its load. All end with the command, but for the demo's reader of standard input, which ends with the
// process. Locks: ledger.mu, demoNetwork.mu; nothing waits under them.
//
// Not here: what a configuration key means (package broker), what a file's bytes mean (segment, protocol/record).
package main
