package broker

import (
	"sync"
	"time"

	"cordwood/metadata"
)

// deletedNames remembers the names of topics deleted lately. Clients that have not heard of a deletion go on asking for
// the topic, and each such Metadata makes it again (as in Kafka). Whoever deleted it and looks must not be told at once,
// by the answer that made it, that it is there: such a name is created without being waited for.
type deletedNames struct {
	mu          sync.Mutex
	since       time.Time // when newer was begun
	newer, past map[string]bool
}

// deletedAge is how long a name is remembered, at least; at most twice as long.
const deletedAge = 5 * time.Second

func (d *deletedNames) add(topics []*metadata.Topic, now time.Time) {
	if len(topics) == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	for _, t := range topics {
		d.newer[t.Name] = true
	}
}

func (d *deletedNames) has(name string, now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	return d.newer[name] || d.past[name]
}

// turn forgets what is old, without looking at single names.
func (d *deletedNames) turn(now time.Time) {
	age := now.Sub(d.since)
	if d.newer != nil && age < deletedAge {
		return
	}
	d.past = d.newer
	if age >= 2*deletedAge {
		d.past = nil
	}
	d.newer, d.since = map[string]bool{}, now
}
