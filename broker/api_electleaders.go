package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// Kinds of election.
const (
	electionPreferred = 0
	electionUnclean   = 1
)

// ElectLeaders (key 43), versions 0-2: gives partitions their preferred leaders, or those without a leader any that there
// is (R12). 1 the kind of election, and an error code of the whole answer.
//
// Null topics mean every partition; those that need no election are not answered then.
func (b *Broker) electLeaders(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ElectLeadersRequest)
	resp := q.ResponseKind().(*kmsg.ElectLeadersResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	req := decide.ElectLeadersRequest{All: q.Topics == nil, Unclean: q.ElectionType == electionUnclean, Rules: b.rules()}
	for _, t := range q.Topics {
		for _, p := range t.Partitions {
			req.Partitions = append(req.Partitions, decide.PartitionRef{Topic: t.Topic, Index: p})
		}
	}
	answer := func(ref decide.PartitionRef, code int16, message *string) {
		if n := len(resp.Topics); n == 0 || resp.Topics[n-1].Topic != ref.Topic {
			t := kmsg.NewElectLeadersResponseTopic()
			t.Topic = ref.Topic
			resp.Topics = append(resp.Topics, t)
		}
		p := kmsg.NewElectLeadersResponseTopicPartition()
		p.Partition, p.ErrorCode, p.ErrorMessage = ref.Index, code, message
		t := &resp.Topics[len(resp.Topics)-1]
		t.Partitions = append(t.Partitions, p)
	}
	elected, err := b.electionsAsked(ctx, q.ElectionType, req)
	if err != nil {
		resp.ErrorCode = codeOf(err)
		for _, ref := range req.Partitions { // version 0 has no other place for it
			answer(ref, codeOf(err), messageOf(err))
		}
		return resp, nil
	}
	won := 0
	for _, e := range elected {
		code, message := refusal(e.Err)
		answer(e.PartitionRef, code, message)
		if e.Err == nil {
			won++
		}
	}
	if req.Unclean && won > 0 {
		from := r.origin()
		b.log.Warn("leaders were elected on request although records may be lost", zap.Int("partitions", won),
			zap.String("principal", from.principal.Name), zap.String("host", from.host))
	}
	return resp, nil
}

func (b *Broker) electionsAsked(ctx context.Context, kind int8, req decide.ElectLeadersRequest) ([]decide.ElectedLeader, error) {
	if kind != electionPreferred && kind != electionUnclean {
		return nil, fmt.Errorf("%w: unknown election type %d", kerr.InvalidRequest, kind)
	}
	reply, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.ElectLeadersReply], error) {
		return decide.ElectLeaders(img, req, now)
	})
	return reply.Partitions, err
}
