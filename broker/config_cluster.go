package broker

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"cordwood/metadata"
)

// The keys that make a node part of a cluster, as Kafka's files have them:
//
//	three nodes with both roles                            a node that is a broker only
//	  process.roles=broker,controller                        process.roles=broker
//	  controller.quorum.voters=1@a:9093,2@b:9093,3@c:9093    controller.quorum.bootstrap.servers=a:9093,b:9093
//	  listeners=PLAINTEXT://:9092,CONTROLLER://:9093         listeners=PLAINTEXT://:9092
//
// A node that names no other is a cluster of its own.

// clusterKeys are the keys about other nodes.
func clusterKeys() []Key {
	ms := time.Millisecond
	return []Key{
		{Name: "process.roles", Type: tList, Default: "broker,controller", Doc: "broker, controller or both.",
			apply: listTo(func(c *Config) *[]string { return &c.Roles })},
		{Name: "controller.quorum.voters", Type: tList, Doc: "The first controllers of the cluster, as id@host:port,…; unset: those of controller.quorum.bootstrap.servers, or this node alone.",
			apply: listTo(func(c *Config) *[]string { return &c.votersText })},
		{Name: "controller.quorum.bootstrap.servers", Type: tList, Doc: "Addresses at which controllers can be found, as host:port,….",
			apply: listTo(func(c *Config) *[]string { return &c.BootstrapServers })},
		{Name: "cordwood.bootstrap.expect", Type: tInt, Doc: "Controllers to wait for before the first quorum, whoever they are; unset: one for each of controller.quorum.bootstrap.servers.",
			apply: intTo(1, 64, func(c *Config) *int { return &c.BootstrapExpect })},
		{Name: "broker.heartbeat.interval.ms", Type: tInt, Default: "500", Doc: "Time between heartbeats to the controller (Kafka: 2000).",
			apply: timeTo(ms, 10, func(c *Config) *time.Duration { return &c.HeartbeatInterval })},
		{Name: "broker.session.timeout.ms", Type: tInt, Default: "3000", Doc: "Silence after which a broker is fenced (Kafka: 9000).",
			apply: timeTo(ms, 100, func(c *Config) *time.Duration { return &c.SessionTimeout })},
		{Name: "cordwood.leader.lease", Type: tString, Default: "strict", Doc: "What a leader serves that cannot reach the controller: strict: nothing; writes: reads only; off: everything, as Kafka does.",
			apply: func(c *Config, v string) (err error) { c.LeaderLease, err = parseLease(v); return err }},
		{Name: "cordwood.failure.definite.death", Type: tBool, Default: "true", Doc: "A broker whose address refuses connections is fenced at once. Set false where proxies or firewalls refuse for it.",
			apply: boolTo(func(c *Config) *bool { return &c.DefiniteDeath })},
		{Name: "auto.leader.rebalance.enable", Type: tBool, Default: "true", Doc: "The controller gives leaderships back to the first replicas by itself, once these are in sync again.",
			apply: boolTo(func(c *Config) *bool { return &c.LeaderRebalance })},
		{Name: "leader.imbalance.check.interval.seconds", Type: tLong, Default: "300", Doc: "Time between its looks at who leads what.",
			apply: timeTo(time.Second, 1, func(c *Config) *time.Duration { return &c.ImbalanceCheck })},
		{Name: "leader.imbalance.per.broker.percentage", Type: tInt, Default: "10", Doc: "A broker that lacks no more than so many percent of the leaderships it is preferred for gets none.",
			apply: intTo(0, math.MaxInt32, func(c *Config) *int { return &c.ImbalancePercent })},
		{Name: "replica.lag.time.max.ms", Type: tLong, Default: "10000", Doc: "A follower that is behind for so long leaves the ISR (Kafka: 30000).",
			apply: timeTo(ms, 1, func(c *Config) *time.Duration { return &c.ReplicaLag })},
		{Name: "replica.fetch.max.bytes", Type: tInt, Default: "1048576", Doc: "Bytes a follower asks for of one partition; a larger batch still comes.",
			apply: intTo(0, math.MaxInt32, func(c *Config) *int { return &c.ReplicaFetch.MaxBytes })},
		{Name: "replica.fetch.response.max.bytes", Type: tInt, Default: "10485760", Doc: "Bytes a follower asks for in one fetch; a larger batch still comes.",
			apply: intTo(0, math.MaxInt32, func(c *Config) *int { return &c.ReplicaFetch.ResponseBytes })},
		{Name: "replica.fetch.min.bytes", Type: tInt, Default: "1", Doc: "Bytes a follower's fetch waits for.",
			apply: intTo(1, math.MaxInt32, func(c *Config) *int { return &c.ReplicaFetch.MinBytes })},
		{Name: "replica.fetch.wait.max.ms", Type: tInt, Default: "500", Doc: "How long it waits; at most replica.lag.time.max.ms.",
			apply: timeTo(ms, 1, func(c *Config) *time.Duration { return &c.ReplicaFetch.WaitMax })},
		{Name: "replica.fetch.backoff.ms", Type: tInt, Default: "1000", Doc: "Longest pause of a fetcher after an error.",
			apply: timeTo(ms, 1, func(c *Config) *time.Duration { return &c.ReplicaFetch.Backoff })},
	}
}

