package broker

import (
	"context"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// BrokerRegistration (key 62), version 4: a process becomes a broker, fenced (R1).
func (b *Broker) brokerRegistration(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.BrokerRegistrationRequest)
	resp := q.ResponseKind().(*kmsg.BrokerRegistrationResponse)
	resp.BrokerEpoch = -1
	if q.IsMigratingZkBroker {
		resp.ErrorCode = kerr.BrokerIDNotRegistered.Code // as Kafka since 4.0
		return resp, nil
	}
	req := decide.RegisterBrokerRequest{
		ID: metadata.NodeID(q.BrokerID), ClusterID: q.ClusterID, Incarnation: q.IncarnationID, PreviousEpoch: q.PreviousBrokerEpoch,
		Features: map[string]metadata.VersionRange{},
	}
	if q.Rack != nil {
		req.Rack = *q.Rack
	}
	for _, l := range q.Listeners {
		req.Listeners = append(req.Listeners, metadata.Endpoint{Name: l.Name, Host: l.Host, Port: int32(l.Port), Protocol: l.SecurityProtocol})
	}
	for _, f := range q.Features {
		req.Features[f.Name] = metadata.VersionRange{Min: f.MinSupportedVersion, Max: f.MaxSupportedVersion}
	}
	for _, d := range q.LogDirs {
		req.Dirs = append(req.Dirs, d)
	}
	if !b.isActive() {
		resp.ErrorCode = kerr.NotController.Code
		return resp, nil
	}
	epoch, err := b.controller.RegisterBroker(ctx, req)
	if err != nil {
		resp.ErrorCode = codeOf(err)
		return resp, nil
	}
	resp.BrokerEpoch = epoch
	return resp, nil
}
