package broker

import (
	"context"
	"math/rand/v2"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// DescribeCluster (key 60), versions 0-2.
//
//	1  endpoint type: 1 brokers, 2 controllers     2  fenced brokers on request
const endpointBrokers = 1

func (b *Broker) describeCluster(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.DescribeClusterRequest)
	resp := q.ResponseKind().(*kmsg.DescribeClusterResponse)
	img := b.view()
	resp.ClusterID, resp.ControllerID = img.ClusterID(), -1
	resp.ClusterAuthorizedOperations = operationsUnknown
	resp.EndpointType = endpointBrokers
	if q.Version >= 1 && q.EndpointType != endpointBrokers {
		resp.ErrorCode = kerr.MismatchedEndpointType.Code
		resp.ErrorMessage = kmsg.StringPtr("this listener serves brokers, not controllers")
		if q.EndpointType != 2 {
			resp.ErrorCode = kerr.UnsupportedEndpointType.Code
			resp.ErrorMessage = kmsg.StringPtr("unknown endpoint type")
		}
		return resp, nil
	}
	if q.IncludeClusterAuthorizedOperations {
		resp.ClusterAuthorizedOperations = clusterOperations
	}
	var live []int32
	for broker := range img.Brokers() {
		host, port, ok := r.s.advertised(broker)
		isLive := img.live(broker.ID) != nil
		if !ok || !isLive && !q.IncludeFencedBrokers {
			continue
		}
		d := kmsg.NewDescribeClusterResponseBroker()
		d.NodeID, d.Host, d.Port, d.IsFenced = int32(broker.ID), host, port, broker.Fenced
		if broker.Rack != "" {
			d.Rack = kmsg.StringPtr(broker.Rack)
		}
		if isLive {
			live = append(live, d.NodeID)
		}
		resp.Brokers = append(resp.Brokers, d)
	}
	if len(live) > 0 {
		resp.ControllerID = live[rand.IntN(len(live))]
	}
	return resp, nil
}
