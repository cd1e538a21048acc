package main

import (
	"fmt"
	"slices"
)

// Health: what is wrong with a cluster, how bad it is, and what to do.
//
//	down      some partition refuses reads or acks=all writes, or there is no controller
//	degraded  everything is served, with less spare than it should have
//	notice    as it was set up, but somebody may regret it; the cluster is healthy
const (
	healthy    = "healthy"
	degraded   = "degraded"
	down       = "down"
	justNotice = "notice"
)

// problem is one thing that is not as it should be.
type problem struct {
	Severity string `json:"severity"`
	Kind     string `json:"kind"`
	Where    string `json:"where"`
	Detail   string `json:"detail"`
	Next     string `json:"next"`
}

// clusterHealth is the verdict.
type clusterHealth struct {
	State    string    `json:"state"`
	Problems []problem `json:"problems"`
}

// imbalancePercent is Kafka's leader.imbalance.per.broker.percentage.
const imbalancePercent = 10

// judge finds everything that is wrong, the worst first.
func judge(v *clusterView) clusterHealth {
	j := judgement{v: v}
	j.quorum()
	j.brokers()
	for i := range v.partitions {
		j.partition(&v.partitions[i])
	}
	j.factors()
	j.imbalance()
	order := []string{down, degraded, justNotice}
	slices.SortStableFunc(j.found, func(a, b problem) int { return slices.Index(order, a.Severity) - slices.Index(order, b.Severity) })
	h := clusterHealth{State: healthy, Problems: orEmpty(j.found)}
	if len(h.Problems) > 0 && h.Problems[0].Severity != justNotice {
		h.State = h.Problems[0].Severity
	}
	return h
}

type judgement struct {
	v     *clusterView
	found []problem
}

func (j *judgement) add(severity, kind, where, detail, next string) {
	j.found = append(j.found, problem{severity, kind, where, detail, next})
}

func (j *judgement) quorum() {
	q := &j.v.quorum
	if q.err != nil {
		j.add(down, "no-controller", "controllers", fmt.Sprintf("they do not answer: %v", q.err), "start the controllers; more than half of them must run")
		return
	}
	for _, m := range q.voters {
		if !m.up() {
			j.add(degraded, "controller-silent", fmt.Sprintf("controller %d", m.id), "the leader of the quorum does not hear of it",
				fmt.Sprintf("start node %d, or look at the network between it and node %d", m.id, q.leader))
		}
	}
}

func (j *judgement) brokers() {
	for _, b := range j.v.brokers {
		where := fmt.Sprintf("broker %d", b.id)
		if !b.live {
			j.add(degraded, "broker-down", where, "it is registered and not in service",
				fmt.Sprintf("start it; if it is gone for good: cordwood cluster decommission %d", b.id))
			continue
		}
		if b.leaves {
			j.add(justNotice, "decommissioning", where, fmt.Sprintf("it is being emptied for good and holds %d replicas", j.v.heldBy(b.id)),
				fmt.Sprintf("cordwood cluster decommission %d goes on with it; --cancel keeps the broker", b.id))
		}
		if b.dirsErr != nil {
			j.add(degraded, "log-dirs-unknown", where, fmt.Sprintf("it does not say what its directories are like: %v", b.dirsErr), "look at its log")
		}
		for _, d := range b.dirs {
			if d.err != nil {
				j.add(degraded, "log-dir-failed", where, fmt.Sprintf("%s is offline: %v", d.path, d.err), "look at its log; replace the disk and start the broker again")
			}
		}
	}
}

// partition finds the worst of one partition.
func (j *judgement) partition(p *clusterPartition) {
	for _, id := range p.replicas {
		if why := p.halted[id]; why != "" {
			j.add(degraded, "replica-halted", fmt.Sprintf("%s on broker %d", p, id), "it stopped: "+why,
				fmt.Sprintf("if the leader's records count: cordwood cluster refill %s %d --accept-data-loss", p, id))
		}
	}
	switch {
	case p.leader < 0:
		j.add(down, "no-leader", p.String(), "nobody leads it: no reads, no writes", j.whoCouldLead(p))
	case len(p.isr) < p.minISR:
		j.add(down, "under-min-isr", p.String(), fmt.Sprintf("%d in sync (%s) of %d that acks=all wants: such writes are refused", len(p.isr), joinIDs(p.isr), p.minISR),
			j.howToSync(p.lagging()))
	case len(p.lagging()) > 0:
		j.add(degraded, "under-replicated", p.String(), fmt.Sprintf("not in sync: %s of %s%s", joinIDs(p.lagging()), joinIDs(p.replicas), j.offlineOnes(p)),
			j.howToSync(p.lagging()))
	case len(p.offline) > 0:
		j.add(degraded, "offline-replica", p.String(), fmt.Sprintf("offline: %s of %s", joinIDs(p.offline), joinIDs(p.replicas)), j.howToSync(p.offline))
	}
}

