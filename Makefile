# make            bin/cordwood, static, reproducible
# make test       every test that needs nothing but Go; the rest is listed below

VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
FUZZTIME ?= 20s
ROUNDS   ?= 30
SEEDS    ?= 2000
FROM     ?= 1
KILLS    ?= 50
FAULTS   ?= 20
# The outside suites and what they need are described where they are kept.
SUITES_AT ?= ../shared/acceptance/suites

# rooms with goroutines and locks
CONCURRENT = ./partition/... ./broker/... ./coordinator/... ./controller/...
# metrics and health need no HTTP/2; what kmsg generates is a twentieth of the binary when nothing of it is inlined, else a tenth;
# what miekg/dns generates for types of records nobody asks for is a seventh smaller so; protobuf writes metrics for who asks in it;
# the last two are the command line
NOINLINE = $(foreach p,github.com/twmb/franz-go/pkg/kmsg github.com/miekg/dns google.golang.org/protobuf/... github.com/spf13/... github.com/twmb/franz-go/pkg/kadm,-gcflags=$(p)=-l)
BUILD = CGO_ENABLED=0 go build -tags nethttpomithttp2 $(NOINLINE) -trimpath -buildvcs=false -ldflags "-s -w -X cordwood/broker.Version=$(VERSION)"

.PHONY: build test race lint fuzz mutants process abuse kill reassign powercut virtual failover chaos bench kcat tools cluster-tools million suites ci clean

build:
	$(BUILD) -o bin/cordwood ./cmd/broker

test:
	go test ./...

race:
	go test -race $(CONCURRENT)

lint:
	test -z "$$(gofmt -l .)" || { gofmt -l .; false; }
	go vet ./... && go vet -tags process ./...
	go tool -modfile=tools/go.mod golangci-lint run

# every fuzz target for FUZZTIME
fuzz:
	integration/fuzz.sh $(FUZZTIME)

# breaks each rule of the bug zoo; the tests must notice
mutants:
	integration/mutants.sh

# the real binary, started, stopped, killed and abused
process:
	go test -tags process ./integration/process/...

# every bad input 1,000 times and floods of a million in the real binary (root, a quiet machine, an hour): what they leave
# behind, and what they do to the latency of others; docs/badinputs.md has the list
abuse:
	go test -tags process ./integration/process -run 'BadInputs|WithoutEnd|Others|Limited|Refuse|Storm|Loop|Forgotten|Damaged|Director|FullDisk' \
	  -times 1000 -flood 1000000 -p99 -v -timeout 90m

# ROUNDS kill -9 under load: nothing acknowledged is lost or doubled
kill:
	go test -tags process ./integration/process -run Kills -kills $(ROUNDS) -v -timeout 30m

# a partition of 2 GiB is moved to other nodes and back under load: throttled, undone, through kills (16 GB of disk, five minutes)
reassign:
	go test -tags process ./integration/process -run MovedUnderLoad -moved 2048 -slow 40 -v -timeout 30m

# ROUNDS power cuts under load, of one node and of three at once, on a mounted file system that forgets what was not synced
# (root, /dev/fuse)
powercut:
	go test -tags process ./integration/powercut -rounds $(ROUNDS) -v -timeout 60m

# clusters in virtual time: SEEDS seeds from FROM on of one, three, five and six nodes, through power cuts, kills and cut links
virtual:
	go test -tags synctests ./integration/bubble -seeds $(SEEDS) -from $(FROM) -timeout 0

# how long clients wait when a node of three is killed, paused, cut off or restarted, with limits (a quiet machine; root for the cut links;
# Python and librdkafka's library for its groups)
failover:
	go test -tags process ./integration/failover -kills $(KILLS) -groups $(KILLS) -faults $(FAULTS) -limits -v -timeout 90m

# ROUNDS random faults over three nodes, from SEED: nothing is lost, doubled, out of order or stale (root for the cut links; 330
# rounds are 200 kills, 50 pauses, 50 cuts and 30 kills of all nodes)
chaos:
	go test -tags process ./integration/chaos $(if $(SEED),-seed $(SEED)) -rounds $(ROUNDS) -v -timeout 120m

# one node, and three on this machine; set KAFKA_SH to the script that runs Apache Kafka to measure both in turn
bench: build
	go run ./integration/bench -bin bin/cordwood

# kcat, Kafka's own tools and Java client against one node, its admin tools against three; what each needs stands at the top
# of the script
kcat tools cluster-tools: build
	integration/clients/$(if $(filter kcat,$@),kcat,kafka-$@).sh cordwood

# a million records with every codec through the command line; count and checksum must agree
million: build
	integration/clients/million.sh

# other projects' own test suites for one broker (root, network, JDK 17, Maven)
suites: build
	for s in kgo1 kafkago librdkafka21; do CORDWOOD=bin/cordwood $(SUITES_AT)/$$s.sh cordwood; done
	$(SUITES_AT)/compare.sh

ci:
	.ci/run

clean:
	rm -rf bin
