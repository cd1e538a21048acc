package decide

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// ConfigOpType is what IncrementalAlterConfigs does with a key; the numbers are Kafka's.
type ConfigOpType int8

const (
	OpSet ConfigOpType = iota
	OpDelete
	OpAppend
	OpSubtract
)

// ConfigOp is one step of IncrementalAlterConfigs.
type ConfigOp struct {
	Op    ConfigOpType
	Key   string
	Value *string
}

// ConfigResource names what configs belong to: a topic, a broker ("" is every broker), a
// group, a client metrics subscription.
type ConfigResource struct {
	Type metadata.ResourceType
	Name string
}

// AlterConfigsRequest is the legacy request: Configs replace the whole set.
type AlterConfigsRequest struct {
	Resources    []ReplacedConfigs
	ValidateOnly bool
	Rules        *Rules
}

// ReplacedConfigs is one resource of the legacy request.
type ReplacedConfigs struct {
	ConfigResource
	Configs []ConfigEntry
}

// IncrementalAlterConfigsRequest changes single keys.
type IncrementalAlterConfigsRequest struct {
	Resources    []AlteredConfigs
	ValidateOnly bool
	Rules        *Rules
}

// AlteredConfigs is one resource of the incremental request.
type AlteredConfigs struct {
	ConfigResource
	Ops []ConfigOp
}

// AlteredResource is the answer for one resource.
type AlteredResource struct {
	ConfigResource
	Err *Refusal
}

// AlterConfigsReply answers both requests.
type AlterConfigsReply struct{ Resources []AlteredResource }

// AlterConfigs replaces the whole set of each resource.
func AlterConfigs(img *metadata.Image, req AlterConfigsRequest, now time.Time) (Outcome[AlterConfigsReply], error) {
	a := newAlteration(img, req.Rules)
	for _, r := range req.Resources {
		a.named[r.ConfigResource]++
	}
	for _, r := range req.Resources {
		a.resource(r.ConfigResource, func() (map[string]string, *Refusal) { return replaced(r.Configs) })
	}
	return a.outcome(req.ValidateOnly)
}

