package decide

import (
	"math"
	"net/netip"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// The types of a quota's entity, and the keys of quotas.
const (
	QuotaUser     = "user"
	QuotaClientID = "client-id"
	QuotaIP       = "ip"

	QuotaProduce     = "producer_byte_rate"
	QuotaFetch       = "consumer_byte_rate"
	QuotaRequest     = "request_percentage"
	QuotaMutation    = "controller_mutation_rate"
	QuotaConnections = "connection_creation_rate"
)

// quotaKey says how large a quota of a key may be; fraction allows what is not whole.
type quotaKey struct {
	most     float64
	size     string // Kafka's name of the type, for its message
	fraction bool
}

var (
	clientQuotaKeys = map[string]quotaKey{
		QuotaProduce: {most: math.MaxInt64, size: "LONG"}, QuotaFetch: {most: math.MaxInt64, size: "LONG"},
		QuotaRequest: {fraction: true}, QuotaMutation: {fraction: true},
	}
	ipQuotaKeys = map[string]quotaKey{QuotaConnections: {most: math.MaxInt32, size: "INT"}}
)

// QuotaPart is one part of an entity as it is asked for; a nil name is the default.
type QuotaPart struct {
	Type string
	Name *string
}

// QuotaOp sets or removes one key.
type QuotaOp struct {
	Key    string
	Value  float64
	Remove bool
}

// AlteredQuotas is one entity of an AlterQuotas.
type AlteredQuotas struct {
	Entity []QuotaPart
	Ops    []QuotaOp
}

// AlterQuotasRequest changes quotas.
type AlterQuotasRequest struct {
	Entries      []AlteredQuotas
	ValidateOnly bool
}

// AlterQuotasReply holds an error, or nil, for each entry.
type AlterQuotasReply struct{ Entries []*Refusal }

// AlterQuotas changes the quotas of each entity, whole or not at all.
func AlterQuotas(img *metadata.Image, req AlterQuotasRequest, now time.Time) (Outcome[AlterQuotasReply], error) {
	var out Outcome[AlterQuotasReply]
	seen := map[metadata.QuotaEntity]bool{}
	for _, e := range req.Entries {
		entity, keys, err := quotaEntity(e.Entity)
		var changes []metadata.Change
		switch {
		case err != nil:
		case seen[entity]:
			err = refuse(kerr.InvalidRequest, "Ignoring duplicate entity %s", quotaText(e.Entity))
		default:
			seen[entity] = true
			changes, err = quotaOps(img, entity, keys, &e)
		}
		out.Reply.Entries = append(out.Reply.Entries, err)
		if err == nil && !req.ValidateOnly {
			out.Changes = append(out.Changes, changes...)
		}
	}
	return out, nil
}

// quotaEntity reads an entity and says which keys it may have.
func quotaEntity(parts []QuotaPart) (e metadata.QuotaEntity, keys map[string]quotaKey, err *Refusal) {
	if len(parts) == 0 {
		return e, nil, refuse(kerr.InvalidRequest, "Invalid empty client quota entity")
	}
	for _, p := range parts {
		var to *metadata.QuotaName
		switch p.Type {
		case QuotaUser:
			to = &e.User
		case QuotaClientID:
			to = &e.ClientID
		case QuotaIP:
			to = &e.IP
		default:
			return e, nil, refuse(kerr.InvalidRequest, "Unhandled client quota entity type: %s", p.Type)
		}
		if *to != metadata.NoQuotaName {
			return e, nil, refuse(kerr.InvalidRequest, "Invalid client quota entity, duplicate entity entry %s", p.Type)
		}
		switch {
		case p.Name == nil:
			*to = metadata.DefaultQuotaName
		case *p.Name == "":
			return e, nil, refuse(kerr.InvalidRequest, "Empty %s not supported", p.Type)
		default:
			*to = metadata.NamedQuota(*p.Name)
		}
	}
	if e.IP == metadata.NoQuotaName {
		return e, clientQuotaKeys, nil
	}
	if len(parts) > 1 {
		return e, nil, refuse(kerr.InvalidRequest, "Invalid quota entity combination, IP entity should not be combined with User or ClientId")
	}
	if ip, named := e.IP.Name(); named {
		if _, bad := netip.ParseAddr(ip); bad != nil { // a host's name would mean something else tomorrow
			return e, nil, refuse(kerr.InvalidRequest, "%s is not a valid IP or resolvable host.", ip)
		}
	}
	return e, ipQuotaKeys, nil
}

// quotaOps checks the steps for one entity and returns what they change.
func quotaOps(img *metadata.Image, entity metadata.QuotaEntity, keys map[string]quotaKey, e *AlteredQuotas) ([]metadata.Change, *Refusal) {
	have := img.Quota(entity)
	seen := map[string]bool{}
	var changes []metadata.Change
	for _, op := range e.Ops {
		if seen[op.Key] {
			return nil, refuse(kerr.InvalidRequest, "Duplicate quota key %s not updating quota for this entity %s", op.Key, quotaText(e.Entity))
		}
		seen[op.Key] = true
		value, set := have[op.Key]
		if op.Remove {
			if set {
				changes = append(changes, metadata.QuotaChanged{Entity: entity, Key: op.Key, Deleted: true})
			}
			continue
		}
		if err := quotaValue(keys, op.Key, op.Value); err != nil {
			return nil, err
		}
		if !set || value != op.Value {
			changes = append(changes, metadata.QuotaChanged{Entity: entity, Key: op.Key, Value: op.Value})
		}
	}
	return changes, nil
}

func quotaValue(keys map[string]quotaKey, key string, value float64) *Refusal {
	k, known := keys[key]
	switch {
	case !known:
		return refuse(kerr.InvalidRequest, "Invalid configuration key %s", key)
	case !(value > 0): // not a number, too
		return refuse(kerr.InvalidRequest, "Quota %s must be greater than 0", key)
	case math.IsInf(value, 1):
		return refuse(kerr.InvalidRequest, "Quota %s must be finite", key)
	case k.fraction:
		return nil
	case value > k.most:
		return refuse(kerr.InvalidRequest, "Proposed value for %s is too large for a %s.", key, k.size)
	case math.Mod(value, 1) > 1e-6:
		return refuse(kerr.InvalidRequest, "%s cannot be a fractional value.", key)
	}
	return nil
}

// quotaText names an entity in a message.
func quotaText(parts []QuotaPart) string {
	text := ""
	for i, p := range parts {
		if i > 0 {
			text += ", "
		}
		if text += p.Type; p.Name == nil {
			text += " (default)"
		} else {
			text += " " + *p.Name
		}
	}
	return text
}

// QuotaMatch is how one part of an entity is looked for; the numbers are Kafka's.
type QuotaMatch int8

const (
	QuotaExact   QuotaMatch = iota // that name
	QuotaDefault                   // the default
	QuotaAny                       // any name, or the default
)

// QuotaFilter is one component of a DescribeQuotas.
type QuotaFilter struct {
	Type  string
	Match QuotaMatch
	Name  *string
}

// DescribedQuotas are the quotas of one entity.
type DescribedQuotas struct {
	Entity []QuotaPart
	Values map[string]float64
}

// DescribeQuotas lists the quotas of the entities that have all the parts asked for; strict: and no other.
func DescribeQuotas(img *metadata.Image, filters []QuotaFilter, strict bool) ([]DescribedQuotas, *Refusal) {
	asked := map[string]QuotaFilter{}
	for _, f := range filters {
		if err := f.check(); err != nil {
			return nil, err
		}
		if _, twice := asked[f.Type]; twice {
			return nil, refuse(kerr.InvalidRequest, "Entity type %s cannot appear more than once in the filter.", f.Type)
		}
		asked[f.Type] = f
	}
	if _, ip := asked[QuotaIP]; ip && len(asked) > 1 {
		return nil, refuse(kerr.InvalidRequest, "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component.")
	}
	var out []DescribedQuotas
	for e, values := range img.Quotas() {
		parts := quotaParts(e)
		matching := 0
		for _, p := range parts {
			if f, is := asked[p.Type]; is && f.matches(p) {
				matching++
			}
		}
		if matching == len(asked) && (!strict || matching == len(parts)) {
			out = append(out, DescribedQuotas{Entity: parts, Values: values})
		}
	}
	return out, nil
}

func (f *QuotaFilter) check() *Refusal {
	switch f.Type {
	case QuotaUser, QuotaClientID, QuotaIP:
	case "":
		return refuse(kerr.InvalidRequest, "Invalid empty entity type.")
	default:
		return refuse(kerr.UnsupportedVersion, "Unsupported entity type %s", f.Type)
	}
	switch {
	case f.Match == QuotaExact && f.Name == nil:
		return refuse(kerr.InvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null.")
	case f.Match == QuotaDefault && f.Name != nil:
		return refuse(kerr.InvalidRequest, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string.")
	case f.Match == QuotaAny && f.Name != nil:
		return refuse(kerr.InvalidRequest, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string.")
	case f.Match < QuotaExact || f.Match > QuotaAny:
		return refuse(kerr.InvalidRequest, "Unknown match type %d", f.Match)
	}
	return nil
}

func (f *QuotaFilter) matches(p QuotaPart) bool {
	switch f.Match {
	case QuotaExact:
		return p.Name != nil && *p.Name == *f.Name
	case QuotaDefault:
		return p.Name == nil
	}
	return true
}

// quotaParts is an entity as the wire has it.
func quotaParts(e metadata.QuotaEntity) []QuotaPart {
	var out []QuotaPart
	add := func(kind string, q metadata.QuotaName) {
		if q == metadata.NoQuotaName {
			return
		}
		p := QuotaPart{Type: kind}
		if name, named := q.Name(); named {
			p.Name = &name
		}
		out = append(out, p)
	}
	add(QuotaUser, e.User)
	add(QuotaClientID, e.ClientID)
	add(QuotaIP, e.IP)
	return out
}
