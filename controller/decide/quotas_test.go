package decide

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// entity reads "user=alice client-id" (a part without a name is the default).
func entity(text string) []QuotaPart {
	var out []QuotaPart
	for _, part := range strings.Fields(text) {
		kind, name, named := strings.Cut(part, "=")
		p := QuotaPart{Type: kind}
		if named {
			p.Name = &name
		}
		out = append(out, p)
	}
	return out
}

func (w *world) quota(of string, ops ...QuotaOp) *Refusal {
	w.t.Helper()
	out, err := AlterQuotas(w.img, AlterQuotasRequest{Entries: []AlteredQuotas{{entity(of), ops}}}, w.now)
	return do(w, out, err).Entries[0]
}

func TestQuotasThatCannotBeAreRefused(t *testing.T) {
	set := func(key string, v float64) []QuotaOp { return []QuotaOp{{Key: key, Value: v}} }
	good := set(QuotaProduce, 1)
	for _, c := range []struct {
		name, entity string
		ops          []QuotaOp
		message      string
	}{
		{"nobody", "", good, "Invalid empty client quota entity"},
		{"unknown type", "group=g", good, "Unhandled client quota entity type: group"},
		{"type twice", "user=a user=b", good, "Invalid client quota entity, duplicate entity entry user"},
		{"empty name", "user=", good, "Empty user not supported"},
		{"address and user", "ip=10.0.0.1 user=a", set(QuotaConnections, 1), "Invalid quota entity combination, IP entity should not be combined with User or ClientId"},
		{"address and client", "client-id=a ip", set(QuotaConnections, 1), "Invalid quota entity combination, IP entity should not be combined with User or ClientId"},
		{"no address", "ip=nowhere", set(QuotaConnections, 1), "nowhere is not a valid IP or resolvable host."},
		{"unknown key", "user=a", set("speed", 1), "Invalid configuration key speed"},
		{"key of another entity", "user=a", set(QuotaConnections, 1), "Invalid configuration key connection_creation_rate"},
		{"byte rate of an address", "ip=10.0.0.1", good, "Invalid configuration key producer_byte_rate"},
		{"zero", "user=a", set(QuotaProduce, 0), "Quota producer_byte_rate must be greater than 0"},
		{"negative", "user=a", set(QuotaRequest, -1), "Quota request_percentage must be greater than 0"},
		{"no number", "user=a", set(QuotaRequest, math.NaN()), "Quota request_percentage must be greater than 0"},
		{"infinite", "user=a", set(QuotaRequest, math.Inf(1)), "Quota request_percentage must be finite"},
		{"fraction of a byte", "user=a", set(QuotaFetch, 1.5), "consumer_byte_rate cannot be a fractional value."},
		{"beyond a long", "user=a", set(QuotaFetch, 1e20), "Proposed value for consumer_byte_rate is too large for a LONG."},
		{"beyond an int", "ip", set(QuotaConnections, 3e9), "Proposed value for connection_creation_rate is too large for a INT."},
		{"key twice", "user=a client-id", append(good, good...), "Duplicate quota key producer_byte_rate not updating quota for this entity user a, client-id (default)"},
		{"one of two", "user=a", []QuotaOp{{Key: QuotaProduce, Value: 5}, {Key: "speed", Value: 1}}, "Invalid configuration key speed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, 1)
			err := w.quota(c.entity, c.ops...)
			wantCode(t, err, kerr.InvalidRequest)
			if err.Message != c.message {
				t.Errorf("%q", err.Message)
			}
			if w.img.QuotaCount() != 0 {
				t.Error("something was set")
			}
		})
	}
}

func TestQuotasAreSetChangedAndRemoved(t *testing.T) {
	w := newWorld(t, 1)
	for _, of := range []string{"user=a", "user", "client-id=c", "client-id", "user=a client-id=c", "client-id user", "ip=10.0.0.1", "ip=::1", "ip"} {
		key := QuotaProduce
		if strings.HasPrefix(of, "ip") {
			key = QuotaConnections
		}
		if err := w.quota(of, QuotaOp{Key: key, Value: 1000}); err != nil {
			t.Errorf("%s: %v", of, err)
		}
	}
	if w.img.QuotaCount() != 9 {
		t.Fatalf("%d entities", w.img.QuotaCount())
	}
	a := metadata.QuotaEntity{User: metadata.NamedQuota("a")}
	if err := w.quota("user=a", QuotaOp{Key: QuotaRequest, Value: 12.5}, QuotaOp{Key: QuotaProduce, Remove: true}); err != nil {
		t.Fatal(err)
	}
	if q := w.img.Quota(a); len(q) != 1 || q[QuotaRequest] != 12.5 {
		t.Errorf("%v", q)
	}
	before := w.img
	if err := w.quota("user=a", QuotaOp{Key: QuotaRequest, Value: 12.5}, QuotaOp{Key: QuotaFetch, Remove: true}); err != nil || w.img != before {
		t.Errorf("setting what is set: %v", err)
	}
	out, err := AlterQuotas(w.img, AlterQuotasRequest{ValidateOnly: true, Entries: []AlteredQuotas{
		{entity("user=a"), []QuotaOp{{Key: QuotaRequest, Value: 1}}}, {entity("user=a"), nil}}}, w.now)
	if err != nil || len(out.Changes) != 0 || out.Reply.Entries[0] != nil {
		t.Errorf("validated only: %+v, %v", out, err)
	}
	wantCode(t, out.Reply.Entries[1], kerr.InvalidRequest)
}

