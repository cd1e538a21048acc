package decide

import (
	"testing"

	"cordwood/metadata"

	"github.com/twmb/franz-go/pkg/kerr"
)

func TestFeaturesGoOnlyWhereEveryBrokerCan(t *testing.T) {
	const kraft, version = metadata.FeatureKRaft, metadata.FeatureMetadata
	level := metadata.SupportedFeatures()[version].Max
	for _, c := range []struct {
		name    string
		updates []FeatureUpdate
		code    *kerr.Error // nil: accepted
		facts   int
	}{
		{"as it is", []FeatureUpdate{{version, level, Upgrade}}, nil, 0},
		{"nothing", nil, nil, 0},
		{"upgrade", []FeatureUpdate{{kraft, 1, Upgrade}, {version, level, SafeDowngrade}}, nil, 1},
		{"all or nothing", []FeatureUpdate{{kraft, 1, Upgrade}, {"no", 1, Upgrade}}, kerr.InvalidUpdateVersion, 0},
		{"twice", []FeatureUpdate{{kraft, 1, Upgrade}, {kraft, 1, Upgrade}}, kerr.InvalidRequest, 0},
		{"unknown", []FeatureUpdate{{"no", 1, Upgrade}}, kerr.InvalidUpdateVersion, 0},
		{"negative", []FeatureUpdate{{kraft, -1, UnsafeDowngrade}}, kerr.InvalidUpdateVersion, 0},
		{"no type", []FeatureUpdate{{kraft, 1, 0}}, kerr.InvalidUpdateVersion, 0},
		{"unknown type", []FeatureUpdate{{kraft, 1, 4}}, kerr.InvalidUpdateVersion, 0},
		{"too high for us", []FeatureUpdate{{version, level + 1, Upgrade}}, kerr.InvalidUpdateVersion, 0},
		{"too low for us", []FeatureUpdate{{version, 0, UnsafeDowngrade}}, kerr.InvalidUpdateVersion, 0},
		{"a downgrade upwards", []FeatureUpdate{{kraft, 1, SafeDowngrade}}, kerr.InvalidUpdateVersion, 0},
	} {
		for _, validateOnly := range []bool{true, false} {
			w := newWorld(t)
			w.commit([]metadata.Change{metadata.FeatureChanged{Name: version, Level: level}})
			req := w.process(1, -1)
			req.Features = metadata.SupportedFeatures()
			w.register(req)
			out, err := UpdateFeatures(w.img, UpdateFeaturesRequest{c.updates, validateOnly}, w.now)
			if c.code != nil {
				wantCode(t, err, c.code)
			} else if err != nil || !validateOnly && len(out.Changes) != c.facts {
				t.Errorf("%s: %v, %d facts", c.name, err, len(out.Changes))
			}
			if (validateOnly || c.code != nil) && len(out.Changes) > 0 {
				t.Errorf("%s: facts all the same", c.name)
			}
		}
	}
}

func TestAFencedBrokerHasASayInFeatures(t *testing.T) {
	for _, c := range []struct {
		features map[string]metadata.VersionRange
		refused  bool
	}{
		{nil, false},
		{map[string]metadata.VersionRange{metadata.FeatureKRaft: {Min: 0, Max: 0}}, true},
		{map[string]metadata.VersionRange{}, true},
		{map[string]metadata.VersionRange{metadata.FeatureKRaft: {Min: 1, Max: 5}}, false},
	} {
		w := newWorld(t, 1)
		req := w.process(2, -1)
		req.Features = c.features
		w.register(req)
		_, err := UpdateFeatures(w.img, UpdateFeaturesRequest{Updates: []FeatureUpdate{{metadata.FeatureKRaft, 1, Upgrade}}}, w.now)
		if c.refused {
			wantCode(t, err, kerr.InvalidUpdateVersion)
		} else if err != nil {
			t.Error(err)
		}
	}
}

func TestTheQuorumDoesNotGoBack(t *testing.T) {
	w := newWorld(t, 1)
	w.commit(metadata.InitialFeatures())
	_, err := UpdateFeatures(w.img, UpdateFeaturesRequest{Updates: []FeatureUpdate{{metadata.FeatureKRaft, 0, UnsafeDowngrade}}}, w.now)
	wantCode(t, err, kerr.InvalidUpdateVersion)
}
