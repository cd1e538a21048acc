// Command bench measures Cordwood, beside Apache Kafka and beside what the machine itself can do.
//
//	go run ./integration/bench [-bin bin/cordwood] [-kafka kafka.sh] [-run REGEXP] [-rounds 5] [-md FILE]
//
//	              round 1            round 2          ...            table
//	          A    B   limit     A    B   limit                metric  A  B  A/B  limit  A/limit
//	          '----'----'--- in turn, one after another ---'
//
// A is Cordwood, B Kafka (left out without -kafka), limit what the kernel alone needs for the same bytes: receive,
// checksum and write to a fresh file, or sendfile. All run in turn on one machine, so that what the machine does
// meanwhile hits all of them; ratios are taken within a round, and the table shows the median and the range of the
// rounds. Single times are never compared between runs.
//
// The load is raw: batches are encoded once, requests are slices of one buffer, answers are checked for their size and
// error codes, fetched records are thrown away in the kernel (MSG_TRUNC). So the generator's share of the machine is
// small, and its own CPU time is reported. CPU time is read from /proc/PID/stat, memory from /proc/PID/status. Volume
// per round is bounded, and a topic's data is deleted before the next one begins. Before each measurement the bench
// waits until the machine is idle; CPU time that neither the broker nor the bench used is reported as "others". Before a
// produce load, of the limit too, it writes and removes a file of the same size, so that all find memory that this machine
// owns (ownMemory).
//
// Paced mode sends on a schedule and measures from the scheduled time, so that a stall of the broker counts for every
// request that it delayed.
//
// Scenarios three-* run three nodes on this machine, each broker and controller, with three replicas of everything (cluster.go).
// Raw load goes to the leaders that the topic was made with; when one of them loses its office, which a starved machine makes
// happen, the run stops with error code 6. The limit of their throughput is what the kernel needs for three copies.
//
// Scenarios are in scenario_*.go, one list in main.go. Not here: correctness. A wrong answer only stops the run.
package main
