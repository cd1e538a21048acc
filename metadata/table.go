package metadata

import (
	"iter"
	"maps"
)

// shards is the width of the first level. A batch that touches one key copies this many
// pointers and one small map, instead of the whole table.
const shards = 256

// table is an immutable map in two levels. hash picks the shard; it must depend on the
// key alone.
type table[K comparable, V any] struct {
	hash  func(K) uint8
	level *[shards]map[K]V
	count int
}

func newTable[K comparable, V any](hash func(K) uint8) table[K, V] {
	return table[K, V]{hash: hash, level: new([shards]map[K]V)}
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.level[t.hash(k)][k]
	return v, ok
}

// all goes through the table in no particular order; nobody may let it decide anything.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, m := range t.level {
			for k, v := range m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit is a table being changed: it copies a shard the first time it is written to.
type edit[K comparable, V any] struct {
	table table[K, V]
	own   bool         // level is ours
	fresh [shards]bool // so are these shards
}

func (e *edit[K, V]) writable(shard uint8) {
	if !e.own {
		level := *e.table.level
		e.table.level, e.own = &level, true
	}
	if !e.fresh[shard] {
		m := maps.Clone(e.table.level[shard])
		if m == nil {
			m = make(map[K]V)
		}
		e.table.level[shard], e.fresh[shard] = m, true
	}
}

func (e *edit[K, V]) set(k K, v V) {
	shard := e.table.hash(k)
	e.writable(shard)
	m := e.table.level[shard]
	before := len(m)
	m[k] = v
	e.table.count += len(m) - before
}

func (e *edit[K, V]) remove(k K) {
	shard := e.table.hash(k)
	e.writable(shard)
	m := e.table.level[shard]
	before := len(m)
	delete(m, k)
	e.table.count += len(m) - before
}

// hashString is FNV-1a, folded to one byte.
func hashString(s string) uint8 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint8(h ^ h>>8 ^ h>>16 ^ h>>24)
}

// hashTopicID takes a byte: topic ids are random.
func hashTopicID(id TopicID) uint8 { return id[15] ^ id[0] }

// resource is the key of the table of configs.
type resource struct {
	Type ResourceType
	Name string
}

func hashResource(r resource) uint8 { return hashString(r.Name) ^ uint8(r.Type) }
