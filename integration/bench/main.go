package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"
)

// scenario is one line of the list of measurements.
type scenario struct {
	name string
	what string
	run  func(b *bench, s *scenario) error
}

var scenarios = []scenario{
	{"produce-16k", "produce, 16 KB batches of 1 KB records, 1 connection, 1 partition, page cache", loadScenario(load16k)},
	{"produce-64k", "produce, 64 KB batches, 1 connection, 1 partition, page cache", loadScenario(load64k)},
	{"produce-1m", "produce, 1 MB batches, 1 connection, 1 partition, page cache", loadScenario(load1m)},
	{"produce-16k-16c", "produce, 16 KB batches, 16 connections, 16 partitions, page cache", loadScenario(load16k.over(16))},
	{"produce-64k-16c", "produce, 64 KB batches, 16 connections, 16 partitions, page cache", loadScenario(load64k.over(16))},
	{"small-16c", "produce, one 1.1 KB record per request, 16 connections, 50 in flight each, page cache", loadScenario(loadSmall.over(16))},
	{"consume-64k", "consume, 64 KB per answer, 1 connection", consumeScenario(64 << 10)},
	{"consume-1m", "consume, 1 MB per answer, 1 connection", consumeScenario(1 << 20)},
	{"durable-16k", "produce, fsync before ack, 16 KB batches, 1 connection, 50 in flight", loadScenario(load16k.synced())},
	{"durable-16k-16c", "produce, fsync before ack, 16 KB batches, 16 connections, 50 in flight each, 1 partition", loadScenario(load16k.over(16).into(1).synced())},
	{"durable-1k-16c", "produce, fsync before ack, one 1.1 KB record per request, 16 connections, 50 in flight each, 1 partition", loadScenario(loadSmall.over(16).into(1).synced())},
	{"paced-1000p", "10,000 records/s in turn over 1,000 partitions, Cordwood with fsync before ack, Kafka without", pacedScenario},
	{"gateway-16k", "the same load directly and through a gateway, 16 KB batches, 1 connection; CPU of both processes", gatewayProduce(load16k)},
	{"gateway-64k", "the same, 64 KB batches", gatewayProduce(load64k)},
	{"gateway-1m", "the same, 1 MB batches", gatewayProduce(load1m)},
	{"gateway-consume-64k", "consume directly and through a gateway, 64 KB per answer", gatewayConsume(64 << 10)},
	{"gateway-consume-1m", "the same, 1 MB per answer", gatewayConsume(1 << 20)},
	{"gateway-latency", "one request of 16 KB in flight, directly and through a gateway", gatewayLatency},
	{"start-empty", "from exec to the first acknowledged record, empty directory", startEmpty},
	{"start-kill9", "from exec to the first acknowledged record, after kill -9", startKilled},
	{"idle", "60 s without load after a short one", idleScenario},
	{"partitions-10k", "10,000 idle partitions: start after a clean stop, memory, open files", manyPartitions},
	{"three-64k", "three nodes, produce, 64 KB batches, 3 connections, 3 partitions, page cache", clusterLoad(load64k.over(clusterSize))},
	{"three-64k-12c", "three nodes, produce, 64 KB batches, 12 connections, 12 partitions, page cache", clusterLoad(load64k.over(4 * clusterSize))},
	{"three-durable-64k", "three nodes, produce, fsync before ack, 64 KB batches, 3 connections, 3 partitions", clusterLoad(load64k.over(clusterSize).synced())},
	{"three-one-64k", "three nodes, produce, 64 KB batches, 1 connection, 1 partition, page cache", clusterLoad(load64k)},
	{"three-one-durable-64k", "three nodes, produce, fsync before ack, 64 KB batches, 1 connection, 1 partition", clusterLoad(load64k.synced())},
	{"three-end-to-end", "three nodes, 1,000 records/s of 1 KB to a consumer, Cordwood with fsync before ack, Kafka without", clusterEndToEnd},
	{"three-1000p", "three nodes, 3,000 records/s in turn over 1,000 partitions, Cordwood with fsync before ack, Kafka without", clusterPaced},
	{"three-5000p", "three nodes, 5,000 partitions: a topic is made, a broker dies, the active controller dies", clusterPartitions},
	{"size", "size of the binary", sizeScenario},
}

// bench is one run.
type bench struct {
	rounds  int
	volume  int64         // bytes of records per round
	seconds time.Duration // longest round
	paced   time.Duration // one round of the paced scenario
	idle    time.Duration // watched without load
	warm    int64         // bytes before the first round of a scenario
	// patience is how long to wait for an idle machine before each measurement.
	patience time.Duration
	rest     time.Duration // before each death
	dir      string
	bin      string
	settings []string // of Cordwood, as key=value
	kafka    string
	report   *report
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == limitCommand {
		if err := limitMain(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	b := &bench{report: newReport(), rest: session}
	var gb, warm float64
	only := flag.String("run", "", "scenarios whose name matches this expression (default all)")
	list := flag.Bool("list", false, "list the scenarios")
	markdown := flag.String("md", "", "also write the table as markdown to this file")
	flag.IntVar(&b.rounds, "rounds", 5, "rounds per scenario")
	flag.Float64Var(&gb, "gb", 2, "GB of records per round, at most")
	flag.Float64Var(&warm, "warm", 0.5, "GB of records before the first round")
	flag.DurationVar(&b.seconds, "time", 10*time.Second, "time of one round, at most")
	flag.DurationVar(&b.paced, "paced", 15*time.Second, "time of one round of the paced scenario")
	flag.DurationVar(&b.idle, "idle", time.Minute, "time of the idle scenario")
	flag.DurationVar(&b.patience, "patience", 20*time.Second, "longest wait for an idle machine before each measurement")
	flag.StringVar(&b.dir, "dir", "", "where data directories are made (default the system's)")
	flag.StringVar(&b.bin, "bin", "bin/cordwood", "Cordwood's binary; empty: Kafka alone")
	flag.Func("override", "a `key=value` for Cordwood's nodes; repeatable", func(s string) error {
		b.settings = append(b.settings, s)
		return nil
	})
	flag.StringVar(&b.kafka, "kafka", os.Getenv("KAFKA_SH"), "the script that runs Apache Kafka (default $KAFKA_SH; none: Cordwood alone)")
	flag.Parse()
	b.volume, b.warm = int64(gb*1e9), int64(warm*1e9)
	if *list {
		for _, s := range scenarios {
			fmt.Printf("%-18s %s\n", s.name, s.what)
		}
		return nil
	}
	pattern, err := regexp.Compile(*only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(b.dir, "bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	b.dir = dir
	if b.bin != "" {
		if b.bin, err = filepath.Abs(b.bin); err != nil {
			return err
		}
	}
	var failed error
	for i := range scenarios {
		s := &scenarios[i]
		if !pattern.MatchString(s.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "%s: %s\n", s.name, s.what)
		if err := s.run(b, s); err != nil {
			failed = fmt.Errorf("%s: %w", s.name, err)
			fmt.Fprintln(os.Stderr, "bench:", failed)
		}
		b.report.printScenario(os.Stdout, s)
	}
	if *markdown != "" {
		if err := b.report.writeMarkdown(*markdown, b); err != nil {
			return err
		}
	}
	return failed
}
