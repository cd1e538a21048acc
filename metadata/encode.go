package metadata

import (
	"fmt"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// formatVersion stands at the head of both encodings. A node refuses a version it does
// not know: it would not understand what it agrees to.
const formatVersion = 1

var (
	encMode = must(cbor.CoreDetEncOptions().EncMode())

	// decMode refuses what core deterministic encoding never holds, and bounds what a few
	// hostile bytes can ask for: CBOR checks that the elements are there before it makes
	// room for them.
	decMode = must(cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
		MaxArrayElements:  1 << 20,
		MaxMapPairs:       1 << 16,
	}.DecMode())
)

func must[M any](m M, err error) M {
	if err != nil {
		panic(err) // the options above contradict each other: seen by any test
	}
	return m
}

type wireChanges struct {
	_       struct{} `cbor:",toarray"`
	Version uint64
	Changes []wireChange
}

type wireChange struct {
	_    struct{} `cbor:",toarray"`
	Kind uint64
	Body cbor.RawMessage
}

// EncodeChanges gives the bytes of a raft log entry's facts.
func EncodeChanges(changes []Change) ([]byte, error) {
	w := wireChanges{Version: formatVersion, Changes: make([]wireChange, len(changes))}
	for i, c := range changes {
		body, err := encMode.Marshal(c)
		if err != nil {
			return nil, fmt.Errorf("metadata: encode %T: %w", c, err)
		}
		w.Changes[i] = wireChange{Kind: c.kind(), Body: body}
	}
	b, err := encMode.Marshal(&w)
	if err != nil {
		return nil, fmt.Errorf("metadata: encode changes: %w", err)
	}
	return b, nil
}

// DecodeChanges reads what EncodeChanges wrote.
func DecodeChanges(b []byte) ([]Change, error) {
	var w wireChanges
	if err := decMode.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("metadata: decode changes: %w", err)
	}
	if w.Version != formatVersion {
		return nil, fmt.Errorf("metadata: changes of format %d", w.Version)
	}
	out := make([]Change, len(w.Changes))
	for i, c := range w.Changes {
		decode, known := decoders[c.Kind]
		if !known {
			return nil, fmt.Errorf("metadata: change of kind %d", c.Kind)
		}
		var err error
		if out[i], err = decode(c.Body); err != nil {
			return nil, fmt.Errorf("metadata: decode change of kind %d: %w", c.Kind, err)
		}
	}
	return out, nil
}

var decoders = map[uint64]func([]byte) (Change, error){
	kindClusterCreated:       decodeAs[ClusterCreated],
	kindBrokerRegistered:     decodeAs[BrokerRegistered],
	kindBrokerUnregistered:   decodeAs[BrokerUnregistered],
	kindBrokerFenced:         decodeAs[BrokerFenced],
	kindBrokerUnfenced:       decodeAs[BrokerUnfenced],
	kindBrokerShuttingDown:   decodeAs[BrokerShuttingDown],
	kindTopicCreated:         decodeAs[TopicCreated],
	kindTopicDeleted:         decodeAs[TopicDeleted],
	kindPartitionCreated:     decodeAs[PartitionCreated],
	kindPartitionChanged:     decodeAs[PartitionChanged],
	kindConfigChanged:        decodeAs[ConfigChanged],
	kindProducerIDsAllocated: decodeAs[ProducerIDsAllocated],
	kindFeatureChanged:       decodeAs[FeatureChanged],
	kindVoterRecorded:        decodeAs[VoterRecorded],
	kindQuotaChanged:         decodeAs[QuotaChanged],
	kindBrokerDirsChanged:    decodeAs[BrokerDirsChanged],
}

func decodeAs[C Change](body []byte) (Change, error) {
	var c C
	err := decMode.Unmarshal(body, &c)
	return c, err
}

type wireImage struct {
	Version        uint64           `cbor:"1,keyasint"`
	Index          uint64           `cbor:"2,keyasint"`
	ClusterID      string           `cbor:"3,keyasint,omitempty"`
	Brokers        []*Broker        `cbor:"4,keyasint,omitempty"`
	Topics         []wireTopic      `cbor:"5,keyasint,omitempty"`
	Configs        []wireConfig     `cbor:"6,keyasint,omitempty"`
	Features       map[string]int16 `cbor:"7,keyasint,omitempty"`
	FeaturesEpoch  int64            `cbor:"8,keyasint,omitempty"`
	NextProducerID int64            `cbor:"9,keyasint,omitempty"`
	Voters         []Voter          `cbor:"10,keyasint,omitempty"`
	Quotas         []wireQuota      `cbor:"11,keyasint,omitempty"`
}

