package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/broker/peer"
	"cordwood/protocol"
)

// ApiVersions (key 18), versions 0-5. 3 client software name and features, 5 cluster and node check (KIP-1242).
func (b *Broker) apiVersions(_ context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.ApiVersionsRequest)
	img := b.image()
	kind := r.s.l.kind
	if q.ClientSoftwareName != peer.SoftwareName {
		kind &^= protocol.Replicas // no client needs to know
	}
	resp := protocol.NewApiVersionsResponse(q.Version, kind, img.Features(), img.FeaturesEpoch())
	if q.Version >= 3 && !(protocol.ValidSoftwareName(q.ClientSoftwareName) && protocol.ValidSoftwareName(q.ClientSoftwareVersion)) {
		resp.ErrorCode = kerr.InvalidRequest.Code // trap 1
		return resp, nil
	}
	if q.Version >= 5 {
		wrongCluster := q.ClusterID != nil && *q.ClusterID != img.ClusterID()
		wrongNode := q.NodeID >= 0 && q.NodeID != int32(b.cfg.NodeID)
		if wrongCluster || wrongNode {
			resp.ErrorCode = kerr.RebootstrapRequired.Code
			return resp, nil
		}
	}
	r.s.software = q.ClientSoftwareName + "/" + q.ClientSoftwareVersion
	return resp, nil
}
