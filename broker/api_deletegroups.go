package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/coordinator/group"
	"cordwood/coordinator/machine"
)

// DeleteGroups (key 42), versions 0-3: empty groups and their offsets. 3 error message.
func (b *Broker) deleteGroups(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DeleteGroupsRequest)
	resp := q.ResponseKind().(*kmsg.DeleteGroupsResponse)
	for _, name := range q.Groups {
		out := kmsg.NewDeleteGroupsResponseGroup()
		out.Group = name
		reply, err := b.onGroup(ctx, name, func(m *group.Machine, _ uint64, now time.Time) machine.Result {
			return m.DeleteGroup(name, now)
		})
		if err != nil {
			out.ErrorCode, out.ErrorMessage = codeOf(err), messageOf(err)
		} else {
			out.ErrorCode = reply.(int16)
		}
		resp.Groups = append(resp.Groups, out)
	}
	return resp, nil
}
