package metadata

import (
	"fmt"
	"maps"
	"slices"
)

// With returns the image after one more raft entry. The receiver is unchanged. An error
// means that the facts do not fit the image: nobody may go on from there.
func (i *Image) With(index uint64, changes []Change) (*Image, error) {
	if index <= i.index {
		return nil, fmt.Errorf("metadata: entry %d comes after %d", index, i.index)
	}
	w := newWriter(i, index)
	for n, c := range changes {
		if err := w.apply(c); err != nil {
			return nil, fmt.Errorf("change %d (%T) of entry %d: %w", n, c, index, err)
		}
	}
	return w.finish(), nil
}

// writer builds the next image. What it has copied once it may modify until finish.
type writer struct {
	next    Image
	topics  edit[string, *Topic]
	names   edit[TopicID, string]
	configs edit[resource, map[string]string]
	quotas  edit[QuotaEntity, map[string]float64]
	ours    map[TopicID]*Topic // topics copied by this writer
	configd map[resource]bool  // configs likewise
	brokers bool               // and the list of brokers
}

func newWriter(i *Image, index uint64) *writer {
	w := &writer{next: *i, ours: map[TopicID]*Topic{}, configd: map[resource]bool{}}
	w.next.index = index
	w.topics.table, w.names.table, w.configs.table, w.quotas.table = i.topics, i.names, i.configs, i.quotas
	return w
}

func (w *writer) finish() *Image {
	w.next.topics, w.next.names, w.next.configs, w.next.quotas = w.topics.table, w.names.table, w.configs.table, w.quotas.table
	return &w.next
}

func (w *writer) apply(c Change) error {
	switch c := c.(type) {
	case ClusterCreated:
		if w.next.clusterID != "" {
			return fmt.Errorf("metadata: the cluster is %s already", w.next.clusterID)
		}
		w.next.clusterID = c.ClusterID
		return nil
	case BrokerRegistered:
		return w.register(c)
	case BrokerUnregistered:
		return w.unregister(c)
	case BrokerFenced:
		return w.changeBroker(c.ID, c.Epoch, func(b *Broker) { b.Fenced = true })
	case BrokerUnfenced:
		return w.changeBroker(c.ID, c.Epoch, func(b *Broker) { b.Fenced = false })
	case BrokerShuttingDown:
		return w.changeBroker(c.ID, c.Epoch, func(b *Broker) { b.ShuttingDown = true })
	case BrokerDirsChanged:
		return w.changeBroker(c.ID, c.Epoch, func(b *Broker) { b.Dirs = c.Dirs })
	case TopicCreated:
		return w.createTopic(c)
	case TopicDeleted:
		return w.deleteTopic(c)
	case PartitionCreated:
		return w.createPartition(c)
	case PartitionChanged:
		return w.changePartition(c)
	case ConfigChanged:
		w.changeConfig(c)
		return nil
	case ProducerIDsAllocated:
		if c.Next < w.next.nextProducerID {
			return fmt.Errorf("metadata: next producer id falls from %d to %d", w.next.nextProducerID, c.Next)
		}
		w.next.nextProducerID = c.Next
		return nil
	case FeatureChanged:
		w.changeFeature(c)
		return nil
	case VoterRecorded:
		w.recordVoter(c)
		return nil
	case QuotaChanged:
		return w.changeQuota(c)
	}
	return fmt.Errorf("metadata: unknown change %T", c)
}

func (w *writer) ownBrokers() {
	if !w.brokers {
		w.next.brokers, w.brokers = slices.Clone(w.next.brokers), true
	}
}

func (w *writer) register(c BrokerRegistered) error {
	if c.ID < 0 {
		return fmt.Errorf("metadata: node id %d", c.ID)
	}
	b := &Broker{ID: c.ID, Epoch: int64(w.next.index), Incarnation: c.Incarnation, Fenced: true,
		Dirs: c.Dirs, Listeners: c.Listeners, Rack: c.Rack, Features: c.Features}
	w.ownBrokers()
	at, known := w.next.brokerAt(c.ID)
	if known {
		w.next.brokers[at] = b
		return nil
	}
	w.next.brokers = slices.Insert(w.next.brokers, at, b)
	return nil
}

func (w *writer) unregister(c BrokerUnregistered) error {
	at, known := w.next.brokerAt(c.ID)
	if !known || w.next.brokers[at].Epoch != c.Epoch {
		return fmt.Errorf("metadata: no broker %d with epoch %d", c.ID, c.Epoch)
	}
	w.ownBrokers()
	w.next.brokers = slices.Delete(w.next.brokers, at, at+1)
	return nil
}