func (j *judgement) offlineOnes(p *clusterPartition) string {
	if off := common(p.lagging(), p.offline); len(off) > 0 {
		return ", offline: " + joinIDs(off)
	}
	return ""
}

// whoCouldLead says what gives a partition a leader again.
func (j *judgement) whoCouldLead(p *clusterPartition) string {
	could := append(slices.Clone(p.isr), less(p.eligible, p.isr)...)
	if len(could) == 0 {
		could = p.replicas
	}
	for _, id := range could {
		if j.v.live(id) && !slices.Contains(p.offline, id) {
			return fmt.Sprintf("broker %d has what is left of it; if no other comes back: cordwood cluster elect --unclean %s", id, p.topic)
		}
	}
	if len(could) == 1 {
		return "start " + brokersText(could)
	}
	return "start one of " + brokersText(could)
}

func (j *judgement) howToSync(missing []int32) string {
	var dead, alive []int32
	for _, id := range missing {
		if j.v.live(id) {
			alive = append(alive, id)
		} else {
			dead = append(dead, id)
		}
	}
	switch {
	case len(dead) > 0:
		return "start " + brokersText(dead)
	case len(alive) > 0:
		return fmt.Sprintf("wait while %s catches up, or look at its log and disk", brokersText(alive))
	}
	return "give the topic more replicas, or lower its " + minISRConfig
}

func brokersText(ids []int32) string {
	if len(ids) == 1 {
		return fmt.Sprintf("broker %d", ids[0])
	}
	return "brokers " + joinIDs(ids)
}

// factors notices topics that cannot lose a broker, where there are others that could help.
func (j *judgement) factors() {
	if len(j.v.brokers) < 2 {
		return
	}
	last := ""
	for i := range j.v.partitions {
		p := &j.v.partitions[i]
		if p.topic == last {
			continue
		}
		switch settled := len(p.replicas) - len(p.adding); {
		case settled == 1:
			j.add(justNotice, "one-replica", p.topic, "it has a single replica: gone while its broker is", raiseFactor(p.topic, min(3, len(j.v.brokers))))
		case settled > 1 && p.minISR >= settled:
			next := fmt.Sprintf("cordwood topic config %s set %s=%d", p.topic, minISRConfig, settled-1)
			if settled < len(j.v.brokers) {
				next = raiseFactor(p.topic, settled+1)
			}
			j.add(justNotice, "no-spare-replica", p.topic, fmt.Sprintf("%s is %d of %d replicas: no broker can stop without refused writes", minISRConfig, p.minISR, settled), next)
		default:
			continue
		}
		last = p.topic
	}
}

// raiseFactor is the command that gives a topic more replicas.
func raiseFactor(topic string, to int) string {
	return fmt.Sprintf("cordwood cluster reassign --topics %s --replicas %d", topic, to)
}

// imbalance notices brokers that lead less than they are the preferred leader of.
func (j *judgement) imbalance() {
	should, does := map[int32]int{}, map[int32]int{}
	for i := range j.v.partitions {
		p := &j.v.partitions[i]
		if len(p.replicas) == 0 || p.leader < 0 {
			continue
		}
		should[p.replicas[0]]++
		if p.leader == p.replicas[0] {
			does[p.replicas[0]]++
		}
	}
	for _, b := range j.v.brokers {
		missing := should[b.id] - does[b.id]
		if b.live && !b.leaves && missing*100 > imbalancePercent*should[b.id] {
			j.add(justNotice, "leader-imbalance", fmt.Sprintf("broker %d", b.id), fmt.Sprintf("it leads %d of the %d partitions it is the preferred leader of", does[b.id], should[b.id]),
				"cordwood cluster elect --preferred --all")
		}
	}
}
