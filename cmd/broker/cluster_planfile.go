package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// planFile is a plan in the format of kafka-reassign-partitions.
type planFile struct {
	Version    int             `json:"version"`
	Partitions []planPartition `json:"partitions"`
}

type planPartition struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Replicas  []int32  `json:"replicas"`
	LogDirs   []string `json:"log_dirs,omitempty"`
}

func newPlanFile(moves []replicaMove) planFile {
	out := planFile{Version: 1, Partitions: []planPartition{}}
	for _, m := range moves {
		out.Partitions = append(out.Partitions, planPartition{Topic: m.topic, Partition: m.index, Replicas: m.to})
	}
	return out
}

func readPlanFile(path string) (planFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return planFile{}, usageErrorf("--file: %w", err)
	}
	var f planFile
	if err := json.Unmarshal(text, &f); err != nil {
		return planFile{}, fmt.Errorf("%s: %w; want the format of kafka-reassign-partitions", path, err)
	}
	if f.Version != 1 || len(f.Partitions) == 0 {
		return planFile{}, fmt.Errorf(`%s: want {"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2,3]},...]}`, path)
	}
	return f, nil
}

// moves checks a plan against the cluster, so that it is carried out whole or not at all.
func (f planFile) moves(v *clusterView) ([]replicaMove, []error) {
	var out []replicaMove
	var failed []error
	seen := map[partitionID]bool{}
	for _, in := range f.Partitions {
		id := partitionID{in.Topic, in.Partition}
		p := v.partition(id)
		err := in.check(v, p, seen[id])
		if seen[id] = true; err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", id, err))
		} else if !slices.Equal(p.target(), in.Replicas) {
			out = append(out, replicaMove{id, p.target(), in.Replicas, p.size()})
		}
	}
	return out, failed
}

func (in planPartition) check(v *clusterView, p *clusterPartition, twice bool) error {
	switch {
	case p == nil:
		return fmt.Errorf("there is no such partition")
	case twice:
		return fmt.Errorf("it is named twice")
	case len(in.Replicas) == 0:
		return fmt.Errorf("it has no replicas")
	case slices.ContainsFunc(in.LogDirs, func(d string) bool { return d != "any" }):
		return fmt.Errorf(`log_dirs: only "any" is possible, the broker picks the directory`)
	}
	for i, id := range in.Replicas {
		if slices.Contains(in.Replicas[:i], id) {
			return fmt.Errorf("broker %d is named twice", id)
		}
		if err := v.knows([]int32{id}); err != nil {
			return err
		}
		if !v.live(id) && !slices.Contains(p.replicas, id) {
			return fmt.Errorf("broker %d is down", id)
		}
	}
	return nil
}
