package decide

import (
	"fmt"
	"time"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

// UpgradeType says which way a feature may go; the numbers are Kafka's.
type UpgradeType int8

const (
	Upgrade         UpgradeType = 1
	SafeDowngrade   UpgradeType = 2
	UnsafeDowngrade UpgradeType = 3
)

// FeatureUpdate asks for a level of a feature; 0 takes it away.
type FeatureUpdate struct {
	Name  string
	Level int16
	Type  UpgradeType
}

// UpdateFeaturesRequest changes all of its features or none.
type UpdateFeaturesRequest struct {
	Updates      []FeatureUpdate
	ValidateOnly bool
}

// UpdateFeatures finalizes levels. Every registered broker must be able to run them, fenced ones too: they may come
// back at any time, and find in the metadata what they cannot do.
func UpdateFeatures(img *metadata.Image, req UpdateFeaturesRequest, now time.Time) (Outcome[None], error) {
	var out Outcome[None]
	seen := map[string]bool{}
	for _, u := range req.Updates {
		if seen[u.Name] {
			return Outcome[None]{}, refuse(kerr.InvalidRequest, "Feature %s is named twice in this request.", u.Name)
		}
		seen[u.Name] = true
		if err := checkFeature(img, &u); err != nil {
			return Outcome[None]{}, err
		}
		if img.Features()[u.Name] != u.Level && !req.ValidateOnly {
			out.Changes = append(out.Changes, metadata.FeatureChanged{Name: u.Name, Level: u.Level})
		}
	}
	return out, nil
}

func checkFeature(img *metadata.Image, u *FeatureUpdate) *Refusal {
	invalid := func(format string, a ...any) *Refusal {
		return refuse(kerr.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", u.Level, u.Name, fmt.Sprintf(format, a...))
	}
	own, supported := metadata.SupportedFeatures()[u.Name]
	have := img.Features()[u.Name]
	switch {
	case u.Type < Upgrade || u.Type > UnsafeDowngrade:
		return invalid("The controller does not support the given upgrade type.")
	case u.Level < 0:
		return invalid("A feature version cannot be less than 0.")
	case !supported:
		return invalid("Local controller does not support this feature.")
	case u.Level < own.Min || u.Level > own.Max:
		return invalid("Local controller only supports versions %d-%d", own.Min, own.Max)
	}
	for b := range img.Brokers() {
		r, known := b.Features[u.Name]
		switch {
		case b.Features == nil || u.Level == 0 && !known: // not stated, or nothing to be able to
		case !known:
			return invalid("Broker %d does not support this feature.", b.ID)
		case u.Level < r.Min || u.Level > r.Max:
			return invalid("Broker %d only supports versions %d-%d", b.ID, r.Min, r.Max)
		}
	}
	switch {
	case u.Level < have && u.Type == Upgrade:
		return invalid("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	case u.Level > have && u.Type != Upgrade:
		return invalid("Can't downgrade to a newer version.")
	case u.Level < have && u.Name == metadata.FeatureKRaft:
		return invalid("Can't downgrade the version of this feature: the quorum cannot go back to voters without disks.")
	}
	return nil
}
