package broker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/metadata"
)

// What ties this broker to the controller: one registration for each life of the process (R1), then heartbeats. An
// answered heartbeat is what lets the broker serve as a leader (R18).

// retryPause is how long a broker waits before it looks for the active controller again.
const retryPause = 20 * time.Millisecond

// beat registers this broker and keeps its session until ctx ends.
func (b *Broker) beat(ctx context.Context) error {
	if err := b.register(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	for said := ""; ; {
		reply, err := b.sendHeartbeat(ctx, false)
		if ctx.Err() != nil {
			return nil
		}
		wait := b.cfg.HeartbeatInterval
		switch {
		case errors.Is(err, kerr.StaleBrokerEpoch), errors.Is(err, kerr.BrokerIDNotRegistered):
			// Another process registered under this id, or an operator removed it.
			return fmt.Errorf("%w: this broker's registration is no longer valid: %w", ErrConfig, err)
		case err != nil:
			if text := err.Error(); text != said { // a line for each reason, not for each try
				said = text
				b.log.Warn("heartbeat", zap.Error(err))
			}
			wait = min(wait, 5*retryPause)
		case reply.IsFenced:
			wait = time.Millisecond // not yet unfenced: our metadata is catching up
			if !b.cfg.IsLone() {
				wait = retryPause
			}
		}
		if err == nil {
			said = ""
		}
		due := time.NewTimer(wait)
		select {
		case <-due.C:
		case <-b.hurry:
			due.Stop()
		case <-ctx.Done():
			due.Stop()
			return nil
		}
	}
}

// sendHeartbeat sends one and renews the lease by its answer, from the moment it was sent: not if this broker does not know
// yet of something that was taken from it (R18).
func (b *Broker) sendHeartbeat(ctx context.Context, leaving bool) (*kmsg.BrokerHeartbeatResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.SessionTimeout)
	defer cancel()
	q := kmsg.NewPtrBrokerHeartbeatRequest()
	q.Version = 2
	q.BrokerID, q.BrokerEpoch, q.CurrentMetadataOffset = int32(b.cfg.NodeID), b.epoch.Load(), int64(b.image().Index())
	q.WantShutdown = leaving
	for _, d := range b.partitions.Directories() {
		if d.Err != nil { // others take over what was on it (R16)
			q.OfflineLogDirs = append(q.OfflineLogDirs, d.ID)
		}
	}
	sent := time.Now()
	answer, err := b.toController(ctx, q)
	if err == nil {
		err = refusedBy(answer)
	}
	if err != nil {
		return nil, err
	}
	reply := answer.(*kmsg.BrokerHeartbeatResponse)
	if reply.IsCaughtUp && !reply.IsFenced || mutant == 36 {
		b.lease.renew(sent)
	}
	return reply, nil
}

// register takes a broker epoch for this process (R1).
func (b *Broker) register(ctx context.Context) error {
	if _, err := rand.Read(b.incarnation[:]); err != nil {
		return err
	}
	q, err := b.registration()
	if err != nil {
		return err
	}
	if b.cfg.IsLone() {
		select {
		case <-b.controller.Ready():
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for said := ""; ; {
		answer, err := b.toController(ctx, q)
		if err == nil {
			if err = refusedBy(answer); err == nil {
				b.epoch.Store(answer.(*kmsg.BrokerRegistrationResponse).BrokerEpoch)
				return nil
			}
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case isRetriable(err):
		case errors.Is(err, kerr.DuplicateBrokerRegistration): // until the session of the other one is over (R1)
		default:
			return fmt.Errorf("%w: registration refused: %w", ErrConfig, err)
		}
		if text := err.Error(); text != said { // a line for each reason, not for each try
			said = text
			b.log.Warn("registration", zap.Error(err))
		}
		if !sleep(ctx, retryPause) {
			return ctx.Err()
		}
	}
}

// registration is what this broker says of itself.
func (b *Broker) registration() (*kmsg.BrokerRegistrationRequest, error) {
	endpoints, err := b.endpoints()
	if err != nil {
		return nil, err
	}
	q := kmsg.NewPtrBrokerRegistrationRequest()
	q.Version = 4
	q.BrokerID, q.ClusterID, q.IncarnationID = int32(b.cfg.NodeID), b.clusterID(), b.incarnation
	q.PreviousBrokerEpoch = b.previousEpoch
	if b.cfg.Rack != "" {
		q.Rack = kmsg.StringPtr(b.cfg.Rack)
	}
	for _, e := range endpoints {
		l := kmsg.NewBrokerRegistrationRequestListener()
		l.Name, l.Host, l.Port, l.SecurityProtocol = e.Name, e.Host, uint16(e.Port), e.Protocol
		q.Listeners = append(q.Listeners, l)
	}
	for name, r := range metadata.SupportedFeatures() {
		f := kmsg.NewBrokerRegistrationRequestFeature()
		f.Name, f.MinSupportedVersion, f.MaxSupportedVersion = name, r.Min, r.Max
		q.Features = append(q.Features, f)
	}
	for _, d := range b.dirs {
		q.LogDirs = append(q.LogDirs, d.id)
	}
	return q, nil
}

// leave asks the controller to move leaderships away and waits until it may stop, within bounds.
func (b *Broker) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), b.cfg.SessionTimeout)
	defer cancel()
	b.lease.leave()
	for b.epoch.Load() != 0 {
		reply, err := b.sendHeartbeat(ctx, true)
		if err == nil && reply.ShouldShutdown {
			return
		}
		if err != nil && (b.cfg.IsLone() || ctx.Err() != nil) {
			b.log.Warn("controlled shutdown", zap.Error(err))
			return
		}
		if !sleep(ctx, 5*time.Millisecond) {
			b.log.Warn("controlled shutdown timed out")
			return
		}
	}
}
