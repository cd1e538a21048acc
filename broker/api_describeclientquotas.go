package broker

import (
	"context"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
)

// DescribeClientQuotas (key 48), versions 0-1: the quotas of the entities that match every component of a filter.
func (b *Broker) describeClientQuotas(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeClientQuotasRequest)
	resp := q.ResponseKind().(*kmsg.DescribeClientQuotasResponse)
	var filters []decide.QuotaFilter
	for _, c := range q.Components {
		filters = append(filters, decide.QuotaFilter{Type: c.EntityType, Match: decide.QuotaMatch(c.MatchType), Name: c.Match})
	}
	found, refused := decide.DescribeQuotas(b.image(), filters, q.Strict)
	if refused != nil {
		resp.ErrorCode, resp.ErrorMessage = refusal(refused) // entries stay null
		return resp, nil
	}
	resp.Entries = []kmsg.DescribeClientQuotasResponseEntry{}
	for _, e := range found {
		out := kmsg.NewDescribeClientQuotasResponseEntry()
		for _, p := range e.Entity {
			part := kmsg.NewDescribeClientQuotasResponseEntryEntity()
			part.Type, part.Name = p.Type, p.Name
			out.Entity = append(out.Entity, part)
		}
		for _, key := range slices.Sorted(maps.Keys(e.Values)) {
			v := kmsg.NewDescribeClientQuotasResponseEntryValue()
			v.Key, v.Value = key, e.Values[key]
			out.Values = append(out.Values, v)
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp, nil
}
