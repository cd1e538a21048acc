package broker

import (
	"context"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/metadata"
)

// AddRaftVoter (key 80), versions 0-1, and RemoveRaftVoter (key 81), version 0, change the quorum by one controller,
// which is named by its id and the directory of its log: a node that lost its disk is another one (Z29).

func (b *Broker) addRaftVoter(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.AddRaftVoterRequest)
	resp := q.ResponseKind().(*kmsg.AddRaftVoterResponse)
	err := b.changeQuorum(ctx, q.ClusterID, func() error {
		for _, l := range q.Listeners {
			b.controllers.is(metadata.NodeID(q.VoterID), endpointAddr(&metadata.Endpoint{Host: l.Host, Port: int32(l.Port)}))
			break // Kafka's tools name one for each controller listener; we have one
		}
		return b.controller.AddVoter(ctx, metadata.NodeID(q.VoterID), q.VoterDirectoryID)
	})
	resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	return resp, nil
}

func (b *Broker) removeRaftVoter(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.RemoveRaftVoterRequest)
	resp := q.ResponseKind().(*kmsg.RemoveRaftVoterResponse)
	err := b.changeQuorum(ctx, q.ClusterID, func() error {
		return b.controller.RemoveVoter(ctx, metadata.NodeID(q.VoterID), q.VoterDirectoryID)
	})
	resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
	return resp, nil
}

// changeQuorum runs a change at the active controller of this process.
func (b *Broker) changeQuorum(ctx context.Context, cluster *string, change func() error) error {
	err := error(errNoController)
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case cluster != nil && *cluster != "" && *cluster != b.clusterID():
		return fmt.Errorf("%w: this is cluster %s", kerr.InconsistentClusterID, b.clusterID())
	case b.isActive():
		err = change()
	}
	noteElsewhere(ctx, err)
	return err
}
