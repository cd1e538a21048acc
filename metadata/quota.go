package metadata

import (
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"
)

// QuotaName is one part of the entity a quota binds: absent, everybody who has no quota of
// his own, or one name.
//
//	""       absent          "*"      the default          "=alice"      alice
type QuotaName string

const (
	NoQuotaName      QuotaName = ""
	DefaultQuotaName QuotaName = "*"
)

// NamedQuota is the part for one name.
func NamedQuota(name string) QuotaName { return QuotaName("=" + name) }

// Name returns the name; false for an absent part and for the default.
func (q QuotaName) Name() (string, bool) { return strings.CutPrefix(string(q), "=") }

func (q QuotaName) check() error {
	if q == NoQuotaName || q == DefaultQuotaName || (len(q) > 1 && q[0] == '=') {
		return nil
	}
	return fmt.Errorf("metadata: %q is no part of a quota's entity", string(q))
}

// QuotaEntity says whom a quota binds: a user, a client id, both together, or an address.
type QuotaEntity struct {
	User     QuotaName `cbor:"1,keyasint,omitempty"`
	ClientID QuotaName `cbor:"2,keyasint,omitempty"`
	IP       QuotaName `cbor:"3,keyasint,omitempty"`
}

func (e QuotaEntity) check() error {
	for _, part := range []QuotaName{e.User, e.ClientID, e.IP} {
		if err := part.check(); err != nil {
			return err
		}
	}
	if (e.IP == NoQuotaName) == (e.User == NoQuotaName && e.ClientID == NoQuotaName) {
		return fmt.Errorf("metadata: a quota for %+v", e)
	}
	return nil
}

func compareQuotas(a, b QuotaEntity) int {
	return slices.Compare([]QuotaName{a.IP, a.User, a.ClientID}, []QuotaName{b.IP, b.User, b.ClientID})
}

func hashQuota(e QuotaEntity) uint8 {
	return hashString(string(e.User)) ^ 3*hashString(string(e.ClientID)) ^ 5*hashString(string(e.IP))
}

// Quota returns what an entity may use, by quota key; nil if nothing is set. Do not modify it.
func (i *Image) Quota(e QuotaEntity) map[string]float64 {
	q, _ := i.quotas.get(e)
	return q
}

// Quotas goes through all quotas, sorted by entity.
func (i *Image) Quotas() iter.Seq2[QuotaEntity, map[string]float64] {
	all := make([]QuotaEntity, 0, i.quotas.count)
	for e := range i.quotas.all() {
		all = append(all, e)
	}
	slices.SortFunc(all, compareQuotas)
	return func(yield func(QuotaEntity, map[string]float64) bool) {
		for _, e := range all {
			if q, _ := i.quotas.get(e); !yield(e, q) {
				return
			}
		}
	}
}

// QuotaCount is the number of entities with quotas.
func (i *Image) QuotaCount() int { return i.quotas.count }

// SameQuotas reports, in no time, whether the quotas are those of another image; false may
// be wrong when neither descends from the other.
func (i *Image) SameQuotas(o *Image) bool { return i.quotas.level == o.quotas.level }

func (w *writer) changeQuota(c QuotaChanged) error {
	if err := c.Entity.check(); err != nil {
		return err
	}
	set, known := w.quotas.table.get(c.Entity)
	if c.Deleted {
		if _, has := set[c.Key]; !has {
			return nil
		}
		if len(set) == 1 {
			w.quotas.remove(c.Entity)
			return nil
		}
	}
	set = maps.Clone(set)
	if !known {
		set = map[string]float64{}
	}
	if c.Deleted {
		delete(set, c.Key)
	} else {
		set[c.Key] = c.Value
	}
	w.quotas.set(c.Entity, set)
	return nil
}

type wireQuota struct {
	Entity QuotaEntity        `cbor:"1,keyasint"`
	Keys   map[string]float64 `cbor:"2,keyasint"`
}

func (i *Image) wireQuotas() []wireQuota {
	var out []wireQuota
	for e, keys := range i.Quotas() {
		out = append(out, wireQuota{e, keys})
	}
	return out
}

func (w *writer) fillQuotas(quotas []wireQuota) error {
	for _, q := range quotas {
		if err := q.Entity.check(); err != nil {
			return fmt.Errorf("metadata: decode image: %w", err)
		}
		if _, twice := w.quotas.table.get(q.Entity); twice || len(q.Keys) == 0 {
			return fmt.Errorf("metadata: decode image: quotas of %+v twice or empty", q.Entity)
		}
		w.quotas.set(q.Entity, q.Keys)
	}
	return nil
}

func (d *Diff) compareQuotas(old, new *Image) {
	for before, after := range differing(&old.quotas, &new.quotas) {
		for e, keys := range after {
			if !maps.Equal(before[e], keys) {
				d.QuotasChanged = append(d.QuotasChanged, e)
			}
		}
		for e := range before {
			if _, kept := after[e]; !kept {
				d.QuotasChanged = append(d.QuotasChanged, e)
			}
		}
	}
	slices.SortFunc(d.QuotasChanged, compareQuotas)
}