func replaced(configs []ConfigEntry) (map[string]string, *Refusal) {
	next := map[string]string{}
	var null []string
	for _, e := range configs {
		if e.Value == nil {
			null = append(null, e.Key)
			continue
		}
		if _, twice := next[e.Key]; twice {
			return nil, refuse(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		next[e.Key] = *e.Value
	}
	if null != nil {
		return nil, refuse(kerr.InvalidRequest, "Null value not supported for : %s", strings.Join(null, ", "))
	}
	return next, nil
}

// IncrementalAlterConfigs changes single keys: a resource is changed whole or not at all.
func IncrementalAlterConfigs(img *metadata.Image, req IncrementalAlterConfigsRequest, now time.Time) (Outcome[AlterConfigsReply], error) {
	a := newAlteration(img, req.Rules)
	for _, r := range req.Resources {
		a.named[r.ConfigResource]++
	}
	for _, r := range req.Resources {
		a.resource(r.ConfigResource, func() (map[string]string, *Refusal) { return a.stepped(&r) })
	}
	return a.outcome(req.ValidateOnly)
}

// alteration is either request under way.
type alteration struct {
	img     *metadata.Image
	rules   *Rules
	named   map[ConfigResource]int
	changes []metadata.Change
	reply   AlterConfigsReply
}

func newAlteration(img *metadata.Image, rules *Rules) *alteration {
	return &alteration{img: img, rules: rules, named: map[ConfigResource]int{}}
}

func (a *alteration) resource(r ConfigResource, next func() (map[string]string, *Refusal)) {
	err := a.alter(r, next)
	a.reply.Resources = append(a.reply.Resources, AlteredResource{ConfigResource: r, Err: err})
}

func (a *alteration) alter(r ConfigResource, next func() (map[string]string, *Refusal)) *Refusal {
	if a.named[r] > 1 {
		return refuse(kerr.InvalidRequest, "Each resource must appear at most once.")
	}
	if err := a.exists(r); err != nil {
		return err
	}
	want, err := next()
	if err != nil {
		return err
	}
	have := a.img.Config(r.Type, r.Name)
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, set := have[key]; set && value == want[key] {
			continue
		}
		if err := a.validKey(r, key, want[key]); err != nil {
			return err
		}
	}
	if err := a.validSet(r, want); err != nil {
		return err
	}
	a.changes = append(a.changes, configChanges(r.Type, r.Name, have, want)...)
	return nil
}

// exists refuses resources that cannot have configs.
func (a *alteration) exists(r ConfigResource) *Refusal {
	switch r.Type {
	case metadata.ResourceTopic:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Default topic resources are not allowed.")
		}
		if err := metadata.ValidTopicName(r.Name); err != nil {
			return refuse(kerr.InvalidTopicException, "%s", err)
		}
		if a.img.Topic(r.Name) == nil {
			return refuse(kerr.UnknownTopicOrPartition, "The topic '%s' does not exist.", r.Name)
		}
	case metadata.ResourceBroker:
		if r.Name == "" {
			return nil
		}
		id, err := strconv.ParseInt(r.Name, 10, 32)
		switch {
		case err != nil || strconv.FormatInt(id, 10) != r.Name:
			return refuse(kerr.InvalidRequest, "Unable to parse broker name as a base 10 number.")
		case id < 0:
			return refuse(kerr.InvalidRequest, "Invalid negative broker ID.")
		case a.img.Broker(metadata.NodeID(id)) == nil:
			return refuse(kerr.BrokerIDNotRegistered, "No broker with id %d found.", id)
		}
	case metadata.ResourceGroup:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Default group resources are not allowed.")
		}
		return bounded(r.Name)
	case metadata.ResourceClientMetrics:
		if r.Name == "" {
			return refuse(kerr.InvalidRequest, "Subscription name can't be empty")
		}
		return bounded(r.Name)
	default:
		return refuse(kerr.InvalidRequest, "Unknown resource type %d", int8(r.Type))
	}
	return nil
}

// bounded keeps names that belong to nothing that exists short (bad input 126).
func bounded(name string) *Refusal {
	if len(name) > metadata.MaxTopicName {
		return refuse(kerr.InvalidRequest, "The resource name is longer than %d bytes", metadata.MaxTopicName)
	}
	return nil
}

// stepped applies the steps of one resource to the set it has.
func (a *alteration) stepped(r *AlteredConfigs) (map[string]string, *Refusal) {
	next := maps.Clone(a.img.Config(r.Type, r.Name))
	if next == nil {
		next = map[string]string{}
	}
	seen := map[string]bool{}
	var null []string
	for _, op := range r.Ops {
		if seen[op.Key] {
			return nil, refuse(kerr.InvalidRequest, "Error due to duplicate config keys")
		}
		if seen[op.Key] = true; op.Value == nil && op.Op != OpDelete {
			null = append(null, op.Key)
		}
	}
	if null != nil {
		return nil, refuse(kerr.InvalidRequest, "Null value not supported for : %s", strings.Join(null, ", "))
	}
	for _, op := range r.Ops {
		switch op.Op {
		case OpSet:
			next[op.Key] = *op.Value
		case OpDelete:
			delete(next, op.Key)
		case OpAppend, OpSubtract:
			value, err := a.listed(r.ConfigResource, op, next)
			if err != nil {
				return nil, err
			}
			next[op.Key] = value
		default:
			return nil, refuse(kerr.InvalidRequest, "Unknown operations type %d", int8(op.Op))
		}
	}
	return next, nil
}

