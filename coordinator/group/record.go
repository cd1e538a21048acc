package group

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/machine"
)

// Versions of the keys; the first two bytes of a key say what it is. Higher ones are those of other group types.
const (
	keyOffset0 = 0
	keyOffset  = 1
	keyGroup   = 2
)

// errForeign is a key of a kind that is not ours.
var errForeign = errors.New("entry of an unknown kind")

// metadata is a group's metadata entry.
type metadata struct {
	protocolType string
	generation   int32
	protocol     *string
	leader       *string
	since        int64 // -1: not said
	members      []savedMember
}

type savedMember struct {
	id                     string
	instance               *string
	client                 Client
	rebalance, session     int32 // milliseconds
	subscription, assigned []byte
}

// offset is what a group has committed for one partition.
type offset struct {
	at          int64
	leaderEpoch int32 // -1: not said
	metadata    string
	committed   int64    // wall milliseconds
	expires     int64    // wall milliseconds; -1: the retention decides
	topicID     [16]byte // zero: not said
}

func groupKey(id string) []byte {
	k := kmsg.GroupMetadataKey{Version: keyGroup, Group: id}
	return k.AppendTo(make([]byte, 0, 4+len(id)))
}

// groupEntry says what the group is now.
func groupEntry(g *group) machine.Entry {
	v := kmsg.GroupMetadataValue{
		Version:               3,
		ProtocolType:          g.protocolType,
		Generation:            g.generation,
		Protocol:              g.protocol,
		CurrentStateTimestamp: g.since,
	}
	if g.leader != "" {
		v.Leader = &g.leader
	}
	v.Members = make([]kmsg.GroupMetadataValueMember, 0, len(g.members))
	for _, p := range g.inOrder() {
		v.Members = append(v.Members, kmsg.GroupMetadataValueMember{
			MemberID:               p.id,
			InstanceID:             p.instance,
			ClientID:               p.client.ID,
			ClientHost:             p.client.Host,
			RebalanceTimeoutMillis: int32(p.rebalanceTimeout.Milliseconds()),
			SessionTimeoutMillis:   int32(p.sessionTimeout.Milliseconds()),
			Subscription:           p.metadata(*g.protocol),
			Assignment:             p.assignment,
		})
	}
	return machine.Entry{Key: groupKey(g.id), Value: v.AppendTo(nil)}
}

func offsetKey(group, topic string, partition int32) []byte {
	k := kmsg.OffsetCommitKey{Version: keyOffset, Group: group, Topic: topic, Partition: partition}
	return k.AppendTo(make([]byte, 0, 10+len(group)+len(topic)))
}

func offsetEntry(group, topic string, partition int32, o offset) machine.Entry {
	v := kmsg.OffsetCommitValue{
		Version:         3,
		Offset:          o.at,
		LeaderEpoch:     o.leaderEpoch,
		Metadata:        o.metadata,
		CommitTimestamp: o.committed,
		ExpireTimestamp: o.expires,
		TopicID:         o.topicID,
	}
	switch {
	case o.expires >= 0:
		v.Version = 1 // the only one with an expiry
	case o.topicID != [16]byte{}:
		v.Version = 4
	}
	return machine.Entry{Key: offsetKey(group, topic, partition), Value: v.AppendTo(make([]byte, 0, 64+len(o.metadata)))}
}

func offsetTombstone(group, topic string, partition int32) machine.Entry {
	return machine.Entry{Key: offsetKey(group, topic, partition)}
}

// readKey takes a key apart. Its strings alias b.
func readKey(b []byte) (kind int16, group, topic string, partition int32, err error) {
	r := kbin.Reader{Src: b}
	switch kind = r.Int16(); {
	case !r.Ok():
		return 0, "", "", 0, fmt.Errorf("key of %d bytes", len(b))
	case kind == keyOffset0 || kind == keyOffset:
		group, topic, partition = r.UnsafeString(), r.UnsafeString(), r.Int32()
	case kind == keyGroup:
		group = r.UnsafeString()
	default:
		return 0, "", "", 0, fmt.Errorf("key version %d: %w", kind, errForeign)
	}
	if !r.Ok() || len(r.Src) > 0 || partition < 0 {
		return 0, "", "", 0, fmt.Errorf("key version %d is malformed", kind)
	}
	return kind, group, topic, partition, nil
}

