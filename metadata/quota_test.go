package metadata

import (
	"maps"
	"reflect"
	"slices"
	"testing"
)

func TestQuotasAreSetRemovedAndSeenInTheNextImageOnly(t *testing.T) {
	alice := QuotaEntity{User: NamedQuota("alice")}
	both := QuotaEntity{User: NamedQuota("alice"), ClientID: DefaultQuotaName}
	ip := QuotaEntity{IP: NamedQuota("10.0.0.1")}
	old := filled(t, 1, 1)
	i := with(t, old, QuotaChanged{Entity: alice, Key: "p", Value: 1}, QuotaChanged{Entity: alice, Key: "c", Value: 2},
		QuotaChanged{Entity: ip, Key: "n", Value: 3}, QuotaChanged{Entity: both, Key: "p", Value: 4})
	if old.QuotaCount() != 0 || i.QuotaCount() != 3 || !maps.Equal(i.Quota(alice), map[string]float64{"p": 1, "c": 2}) {
		t.Fatalf("%v", i.Quota(alice))
	}
	var order []QuotaEntity
	for e := range i.Quotas() {
		order = append(order, e)
	}
	if !slices.Equal(order, []QuotaEntity{alice, both, ip}) {
		t.Errorf("order %v", order)
	}
	next := with(t, i, QuotaChanged{Entity: alice, Key: "p", Deleted: true}, QuotaChanged{Entity: ip, Key: "n", Deleted: true},
		QuotaChanged{Entity: ip, Key: "unset", Deleted: true})
	if next.QuotaCount() != 2 || !maps.Equal(next.Quota(alice), map[string]float64{"c": 2}) || len(i.Quota(alice)) != 2 {
		t.Errorf("%v, before %v", next.Quota(alice), i.Quota(alice))
	}
	if d := Compare(i, next); !reflect.DeepEqual(d.QuotasChanged, []QuotaEntity{alice, ip}) || d.Empty() {
		t.Errorf("%+v", d)
	}
	if !with(t, next, FeatureChanged{"f", 1}).SameQuotas(next) || i.SameQuotas(next) {
		t.Error("SameQuotas is wrong")
	}
}

func TestQuotasForNobodyAreRefused(t *testing.T) {
	for _, e := range []QuotaEntity{
		{}, {User: "x"}, {User: "="}, {User: NamedQuota("u"), IP: DefaultQuotaName}, {ClientID: DefaultQuotaName, IP: DefaultQuotaName},
	} {
		if _, err := Empty().With(1, []Change{QuotaChanged{Entity: e, Key: "k", Value: 1}}); err == nil {
			t.Errorf("%+v", e)
		}
	}
	if name, ok := NamedQuota("*").Name(); !ok || name != "*" {
		t.Error("a name that looks like the default")
	}
	for _, q := range []QuotaName{NoQuotaName, DefaultQuotaName} {
		if name, ok := q.Name(); ok {
			t.Errorf("%q has the name %q", q, name)
		}
	}
}