func TestQuotaFiltersFindTheirEntities(t *testing.T) {
	w := newWorld(t, 1)
	all := []string{"user=a", "user", "client-id=c", "user=a client-id=c", "user=a client-id", "user client-id=c"}
	for _, of := range all {
		if err := w.quota(of, QuotaOp{Key: QuotaProduce, Value: 1}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.quota("ip", QuotaOp{Key: QuotaConnections, Value: 1}); err != nil {
		t.Fatal(err)
	}
	a, c := "a", "c"
	for _, tc := range []struct {
		name    string
		filters []QuotaFilter
		strict  bool
		want    string
	}{
		{"everything", nil, false, "ip; user; user client-id=c; user=a; user=a client-id; user=a client-id=c; client-id=c"},
		{"nothing else than nothing", nil, true, ""},
		{"user a", []QuotaFilter{{QuotaUser, QuotaExact, &a}}, false, "user=a; user=a client-id; user=a client-id=c"},
		{"user a alone", []QuotaFilter{{QuotaUser, QuotaExact, &a}}, true, "user=a"},
		{"default user", []QuotaFilter{{QuotaUser, QuotaDefault, nil}}, false, "user; user client-id=c"},
		{"any user", []QuotaFilter{{QuotaUser, QuotaAny, nil}}, true, "user; user=a"},
		{"any user, client c", []QuotaFilter{{QuotaUser, QuotaAny, nil}, {QuotaClientID, QuotaExact, &c}}, true, "user client-id=c; user=a client-id=c"},
		{"user c", []QuotaFilter{{QuotaUser, QuotaExact, &c}}, false, ""},
		{"any address", []QuotaFilter{{QuotaIP, QuotaAny, nil}}, false, "ip"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := DescribeQuotas(w.img, tc.filters, tc.strict)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, e := range got {
				text := ""
				for _, p := range e.Entity {
					if text += " " + p.Type; p.Name != nil {
						text += "=" + *p.Name
					}
				}
				names = append(names, strings.TrimSpace(text))
			}
			found := map[string]bool{}
			for _, n := range names {
				found[n] = true
			}
			want := strings.Split(tc.want, "; ")
			if tc.want == "" {
				want = nil
			}
			for _, n := range want {
				if !found[n] {
					t.Errorf("%s is missing in %v", n, names)
				}
			}
			if len(names) != len(want) {
				t.Errorf("%d found: %v", len(names), names)
			}
		})
	}
}

func TestQuotaFiltersThatMakeNoSenseAreRefused(t *testing.T) {
	a := "a"
	for i, c := range []struct {
		filters []QuotaFilter
		code    *kerr.Error
		message string
	}{
		{[]QuotaFilter{{"", QuotaAny, nil}}, kerr.InvalidRequest, "Invalid empty entity type."},
		{[]QuotaFilter{{"group", QuotaAny, nil}}, kerr.UnsupportedVersion, "Unsupported entity type group"},
		{[]QuotaFilter{{QuotaUser, QuotaExact, nil}}, kerr.InvalidRequest, "Request specified MATCH_TYPE_EXACT, but set match string to null."},
		{[]QuotaFilter{{QuotaUser, QuotaDefault, &a}}, kerr.InvalidRequest, "Request specified MATCH_TYPE_DEFAULT, but also specified a match string."},
		{[]QuotaFilter{{QuotaUser, QuotaAny, &a}}, kerr.InvalidRequest, "Request specified MATCH_TYPE_SPECIFIED, but also specified a match string."},
		{[]QuotaFilter{{QuotaUser, 3, nil}}, kerr.InvalidRequest, "Unknown match type 3"},
		{[]QuotaFilter{{QuotaUser, QuotaAny, nil}, {QuotaUser, QuotaDefault, nil}}, kerr.InvalidRequest, "Entity type user cannot appear more than once in the filter."},
		{[]QuotaFilter{{QuotaUser, QuotaAny, nil}, {QuotaIP, QuotaAny, nil}}, kerr.InvalidRequest, "Invalid entity filter component combination. IP filter component should not be used with user or clientId filter component."},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			_, err := DescribeQuotas(metadata.Empty(), c.filters, false)
			wantCode(t, err, c.code)
			if err.Message != c.message {
				t.Errorf("%q", err.Message)
			}
		})
	}
}
