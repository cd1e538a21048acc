package protocol

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func features(r *kmsg.ApiVersionsResponse) (supported, finalized map[string]int16) {
	supported, finalized = map[string]int16{}, map[string]int16{}
	for _, f := range r.SupportedFeatures {
		supported[f.Name] = f.MaxVersion
	}
	for _, f := range r.FinalizedFeatures {
		finalized[f.Name] = f.MaxVersionLevel
	}
	return supported, finalized
}

func TestApiVersionsListsWhatTheListenerServes(t *testing.T) {
	for _, on := range []Listener{Client, Internal, Client | Internal} {
		r := NewApiVersionsResponse(4, on, nil, -1)
		got := map[int16]kmsg.ApiVersionsResponseApiKey{}
		for _, k := range r.ApiKeys {
			got[k.ApiKey] = k
		}
		for _, a := range APIs() {
			k, listed := got[int16(a.Key)]
			if listed != (a.Listeners&on != 0) {
				t.Errorf("listener %b: %s listed: %v", on, a.Name, listed)
			}
			if listed && (k.MinVersion != a.AdvertisedMin || k.MaxVersion != a.Max) {
				t.Errorf("%s: advertised %d-%d", a.Name, k.MinVersion, k.MaxVersion)
			}
		}
	}
}

// Trap 3: librdkafka wants Produce 0 and JoinGroup 0. Nothing else may be
// advertised that would close the connection.
func TestOnlyProduceIsAdvertisedBelowWhatIsServed(t *testing.T) {
	for _, a := range APIs() {
		want := a.Min
		if a.Key == Produce {
			want = 0
		}
		if a.AdvertisedMin != want {
			t.Errorf("%s: advertised from %d, served from %d", a.Name, a.AdvertisedMin, a.Min)
		}
	}
	if Lookup(int16(JoinGroup)).Min != 0 {
		t.Error("JoinGroup does not begin at 0")
	}
}

// Trap 4: clients switch behaviour on finalized features.
func TestApiVersionsCarriesOnlyFeaturesThatAreBuilt(t *testing.T) {
	finalized := map[string]int16{
		FeatureMetadataVersion: MetadataVersion, FeatureKRaftVersion: KRaftVersion, "transaction.version": 2, "group.version": 0,
	}
	supported, got := features(NewApiVersionsResponse(4, Client, finalized, 17))
	if len(supported) != 2 || supported[FeatureMetadataVersion] != 33 || supported[FeatureKRaftVersion] != 1 {
		t.Errorf("supported %v", supported)
	}
	if len(got) != 2 || got[FeatureMetadataVersion] != 33 || got[FeatureKRaftVersion] != 1 {
		t.Errorf("finalized %v", got)
	}
	_, got = features(NewApiVersionsResponse(4, Client, map[string]int16{FeatureKRaftVersion: 0}, 17))
	if len(got) != 0 {
		t.Errorf("level 0 is finalized: %v", got)
	}
}

func TestApiVersionsBelow4HidesFeaturesFromLevel0(t *testing.T) {
	for version := int16(0); version <= 5; version++ {
		supported, _ := features(NewApiVersionsResponse(version, Client, nil, 3))
		if _, shown := supported[FeatureKRaftVersion]; shown != (version >= 4) {
			t.Errorf("v%d: kraft.version shown: %v", version, shown)
		}
		if supported[FeatureMetadataVersion] != 33 {
			t.Errorf("v%d: metadata.version not shown", version)
		}
	}
}

func TestApiVersionsRoundTripsInAllVersions(t *testing.T) {
	for version := int16(0); version <= 5; version++ {
		h := &Header{Key: int16(ApiVersions), Version: version, CorrelationID: 1}
		frame := AppendResponse(nil, h, NewApiVersionsResponse(version, Client, map[string]int16{FeatureMetadataVersion: 33}, 8))
		r := kmsg.NewPtrApiVersionsResponse()
		r.Version = version
		if err := r.ReadFrom(frame[8:]); err != nil || r.ErrorCode != 0 || len(r.ApiKeys) != 41 {
			t.Errorf("v%d: %d keys, %v", version, len(r.ApiKeys), err)
		}
		if version >= 3 && (r.FinalizedFeaturesEpoch != 8 || len(r.FinalizedFeatures) != 1) {
			t.Errorf("v%d: finalized %v as of %d", version, r.FinalizedFeatures, r.FinalizedFeaturesEpoch)
		}
	}
}

// 18 and trap 1: a client newer than we are gets error 35 and one range, in
// version 0, which it can read whatever it asked for.
func TestBadInput18ApiVersionsTooHighIsAnsweredInVersion0(t *testing.T) {
	var h Header
	frame := []byte(head(18, 99) + be16(3) + "new" + "\x00" + "whatever comes then")
	if _, err := ParseHeader(frame, &h); err != nil || !h.Unsupported() {
		t.Fatalf("%+v %v", h, err)
	}
	got := AppendApiVersionsUnsupported(nil, h.CorrelationID)
	want := be32(16) + be32(7) + be16(35) + be32(1) + be16(18) + be16(0) + be16(5)
	if string(got) != want {
		t.Errorf("got %x, want %x", got, want)
	}
}

func TestValidSoftwareName(t *testing.T) {
	for name, want := range map[string]bool{
		"librdkafka": true, "apache-kafka-java": true, "4.4.0": true, "a": true, "A-.b": true,
		"": false, "-a": false, "a-": false, ".a": false, "a.": false, "a b": false, "a_b": false, "ß": false, "a\n": false,
	} {
		if ValidSoftwareName(name) != want {
			t.Errorf("%q: %v", name, !want)
		}
	}
}
