package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

// The records of these scenarios are on three nodes, of which at least two have them before an acknowledgement.

// clusterLoad measures a produce load: rate, CPU per GB of the cluster and of its nodes, latency under full load.
func clusterLoad(spec loadSpec) func(*bench, *scenario) error {
	return func(b *bench, s *scenario) error {
		return b.eachCluster(func(all []cluster) error {
			for round := range b.rounds {
				for _, c := range all {
					if err := b.clusterLoadRound(s, c, spec, round); err != nil {
						return fmt.Errorf("%s: %w", c.name(), err)
					}
				}
				if err := b.clusterLimit(s, spec); err != nil {
					return err
				}
			}
			for _, c := range all {
				most := 0.0
				for _, pid := range c.pids() {
					_, peak, err := memoryOf(pid)
					if err != nil {
						return err
					}
					most = max(most, peak)
				}
				b.report.add(s, "RSS of a node at its highest", "MB", c.name(), most)
			}
			return nil
		})
	}
}

func (b *bench) clusterLoadRound(s *scenario, c cluster, spec loadSpec, round int) error {
	topic := fmt.Sprintf("bench-%02d", round)
	configs := c.pageCache()
	if spec.sync {
		configs = c.synced()
	}
	if err := spreadTopic(c, topic, spec.partitions, configs); err != nil {
		return err
	}
	if round == 0 && b.warm > 0 {
		if _, err := produce(c.leaders(), topic, spec, b.warm, b.seconds); err != nil {
			return err
		}
	}
	b.quiet()
	if err := b.ownMemory(clusterSize * b.volume); err != nil {
		return err
	}
	m, err := startMeter(c.pids()...)
	if err != nil {
		return err
	}
	r, err := produce(c.leaders(), topic, spec, b.volume, b.seconds)
	if err != nil {
		return err
	}
	u, err := m.stop()
	if err != nil {
		return err
	}
	inSync, err := leastInSync(c, topic)
	if err != nil {
		return err
	}
	sec, gb := u.wall.Seconds(), float64(r.bytes)/1e9
	b.report.add(s, "rate", "MB/s", c.name(), float64(r.bytes)/1e6/sec)
	b.report.add(s, "CPU of all nodes", "s/GB", c.name(), u.broker.Seconds()/gb)
	if spec.partitions == 1 {
		leader, follower := u.nodes[0].Seconds()/gb, (u.nodes[1]+u.nodes[2]).Seconds()/2/gb
		b.report.add(s, "CPU of the leader", "s/GB", c.name(), leader)
		b.report.add(s, "CPU of a follower", "s/GB", c.name(), follower)
		b.report.add(s, "follower / leader", "", c.name(), follower/leader)
	}
	b.report.add(s, "latency p50", "ms", c.name(), milliseconds(r.latency.quantile(0.5)))
	b.report.add(s, "latency p99", "ms", c.name(), milliseconds(r.latency.quantile(0.99)))
	b.report.add(s, "replicas in sync after it", "", c.name(), float64(inSync))
	b.report.add(s, "bench CPU", "s/GB", c.name(), u.own.Seconds()/gb)
	b.report.add(s, "others", "% of CPU", c.name(), 100*u.others)
	return deleteTopic(c, topic)
}

// leastInSync is the smallest ISR of a topic: one that left it made the load cheaper.
func leastInSync(c cluster, topic string) (least int, err error) {
	err = look(c, func(ctx context.Context, v *view) error {
		topics, err := v.leading(ctx, 1, topic)
		if err != nil {
			return err
		}
		least = clusterSize
		for _, p := range topics[0].Partitions {
			least = min(least, len(p.ISR))
		}
		return nil
	})
	return least, err
}

// clusterLimit is what the kernel alone needs for three copies: each is received, checksummed and written, two are sent.
func (b *bench) clusterLimit(s *scenario, spec loadSpec) error {
	if spec.sync {
		return b.syncRound(s, spec.batch)
	}
	b.quiet()
	volume := min(b.volume, 1<<30)
	if err := b.ownMemory(volume); err != nil {
		return err
	}
	in, err := b.limitOf("receive", spec.batch, volume)
	if err != nil {
		return err
	}
	out, err := b.limitOf("send", spec.batch, volume)
	if err != nil {
		return err
	}
	cpu := clusterSize*in.CPU.Seconds()/float64(in.Bytes) + (clusterSize-1)*out.CPU.Seconds()/float64(out.Bytes)
	b.report.add(s, "CPU of all nodes", "s/GB", subjectLimit, cpu*1e9)
	return nil
}