// listed adds to or takes from a list; where nothing is set it starts from the default.
func (a *alteration) listed(r ConfigResource, op ConfigOp, set map[string]string) (string, *Refusal) {
	key := a.key(r, op.Key)
	if key == nil || !key.list {
		return "", refuse(kerr.InvalidConfig, "Can't %s to key %s because its type is not LIST.", [...]string{OpAppend: "APPEND", OpSubtract: "SUBTRACT"}[op.Op], op.Key)
	}
	value, has := set[op.Key]
	if !has {
		value = key.standard
	}
	list := metadata.SplitList(value)
	for _, item := range metadata.SplitList(*op.Value) {
		at := slices.Index(list, item)
		switch {
		case op.Op == OpAppend && at < 0:
			list = append(list, item)
		case op.Op == OpSubtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	return strings.Join(list, ","), nil
}

// validKey checks one new value (bad input 114).
func (a *alteration) validKey(r ConfigResource, name, value string) *Refusal {
	key := a.key(r, name)
	switch {
	case key == nil:
		return refuse(kerr.InvalidConfig, "Unknown %s config name: %s", strings.ToLower(strings.ReplaceAll(r.Type.String(), "_", " ")), name)
	case key.readOnly:
		return refuse(kerr.InvalidConfig, "Cannot update these configs dynamically: Set(%s)", name)
	case key.clusterWide && r.Name != "":
		return refuse(kerr.InvalidConfig, "%s can only be set for all brokers together (the default broker resource)", name)
	case key.single && r.Name == "":
		return refuse(kerr.InvalidConfig, "%s can only be set for one broker at a time", name)
	}
	if err := key.validate(value); err != nil {
		return refuse(kerr.InvalidConfig, "%s", err)
	}
	return nil
}

// validSet checks what single keys cannot know.
func (a *alteration) validSet(r ConfigResource, want map[string]string) *Refusal {
	var err error
	switch r.Type {
	case metadata.ResourceTopic:
		_, err = a.rules.topic(a.img, want)
	case metadata.ResourceBroker:
		_, err = a.rules.static().With(metadata.FromBroker(want))
	case metadata.ResourceGroup:
		err = validGroup(want)
	}
	if err != nil {
		return refuse(kerr.InvalidConfig, "%s", err)
	}
	return nil
}

// outcome adds what the new configs mean for partitions, in the same entry (Z35).
func (a *alteration) outcome(validateOnly bool) (Outcome[AlterConfigsReply], error) {
	out := Outcome[AlterConfigsReply]{Reply: a.reply}
	if validateOnly || len(a.changes) == 0 {
		return out, nil
	}
	after, err := a.img.With(a.img.Index()+1, a.changes)
	if err != nil {
		return Outcome[AlterConfigsReply]{}, err
	}
	out.Changes = a.changes
	if slices.ContainsFunc(a.changes, func(c metadata.Change) bool { return c.(metadata.ConfigChanged).Type == metadata.ResourceBroker }) {
		out.Changes = append(out.Changes, Reconcile(after, a.rules).Changes...)
		return out, nil
	}
	for _, r := range a.reply.Resources {
		if r.Err != nil || r.Type != metadata.ResourceTopic {
			continue
		}
		config, err := a.rules.topic(after, after.Config(r.Type, r.Name))
		if err != nil {
			return Outcome[AlterConfigsReply]{}, err
		}
		out.Changes = append(out.Changes, refit(after.Topic(r.Name), &config, standing(after, a.rules, nobody, nobody))...)
	}
	return out, nil
}

// configChanges are the facts that lead from one set to the other, sorted by key.
func configChanges(t metadata.ResourceType, name string, have, want map[string]string) []metadata.Change {
	var out []metadata.Change
	for _, key := range slices.Sorted(maps.Keys(have)) {
		if _, kept := want[key]; !kept {
			out = append(out, metadata.ConfigChanged{Type: t, Name: name, Key: key, Deleted: true})
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if value, set := have[key]; !set || value != want[key] {
			out = append(out, metadata.ConfigChanged{Type: t, Name: name, Key: key, Value: want[key]})
		}
	}
	return out
}
