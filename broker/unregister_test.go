package broker

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

func (s *split) unregister(ctx context.Context, t *testing.T, by int, id int32) error {
	t.Helper()
	q := kmsg.NewPtrUnregisterBrokerRequest()
	q.BrokerID = id
	answer, err := s.client(by).Broker(by+1).Request(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	got := answer.(*kmsg.UnregisterBrokerResponse)
	if (got.ErrorCode != 0) != (got.ErrorMessage != nil) {
		t.Errorf("code %d and sentence %v", got.ErrorCode, got.ErrorMessage)
	}
	return kerr.ErrorForCode(got.ErrorCode)
}

func TestABrokerThatIsGoneIsUnregistered(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.create(t, "t", 2)
	s.brokers[1].close()
	if err := s.unregister(ctx, t, 0, 2); err != nil {
		t.Fatal(err)
	}
	img := s.brokers[0].b.image() // shows it already
	if img.Broker(2) != nil {
		t.Error("it is still registered")
	}
	for n, p := range img.Topic("t").Partitions {
		if len(p.Replicas) != 2 || !slices.Equal(p.ISR, []metadata.NodeID{1}) || p.Leader != 1 {
			t.Errorf("partition %d: %+v", n, p)
		}
	}
	if got, err := kadm.NewClient(s.client(0)).BrokerMetadata(ctx); err != nil || len(got.Brokers) != 1 {
		t.Errorf("clients see %+v, %v", got.Brokers, err)
	}
	for _, id := range []int32{2, 7, -1} {
		if err := s.unregister(ctx, t, 0, id); err != kerr.BrokerIDNotRegistered {
			t.Errorf("broker %d: %v", id, err)
		}
	}
	s.again(t, 1) // under its old id, as a new one
	for p := range int32(2) {
		s.inSync(t, 0, "t", p, 2)
	}
}

func TestABrokerThatIsUnregisteredWhileItRunsEnds(t *testing.T) {
	s := startSplit(t, 2)
	ctx := testContext(t)
	s.create(t, "t", 2)
	two := s.brokers[1]
	if err := s.unregister(ctx, t, 0, 2); err != nil {
		t.Fatal(err)
	}
	for n, p := range s.brokers[0].b.image().Topic("t").Partitions {
		if p.Leader != 1 || slices.Contains(p.ISR, 2) {
			t.Errorf("partition %d: %+v", n, p)
		}
	}
	select {
	case err := <-two.done:
		two.stop()
		two.stop = nil
		if !errors.Is(err, ErrConfig) || !errors.Is(err, kerr.BrokerIDNotRegistered) {
			t.Errorf("it ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it goes on")
	}
	s.again(t, 1)
	for p := range int32(2) {
		s.inSync(t, 0, "t", p, 2)
	}
}

func TestFeaturesAreFinalizedOnRequest(t *testing.T) {
	s := startSplit(t, 1)
	ctx := testContext(t)
	// a cluster that has not finalized all it can
	if _, _, err := controllerDo(ctx, s.controller.b, func(*metadata.Image, time.Time) (decide.Outcome[decide.None], error) {
		return decide.Outcome[decide.None]{Changes: []metadata.Change{metadata.FeatureChanged{Name: metadata.FeatureKRaft, Level: 0}}}, nil
	}); err != nil {
		t.Fatal(err)
	}
	level := func() int16 { return s.brokers[0].b.image().Features()[metadata.FeatureKRaft] }
	eventually(t, func() bool { return level() == 0 })
	adm := kadm.NewClient(s.client(0))
	up := kadm.FeatureUpdate{Feature: metadata.FeatureKRaft, MaxVersionLevel: 1, UpgradeType: 1}
	for _, validateOnly := range []bool{true, false} {
		got, err := adm.UpdateFeatures(ctx, validateOnly, up)
		if err != nil || len(got) != 1 || got[metadata.FeatureKRaft].Err != nil {
			t.Fatal(got, err)
		}
		if done := level() == 1; done == validateOnly {
			t.Errorf("validate only %v: level %d", validateOnly, level())
		}
	}
	if got, err := adm.UpdateFeatures(ctx, false, up, kadm.FeatureUpdate{Feature: "no.such", MaxVersionLevel: 1, UpgradeType: 1}); err != nil || got["no.such"].Err != kerr.InvalidUpdateVersion {
		t.Error(got, err)
	}
}

func TestFeaturesOfEveryVersion(t *testing.T) {
	n := startNode(t, t.TempDir())
	ask := func(version, level int16, downgrade bool, kind int8) *kmsg.UpdateFeaturesResponse {
		q := kmsg.NewPtrUpdateFeaturesRequest()
		q.Version = version
		u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
		u.Feature, u.MaxVersionLevel, u.AllowDowngrade, u.UpgradeType = metadata.FeatureKRaft, level, downgrade, kind
		q.FeatureUpdates = append(q.FeatureUpdates, u)
		return n.raw(t).ask(q).(*kmsg.UpdateFeaturesResponse)
	}
	for version := range int16(3) {
		results := 1
		if version == 2 {
			results = 0
		}
		if got := ask(version, 1, false, 1); got.ErrorCode != 0 || got.ErrorMessage != nil || len(got.Results) != results {
			t.Errorf("version %d: %+v", version, got)
		}
		for _, refused := range []*kmsg.UpdateFeaturesResponse{ask(version, 9, false, 1), ask(version, 0, true, 3)} {
			if refused.ErrorCode != kerr.InvalidUpdateVersion.Code || len(refused.Results) != 0 || refused.ErrorMessage == nil ||
				!strings.HasPrefix(*refused.ErrorMessage, "Invalid update version") {
				t.Errorf("version %d: %+v", version, refused)
			}
		}
	}
}