type wireTopic struct {
	ID         TopicID      `cbor:"1,keyasint"`
	Name       string       `cbor:"2,keyasint"`
	Internal   bool         `cbor:"3,keyasint,omitempty"`
	Partitions []*Partition `cbor:"4,keyasint"`
}

type wireConfig struct {
	Type ResourceType      `cbor:"1,keyasint"`
	Name string            `cbor:"2,keyasint"`
	Keys map[string]string `cbor:"3,keyasint"`
}

// EncodeImage gives the bytes of a raft snapshot. Equal images give equal bytes.
func EncodeImage(i *Image) ([]byte, error) {
	w := wireImage{Version: formatVersion, Index: i.index, ClusterID: i.clusterID, Brokers: i.brokers, Features: i.features,
		FeaturesEpoch: i.featuresEpoch, NextProducerID: i.nextProducerID, Voters: i.voters, Quotas: i.wireQuotas()}
	for t := range i.Topics() {
		w.Topics = append(w.Topics, wireTopic{t.ID, t.Name, t.Internal, t.Partitions})
	}
	for r, keys := range i.configs.all() {
		w.Configs = append(w.Configs, wireConfig{r.Type, r.Name, keys})
	}
	slices.SortFunc(w.Configs, func(a, b wireConfig) int {
		return compareResources(resource{a.Type, a.Name}, resource{b.Type, b.Name})
	})
	b, err := encMode.Marshal(&w)
	if err != nil {
		return nil, fmt.Errorf("metadata: encode image: %w", err)
	}
	return b, nil
}

// DecodeImage reads what EncodeImage wrote, and checks every record.
func DecodeImage(b []byte) (*Image, error) {
	var w wireImage
	if err := decMode.Unmarshal(b, &w); err != nil {
		return nil, fmt.Errorf("metadata: decode image: %w", err)
	}
	if w.Version != formatVersion {
		return nil, fmt.Errorf("metadata: image of format %d", w.Version)
	}
	i := Empty()
	i.index, i.clusterID, i.featuresEpoch = w.Index, w.ClusterID, w.FeaturesEpoch
	i.nextProducerID, i.voters = w.NextProducerID, w.Voters
	if w.Features != nil {
		i.features = w.Features
	}
	for _, b := range w.Brokers {
		if b == nil || b.ID < 0 || (len(i.brokers) > 0 && i.brokers[len(i.brokers)-1].ID >= b.ID) {
			return nil, fmt.Errorf("metadata: decode image: brokers are not in order")
		}
		i.brokers = append(i.brokers, b)
	}
	return i, i.fill(&w)
}

// fill puts topics and configs into an image without any.
func (i *Image) fill(w *wireImage) error {
	wr := newWriter(i, i.index)
	for _, t := range w.Topics {
		if err := wr.createTopic(TopicCreated{ID: t.ID, Name: t.Name, Internal: t.Internal}); err != nil {
			return fmt.Errorf("metadata: decode image: %w", err)
		}
		for n, p := range t.Partitions {
			if p == nil {
				return fmt.Errorf("metadata: decode image: %s-%d is null", t.Name, n)
			}
			if err := p.Check(); err != nil {
				return fmt.Errorf("metadata: decode image: %s-%d: %w", t.Name, n, err)
			}
		}
		wr.ours[t.ID].Partitions = t.Partitions
		wr.next.partitions += len(t.Partitions)
	}
	for _, c := range w.Configs {
		key := resource{c.Type, c.Name}
		if _, twice := wr.configs.table.get(key); twice || len(c.Keys) == 0 {
			return fmt.Errorf("metadata: decode image: configs of %s %q twice or empty", c.Type, c.Name)
		}
		wr.configs.set(key, c.Keys)
	}
	if err := wr.fillQuotas(w.Quotas); err != nil {
		return err
	}
	*i = *wr.finish()
	return nil
}