func (w *writer) changeBroker(id NodeID, epoch int64, change func(*Broker)) error {
	at, known := w.next.brokerAt(id)
	if !known || w.next.brokers[at].Epoch != epoch {
		return fmt.Errorf("metadata: no broker %d with epoch %d", id, epoch)
	}
	w.ownBrokers()
	b := *w.next.brokers[at]
	change(&b)
	w.next.brokers[at] = &b
	return nil
}

func (w *writer) createTopic(c TopicCreated) error {
	if _, taken := w.topics.table.get(c.Name); taken || c.Name == "" {
		return fmt.Errorf("metadata: topic %q exists or has no name", c.Name)
	}
	if _, taken := w.names.table.get(c.ID); taken || c.ID.IsZero() {
		return fmt.Errorf("metadata: topic id %s exists or is zero", c.ID)
	}
	t := &Topic{ID: c.ID, Name: c.Name, Internal: c.Internal}
	w.ours[c.ID] = t
	w.topics.set(c.Name, t)
	w.names.set(c.ID, c.Name)
	w.next.order = w.next.order.with(c.Name)
	return nil
}

func (w *writer) deleteTopic(c TopicDeleted) error {
	name, known := w.names.table.get(c.ID)
	if !known {
		return fmt.Errorf("metadata: no topic %s", c.ID)
	}
	t, _ := w.topics.table.get(name)
	w.next.partitions -= len(t.Partitions)
	delete(w.ours, c.ID)
	w.topics.remove(name)
	w.names.remove(c.ID)
	w.next.order = w.next.order.without(name)
	key := resource{ResourceTopic, name}
	if _, set := w.configs.table.get(key); set {
		w.configs.remove(key)
		delete(w.configd, key)
	}
	return nil
}

// ownTopic returns a topic whose header and list of partitions may be modified.
func (w *writer) ownTopic(id TopicID) (*Topic, error) {
	if t := w.ours[id]; t != nil {
		return t, nil
	}
	name, known := w.names.table.get(id)
	if !known {
		return nil, fmt.Errorf("metadata: no topic %s", id)
	}
	old, _ := w.topics.table.get(name)
	t := *old
	t.Partitions = slices.Clone(old.Partitions)
	w.ours[id] = &t
	w.topics.set(name, &t)
	return &t, nil
}

func (w *writer) createPartition(c PartitionCreated) error {
	t, err := w.ownTopic(c.Topic)
	if err != nil {
		return err
	}
	if int(c.Index) != len(t.Partitions) {
		return fmt.Errorf("metadata: %s: partition %d after %d", t.Name, c.Index, len(t.Partitions))
	}
	p := c.Partition
	if err := p.Check(); err != nil {
		return fmt.Errorf("%s-%d: %w", t.Name, c.Index, err)
	}
	t.Partitions = append(t.Partitions, &p)
	w.next.partitions++
	return nil
}

func (w *writer) changePartition(c PartitionChanged) error {
	t, err := w.ownTopic(c.Topic)
	if err != nil {
		return err
	}
	if c.Index < 0 || int(c.Index) >= len(t.Partitions) {
		return fmt.Errorf("metadata: %s has no partition %d", t.Name, c.Index)
	}
	p := c.Partition
	if err := t.Partitions[c.Index].follows(&p); err != nil {
		return fmt.Errorf("%s-%d: %w", t.Name, c.Index, err)
	}
	if err := p.Check(); err != nil {
		return fmt.Errorf("%s-%d: %w", t.Name, c.Index, err)
	}
	t.Partitions[c.Index] = &p
	return nil
}

func (w *writer) changeConfig(c ConfigChanged) {
	key := resource{c.Type, c.Name}
	set, known := w.configs.table.get(key)
	if c.Deleted {
		if _, has := set[c.Key]; !has {
			return
		}
		if len(set) == 1 {
			w.configs.remove(key)
			delete(w.configd, key)
			return
		}
	}
	if !known || !w.configd[key] {
		set = cloneConfig(set)
		w.configd[key] = true
		w.configs.set(key, set)
	}
	if c.Deleted {
		delete(set, c.Key)
		return
	}
	set[c.Key] = c.Value
}

func (w *writer) changeFeature(c FeatureChanged) {
	features := maps.Clone(w.next.features)
	if features[c.Name] = c.Level; c.Level == 0 {
		delete(features, c.Name)
	}
	w.next.features, w.next.featuresEpoch = features, int64(w.next.index)
}

func (w *writer) recordVoter(c VoterRecorded) {
	voters := slices.DeleteFunc(slices.Clone(w.next.voters), func(v Voter) bool { return v.ID == c.ID })
	if !c.Removed {
		at, _ := slices.BinarySearchFunc(voters, c.ID, func(v Voter, id NodeID) int { return int(v.ID) - int(id) })
		voters = slices.Insert(voters, at, Voter{c.ID, c.Dir})
	}
	w.next.voters = voters
}
