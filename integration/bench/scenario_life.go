package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

const startTopic = "bench-start"

// measureStart launches a target and waits for the first acknowledged record.
func measureStart(t target, create bool) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	began := time.Now()
	if err := t.launch(); err != nil {
		return 0, err
	}
	if err := firstAck(ctx, t.addr(), startTopic, create); err != nil {
		return 0, fmt.Errorf("%s: %w", t.name(), err)
	}
	return time.Since(began), nil
}

// starts is how often a start is measured: ours is cheap, Kafka's takes seconds.
func (b *bench) starts(t target) int {
	if t.name() == "Kafka" {
		return b.rounds
	}
	return 4 * b.rounds
}

func startEmpty(b *bench, s *scenario) error {
	for _, t := range b.targets() {
		for range b.starts(t) {
			if err := t.prepare(); err != nil {
				return errors.Join(err, t.wipe())
			}
			b.quiet()
			d, err := measureStart(t, true)
			if err := errors.Join(err, t.kill()); err != nil {
				return errors.Join(err, t.wipe())
			}
			b.report.add(s, "exec to first ack", "ms", t.name(), milliseconds(d))
		}
		if err := t.wipe(); err != nil {
			return err
		}
	}
	return nil
}

// startKilled kills each target under load and starts it on the same directory.
func startKilled(b *bench, s *scenario) error {
	for _, t := range b.targets() {
		if err := b.startKilled(s, t); err != nil {
			return errors.Join(err, t.wipe())
		}
		if err := t.wipe(); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) startKilled(s *scenario, t target) error {
	if err := t.start(); err != nil {
		return err
	}
	if err := createTopic(t, startTopic, 100, nil); err != nil {
		return err
	}
	spec := load16k.over(4).into(100)
	for range b.starts(t) {
		ended := make(chan struct{})
		go func() { // the kill ends it, with an error that is wanted
			defer close(ended)
			_, _ = produce(leaders{t.addr()}, startTopic, spec, 1e9, 10*time.Second)
		}()
		time.Sleep(700 * time.Millisecond)
		if err := t.kill(); err != nil {
			return err
		}
		<-ended
		b.quiet()
		d, err := measureStart(t, false)
		if err != nil {
			return err
		}
		b.report.add(s, "exec to first ack", "ms", t.name(), milliseconds(d))
		time.Sleep(time.Second)
	}
	return nil
}

// idleScenario measures what a node costs that has nothing to do.
func idleScenario(b *bench, s *scenario) error {
	return b.each(func(all []target) error {
		for _, t := range all {
			if err := createTopic(t, "bench-idle", 1, nil); err != nil {
				return err
			}
			if _, err := produce(leaders{t.addr()}, "bench-idle", loadSmall, 1e6, 10*time.Second); err != nil {
				return fmt.Errorf("%s: %w", t.name(), err)
			}
		}
		time.Sleep(b.idle / 6)
		before := make([]time.Duration, len(all))
		for i, t := range all {
			cpu, err := cpuOf(t.pid())
			if err != nil {
				return err
			}
			before[i] = cpu
		}
		time.Sleep(b.idle)
		for i, t := range all {
			cpu, err := cpuOf(t.pid())
			if err != nil {
				return err
			}
			rss, _, err := memoryOf(t.pid())
			if err != nil {
				return err
			}
			b.report.add(s, "CPU", "ms per minute", t.name(), milliseconds(cpu-before[i])/b.idle.Minutes())
			b.report.add(s, "RSS", "MB", t.name(), rss)
		}
		return nil
	})
}

// manyPartitions measures 10,000 partitions that hold a record each. Kafka is left out: at 10,000 partitions it needs
// more descriptors than most machines allow.
func manyPartitions(b *bench, s *scenario) (err error) {
	if b.bin == "" {
		return nil
	}
	const topics, partitions = 10, 1000
	t := newCordwood(b)
	defer func() { err = errors.Join(err, t.wipe()) }()
	if err := t.start(); err != nil {
		return err
	}
	if err := createTopic(t, startTopic, 1, nil); err != nil {
		return err
	}
	for k := range topics {
		name := fmt.Sprintf("bench-many-%d", k)
		if err := createTopic(t, name, partitions, nil); err != nil {
			return err
		}
		spec := loadSmall.into(partitions)
		if _, err := produce(leaders{t.addr()}, name, spec, partitions*1100, time.Minute); err != nil {
			return err
		}
	}
	for range b.rounds {
		began := time.Now()
		if err := t.stop(); err != nil {
			return err
		}
		b.report.add(s, "clean stop", "ms", t.name(), milliseconds(time.Since(began)))
		b.quiet()
		d, err := measureStart(t, false)
		if err != nil {
			return err
		}
		b.report.add(s, "exec to first ack", "ms", t.name(), milliseconds(d))
		if err := t.ready(); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
		rss, _, err := memoryOf(t.pid())
		if err != nil {
			return err
		}
		files, err := filesOf(t.pid())
		if err != nil {
			return err
		}
		b.report.add(s, "RSS", "MB", t.name(), rss)
		b.report.add(s, "open files", "", t.name(), float64(files))
	}
	return nil
}

func sizeScenario(b *bench, s *scenario) error {
	if b.bin == "" {
		return nil
	}
	st, err := os.Stat(b.bin)
	if err != nil {
		return err
	}
	b.report.add(s, "binary", "MB", "Cordwood", float64(st.Size())/1e6)
	return nil
}