// readOffset reads a committed offset; the metadata is a copy.
func readOffset(b []byte) (offset, error) {
	var v kmsg.OffsetCommitValue
	if err := v.ReadFrom(b); err != nil {
		return offset{}, fmt.Errorf("offset value of %d bytes: %w", len(b), err)
	}
	if v.Version < 0 || v.Version > 4 {
		return offset{}, fmt.Errorf("offset value version %d", v.Version)
	}
	o := offset{v.Offset, -1, v.Metadata, v.CommitTimestamp, -1, v.TopicID}
	if v.Version >= 3 {
		o.leaderEpoch = v.LeaderEpoch
	}
	if v.Version == 1 {
		o.expires = v.ExpireTimestamp
	}
	return o, nil
}

// groupReader reads group metadata, versions 0 to 4. It is not kmsg's, because that trusts the counts of tags and
// members, which makes garbage expensive (bad input 128).
type groupReader struct {
	kbin.Reader
	version int16
}

func (r *groupReader) flexible() bool { return r.version >= 4 }

func (r *groupReader) text() string {
	if r.flexible() {
		return r.CompactString()
	}
	return r.String()
}

func (r *groupReader) textOrNull() *string {
	if r.flexible() {
		return r.CompactNullableString()
	}
	return r.NullableString()
}

func (r *groupReader) blob() []byte {
	var b []byte
	if r.flexible() {
		b = r.CompactBytes()
	} else {
		b = r.Bytes()
	}
	return append([]byte{}, b...)
}

func (r *groupReader) tags() {
	if !r.flexible() {
		return
	}
	for n := r.Uvarint(); n > 0 && r.Ok(); n-- {
		r.Uvarint()
		r.Span(int(r.Uvarint()))
	}
}

func (r *groupReader) member() savedMember {
	var p savedMember
	p.id = r.text()
	if r.version >= 3 {
		p.instance = r.textOrNull()
	}
	p.client = Client{r.text(), r.text()}
	p.rebalance = -1
	if r.version >= 1 {
		p.rebalance = r.Int32()
	}
	p.session = r.Int32()
	if p.rebalance < 0 {
		p.rebalance = p.session
	}
	p.subscription, p.assigned = r.blob(), r.blob()
	r.tags()
	return p
}

// readGroup reads a group's metadata; it keeps nothing of b.
func readGroup(b []byte) (*metadata, error) {
	r := groupReader{Reader: kbin.Reader{Src: b}}
	if r.version = r.Int16(); r.version < 0 || r.version > 4 {
		return nil, fmt.Errorf("group value version %d", r.version)
	}
	v := &metadata{protocolType: r.text(), generation: r.Int32(), protocol: r.textOrNull(), leader: r.textOrNull(), since: -1}
	if r.version >= 2 {
		v.since = r.Int64()
	}
	var n int32
	if r.flexible() {
		n = r.CompactArrayLen()
	} else {
		n = r.ArrayLen()
	}
	for range max(n, 0) {
		p := r.member()
		if !r.Ok() {
			break
		}
		v.members = append(v.members, p)
	}
	r.tags()
	if !r.Ok() || len(r.Src) > 0 {
		return nil, fmt.Errorf("group value of %d bytes is malformed", len(b))
	}
	return v, v.check()
}

// check forgets a leader that is no member and refuses what no group can be, so that a forged entry cannot break an invariant.
func (v *metadata) check() error {
	if v.generation < 0 {
		return fmt.Errorf("generation %d", v.generation)
	}
	if len(v.members) > 0 && (v.protocol == nil || v.protocolType == "") {
		return fmt.Errorf("%d members without a protocol", len(v.members))
	}
	ids, instances := map[string]bool{}, map[string]bool{}
	for i := range v.members {
		p := &v.members[i]
		if p.id == "" || ids[p.id] {
			return fmt.Errorf("member id %q twice or empty", p.id)
		}
		ids[p.id] = true
		if p.instance == nil {
			continue
		}
		if instances[*p.instance] {
			return fmt.Errorf("instance id %q twice", *p.instance)
		}
		instances[*p.instance] = true
	}
	if v.leader != nil && !ids[*v.leader] {
		v.leader = nil
	}
	return nil
}
