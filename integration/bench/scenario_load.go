package main

import (
	"errors"
	"fmt"
	"time"
)

// each starts all targets, runs f, and removes them and their data.
func (b *bench) each(f func(all []target) error) (err error) {
	all := b.targets()
	defer func() {
		for _, t := range all {
			err = errors.Join(err, t.wipe())
		}
	}()
	for _, t := range all {
		if err := t.start(); err != nil {
			return err
		}
	}
	return f(all)
}

// loadScenario measures a produce load: rate, CPU per GB, latency under full load, memory.
func loadScenario(spec loadSpec) func(*bench, *scenario) error {
	return func(b *bench, s *scenario) error {
		return b.each(func(all []target) error {
			for round := range b.rounds {
				for _, t := range all {
					if err := b.loadRound(s, t, spec, round); err != nil {
						return fmt.Errorf("%s: %w", t.name(), err)
					}
				}
				if err := b.limitRound(s, spec); err != nil {
					return err
				}
			}
			for _, t := range all {
				_, peak, err := memoryOf(t.pid())
				if err != nil {
					return err
				}
				b.report.add(s, "RSS at its highest", "MB", t.name(), peak)
			}
			return nil
		})
	}
}

func (b *bench) loadRound(s *scenario, t target, spec loadSpec, round int) error {
	topic := fmt.Sprintf("bench-%02d", round)
	if err := createTopic(t, topic, spec.partitions, spec.configs(t)); err != nil {
		return err
	}
	if round == 0 && b.warm > 0 {
		if _, err := produce(leaders{t.addr()}, topic, spec, b.warm, b.seconds); err != nil {
			return err
		}
	}
	b.quiet()
	if err := b.ownMemory(b.volume); err != nil {
		return err
	}
	m, err := startMeter(t.pid())
	if err != nil {
		return err
	}
	r, err := produce(leaders{t.addr()}, topic, spec, b.volume, b.seconds)
	if err != nil {
		return err
	}
	u, err := m.stop()
	if err != nil {
		return err
	}
	sec, gb := u.wall.Seconds(), float64(r.bytes)/1e9
	b.report.add(s, "rate", "MB/s", t.name(), float64(r.bytes)/1e6/sec)
	b.report.add(s, "requests", "1/s", t.name(), float64(r.requests)/sec)
	b.report.add(s, "broker CPU", "s/GB", t.name(), u.broker.Seconds()/gb)
	b.report.add(s, "broker CPU per request", "us", t.name(), float64(u.broker.Microseconds())/float64(r.requests))
	b.report.add(s, "latency p50", "ms", t.name(), milliseconds(r.latency.quantile(0.5)))
	b.report.add(s, "latency p99", "ms", t.name(), milliseconds(r.latency.quantile(0.99)))
	b.report.add(s, "bench CPU", "s/GB", t.name(), u.own.Seconds()/gb)
	b.report.add(s, "others", "% of CPU", t.name(), 100*u.others)
	return deleteTopic(t, topic)
}

