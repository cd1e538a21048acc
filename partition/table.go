package partition

import (
	"hash/maphash"
	"iter"
	"maps"
	"sync/atomic"

	"cordwood/metadata"
)

// shards divides the table, so that adding a topic copies one small map and never the whole.
const shards = 4096

// table finds topics by name and by id. Readers take no lock; who changes it has Set.turn. Every map is immutable.
type table struct {
	seed  maphash.Seed
	names [shards]atomic.Pointer[map[string]*topic]
	ids   [shards]atomic.Pointer[map[metadata.TopicID]*topic]
}

func newTable() *table { return &table{seed: maphash.MakeSeed()} }

func (t *table) byName(name []byte) *topic {
	m := t.names[maphash.Bytes(t.seed, name)%shards].Load()
	if m == nil {
		return nil
	}
	return (*m)[string(name)] // does not allocate
}

func (t *table) byID(id metadata.TopicID) *topic {
	m := t.ids[shardOf(id)].Load()
	if m == nil {
		return nil
	}
	return (*m)[id]
}

// shardOf: topic ids are random.
func shardOf(id metadata.TopicID) int { return (int(id[0])<<8 | int(id[1])) % shards }

func (t *table) add(e *topic) {
	with(&t.names[maphash.String(t.seed, e.name)%shards], e.name, e)
	with(&t.ids[shardOf(e.id)], e.id, e)
}

func (t *table) remove(e *topic) {
	without(&t.names[maphash.String(t.seed, e.name)%shards], e.name, e)
	without(&t.ids[shardOf(e.id)], e.id, e)
}

func with[K comparable](shard *atomic.Pointer[map[K]*topic], key K, e *topic) {
	next := map[K]*topic{}
	if m := shard.Load(); m != nil {
		next = maps.Clone(*m)
	}
	next[key] = e
	shard.Store(&next)
}

// without removes key unless it belongs to another topic by now.
func without[K comparable](shard *atomic.Pointer[map[K]*topic], key K, e *topic) {
	m := shard.Load()
	if m == nil || (*m)[key] != e {
		return
	}
	next := maps.Clone(*m)
	delete(next, key)
	shard.Store(&next)
}

func (t *table) topics() iter.Seq[*topic] {
	return func(yield func(*topic) bool) {
		for i := range t.ids {
			m := t.ids[i].Load()
			if m == nil {
				continue
			}
			for _, e := range *m {
				if !yield(e) {
					return
				}
			}
		}
	}
}

// partition returns the hosted replica of that index, or nil.
func (e *topic) partition(index int32) *Partition {
	if e == nil || index < 0 {
		return nil
	}
	slots := e.slots.Load()
	if slots == nil || int(index) >= len(*slots) {
		return nil
	}
	return (*slots)[index].Load()
}

// put hosts or (nil) no longer hosts a replica; room is the number of the topic's partitions.
func (e *topic) put(index int32, p *Partition, room int) {
	slots := e.slots.Load()
	if slots == nil || int(index) >= len(*slots) {
		next := make([]atomic.Pointer[Partition], max(room, int(index)+1))
		if slots != nil {
			for i := range *slots {
				next[i].Store((*slots)[i].Load())
			}
		}
		slots = &next
		e.slots.Store(slots)
	}
	(*slots)[index].Store(p)
}

func (e *topic) partitions() iter.Seq[*Partition] {
	return func(yield func(*Partition) bool) {
		slots := e.slots.Load()
		if slots == nil {
			return
		}
		for i := range *slots {
			if p := (*slots)[i].Load(); p != nil && !yield(p) {
				return
			}
		}
	}
}
