package metadata

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// PartitionDiff is a partition whose record differs; Old or New is nil when there is none
// in that image.
type PartitionDiff struct {
	Topic    *Topic // of the new image, or of the old one for a deleted partition
	Index    int32
	Old, New *Partition
}

// ConfigRef names a resource whose configs differ.
type ConfigRef struct {
	Type ResourceType
	Name string
}

// Diff is what is different in the new image. A topic that was deleted and created again
// under its name is in both lists.
type Diff struct {
	TopicsCreated  []*Topic // sorted by name, as all lists here
	TopicsDeleted  []*Topic
	Partitions     []PartitionDiff
	BrokersChanged []NodeID // registered, unregistered or changed
	ConfigsChanged []ConfigRef
	QuotasChanged  []QuotaEntity
	Features       bool
}

// Empty reports whether nothing a broker acts on differs.
func (d *Diff) Empty() bool {
	return len(d.TopicsCreated)+len(d.TopicsDeleted)+len(d.Partitions)+len(d.BrokersChanged)+len(d.ConfigsChanged)+len(d.QuotasChanged) == 0 && !d.Features
}

// Compare is level-triggered: it does not matter how many entries lie between the images.
// Its cost grows with what differs when one image descends from the other.
func Compare(old, new *Image) Diff {
	var d Diff
	for before, after := range differing(&old.topics, &new.topics) {
		for name, t := range after {
			d.compareTopics(before[name], t)
		}
		for name, t := range before {
			if after[name] == nil {
				d.compareTopics(t, nil)
			}
		}
	}
	d.compareBrokers(old.brokers, new.brokers)
	for before, after := range differing(&old.configs, &new.configs) {
		for r, keys := range after {
			if !maps.Equal(before[r], keys) {
				d.ConfigsChanged = append(d.ConfigsChanged, ConfigRef(r))
			}
		}
		for r := range before {
			if _, kept := after[r]; !kept {
				d.ConfigsChanged = append(d.ConfigsChanged, ConfigRef(r))
			}
		}
	}
	d.compareQuotas(old, new)
	d.Features = !maps.Equal(old.features, new.features)
	d.sort()
	return d
}

func (d *Diff) compareTopics(old, new *Topic) {
	if old == new {
		return
	}
	if old != nil && new != nil && old.ID != new.ID {
		d.compareTopics(old, nil)
		d.compareTopics(nil, new)
		return
	}
	if old == nil {
		d.TopicsCreated = append(d.TopicsCreated, new)
		old = &Topic{}
	}
	at := new
	if new == nil {
		d.TopicsDeleted = append(d.TopicsDeleted, old)
		at, new = old, &Topic{}
	}
	for n := range max(len(old.Partitions), len(new.Partitions)) {
		o, w := old.Partition(int32(n)), new.Partition(int32(n))
		if o == w || (o != nil && w != nil && reflect.DeepEqual(o, w)) {
			continue
		}
		d.Partitions = append(d.Partitions, PartitionDiff{at, int32(n), o, w})
	}
}

func (d *Diff) compareBrokers(old, new []*Broker) {
	for len(old) > 0 || len(new) > 0 {
		switch {
		case len(old) == 0 || (len(new) > 0 && new[0].ID < old[0].ID):
			d.BrokersChanged, new = append(d.BrokersChanged, new[0].ID), new[1:]
		case len(new) == 0 || old[0].ID < new[0].ID:
			d.BrokersChanged, old = append(d.BrokersChanged, old[0].ID), old[1:]
		default:
			if old[0] != new[0] && !reflect.DeepEqual(old[0], new[0]) {
				d.BrokersChanged = append(d.BrokersChanged, old[0].ID)
			}
			old, new = old[1:], new[1:]
		}
	}
}

func (d *Diff) sort() {
	byName := func(a, b *Topic) int { return strings.Compare(a.Name, b.Name) }
	slices.SortFunc(d.TopicsCreated, byName)
	slices.SortFunc(d.TopicsDeleted, byName)
	slices.SortFunc(d.Partitions, func(a, b PartitionDiff) int {
		return cmp.Or(strings.Compare(a.Topic.Name, b.Topic.Name), slices.Compare(a.Topic.ID[:], b.Topic.ID[:]), cmp.Compare(a.Index, b.Index))
	})
	slices.SortFunc(d.ConfigsChanged, func(a, b ConfigRef) int { return compareResources(resource(a), resource(b)) })
}

func compareResources(a, b resource) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), strings.Compare(a.Name, b.Name))
}
