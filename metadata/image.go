package metadata

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"sort"
)

// Topic is one topic. It and everything below it is read-only once it is in an image.
type Topic struct {
	ID         TopicID
	Name       string
	Internal   bool
	Partitions []*Partition
}

// Partition returns the partition of that index, or nil.
func (t *Topic) Partition(index int32) *Partition {
	if t == nil || index < 0 || int(index) >= len(t.Partitions) {
		return nil
	}
	return t.Partitions[index]
}

// Voter is a member of the controller quorum, bound to its disk (Z29).
type Voter struct {
	ID  NodeID `cbor:"1,keyasint"`
	Dir DirID  `cbor:"2,keyasint"`
}

// Image is the state of the cluster after one raft entry. It is immutable: all methods
// may be called from any goroutine, and nothing they return may be modified.
type Image struct {
	index          uint64
	clusterID      string
	topics         table[string, *Topic]
	names          table[TopicID, string]
	order          names // of topics
	brokers        []*Broker
	configs        table[resource, map[string]string]
	quotas         table[QuotaEntity, map[string]float64]
	features       map[string]int16
	featuresEpoch  int64
	nextProducerID int64
	voters         []Voter
	partitions     int
}

// Empty returns the image of a cluster about which nothing is known yet.
func Empty() *Image {
	return &Image{
		topics:   newTable[string, *Topic](hashString),
		names:    newTable[TopicID, string](hashTopicID),
		configs:  newTable[resource, map[string]string](hashResource),
		quotas:   newTable[QuotaEntity, map[string]float64](hashQuota),
		features: map[string]int16{},
	}
}

// Index is the raft index of the last entry in the image.
func (i *Image) Index() uint64 { return i.index }

// ClusterID is empty until the cluster has been created.
func (i *Image) ClusterID() string { return i.clusterID }

// Topic returns the topic of that name, or nil.
func (i *Image) Topic(name string) *Topic {
	t, _ := i.topics.get(name)
	return t
}

// TopicOf is Topic for a name that still lies in a request buffer; it does not allocate.
func (i *Image) TopicOf(name []byte) *Topic {
	h := uint32(2166136261)
	for _, b := range name {
		h = (h ^ uint32(b)) * 16777619
	}
	return i.topics.level[uint8(h^h>>8^h>>16^h>>24)].m[string(name)]
}

// TopicByID returns the topic of that id, or nil.
func (i *Image) TopicByID(id TopicID) *Topic {
	name, ok := i.names.get(id)
	if !ok {
		return nil
	}
	return i.Topic(name)
}

// Topics goes through all topics, sorted by name.
func (i *Image) Topics() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for name := range i.order.all() {
			if !yield(i.Topic(name)) {
				return
			}
		}
	}
}

// TopicCount and PartitionCount are the sizes of the image.
func (i *Image) TopicCount() int     { return i.topics.count }
func (i *Image) PartitionCount() int { return i.partitions }

// Broker returns the registration of that node, or nil.
func (i *Image) Broker(id NodeID) *Broker {
	at, ok := i.brokerAt(id)
	if !ok {
		return nil
	}
	return i.brokers[at]
}

func (i *Image) brokerAt(id NodeID) (int, bool) {
	at := sort.Search(len(i.brokers), func(n int) bool { return i.brokers[n].ID >= id })
	return at, at < len(i.brokers) && i.brokers[at].ID == id
}

// Brokers goes through all registrations, sorted by id.
func (i *Image) Brokers() iter.Seq[*Broker] { return slices.Values(i.brokers) }

// Features are the finalized levels; FeaturesEpoch is the index of their last change.
func (i *Image) Features() map[string]int16 { return i.features }
func (i *Image) FeaturesEpoch() int64       { return i.featuresEpoch }

// Config returns the configs set on a resource; nil if none. Do not modify it.
func (i *Image) Config(t ResourceType, name string) map[string]string {
	c, _ := i.configs.get(resource{t, name})
	return c
}

// ConfigNames returns the names of all resources of a type that have configs, sorted.
func (i *Image) ConfigNames(t ResourceType) []string {
	var all []string
	for r := range i.configs.all() {
		if r.Type == t {
			all = append(all, r.Name)
		}
	}
	slices.Sort(all)
	return all
}

// NextProducerID is the lowest producer id that was never given out.
func (i *Image) NextProducerID() int64 { return i.nextProducerID }

// Voters are the recorded members of the quorum, sorted by id.
func (i *Image) Voters() []Voter { return i.voters }

// Check tells whether the image obeys the rules that span more than one record: every
// member of an ISR is registered, unfenced and not shutting down (I7), and has the replica's
// directory.
func (i *Image) Check() error {
	for t := range i.Topics() {
		for n, p := range t.Partitions {
			if err := p.Check(); err != nil {
				return fmt.Errorf("%s-%d: %w", t.Name, n, err)
			}
			for _, id := range p.ISR {
				if !i.Broker(id).Live() {
					return fmt.Errorf("%s-%d: metadata: I7: %d is in isr %v but not live", t.Name, n, id, p.ISR)
				}
				if d := p.Dir(id); !i.Broker(id).HasDir(d) {
					return fmt.Errorf("%s-%d: metadata: I7: %d is in isr %v, but its directory %s is not online", t.Name, n, id, p.ISR, d)
				}
			}
		}
	}
	return nil
}

// names is a sorted list in two levels, so that adding one copies one chunk.
type names [][]string

const chunkLen = 256

func (n names) all() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, chunk := range n {
			for _, name := range chunk {
				if !yield(name) {
					return
				}
			}
		}
	}
}

// chunk returns the number of the chunk where the name is or belongs.
func (n names) chunk(name string) int {
	return max(0, sort.Search(len(n), func(c int) bool { return n[c][0] > name })-1)
}

func (n names) with(name string) names {
	if len(n) == 0 {
		return names{{name}}
	}
	c := n.chunk(name)
	at, found := slices.BinarySearch(n[c], name)
	if found {
		return n
	}
	chunk := slices.Insert(slices.Clone(n[c]), at, name)
	out := slices.Clone(n)
	if out[c] = chunk; len(chunk) > chunkLen {
		half := len(chunk) / 2
		out[c] = slices.Clip(chunk[:half])
		out = slices.Insert(out, c+1, chunk[half:])
	}
	return out
}

func (n names) without(name string) names {
	if len(n) == 0 {
		return n
	}
	c := n.chunk(name)
	at, found := slices.BinarySearch(n[c], name)
	if !found {
		return n
	}
	out := slices.Clone(n)
	if len(n[c]) == 1 {
		return slices.Delete(out, c, c+1)
	}
	out[c] = slices.Delete(slices.Clone(n[c]), at, at+1)
	return out
}

func cloneConfig(c map[string]string) map[string]string {
	if c == nil {
		return map[string]string{}
	}
	return maps.Clone(c)
}
