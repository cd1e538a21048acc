package main

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"cordwood/broker"
)

// startCluster runs serve commands in this process, each a broker and a controller, until the test ends. Commands go
// to the first one.
func startCluster(t *testing.T, n int) *server {
	t.Helper()
	addrs := freeAddresses(t, n)
	var voters []string
	for i, addr := range addrs {
		voters = append(voters, fmt.Sprintf("%d@%s", i+1, addr))
	}
	var nodes []*server
	for i, addr := range addrs {
		s := &server{t: t, ports: filepath.Join(t.TempDir(), "ports.json"), exited: make(chan int, 1)}
		args := []string{"serve", "--data-dir", t.TempDir(), "--port-file", s.ports, "--override", fmt.Sprintf("node.id=%d", i+1),
			"--override", "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://" + addr, "--override", "controller.quorum.voters=" + strings.Join(voters, ","),
			"--override", "cordwood.http.listener=none"}
		go func() { s.exited <- run(&terminal{in: strings.NewReader(""), out: &s.out, err: &s.errs}, args) }()
		nodes = append(nodes, s)
	}
	t.Cleanup(func() { // one signal is for all of them
		if err := syscall.Kill(os.Getpid(), syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for _, s := range nodes {
			<-s.exited
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; <-time.After(time.Millisecond) {
		ready := 0
		for _, s := range nodes {
			var a broker.Addrs
			if text, err := os.ReadFile(s.ports); err == nil && json.Unmarshal(text, &a) == nil {
				s.addr = a.Listeners["PLAINTEXT"]
				ready++
			}
		}
		if ready == n {
			return nodes[0]
		}
		if time.Now().After(deadline) {
			for i, s := range nodes {
				t.Logf("node %d\n%s", i+1, s.errs.String())
			}
			t.Fatalf("%d of %d nodes serve", ready, n)
		}
	}
}

// freeAddresses finds addresses nobody listens on; whoever takes one before it is used makes the start fail.
func freeAddresses(t *testing.T, n int) (out []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		out = append(out, l.Addr().String())
	}
	return out
}

func TestALoneNodeIsHealthyAndCannotStop(t *testing.T) {
	s := startServer(t, "serve", t.TempDir())
	s.ok("", "topic", "create", "t", "-p", "2")
	s.ok("some bytes\n", "produce", "t")
	expect(t, s.ok("", "cluster", "health"), `^state  healthy\n$`)
	expect(t, s.ok("", "cluster", "health", "--format", "json"), `"state": "healthy",\s+"problems": \[\]`)
	expect(t, s.ok("", "cluster", "status"), `(?s)cluster +\S{22}\nstate +healthy\nbrokers +1 of 1 live\ncontrollers +1, led by node 1\ntopics +1\npartitions +2\nreplicas +2, offline 0\n.*size +\d+ B\n$`)
	expect(t, s.ok("", "cluster", "brokers"), `(?m)^1 +127\.0\.0\.1:\d+ +- +live +2 +2 +2 +\d+ B +\S+ GiB free of \S+ [GT]iB$`)
	expect(t, s.ok("", "cluster", "quorum"), `(?m)^1 +leader +\S+ +\d+ +0 +0s ago$`)
	s.fails("not safe to stop broker 1: 3 reasons", "cluster", "safe-to-stop", "1")
	s.fails("there is no broker 7; there are: 1", "cluster", "safe-to-stop", "7")
	s.fails("t-0: 0 brokers may have replicas of it", "cluster", "decommission", "1")
	s.fails("t-0: 1 brokers may have replicas of it", "cluster", "reassign", "--topics", "t", "--replicas", "2")
	s.fails("topic nope: there is none of this name", "cluster", "reassign", "--topics", "nope")
	s.fails("topic nope: there is none of this name", "cluster", "elect", "--preferred", "nope")
	expect(t, s.ok("", "cluster", "elect", "--preferred", "--all"), `^nothing to do\n$`)
	expect(t, s.ok("", "cluster", "reassign", "list", "--format", "json"), `^\[\]\n$`)
	expect(t, s.ok("", "cluster", "reassign", "--cancel"), `^nothing to do\n$`)
}

func TestReplicasMoveFromTheCommandLine(t *testing.T) {
	s := startCluster(t, 3)
	s.ok("", "topic", "create", "t", "-p", "4", "-r", "2")
	s.ok("", "produce", "t", "--count", "500", "--size", "300")
	s.ok("", "cluster", "health", "--wait", "30s")
	expect(t, s.ok("", "cluster", "quorum"), `(?s)leader.*voter|voter.*leader`)
	expect(t, s.ok("", "cluster", "safe-to-stop", "2", "--wait", "10s"), `^broker 2  safe to stop\n$`)
	s.fails("not safe to stop brokers 2,3: ", "cluster", "safe-to-stop", "2,3")

	// Everything goes to two brokers, then evenly to all of them.
	expect(t, s.ok("", "cluster", "reassign", "--topics", "t", "--to", "1,2"), `(?s)^moved  t-\d  .*\n\d of \d partitions moved, `)
	out := s.ok("", "topic", "describe", "t")
	if regexp.MustCompile(`(?m)^\d +\d +\d+ +\S*3`).MatchString(out) {
		t.Errorf("broker 3 still has replicas\n%s", out)
	}
	plan := s.ok("", "cluster", "reassign", "--topics", "t", "--replicas", "3", "--dry-run", "--format", "json")
	expect(t, plan, `^{\s+"version": 1,\s+"partitions": \[\s+{\s+"topic": "t",\s+"partition": 0,\s+"replicas": \[`)
	file := filepath.Join(t.TempDir(), "plan.json")
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	expect(t, s.ok("", "cluster", "reassign", "--file", file), `4 of 4 partitions moved`)
	expect(t, s.ok("", "cluster", "reassign", "--file", file), `nothing to do`)
	expect(t, s.ok("", "topic", "describe", "t"), `(?m)^replicas +3$`)
	expect(t, s.ok("", "consume", "t", "-o", "start:end", "--checksum"), `^500 records`)
	s.fails("t-0: 2 brokers may have replicas of it", "cluster", "decommission", "3", "--yes")
}

func TestLeadersGoBackToWhereTheyArePreferred(t *testing.T) {
	s := startCluster(t, 3)
	s.ok("", "topic", "create", "t", "-r", "3")
	s.ok("", "cluster", "health", "--wait", "30s")
	leader := regexp.MustCompile(`(?m)^0 +(\d)`).FindStringSubmatch(s.ok("", "topic", "describe", "t"))[1]
	order := strings.TrimSuffix(strings.ReplaceAll("1,2,3,", leader+",", "")+leader, ",")
	file := filepath.Join(t.TempDir(), "plan.json")
	plan := fmt.Sprintf(`{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[%s]}]}`, order)
	if err := os.WriteFile(file, []byte(plan), 0o600); err != nil {
		t.Fatal(err)
	}
	s.ok("", "cluster", "reassign", "--file", file)
	expect(t, s.ok("", "cluster", "health", "--wait", "30s"), `(?m)^notice +leader-imbalance +broker `+order[:1]+` +it leads 0 of the 1 .* cordwood cluster elect --preferred --all$`)
	expect(t, s.ok("", "cluster", "elect", "--preferred", "t", "--dry-run"), `(?m)^t +0 +`+leader+` +`+order[:1]+`$`)
	expect(t, s.ok("", "cluster", "elect", "--unclean", "--all"), `^nothing to do\n$`)
	code, out, errs := command(t, "", "cluster", "elect", "--preferred", "--all", "-b", s.addr)
	elected := code == 0 && strings.HasPrefix(out, "elected  t-0  "+leader+" -> "+order[:1])
	tooOld := code == exitFailed && strings.Contains(errs, "not every broker serves ElectLeaders (key 43); upgrade them, then run this command again")
	if !elected && !tooOld {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
}

func TestAThrottleIsTakenAwayOrNothingMoves(t *testing.T) {
	s := startCluster(t, 3)
	s.ok("", "topic", "create", "t", "-p", "2", "-r", "1")
	s.ok("", "produce", "t", "--count", "500", "--size", "300")
	s.ok("", "cluster", "health", "--wait", "30s")
	code, out, errs := command(t, "", "cluster", "reassign", "--topics", "t", "--replicas", "3", "--throttle", "100M", "-b", s.addr)
	moved := code == 0 && strings.Contains(out, "2 of 2 partitions moved")
	refused := code == exitFailed && strings.Contains(errs, "no throttle was set and nothing moved: ") && strings.Contains(errs, "leave --throttle away")
	if !moved && !refused {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	expect(t, s.ok("", "topic", "describe", "t"), map[bool]string{true: `(?m)^replicas +3$`, false: `(?m)^replicas +1$`}[moved])
	expect(t, s.ok("", "topic", "config", "t"), `(?m)^leader\.replication\.throttled\.replicas +DEFAULT_CONFIG$`)
	// What somebody else left is taken away, too.
	s.ok("", "topic", "config", "t", "set", "leader.replication.throttled.replicas=0:1")
	s.ok("", "cluster", "reassign", "wait")
	expect(t, s.ok("", "topic", "config", "t"), `(?m)^leader\.replication\.throttled\.replicas +DEFAULT_CONFIG$`)
}

func TestABrokerIsEmptied(t *testing.T) {
	s := startCluster(t, 3)
	s.ok("", "topic", "create", "t", "-p", "6", "-r", "2")
	s.ok("", "produce", "t", "--count", "500", "--size", "300")
	s.ok("", "cluster", "health", "--wait", "30s")
	plan := s.ok("", "cluster", "decommission", "2", "--dry-run")
	expect(t, plan, `(?m)^TOPIC +PARTITION +FROM +TO +COPIES\nt +\d +\d,\d +\d,\d +`)
	out := s.ok("", "cluster", "decommission", "2", "--at-once", "2")
	expect(t, out, `(?s)^moved  t-\d  .*emptied +broker 2 holds nothing any more\nquorum +node 2 is no controller any more; there are 2\nnext +stop its process.*\nnext +there are 2 controllers`)
	expect(t, s.ok("", "cluster", "brokers"), `(?m)^2 +\S+ +- +decommissioning +0 +0 +0 +`)
	expect(t, s.ok("", "cluster", "quorum"), `(?s)leader.*voter|voter.*leader`)
	if voters := regexp.MustCompile(`(?m)^2 +(leader|voter)`).FindString(s.ok("", "cluster", "quorum")); voters != "" {
		t.Errorf("it is still a controller: %s", voters)
	}
	s.ok("", "topic", "create", "later", "-p", "6", "-r", "2") // nothing new comes to it
	expect(t, s.ok("", "cluster", "health", "--wait", "10s"), `(?m)^notice +decommissioning +broker 2 +it is being emptied for good and holds 0 replicas`)
	expect(t, s.ok("", "cluster", "decommission", "2", "--format", "json"), `"broker": 2,\s+"moves": \[\],\s+"left": 0,\s+"left_quorum": false,\s+"unregistered": false`)
	expect(t, s.ok("", "cluster", "safe-to-stop", "2", "--wait", "10s"), `safe to stop`)
	expect(t, s.ok("", "consume", "t", "-o", "start:end", "--checksum"), `^500 records`)
	expect(t, s.ok("", "cluster", "decommission", "2", "--cancel"), `^cancelled  broker 2 stays`)
	expect(t, s.ok("", "cluster", "decommission", "2", "--cancel"), `^nothing to do\n$`)
	s.ok("", "topic", "create", "again", "-p", "6", "-r", "2")
	if held := regexp.MustCompile(`(?m)^2 +\S+ +- +live +\d+ +[1-9]`).FindString(s.ok("", "cluster", "brokers")); held == "" {
		t.Error("it is given nothing although it stays")
	}
}
