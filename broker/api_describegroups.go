package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// DescribeGroups (key 15), versions 0-6. 3 authorized operations, 4 instance ids, 6 an unknown group is an error.
func (b *Broker) describeGroups(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeGroupsRequest)
	resp := q.ResponseKind().(*kmsg.DescribeGroupsResponse)
	for _, name := range q.Groups {
		out := kmsg.NewDescribeGroupsResponseGroup()
		reply, err := b.onGroup(ctx, name, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
			return m.DescribeGroup(q.Version, name, now)
		})
		if err != nil {
			out.Group, out.ErrorCode = name, codeOf(err)
		} else {
			out = *reply.(*kmsg.DescribeGroupsResponseGroup)
		}
		out.AuthorizedOperations = operationsUnknown
		if q.IncludeAuthorizedOperations && out.ErrorCode == 0 {
			out.AuthorizedOperations = groupOperations
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp, nil
}
