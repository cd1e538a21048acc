package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// ListGroups (key 16), versions 0-5: the groups coordinated here. 4 states filter, 5 types filter.
func (b *Broker) listGroups(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ListGroupsRequest)
	resp := q.ResponseKind().(*kmsg.ListGroupsResponse)
	for _, shard := range b.groups.Led() {
		reply, err := b.onShard(ctx, shard, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
			return m.ListGroups(q, now)
		})
		if err != nil {
			resp.ErrorCode, resp.Groups = codeOf(err), nil // a shard that loads: the list would lack groups
			return resp, nil
		}
		resp.Groups = append(resp.Groups, reply.([]kmsg.ListGroupsResponseGroup)...)
	}
	return resp, nil
}
