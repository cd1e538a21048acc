package broker

import (
	"context"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/zap"

	"cordwood/controller/decide"
	"cordwood/metadata"
)

// UpdateFeatures (key 57), versions 0-2: finalizes levels of features, all that are named or none. 1 the kind of upgrade
// and validate only, 2 no result for each feature.
//
// An error is one of the whole request in every version, as Kafka's controllers answer it.
func (b *Broker) updateFeatures(ctx context.Context, r *request) (kmsg.Response, error) {
	q := r.msg.(*kmsg.UpdateFeaturesRequest)
	resp := q.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	ctx, cancel := adminContext(ctx, q.TimeoutMillis)
	defer cancel()
	req := decide.UpdateFeaturesRequest{ValidateOnly: q.ValidateOnly}
	for i := range q.FeatureUpdates {
		u := &q.FeatureUpdates[i]
		req.Updates = append(req.Updates, decide.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Type: upgradeType(q.Version, u)})
	}
	_, err := decided(ctx, b, func(img *metadata.Image, now time.Time) (decide.Outcome[decide.None], error) {
		return decide.UpdateFeatures(img, req, now)
	})
	if err != nil {
		resp.ErrorCode, resp.ErrorMessage = codeOf(err), messageOf(err)
		return resp, nil
	}
	for _, u := range req.Updates {
		if !req.ValidateOnly {
			b.log.Info("a feature is finalized", zap.String("feature", u.Name), zap.Int16("level", u.Level))
		}
		if q.Version < 2 {
			result := kmsg.NewUpdateFeaturesResponseResult()
			result.Feature = u.Name
			resp.Results = append(resp.Results, result)
		}
	}
	return resp, nil
}

// upgradeType is what an update may do; version 0 only says whether it may go down.
func upgradeType(version int16, u *kmsg.UpdateFeaturesRequestFeatureUpdate) decide.UpgradeType {
	switch {
	case version > 0:
		return decide.UpgradeType(u.UpgradeType)
	case u.AllowDowngrade:
		return decide.SafeDowngrade
	}
	return decide.Upgrade
}