// DecommissionKey is the dynamic config that marks a broker which leaves for good.
const DecommissionKey = metadata.DecommissionKey

// decommissionKeys mark a broker that leaves for good.
func decommissionKeys() []Key {
	return []Key{{Name: metadata.DecommissionKey, Type: tBool, Default: "false", Status: Dynamic,
		Doc:   "This broker is being emptied: it is given no new replicas and no leaderships. `cordwood cluster decommission` sets it; it cannot be set in a file.",
		apply: boolTo(func(*Config) *bool { return new(bool) })}}
}

// throttleKeys bound what replication may take of the network. Tools that move partitions set them while brokers run and
// delete all three at the end.
func throttleKeys() []Key {
	const replicas = " Of the replicas that a topic's "
	rate := func(to func(*Config) *int64) func(*Config, string) error { return intTo(0, math.MaxInt64, to) }
	return []Key{
		{Name: "leader.replication.throttled.rate", Type: tLong, Default: "9223372036854775807", Status: Dynamic,
			Doc:   "Bytes a second that this broker sends to followers." + replicas + "leader.replication.throttled.replicas names, those that are not in sync; 0: none.",
			apply: rate(func(c *Config) *int64 { return &c.LeaderThrottle })},
		{Name: "follower.replication.throttled.rate", Type: tLong, Default: "9223372036854775807", Status: Dynamic,
			Doc:   "Bytes a second that this broker fetches from leaders." + replicas + "follower.replication.throttled.replicas names, those that are not in sync; 0: none.",
			apply: rate(func(c *Config) *int64 { return &c.FollowerThrottle })},
		{Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: tLong, Default: "9223372036854775807", Status: Dynamic,
			Doc:   "Bytes a second that this broker copies of replicas which move between its directories; 0: none.",
			apply: rate(func(c *Config) *int64 { return &c.CopyThrottle })},
	}
}

// copyThrottle is CopyThrottle as partition has it.
func (c *Config) copyThrottle() int64 {
	if c.CopyThrottle == 0 {
		return -1
	}
	return c.CopyThrottle
}

func parseLease(v string) (LeaseMode, error) {
	switch strings.ToLower(v) {
	case "strict":
		return LeaseStrict, nil
	case "writes":
		return LeaseWrites, nil
	case "off":
		return LeaseOff, nil
	}
	return 0, errors.New("expected strict, writes or off")
}

// IsBroker reports whether the node hosts partitions and serves clients.
func (c *Config) IsBroker() bool { return len(c.Roles) == 0 || slices.Contains(c.Roles, "broker") }