// syncRound measures the disk.
func (b *bench) syncRound(s *scenario, size int) error {
	b.quiet()
	h, err := b.syncLatency(size, 200)
	if err != nil {
		return err
	}
	b.report.add(s, "fdatasync p50", "ms", subjectLimit, milliseconds(h.quantile(0.5)))
	b.report.add(s, "fdatasync p99", "ms", subjectLimit, milliseconds(h.quantile(0.99)))
	return nil
}

// pacedLoad sends a paced load to a topic that has had so many records before, and returns what was measured by its label.
type pacedLoad func(c cluster, topic string, spec pacedSpec, from int) (map[string]*loadResult, error)

// clusterPaced sends single records at a fixed rate over many partitions. Cordwood acknowledges what is on two disks at
// least, Kafka what is in the memory of two nodes: the comparison favours Kafka.
func clusterPaced(b *bench, s *scenario) error {
	spec := pacedSpec{loadSpec: loadSmall.over(3 * clusterSize).into(1000), rate: 3000, time: b.paced}
	return b.pacedOnClusters(s, spec, func(c cluster, topic string, spec pacedSpec, _ int) (map[string]*loadResult, error) {
		r, err := producePaced(c.leaders(), topic, spec, spec.schedule())
		return map[string]*loadResult{"latency": r}, err
	})
}

// clusterEndToEnd measures the way of a record from its producer to a consumer, on a machine that does nothing else.
func clusterEndToEnd(b *bench, s *scenario) error {
	spec := pacedSpec{loadSpec: loadSmall, rate: 1000, time: b.paced}
	return b.pacedOnClusters(s, spec, func(c cluster, topic string, spec pacedSpec, from int) (map[string]*loadResult, error) {
		acked, received, err := endToEnd(c.leaders().of(0), topic, spec, from)
		return map[string]*loadResult{"acknowledged": acked, "end to end": received}, err
	})
}

// pacedOnClusters measures latencies of a paced load on one topic. What comes to a topic without records, for a third of a
// round's time, is shown apart.
func (b *bench) pacedOnClusters(s *scenario, spec pacedSpec, load pacedLoad) error {
	const topic = "bench-paced"
	warm := spec
	warm.time = b.paced / 3
	return b.eachCluster(func(all []cluster) error {
		for _, c := range all {
			if err := spreadTopic(c, topic, spec.partitions, nil); err != nil {
				return err
			}
			results, err := load(c, topic, warm, 0)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name(), err)
			}
			b.latencies(s, c, "new topic, ", results)
		}
		for round := range b.rounds {
			for _, c := range all {
				if err := b.clusterPacedRound(s, c, topic, spec, warm.total()+round*spec.total(), load); err != nil {
					return fmt.Errorf("%s: %w", c.name(), err)
				}
			}
			if err := b.syncRound(s, 4096); err != nil {
				return err
			}
		}
		return nil
	})
}

func (b *bench) clusterPacedRound(s *scenario, c cluster, topic string, spec pacedSpec, from int, load pacedLoad) error {
	b.quiet()
	m, err := startMeter(c.pids()...)
	if err != nil {
		return err
	}
	results, err := load(c, topic, spec, from)
	if err != nil {
		return err
	}
	u, err := m.stop()
	if err != nil {
		return err
	}
	b.latencies(s, c, "", results)
	b.report.add(s, "CPU of all nodes", "% of a core", c.name(), 100*u.broker.Seconds()/u.wall.Seconds())
	b.report.add(s, "others", "% of CPU", c.name(), 100*u.others)
	return nil
}

func (b *bench) latencies(s *scenario, c cluster, prefix string, results map[string]*loadResult) {
	for _, what := range slices.Sorted(maps.Keys(results)) {
		for _, q := range quantiles {
			b.report.add(s, prefix+what+" "+q.label, "ms", c.name(), milliseconds(results[what].latency.quantile(q.q)))
		}
	}
}

// quantiles are those that are shown of latencies under a paced load.
var quantiles = []struct {
	label string
	q     float64
}{{"p50", 0.5}, {"p99", 0.99}, {"p99.9", 0.999}, {"max", 1 - 1e-12}}
