package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// IncrementalAlterConfigs (key 44), versions 0-1: sets, deletes, appends to and subtracts from single keys.
func (b *Broker) incrementalAlterConfigs(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.IncrementalAlterConfigsRequest)
	resp := q.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	ctx, cancel := adminContext(ctx, 0)
	defer cancel()
	req := decide.IncrementalAlterConfigsRequest{ValidateOnly: q.ValidateOnly, Rules: b.rules()}
	for _, in := range q.Resources {
		c := decide.AlteredConfigs{ConfigResource: configResource(in.ResourceType, in.ResourceName)}
		for _, e := range in.Configs {
			c.Ops = append(c.Ops, decide.ConfigOp{Op: decide.ConfigOpType(e.Op), Key: e.Name, Value: e.Value})
		}
		req.Resources = append(req.Resources, c)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AlterConfigsReply], error) {
		return decide.IncrementalAlterConfigs(img, req, now)
	})
	for i, in := range q.Resources {
		out := kmsg.NewIncrementalAlterConfigsResponseResource()
		out.ResourceType, out.ResourceName = in.ResourceType, in.ResourceName
		if err != nil {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
		} else {
			out.ErrorCode, out.ErrorMessage = refusal(reply.Resources[i].Err)
		}
		resp.Resources = append(resp.Resources, out)
	}
	return resp, nil
}