// IsController reports whether the node may be a member of the quorum.
func (c *Config) IsController() bool {
	return len(c.Roles) == 0 || slices.Contains(c.Roles, "controller")
}

// expect is how many controllers make the first quorum; 1: this node founds its cluster alone.
func (c *Config) expect() int {
	switch {
	case !c.IsController():
		return 0
	case len(c.Voters) > 0:
		return len(c.Voters)
	case c.BootstrapExpect > 0:
		return c.BootstrapExpect
	}
	return max(len(c.BootstrapServers), 1)
}

// IsLone reports whether the whole cluster is this node, as far as its configuration says.
func (c *Config) IsLone() bool { return c.IsBroker() && c.expect() == 1 }

// balanceInterval is how often the controller looks at who leads what; 0: never.
func (c *Config) balanceInterval() time.Duration {
	if !c.LeaderRebalance {
		return 0
	}
	return c.ImbalanceCheck
}

// controllers are the addresses at which controllers may be found.
func (c *Config) controllers() []string {
	out := slices.Clone(c.BootstrapServers)
	for _, v := range c.Voters {
		if !slices.Contains(out, v.Addr) {
			out = append(out, v.Addr)
		}
	}
	return out
}

// resolveCluster reads the roles and the quorum.
func (c *Config) resolveCluster(refuse func(key, reason, advice string)) {
	for _, r := range c.Roles {
		if r != "broker" && r != "controller" {
			refuse("process.roles", "unknown role "+r, "use broker, controller or broker,controller")
			return
		}
	}
	for _, text := range c.votersText {
		v, err := parseVoter(text)
		if err != nil {
			refuse("controller.quorum.voters", err.Error(), "write id@host:port,…")
			return
		}
		if slices.ContainsFunc(c.Voters, func(o Voter) bool { return o.ID == v.ID || o.Addr == v.Addr }) {
			refuse("controller.quorum.voters", text+" is there twice", "name each controller once")
			return
		}
		c.Voters = append(c.Voters, v)
	}
	for _, addr := range c.BootstrapServers {
		if err := checkAddr(addr, false); err != nil {
			refuse("controller.quorum.bootstrap.servers", err.Error(), "write host:port,…")
			return
		}
	}
	self := slices.ContainsFunc(c.Voters, func(v Voter) bool { return v.ID == c.NodeID })
	switch {
	case c.IsController() && len(c.Voters) > 0 && !self:
		refuse("controller.quorum.voters", fmt.Sprintf("node %d has the role controller and is not a voter", c.NodeID), "name it, or take the role away")
	case !c.IsController() && self:
		refuse("controller.quorum.voters", fmt.Sprintf("node %d is a voter without the role controller", c.NodeID), "use process.roles=broker,controller")
	case !c.IsController() && len(c.controllers()) == 0:
		refuse("process.roles", "a node that is a broker only must know where the controllers are", "set controller.quorum.bootstrap.servers")
	case c.expect() > 1 && len(c.controllers()) == 0:
		refuse("cordwood.bootstrap.expect", "nobody knows where the other controllers are", "set controller.quorum.bootstrap.servers")
	case len(c.Voters) > 0 && c.BootstrapExpect > 0 && c.BootstrapExpect != len(c.Voters):
		refuse("cordwood.bootstrap.expect", "controller.quorum.voters says otherwise", "remove one of the two")
	}
}

func parseVoter(text string) (Voter, error) {
	id, addr, ok := strings.Cut(text, "@")
	n, err := strconv.ParseInt(id, 10, 32)
	if !ok || err != nil || n < 0 {
		return Voter{}, fmt.Errorf("%q is no id@host:port", text)
	}
	if err := checkAddr(addr, false); err != nil {
		return Voter{}, err
	}
	return Voter{ID: metadata.NodeID(n), Addr: addr}, nil
}