// limitRound measures the machine with the same block size: the disk for durable mode, the kernel's paths else.
func (b *bench) limitRound(s *scenario, spec loadSpec) error {
	b.quiet()
	if spec.sync {
		h, err := b.syncLatency(spec.batch, 200)
		if err != nil {
			return err
		}
		b.report.add(s, "fdatasync p50", "ms", subjectLimit, milliseconds(h.quantile(0.5)))
		b.report.add(s, "fdatasync p99", "ms", subjectLimit, milliseconds(h.quantile(0.99)))
		return nil
	}
	if err := b.ownMemory(b.volume); err != nil {
		return err
	}
	r, err := b.limitOf("receive", spec.batch, min(b.volume, 1<<30))
	if err != nil {
		return err
	}
	gb := float64(r.Bytes) / 1e9
	b.report.add(s, "rate", "MB/s", subjectLimit, gb*1e3/r.Wall.Seconds())
	b.report.add(s, "broker CPU", "s/GB", subjectLimit, r.CPU.Seconds()/gb)
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// consumeScenario measures reading from the page cache.
func consumeScenario(maxBytes int) func(*bench, *scenario) error {
	const topic = "bench-consume"
	fill := load64k
	return func(b *bench, s *scenario) error {
		return b.each(func(all []target) error {
			for _, t := range all {
				if err := createTopic(t, topic, 1, t.pageCache()); err != nil {
					return err
				}
				if _, err := produce(leaders{t.addr()}, topic, fill, min(b.volume, 1e9), time.Minute); err != nil {
					return fmt.Errorf("%s: %w", t.name(), err)
				}
				if _, _, err := consume(t.addr(), topic, int32(maxBytes), b.warm, b.seconds); err != nil {
					return fmt.Errorf("%s: %w", t.name(), err)
				}
			}
			for range b.rounds {
				for _, t := range all {
					if err := b.consumeRound(s, t, topic, maxBytes); err != nil {
						return fmt.Errorf("%s: %w", t.name(), err)
					}
				}
				b.quiet()
				r, err := b.limitOf("send", maxBytes, b.volume)
				if err != nil {
					return err
				}
				gb := float64(r.Bytes) / 1e9
				b.report.add(s, "rate", "MB/s", subjectLimit, gb*1e3/r.Wall.Seconds())
				b.report.add(s, "broker CPU", "s/GB", subjectLimit, r.CPU.Seconds()/gb)
			}
			return nil
		})
	}
}

func (b *bench) consumeRound(s *scenario, t target, topic string, maxBytes int) error {
	b.quiet()
	m, err := startMeter(t.pid())
	if err != nil {
		return err
	}
	n, fetches, err := consume(t.addr(), topic, int32(maxBytes), 2*b.volume, b.seconds)
	if err != nil {
		return err
	}
	u, err := m.stop()
	if err != nil {
		return err
	}
	gb := float64(n) / 1e9
	b.report.add(s, "rate", "MB/s", t.name(), gb*1e3/u.wall.Seconds())
	b.report.add(s, "broker CPU", "s/GB", t.name(), u.broker.Seconds()/gb)
	b.report.add(s, "bytes per answer", "KB", t.name(), float64(n)/1e3/float64(max(fetches, 1)))
	b.report.add(s, "bench CPU", "s/GB", t.name(), u.own.Seconds()/gb)
	b.report.add(s, "others", "% of CPU", t.name(), 100*u.others)
	return nil
}

// pacedScenario sends single records at a fixed rate over many partitions. Cordwood acknowledges what is on disk, Kafka,
// at its defaults, what is in memory: the comparison favours Kafka.
func pacedScenario(b *bench, s *scenario) error {
	const topic = "bench-paced"
	spec := pacedSpec{loadSpec: loadSmall.over(8).into(1000), rate: 10_000, time: b.paced}
	return b.each(func(all []target) error {
		for _, t := range all {
			if err := createTopic(t, topic, spec.partitions, nil); err != nil {
				return err
			}
			warm := spec
			warm.time = b.paced / 3
			if _, err := producePaced(leaders{t.addr()}, topic, warm, warm.schedule()); err != nil {
				return fmt.Errorf("%s: %w", t.name(), err)
			}
		}
		for range b.rounds {
			for _, t := range all {
				if err := b.pacedRound(s, t, topic, spec); err != nil {
					return fmt.Errorf("%s: %w", t.name(), err)
				}
			}
			h, err := b.syncLatency(4096, 200)
			if err != nil {
				return err
			}
			b.report.add(s, "fdatasync p50", "ms", subjectLimit, milliseconds(h.quantile(0.5)))
			b.report.add(s, "fdatasync p99", "ms", subjectLimit, milliseconds(h.quantile(0.99)))
		}
		return nil
	})
}

func (b *bench) pacedRound(s *scenario, t target, topic string, spec pacedSpec) error {
	b.quiet()
	m, err := startMeter(t.pid())
	if err != nil {
		return err
	}
	r, err := producePaced(leaders{t.addr()}, topic, spec, spec.schedule())
	if err != nil {
		return err
	}
	u, err := m.stop()
	if err != nil {
		return err
	}
	for _, q := range quantiles {
		b.report.add(s, "latency "+q.label, "ms", t.name(), milliseconds(r.latency.quantile(q.q)))
	}
	b.report.add(s, "requests", "1/s", t.name(), float64(r.requests)/u.wall.Seconds())
	b.report.add(s, "broker CPU", "% of a core", t.name(), 100*u.broker.Seconds()/u.wall.Seconds())
	b.report.add(s, "others", "% of CPU", t.name(), 100*u.others)
	return nil
}
