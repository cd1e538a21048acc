package protocol

import (
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Features, in ApiVersions' sense: cluster-wide switches with levels. Clients
// change their behaviour on finalized ones, so only what is built is listed here
// (trap 4): no group.version, transaction.version, share.version yet.
const (
	FeatureKRaftVersion    = "kraft.version"
	FeatureMetadataVersion = "metadata.version"

	// KRaftVersion 1 is a controller quorum whose members can change (KIP-853).
	KRaftVersion = 1

	// MetadataVersion 33 is what Kafka calls 4.4-IV2, the last level of release
	// 4.4. Levels 31-33 are 4.4-IV0 to IV2, 30 is 4.3-IV0, 29 is 4.2-IV1. What our
	// controller writes has its own form; the level tells tools which Kafka
	// release a cluster compares with.
	MetadataVersion = 33
)

// Feature is a feature and the levels this program can run at.
type Feature struct {
	Name     string
	Min, Max int16
}

// Features returns the features this program knows, by name.
func Features() []Feature {
	return []Feature{
		{FeatureKRaftVersion, 0, KRaftVersion},
		{FeatureMetadataVersion, MetadataVersion, MetadataVersion},
	}
}

// NewApiVersionsResponse lists the keys served on a listener, what we can do and
// what the cluster has finalized as of epoch. Finalized levels of features we do
// not know, and level 0, which means "off", are left out.
func NewApiVersionsResponse(version int16, on Listener, finalized map[string]int16, epoch int64) *kmsg.ApiVersionsResponse {
	r := kmsg.NewPtrApiVersionsResponse()
	r.Version = version
	for i := range table {
		if a := &table[i]; a.Listeners&on != 0 {
			r.ApiKeys = append(r.ApiKeys, a.advertised())
		}
	}
	r.FinalizedFeaturesEpoch = epoch
	for _, f := range Features() {
		// Old clients fail on a lowest level of 0 (trap 3).
		if f.Min > 0 || version >= 4 {
			s := kmsg.NewApiVersionsResponseSupportedFeature()
			s.Name, s.MinVersion, s.MaxVersion = f.Name, f.Min, f.Max
			r.SupportedFeatures = append(r.SupportedFeatures, s)
		}
		if level := finalized[f.Name]; level > 0 {
			s := kmsg.NewApiVersionsResponseFinalizedFeature()
			s.Name, s.MinVersionLevel, s.MaxVersionLevel = f.Name, level, level
			r.FinalizedFeatures = append(r.FinalizedFeatures, s)
		}
	}
	return r
}

func (a *API) advertised() kmsg.ApiVersionsResponseApiKey {
	k := kmsg.NewApiVersionsResponseApiKey()
	k.ApiKey, k.MinVersion, k.MaxVersion = int16(a.Key), a.AdvertisedMin, a.Max
	return k
}

// AppendApiVersionsUnsupported appends the answer to an ApiVersions version we
// do not know: error 35 in v0's form, which every client can read, with the one
// range the client needs to ask again (trap 1, KIP-511).
func AppendApiVersionsUnsupported(dst []byte, correlation int32) []byte {
	r := kmsg.NewPtrApiVersionsResponse()
	r.ErrorCode = kerr.UnsupportedVersion.Code
	r.ApiKeys = []kmsg.ApiVersionsResponseApiKey{Lookup(int16(ApiVersions)).advertised()}
	return AppendResponse(dst, &Header{Key: int16(ApiVersions), CorrelationID: correlation}, r)
}

// ValidSoftwareName reports whether a client's name or version in ApiVersions is
// of Kafka's form: letters and digits, inside also '.' and '-'. If not, the
// answer is INVALID_REQUEST (trap 1).
func ValidSoftwareName(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9':
		case (c == '.' || c == '-') && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}
