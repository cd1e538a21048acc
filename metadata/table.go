package metadata

import (
	"iter"
	"maps"
)

// shards is the width of the first level. A batch that touches one key copies this many
// pointers and one small map, instead of the whole table.
const shards = 256

// table is an immutable map in two levels. hash picks the shard; it must depend on the
// key alone. Two tables with the same *shard hold the same there: Compare relies on it.
type table[K comparable, V any] struct {
	hash  func(K) uint8
	level *[shards]*shard[K, V]
	count int
}

type shard[K comparable, V any] struct{ m map[K]V }

func newTable[K comparable, V any](hash func(K) uint8) table[K, V] {
	t := table[K, V]{hash: hash, level: new([shards]*shard[K, V])}
	empty := new(shard[K, V])
	for i := range t.level {
		t.level[i] = empty
	}
	return t
}

func (t *table[K, V]) get(k K) (V, bool) {
	v, ok := t.level[t.hash(k)].m[k]
	return v, ok
}

// all goes through the table in no particular order; nobody may let it decide anything.
func (t *table[K, V]) all() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for _, s := range t.level {
			for k, v := range s.m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// differing goes through the shards that are not the same in two tables.
func differing[K comparable, V any](old, new *table[K, V]) iter.Seq2[map[K]V, map[K]V] {
	return func(yield func(map[K]V, map[K]V) bool) {
		for i := range old.level {
			if old.level[i] != new.level[i] && !yield(old.level[i].m, new.level[i].m) {
				return
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

func (e *edit[K, V]) writable(k K) map[K]V {
	n := e.table.hash(k)
	if !e.own {
		level := *e.table.level
		e.table.level, e.own = &level, true
	}
	if !e.fresh[n] {
		m := maps.Clone(e.table.level[n].m)
		if m == nil {
			m = make(map[K]V)
		}
		e.table.level[n], e.fresh[n] = &shard[K, V]{m}, true
	}
	return e.table.level[n].m
}

func (e *edit[K, V]) set(k K, v V) {
	m := e.writable(k)
	before := len(m)
	m[k] = v
	e.table.count += len(m) - before
}

func (e *edit[K, V]) remove(k K) {
	m := e.writable(k)
	before := len(m)
	delete(m, k)
	e.table.count += len(m) - before
}

// hashString is FNV-1a, folded to one byte; TopicOf does the same with bytes.
func hashString(s string) uint8 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint8(h ^ h>>8 ^ h>>16 ^ h>>24)
}

// hashTopicID takes two bytes: topic ids are random.
func hashTopicID(id TopicID) uint8 { return id[15] ^ id[0] }

// resource is the key of the table of configs.
type resource struct {
	Type ResourceType
	Name string
}

func hashResource(r resource) uint8 { return hashString(r.Name) ^ uint8(r.Type) }
