package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// AlterConfigs (key 33), versions 0-2: replaces the whole set of a resource's configs.
func (b *Broker) alterConfigs(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AlterConfigsRequest)
	resp := q.ResponseKind().(*kmsg.AlterConfigsResponse)
	ctx, cancel := adminContext(ctx, 0)
	defer cancel()
	req := decide.AlterConfigsRequest{ValidateOnly: q.ValidateOnly, Rules: b.rules()}
	for _, in := range q.Resources {
		c := decide.ReplacedConfigs{ConfigResource: configResource(in.ResourceType, in.ResourceName)}
		for _, e := range in.Configs {
			c.Configs = append(c.Configs, decide.ConfigEntry{Key: e.Name, Value: e.Value})
		}
		req.Resources = append(req.Resources, c)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.AlterConfigsReply], error) {
		return decide.AlterConfigs(img, req, now)
	})
	for i, in := range q.Resources {
		out := kmsg.NewAlterConfigsResponseResource()
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

func configResource(kind kmsg.ConfigResourceType, name string) decide.ConfigResource {
	return decide.ConfigResource{Type: metadata.ResourceType(kind), Name: name}
}
