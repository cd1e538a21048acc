package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AlterClientQuotas (key 49), versions 0-1: sets and removes quotas, entity by entity.
func (b *Broker) alterClientQuotas(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AlterClientQuotasRequest)
	resp := q.ResponseKind().(*kmsg.AlterClientQuotasResponse)
	ctx, cancel := adminContext(ctx, 0)
	defer cancel()
	req := decide.AlterQuotasRequest{ValidateOnly: q.ValidateOnly}
	for _, in := range q.Entries {
		var e decide.AlteredQuotas
		for _, p := range in.Entity {
			e.Entity = append(e.Entity, decide.QuotaPart{Type: p.Type, Name: p.Name})
		}
		for _, op := range in.Ops {
			e.Ops = append(e.Ops, decide.QuotaOp{Key: op.Key, Value: op.Value, Remove: op.Remove})
		}
		req.Entries = append(req.Entries, e)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AlterQuotasReply], error) {
		return decide.AlterQuotas(img, req, now)
	})
	for i, in := range q.Entries {
		out := kmsg.NewAlterClientQuotasResponseEntry()
		if err != nil {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
		} else {
			out.ErrorCode, out.ErrorMessage = refusal(reply.Entries[i])
		}
		for _, p := range in.Entity {
			part := kmsg.NewAlterClientQuotasResponseEntryEntity()
			part.Type, part.Name = p.Type, p.Name
			out.Entity = append(out.Entity, part)
		}
		resp.Entries = append(resp.Entries, out)
	}
	return resp, nil
}
